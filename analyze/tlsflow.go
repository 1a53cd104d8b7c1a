package analyze

import (
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/analyze/tlswire"
)

// maxIdleTLS bounds how many TLS readers are kept for reuse; a reader keeps the buffers that it has grown.
const maxIdleTLS = 256

func (a *Analyzer) takeTLS() *tlswire.Conn {
	o := tlswire.Options{Secrets: a.o.Secrets}
	if n := len(a.idleTLS); n > 0 {
		t := a.idleTLS[n-1]
		a.idleTLS = a.idleTLS[:n-1]
		t.Reset(o)
		return t
	}
	return tlswire.New(o)
}

func (a *Analyzer) putTLS(t *tlswire.Conn) {
	if len(a.idleTLS) < maxIdleTLS {
		a.idleTLS = append(a.idleTLS, t)
	}
}

func (a *Analyzer) feedTLS(c *conn, l *layer, dir uint8, data []byte) {
	if err := l.tls.Feed(c.side(dir), data); err != nil && !l.tls.Facts().Seen() {
		// It looked like TLS and is not.
		a.putTLS(l.tls)
		l.tls = nil
		l.offset[dir] += int64(len(data))
		a.unrecognised(c, l)
		return
	}
	a.afterTLS(c, l)
}

// afterTLS looks at what the last bytes brought.
func (a *Analyzer) afterTLS(c *conn, l *layer) {
	client, server := l.tls.Wanted(session.Client), l.tls.Wanted(session.Server)
	if !c.decided {
		f := l.tls.Facts()
		if h := f.ClientHello; h.SNI != "" || h.State == tlswire.Complete || !client && !server {
			a.decideTLS(c, l, f, !client && !server)
			if !c.inUse {
				return
			}
		}
	}
	if c.handshakeDone == 0 && c.decided && l.tls.Facts().Established == session.Yes {
		c.handshakeDone = c.now
	}
	if l == &c.outer {
		if !client {
			a.stopReading(c, c.client)
		}
		if !server {
			a.stopReading(c, 1-c.client)
		}
	}
	if a.o.Live && c.decided && !client && !server {
		a.reportLive(c)
		return
	}
	if !client && !server && c.decided && a.o.Secrets == nil && c.settled == nil {
		c.settled = a.readTLS(c, l)
		a.putTLS(l.tls)
		l.tls, l.phase = nil, phaseOpaque
	}
}

// decideTLS says whether a TLS session is ours, as soon as the name, or its absence, allows. Without a name the certificate may still
// tell; final says that nothing more will come.
func (a *Analyzer) decideTLS(c *conn, l *layer, f *tlswire.Facts, final bool) {
	name := f.ClientHello.SNI
	ours := a.matchName(c, name, bySNI)
	if c.proxy == nil { // the address is the proxy's, not the endpoint's
		ours = a.matchAddress(c, name) || ours
		ours = a.matchResolved(c, name) || ours
	}
	ours = ours || c.ours
	switch {
	case ours, name != "":
		c.decided = true
	case final:
		c.decided = true
		ours = a.matchCertificate(c, f)
	default:
		if f.ServerHello.State == tlswire.Complete && f.ServerHello.Version.Is13() && a.o.Secrets == nil {
			c.decided = true // the certificate will not be seen
		} else if f.Chain.State != tlswire.Absent {
			c.decided = true
			ours = a.matchCertificate(c, f)
		} else {
			return
		}
	}
	if !ours && !a.o.All {
		a.ignore(c)
	}
}

// matchCertificate judges a session without SNI by the names of the leaf.
func (a *Analyzer) matchCertificate(c *conn, f *tlswire.Facts) bool {
	if len(f.Chain.Certificates) == 0 {
		return false
	}
	r := a.o.Trust.Judge(f.Chain.Certificates, a.query(c, ""))
	if r.Certificate == nil {
		return false
	}
	for _, name := range r.Certificate.Names {
		if a.matchName(c, name, byCertificate) {
			return true
		}
	}
	return false
}
