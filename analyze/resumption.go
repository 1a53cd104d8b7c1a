package analyze

import (
	"container/list"
	"crypto/sha256"
	"strings"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/analyze/tlswire"
)

// maxResumable is how many full handshakes are remembered for sessions that resume them.
const maxResumable = 4096

// origin is what a full handshake proved, kept under the hashes of the session id and tickets that it gave out. Only who knows the
// master secret can complete a resumption, so a completed one inherits the judgement (RFC 5246, Section 7.3; RFC 5077).
type origin struct {
	asked       string // the name that the client asked for, which is part of what was judged
	certificate *session.Certificate
	chain       *session.Chain
	trust       session.Trust
	keyProof    session.KeyProof
}

// kin is what ties a completed handshake to others: hashes of what it gave out, and of what it resumes.
type kin struct {
	asked        string
	gives, takes [][32]byte
}

// kinOf is nil for a handshake that was not completed.
func kinOf(f *tlswire.Facts, asked string) *kin {
	if f.Established != session.Yes {
		return nil
	}
	k := &kin{asked: strings.ToLower(asked)}
	for _, t := range f.Tickets {
		k.gives = append(k.gives, t.Hash) // also of a resumed session (RFC 5077, Section 3.3)
	}
	if f.Resumed == session.Yes {
		if key, ok := f.ClientHello.TicketHash(); ok {
			k.takes = append(k.takes, key)
		}
		if key, ok := f.ClientHello.PSKIdentityHash(); ok {
			k.takes = append(k.takes, key)
		}
		if id := f.ClientHello.SessionID(); len(id) > 0 && !f.Version.Is13() {
			k.takes = append(k.takes, sessionIDKey(id))
		}
	} else if id := f.ServerHello.SessionID(); len(id) > 0 && !f.Version.Is13() {
		k.gives = append(k.gives, sessionIDKey(id))
	}
	return k
}

// sessionIDKey keeps session ids apart from tickets.
func sessionIDKey(id []byte) [32]byte { return sha256.Sum256(append([]byte("session id "), id...)) }

// settle gives a resumed session the judgement of the handshake that it resumes, and remembers that of a session for those to come.
func (r *resumptions) settle(s *session.Session, k *kin) {
	if k == nil {
		return
	}
	var o *origin
	for _, key := range k.takes {
		if o = r.find(key); o != nil {
			break
		}
	}
	switch {
	case o != nil && o.asked == k.asked && s.Certificate == nil:
		cert := *o.certificate
		cert.SeenBy = "resumption"
		s.Certificate, s.Chain, s.Trust, s.TLS.KeyProof = &cert, o.chain, o.trust, o.keyProof
	case len(k.takes) == 0 && s.Certificate != nil && !s.Certificate.Partial && s.Chain != nil:
		o = &origin{asked: k.asked, certificate: s.Certificate, chain: s.Chain, trust: s.Trust, keyProof: s.TLS.KeyProof}
	default:
		return
	}
	for _, key := range k.gives {
		r.learn(key, o)
	}
}

type resumable struct {
	key    [32]byte
	origin *origin
}

// resumptions remembers origins, least recently used out first.
type resumptions struct {
	entries map[[32]byte]*list.Element
	recent  list.List // of resumable, front is the latest
	evicted uint64
}

func (r *resumptions) learn(key [32]byte, o *origin) {
	if r.entries == nil {
		r.entries = make(map[[32]byte]*list.Element)
	}
	if e, ok := r.entries[key]; ok {
		e.Value = resumable{key, o}
		r.recent.MoveToFront(e)
		return
	}
	r.entries[key] = r.recent.PushFront(resumable{key, o})
	if r.recent.Len() > maxResumable {
		last := r.recent.Back()
		delete(r.entries, r.recent.Remove(last).(resumable).key)
		r.evicted++
	}
}

func (r *resumptions) find(key [32]byte) *origin {
	if e, ok := r.entries[key]; ok {
		r.recent.MoveToFront(e)
		return e.Value.(resumable).origin
	}
	return nil
}
