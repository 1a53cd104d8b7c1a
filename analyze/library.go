package analyze

import (
	"net/netip"
	"strings"

	"github.com/dynwatch/dynwatch/internal/flow"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/analyze/tlswire"
)

// Bounds of what libraries told, each of two generations: handshakes, and bytes of their chains. One is needed until its session is put out.
const (
	maxLibraries     = 4096
	maxLibraryChains = 8 << 20
)

// libraries remembers what TLS libraries told, by the random of the ClientHello.
type libraries struct {
	newer, older map[[32]byte]*flow.Library
	chains       int // bytes of those in newer
}

func (l *libraries) put(x *flow.Library) {
	if len(l.newer) >= maxLibraries || l.chains >= maxLibraryChains || l.newer == nil {
		l.older, l.newer, l.chains = l.newer, make(map[[32]byte]*flow.Library), 0
	}
	l.chains += chainBytes(x) - chainBytes(l.newer[x.Random])
	l.newer[x.Random] = x
}

// forget drops what was told of a handshake that pid made, when its flow is no longer read. Others may carry the same ClientHello, such as
// those of a proxy on the way.
func (l *libraries) forget(random [32]byte, pid int) {
	x := l.find(random)
	if x == nil || x.PID != pid {
		return
	}
	l.chains -= chainBytes(l.newer[random])
	delete(l.newer, random)
	delete(l.older, random)
}

// chainBytes are those of a chain; of nothing there are none.
func chainBytes(x *flow.Library) (n int) {
	if x != nil {
		for _, der := range x.Chain {
			n += len(der)
		}
	}
	return n
}

func (l *libraries) find(random [32]byte) *flow.Library {
	if x := l.newer[random]; x != nil {
		return x
	}
	return l.older[random]
}

// Library takes what a client's TLS library told of a handshake, or more of the same. What was told before the client sent something is to be
// given before the segment that carries that.
func (a *Analyzer) Library(l *flow.Library) { a.libraries.put(l) }

// readLibrary adds what the client's TLS library told of this handshake. Only that which bears the random of the very ClientHello, and comes from the
// process that opened the connection, is of this handshake.
func (a *Analyzer) readLibrary(c *conn, f *tlswire.Facts, s *session.Session) {
	if !f.ClientHello.RandomKnown {
		return
	}
	l := a.libraries.find(f.ClientHello.Random)
	if l == nil || c.opening != nil && c.opening.Process.PID != 0 && c.opening.Process.PID != l.PID {
		return
	}
	s.Library = &session.Library{Name: l.Name, Path: l.Path, TID: l.TID}
	// What stands beside a wrong name may be wrong too.
	if same := consistent(l.ServerName, f.ClientHello.SNI); same || l.NameApart {
		s.Library.ServerName, s.Library.NameDiffers = l.ServerName, !same && f.ClientHello.SNI != ""
		s.Library.HostChecked, s.Library.Host = l.HostChecked, l.Host
		switch {
		case l.Verification == flow.VerificationOn:
			s.TLS.ClientVerifies, s.Library.VerificationBy = session.Yes, l.VerificationBy
		case l.Verification == flow.VerificationOff && s.TLS.ClientAppData && !s.TLS.EarlyData: // early data goes out before the chain is seen
			s.TLS.ClientVerifies, s.Library.VerificationBy = session.No, l.VerificationBy
		}
	}
	if s.Certificate != nil || s.Visibility != session.VisibilityEncrypted || len(l.Chain) == 0 {
		return
	}
	r := a.o.Trust.Judge(l.Chain, a.query(c, f.ClientHello.SNI))
	s.Trust, s.Chain, s.Certificate = r.Trust, &r.Chain, r.Certificate
	if s.Certificate != nil {
		s.Certificate.SeenBy, s.Certificate.ChainLength = "library", len(l.Chain)
	}
}

// consistent reports whether a name that a library was told, if it is known, is what the ClientHello says: addresses do not stand in it.
func consistent(told, sni string) bool {
	told = strings.TrimRight(told, ".")
	if told == "" || strings.EqualFold(told, sni) {
		return true
	}
	_, err := netip.ParseAddr(strings.Trim(told, "[]"))
	return sni == "" && err == nil
}
