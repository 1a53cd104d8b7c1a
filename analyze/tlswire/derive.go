package tlswire

import (
	"strings"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// Facts returns what is known by now. It may be called at any time; the pointer stays the same.
func (c *Conn) Facts() *Facts {
	if c.dirty {
		c.dirty = false
		c.derive()
	}
	return &c.facts
}

// derive computes the facts that hang on both directions, from counters that do not depend on how the two interleaved.
func (c *Conn) derive() {
	f := &c.facts
	for i := range c.sides {
		h := &c.sides[i]
		f.Recognised[i], f.NotTLS[i] = h.recognised, h.notTLS
		f.Midstream[i] = h.midstream
		f.Sent[i] = h.sent
		f.Gaps[i], f.GaveUp[i] = h.gap, h.gaveUp
	}
	client, server := &c.sides[session.Client], &c.sides[session.Server]
	if f.ProtocolError = client.fault; f.ProtocolError == nil {
		f.ProtocolError = server.fault
	}
	f.ClientFinished, f.ClientAppData, f.ServerAppData = false, false, false
	f.ClientCloseNotify, f.ClientEncryptedAlert, f.ServerFlightSeen = false, false, false
	f.ClientUnclear = false

	f.ClientHello, f.FirstHello = &c.first, nil
	if c.second != nil && c.retry != nil {
		f.ClientHello, f.FirstHello = c.second, &c.first
	}
	f.HelloRetryRequest = c.retry
	f.OfferedMax = f.ClientHello.OfferedMax
	if f.OfferedMax == 0 {
		f.OfferedMax = c.first.OfferedMax
	}
	f.Version, f.CipherID, f.CipherKnown = c.hello.Version, c.hello.Suite, c.hello.SuiteKnown
	if f.SSL2 != nil {
		f.Version = session.SSL20
	}
	if f.Group = c.hello.Group; f.Group == 0 {
		f.Group = c.kex.Group
	}
	if c.hello.ALPN != "" {
		f.ALPN = c.hello.ALPN
	}
	if client.sent.Has(SentCertificate) && f.ClientChainLength > 0 {
		f.ClientCertificateSent = true
	}
	if server.sent.Has(SentCertificateRequest) {
		f.ClientCertificateRequested = true
	}

	f.Resumed = c.resumed(server)
	f.EarlyData = c.early && c.first.EarlyData
	c.deriveEstablished(client, server)
	f.HandshakeEnd = [2]int64{clearEnd(client), clearEnd(server)}
	f.HandshakeEndKnown = [2]bool{}
	switch {
	case f.SSL2 != nil:
	case f.Version.Is13():
		c.deriveClient13(client)
		c.deriveServer13(server)
	default:
		c.derive12(client, server)
	}
	for _, a := range f.Alerts {
		if a.From == session.Client && a.Code == 0 {
			f.ClientCloseNotify = true
		}
	}
	c.deriveDecryption()
}

// resumed decides Facts.Resumed.
func (c *Conn) resumed(server *half) session.Tri {
	if s := c.facts.SSL2; s != nil {
		if s.State != Complete {
			return session.Unknown
		}
		return session.TriOf(s.SessionIDHit)
	}
	sh := &c.hello
	if sh.Version.Is13() {
		if !sh.ExtensionsKnown && !sh.PSK {
			return session.Unknown
		}
		return session.TriOf(sh.PSK)
	}
	// Any of these messages belongs to a full handshake, whatever else is missing.
	if c.chain.State != Absent ||
		server.sent&(SentServerKeyExchange|SentServerHelloDone|SentCertificateRequest|SentCertificateStatus) != 0 {
		return session.No
	}
	if !sh.Seen() || sh.Version == 0 || !server.ccs || server.gapEarly {
		return session.Unknown
	}
	id := sh.SessionID()
	if !c.first.Seen() {
		// Without the client's hello the id alone has to do: a server that does not keep sessions sends none.
		if len(id) > 0 && c.sides[session.Client].over() {
			return session.Yes
		}
		return session.Unknown
	}
	if len(id) > 0 && string(id) == string(c.first.SessionID()) || c.first.ticket.n > 0 {
		return session.Yes
	}
	return session.Unknown
}

func (c *Conn) deriveEstablished(client, server *half) {
	f := &c.facts
	switch {
	case f.SSL2 != nil || !c.first.Seen() && !c.hello.Seen() && c.chain.State == Absent:
		f.Established = session.Unknown
		return
	case f.Version.Is13(), c.retry != nil:
		if client.app > 0 && server.app > 0 {
			f.Established = session.Yes
		}
	default:
		// Without a version both ways must hold: a ChangeCipherSpec of TLS 1.3 means nothing, but no encrypted handshake record
		// follows it there.
		if f.Version == 0 && !server.over() {
			break // a ServerHello may still come
		}
		changed := client.ccs && server.ccs && (f.Version != 0 || client.finished || server.finished)
		if changed || (client.ccs || client.app > 0) && (server.ccs || server.app > 0) && (client.app+server.app > 0) {
			f.Established = session.Yes
		}
	}
	if f.Established == session.Yes {
		return
	}
	f.Established = session.Unknown
	if c.ended || client.closed && server.closed {
		// A side of which nothing was captured may have sent anything; one that only closed did not.
		seen := func(h *half) bool { return h.recognised || h.notTLS || h.closed }
		if seen(client) && seen(server) && !client.gap && !server.gap {
			f.Established = session.No
		}
	}
}

// derive12 is for SSL 3.0 to TLS 1.2, and for sessions without a ServerHello.
func (c *Conn) derive12(client, server *half) {
	f := &c.facts
	f.ServerFlightSeen = server.sent.Has(SentServerHelloDone)
	if f.Version == 0 && (!server.over() || !client.finished && !server.finished) {
		return // it may be TLS 1.3, where an application data record can be anything
	}
	f.ClientFinished = client.ccs && (client.finished || client.app > 0)
	f.ClientAppData = client.app > 0
	f.ServerAppData = server.app > 0
	f.ClientCloseNotify = client.alertAfter
	f.ServerFlightSeen = f.ServerFlightSeen || server.ccs && f.Resumed == session.Yes
	for i, h := range [...]*half{client, server} {
		if h.finished {
			f.HandshakeEnd[i], f.HandshakeEndKnown[i] = h.finishedEnd, h.finishedExact
		}
	}
}

// sizes13 are the lengths of TLS 1.3 record bodies of known content without padding: the content, a byte of content type, the tag.
type sizes13 struct {
	alert, keyUpdate, endOfEarlyData, finished int
}

// javaPadding is how many zeros Java (JSSE, since 11) puts behind the content of each record, instead of none (RFC 8446, Section 5.4).
const javaPadding = 16

// padded are the lengths with so much padding.
func (n sizes13) padded(by int) sizes13 {
	return sizes13{n.alert + by, n.keyUpdate + by, n.endOfEarlyData + by, n.finished + by}
}

// sizesOf gives the lengths for a suite; false for one whose hash and tag are not known here.
func sizesOf(suite uint16) (sizes13, bool) {
	hash, tag := 32, 16
	switch suite {
	case 0x1301, 0x1303, 0x1304:
	case 0x1302:
		hash = 48
	case 0x1305:
		tag = 8
	default: // early drafts used the suites of TLS 1.2
		name := cipherName(suite)
		if !strings.HasSuffix(name, "_GCM_SHA256") && !strings.HasSuffix(name, "_POLY1305_SHA256") {
			if !strings.HasSuffix(name, "_GCM_SHA384") {
				return sizes13{}, false
			}
			hash = 48
		}
	}
	over := 1 + tag
	return sizes13{2 + over, 5 + over, 4 + over, 4 + hash + over}, true
}

// deriveClient13 reads what the lengths of the client's encrypted records tell. Without early data the first is of the handshake:
// a Finished, a Certificate, or an alert that refuses the server's flight (RFC 8446, Section 4.4.4). Who pads that one pads all.
func (c *Conn) deriveClient13(h *half) {
	f := &c.facts
	n := sizes13{}
	if h.app > 0 {
		var ok bool
		if n, ok = sizesOf(c.hello.Suite); !ok {
			return
		}
	}
	lens := h.appLen[:h.app]
	if p := n.padded(javaPadding); !c.first.EarlyData && len(lens) > 0 && (int(lens[0]) == p.alert || int(lens[0]) == p.finished) {
		n = p
	}
	fin := -1
	for i, l := range lens {
		if int(l) != n.finished {
			continue
		}
		// Early data may have that length; an accepted one ends with EndOfEarlyData right before the Finished.
		if c.first.EarlyData && c.hello.PSK && c.retry == nil && (i == 0 || int(lens[i-1]) != n.endOfEarlyData) {
			continue
		}
		fin = i
		break
	}
	if !c.first.EarlyData && c.first.ExtensionsKnown && len(lens) > 0 {
		if int(lens[0]) == n.alert {
			f.ClientEncryptedAlert = true
			return
		}
		f.ClientFinished = true
	}
	if fin < 0 {
		// Certificate, CertificateVerify and Finished may share records, but not of that size.
		f.ClientAppData = f.ClientAppData || f.ClientFinished && h.appSize > followBytes
		f.ClientUnclear = len(lens) > 1 && !f.ClientAppData
		return
	}
	f.ClientFinished = true
	if h.dec == nil || !h.dec.exact {
		f.HandshakeEnd[session.Client], f.HandshakeEndKnown[session.Client] = h.appEnd[fin], h.exact(fin)
	}
	for _, l := range lens[fin+1:] {
		switch int(l) {
		case n.keyUpdate:
		case n.alert:
			if !f.ClientAppData {
				f.ClientCloseNotify = true
			}
		default:
			f.ClientAppData = true
		}
	}
}

// deriveServer13 is the like for the server, whose tickets cannot be told from data, and whose EncryptedExtensions come first.
func (c *Conn) deriveServer13(h *half) {
	f := &c.facts
	f.ServerFlightSeen = h.app > 0
	f.HandshakeEnd[session.Server] = max(c.serverEnd, clearEnd(h))
	n, ok := sizesOf(c.hello.Suite)
	if !ok {
		return
	}
	for i, l := range h.appLen[:h.app] {
		if i == 0 || int(l) != n.finished {
			continue
		}
		f.HandshakeEnd[session.Server], f.HandshakeEndKnown[session.Server] = h.appEnd[i], h.exact(i)
		after := 0
		for _, l := range h.appLen[i+1 : h.app] {
			after += int(l)
		}
		if after > 16<<10 {
			f.ServerAppData = true
		}
		break
	}
	f.ServerAppData = f.ServerAppData || h.appSize > followBytes
}

// exact reports whether the end of application data record i is known to the byte.
func (h *half) exact(i int) bool { return !h.posLost || i < h.appExact }

// clearEnd is where the first application data record begins, or how far the stream has come.
func clearEnd(h *half) int64 {
	if h.app > 0 {
		return h.appEnd[0] - int64(h.appLen[0]) - recordHeader
	}
	return h.pos
}
