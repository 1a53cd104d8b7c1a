package analyze

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/dynwatch/dynwatch/analyze/endpoint"
	"github.com/dynwatch/dynwatch/analyze/rules"
	"github.com/dynwatch/dynwatch/analyze/sdk"
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/analyze/tlswire"
	"github.com/dynwatch/dynwatch/analyze/trust"
)

// conclude ends the reading of a flow and puts its session out, if it is one.
func (a *Analyzer) conclude(c *conn) {
	if !c.inUse || c.concluding {
		return
	}
	c.concluding = true
	if !c.dismissed {
		for dir := range uint8(2) {
			a.drain(c, dir, true)
			if n := c.streams[dir].missing(); n > 0 && !c.streams[dir].unwanted {
				a.gap(c, dir, n)
			}
			a.recogniseHeld(c, dir)
		}
		for _, l := range [...]*layer{&c.outer, &c.inner} {
			a.closeLayer(c, l)
		}
	}
	for i := range c.streams {
		a.stats.ConflictBytes += uint64(c.streams[i].conflictBytes)
	}
	if c.following {
		a.following--
	}
	if c.dismissed {
		return
	}
	switch s := a.build(c); {
	case s == nil:
	case a.o.Live:
		a.putOut(c, s)
	default:
		a.order.finished(c, s)
	}
}

// recogniseHeld gives up waiting for more first bytes.
func (a *Analyzer) recogniseHeld(c *conn, dir uint8) {
	l := &c.outer
	if c.tunnelled[dir] {
		l = &c.inner
	}
	l.held[dir] = nil
}

// closeLayer tells a layer's reader how each side ended.
func (a *Analyzer) closeLayer(c *conn, l *layer) {
	if l.http != nil && l.http.H2C() {
		if c.web == nil {
			c.web = &session.HTTP{}
		}
		c.web.H2C = true
	}
	for dir := range uint8(2) {
		st := &c.streams[dir]
		rst := c.endSeen && c.endRST && c.endDir == dir
		if !rst && (!st.finSeen || st.distance(st.finSeq) > 0 && !st.unwanted) {
			continue
		}
		if l.tls != nil {
			l.tls.Close(c.side(dir), rst)
		}
		if l.http != nil {
			l.http.Close(c.side(dir))
		}
	}
	if l.tls == nil {
		return
	}
	f := a.endTLS(l)
	if !c.decided {
		a.decideTLS(c, l, f, true)
	}
	if c.handshakeDone == 0 && f.Established == session.Yes {
		c.handshakeDone = c.last
	}
}

// build makes the session of a flow, nil if it is none that is reported.
func (a *Analyzer) build(c *conn) *session.Session {
	if !c.ours && !c.byAddr && !a.o.All && c.outer.dax == nil {
		return nil
	}
	s := c.settled
	if s == nil {
		tls := &c.outer
		if c.inner.tls != nil {
			tls = &c.inner
		}
		if tls.tls != nil && tls.tls.Facts().Seen() {
			s = a.readTLS(c, tls)
		} else {
			s = a.readCleartext(c)
		}
	}
	if s == nil || !c.ours && !(a.o.All && s.TLS != nil) {
		return nil
	}
	if s.Transport == session.TransportUnknown && !c.ours && !c.byAddr {
		return nil // the middle of some TLS connection
	}
	server, port := c.server()
	client, clientPort := c.key.a, c.key.pa
	if c.client == 1 {
		client, clientPort = c.key.b, c.key.pb
	}
	s.Source, s.Cookie = a.o.Source, c.cookie
	s.Start, s.End = wallTime(c.start), wallTime(c.last)
	s.Client, s.Server = netip.AddrPortFrom(client.Addr(), clientPort), netip.AddrPortFrom(server.Addr(), port)
	s.Proxy = c.proxy
	s.HTTP = c.reportedHTTP()
	if c.ours {
		s.Endpoint = c.endpoint
		s.Endpoint.MatchedBy = slices.Clone(c.endpoint.MatchedBy) // of a live session more may be found later
		a.locate(c, s)
	}
	for dir := range uint8(2) {
		side, st := c.side(dir), &c.streams[dir]
		s.Loss.GapBytes[side], s.Loss.ConflictBytes[side] = st.gapBytes, st.conflictBytes
		s.Loss.TruncatedPackets += st.truncated
		s.Loss.OneSided = s.Loss.OneSided || !st.seen
	}
	if o := c.opening; o != nil {
		s.Process, s.RedirectedTo = &o.Process, o.RedirectedTo
	}
	s.Loss.Midstream, s.Loss.Evicted = c.midstream, c.evicted
	s.SDK = sdk.Guess(s)
	if c.endSeen {
		s.Ended = session.Ended{By: c.side(c.endDir), FIN: !c.endRST, RST: c.endRST}
	}
	return s
}

// hello reports whether anything of a handshake was seen, so that there is a session to speak of.
func hello(f *tlswire.Facts) bool {
	return f.ClientHello.Seen() || f.ServerHello.Seen() || f.HelloRetryRequest != nil || f.SSL2 != nil || f.Chain.State != tlswire.Absent
}

// reportedHTTP is the cleartext part of a session; requests that were never DynamoDB's are nobody's business.
func (c *conn) reportedHTTP() *session.HTTP {
	if c.web == nil || c.web.Requests == 0 && !c.web.ResponseOnly && !c.web.H2C {
		return nil
	}
	return c.web
}

// readCleartext makes a session of what is not TLS.
func (a *Analyzer) readCleartext(c *conn) *session.Session {
	s := &session.Session{Transport: session.TransportUnknown}
	switch {
	case c.outer.phase == phaseDAX || c.outer.dax != nil:
		a.readDAX(c, s)
	case c.inner.http != nil:
		s.Transport = session.TransportConnectHTTP
	case c.outer.http != nil && c.web != nil && (c.web.Requests > 0 || c.web.ResponseOnly || c.web.H2C):
		s.Transport = session.TransportHTTP
	}
	if !c.ours && c.byAddr {
		a.matchServer(c, "", false)
		c.noteUnknownRange()
	}
	return s
}

// noteUnknownRange keeps a flow to a DYNAMODB address whose Host named another service out of the report.
func (c *conn) noteUnknownRange() {
	if c.web != nil && c.web.Total > 0 && c.web.Requests == 0 && !c.web.ResponseOnly {
		c.ours = false
	}
}

// readDAX makes a session of the cleartext DAX protocol.
func (a *Analyzer) readDAX(c *conn, s *session.Session) {
	s.Transport = session.TransportDAX
	o := c.outer.dax.Opening()
	s.DAX = &session.DAX{
		AuthSeen: o.AuthSeen, AccessKeyID: o.AccessKeyID, SignatureExposed: o.Signature, SessionTokenExposed: o.SessionToken,
	}
	c.describe(endpoint.Name{Service: endpoint.DAX, Region: o.Region})
	c.ours = true
	a.matchServer(c, "", true)
	if _, port := c.server(); port == daxPort {
		c.matchedBy(byPort)
	}
	c.endpoint.Service = endpoint.DAX
}

// query is what the chain of a flow is judged against.
func (a *Analyzer) query(c *conn, sni string) trust.Query {
	q := trust.Query{Name: sni, At: time.Unix(0, c.start).UTC(), TimeKnown: c.start != 0, DynamoDBName: a.isDynamoDBName}
	if q.Name == "" && c.proxy != nil && c.proxy.Connect {
		q.Name = plainHost(c.proxy.Target)
	}
	return q
}

func (a *Analyzer) isDynamoDBName(host string) bool {
	_, _, ok := a.o.Endpoints.Name(host, 0)
	return ok
}

// readTLS makes a session of a TLS layer's facts. Nothing of it refers to the reader, which may be reused afterwards.
func (a *Analyzer) readTLS(c *conn, l *layer) *session.Session {
	f := l.tls.Facts()
	s := &session.Session{Transport: session.TransportTLS, TLS: f.TLS(), Trust: session.TrustUnseen}
	if l == &c.inner {
		s.Transport = session.TransportConnectTLS
	}
	if !hello(f) {
		return &session.Session{Transport: session.TransportUnknown} // mid-stream bytes prove nothing
	}
	s.TLS.HandshakeDone = wallTime(c.handshakeDone)
	a.readChain(c, f, s)
	a.readLibrary(c, f, s)
	if c.ours {
		c.kin = kinOf(f, a.query(c, f.ClientHello.SNI).Name)
	}
	if l == &c.outer && l.offset == [2]int64{} {
		for _, side := range [...]session.Side{session.Client, session.Server} {
			st := &c.streams[c.dir(side)]
			s.HandshakeEnd[side] = session.SequenceNumber{Number: st.base + uint32(f.HandshakeEnd[side]), Known: f.HandshakeEnd[side] > 0 && st.synced}
		}
	}
	return s
}

// readChain judges the certificates of a TLS session, or says why there are none.
func (a *Analyzer) readChain(c *conn, f *tlswire.Facts, s *session.Session) {
	switch {
	case f.Chain.State == tlswire.Complete && len(f.Chain.Certificates) > 0:
		s.Visibility = session.VisibilityVisible
		r := a.o.Trust.Judge(f.Chain.Certificates, a.query(c, f.ClientHello.SNI))
		s.Trust, s.Chain, s.Certificate = r.Trust, &r.Chain, r.Certificate
		if r.Trust == session.TrustMalformed {
			s.Visibility = session.VisibilityUnparsable
		}
		if s.Certificate != nil {
			s.Certificate.ChainLength = len(f.Chain.Certificates)
		}
		if f.Chain.Decrypted {
			s.Visibility = session.VisibilityDecrypted
			if s.Certificate != nil {
				s.Certificate.SeenBy = "keylog"
			}
		}
		if c.ours {
			s.TLS.KeyProof = keyProof(f, r)
		}
	case f.Chain.State == tlswire.Unreadable, f.Chain.State == tlswire.Complete: // of no certificates (RFC 8446, Section 4.4.2.4)
		s.Visibility = session.VisibilityUnparsable
		s.Trust = session.TrustMalformed
	case f.Chain.State == tlswire.Partial:
		s.Visibility = session.VisibilityIncomplete
		s.Certificate = partialLeaf(f.Chain)
	case f.Resumed == session.Yes:
		s.Visibility = session.VisibilityResumed
	case f.Version.Is13():
		s.Visibility = session.VisibilityEncrypted
	case f.KeyExchange.Anonymous || strings.Contains(s.TLS.Cipher, "_anon_"):
		s.Visibility = session.VisibilityNone
	case f.Gaps[session.Server] || f.GaveUp[session.Server] || f.Midstream[session.Server] && !f.ServerHello.Seen():
		s.Visibility = session.VisibilityIncomplete
	case strings.Contains(s.TLS.Cipher, "_PSK_") && f.Sent[session.Server].Has(tlswire.SentServerHelloDone):
		s.Visibility = session.VisibilityNone
	case f.ServerHello.Seen() && !f.Closed[session.Server] && len(f.Alerts) == 0:
		s.Visibility = session.VisibilityIncomplete // the capture ends within the server's flight
	default:
		s.Visibility = session.VisibilityNone // the handshake ended before a certificate was due
	}
}

// keyProof checks that who answered holds the leaf's private key, where the handshake shows it.
func keyProof(f *tlswire.Facts, r trust.Result) session.KeyProof {
	if r.LeafKey == nil {
		return session.KeyProofNone
	}
	if v := f.CertificateVerify; v != nil && v.Signed != nil {
		return trust.VerifyCertificateVerify(r.LeafKey, v.Scheme, v.Signed, v.Signature)
	}
	x := f.KeyExchange
	if x.State != tlswire.Complete || x.Anonymous || len(x.Signature) == 0 || !f.ClientHello.RandomKnown || !f.ServerHello.RandomKnown ||
		x.Kind != "ecdhe" && x.Kind != "dhe" {
		return session.KeyProofNone
	}
	return trust.VerifyServerKeyExchange(r.LeafKey, uint16(f.Version), x.Scheme, f.ClientHello.Random[:], f.ServerHello.Random[:], x.Params, x.Signature)
}

// partialLeaf describes the leaf of a Certificate message of which only a part was captured, if its issuer is in that part.
func partialLeaf(chain *tlswire.Chain) *session.Certificate {
	der := chain.PartialCert
	if len(chain.Certificates) > 0 {
		der = chain.Certificates[0]
	}
	if len(der) == 0 {
		return nil
	}
	p, err := trust.ParseCertificate(der)
	if p == nil || err != nil && !p.Partial() {
		return nil
	}
	cert := p.Describe()
	if cert.Issuer == "" {
		return nil
	}
	cert.Partial = true
	return cert
}

// judge runs the rules over a session. Sessions are judged in the order of their first packets, because some rules look back, and because
// what a session resumes comes before it, though it may end later.
func (a *Analyzer) judge(s *session.Session, k *kin) {
	a.resumed.settle(s, k)
	a.evaluate(s)
	if s.Endpoint.Known() {
		a.o.History.Observe(s)
	}
}

// evaluate is judge without the memory: for a session that was judged before.
func (a *Analyzer) evaluate(s *session.Session) {
	s.Findings = rules.Evaluate(&rules.Input{Session: s, Policy: a.o.Policy, History: a.o.History})
	s.Verdict = rules.Verdict(s, s.Findings)
}
