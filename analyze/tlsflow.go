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
		t.Reset(tlswire.Options{}) // large buffers and secrets go now
		a.idleTLS = append(a.idleTLS, t)
	}
}

// secretsFor is how long, in nanoseconds, a live session waits for secrets that the program has yet to write down: most do so before
// they send their next packet, but into buffers.
const secretsFor = int64(2e9)

// missesSecrets reports whether secrets would show a certificate that nobody has seen.
func missesSecrets(f *tlswire.Facts) bool {
	state := f.Decryption.State[session.Server]
	return f.Version.Is13() && f.Chain.State == tlswire.Absent && f.Resumed != session.Yes &&
		(state == tlswire.DecryptWaiting || state == tlswire.DecryptReading)
}

// awaitsSecrets asks for the secrets of a live flow once more, and reports whether it is worth to wait for them.
func (a *Analyzer) awaitsSecrets(c *conn) bool {
	t := c.tls()
	if a.o.Secrets == nil || t == nil {
		return false
	}
	t.Retry()
	if !missesSecrets(t.Facts()) {
		c.awaits = 0
		return false
	}
	if c.awaits == 0 {
		c.awaits = a.now
	}
	return a.now-c.awaits < secretsFor
}

// secretsDone reports whether secrets that come late can show nothing more of a handshake.
func secretsDone(f *tlswire.Facts) bool {
	for _, s := range f.Decryption.State {
		if s == tlswire.DecryptWaiting || s == tlswire.DecryptReading {
			return false
		}
	}
	return true
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

// endTLS tells a reader that no more will come, and returns what it knows.
func (a *Analyzer) endTLS(l *layer) *tlswire.Facts {
	l.tls.End()
	f := l.tls.Facts()
	if f.ProtocolError != nil {
		a.stats.ProtocolErrors++
	}
	return f
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
	if !client && (l == &c.outer || c.tunnelled[c.client]) {
		a.stopReading(c, c.client)
	}
	if !server && (l == &c.outer || c.tunnelled[1-c.client]) {
		a.stopReading(c, 1-c.client)
	}
	if a.o.Live && c.decided && (l.tls.Settled(session.Client) && l.tls.Settled(session.Server) || a.settledLive(l)) {
		if c.reported == nil && !a.awaitsSecrets(c) {
			a.reportLive(c)
		}
		return
	}
	if !client && !server && c.decided && c.settled == nil && secretsDone(l.tls.Facts()) {
		a.endTLS(l)
		c.settled = a.readTLS(c, l)
		a.putTLS(l.tls)
		l.tls, l.phase = nil, phaseOpaque
	}
}

// settledLive reports whether nothing of what follows can change what the rules say, though more of it could tell the reader something: lengths of TLS
// 1.3 records, say, or that the server answered. Who watches live does not wait for those; secrets may tell more.
func (a *Analyzer) settledLive(l *layer) bool {
	f := l.tls.Facts()
	return a.o.Secrets == nil && f.Established == session.Yes && f.ClientAppData
}

// decideTLS says whether a TLS session is ours, as soon as the name, or its absence, allows. Without a name the certificate may still
// tell; final says that nothing more will come.
func (a *Analyzer) decideTLS(c *conn, l *layer, f *tlswire.Facts, final bool) {
	name := f.ClientHello.SNI
	ours := a.matchName(c, name, c.askedPort(), bySNI)
	ours = a.matchServer(c, name, ours) || c.ours
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
