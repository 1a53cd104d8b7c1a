package analyze

import (
	"container/list"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// maxResumable is how many full handshakes are remembered for sessions that resume them.
const maxResumable = 4096

// origin is what a full handshake proved, kept under the hashes of the session id and tickets that it gave out. Only who knows the
// master secret can complete a resumption, so a completed one inherits the judgement (RFC 5246, Section 7.3; RFC 5077).
type origin struct {
	asked       string // the name that the client asked for
	certificate *session.Certificate
	chain       *session.Chain
	trust       session.Trust
	keyProof    session.KeyProof
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
