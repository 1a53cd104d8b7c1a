package tlswire

import (
	"bytes"
	"crypto/tls"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// flight12 is a TLS 1.2 handshake recorded from crypto/tls.
func flight12(t *testing.T) (client, server []byte) {
	x := converse(t, &tls.Config{ServerName: "dynamodb.test", InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12},
		&tls.Config{Certificates: []tls.Certificate{testCert(t, "rsa")}, MaxVersion: tls.VersionTLS12})
	return x.tape.stream(session.Client), x.tape.stream(session.Server)
}

// withHole feeds b without n bytes at offset at.
func withHole(c *Conn, from session.Side, b []byte, at, n int) {
	c.Feed(from, b[:at])
	c.Gap(from, n)
	c.Feed(from, b[at+n:])
}

func TestHoleInsideTheClientHello(t *testing.T) {
	client, server := flight12(t)
	sni := bytes.Index(client, []byte("dynamodb.test"))
	c := New(Options{})
	withHole(c, session.Client, client, sni+2, 20)
	c.Feed(session.Server, server)
	c.End()
	f := c.Facts()
	if f.ClientHello.State != Partial || !f.ClientHello.RandomKnown || f.ClientHello.SNI != "" || f.OfferedMax != 0 || f.ClientHello.JA4() != "" {
		t.Errorf("hello %+v", f.ClientHello)
	}
	if f.Version != session.TLS12 || f.Chain.State != Complete || f.Established != session.Yes || !f.ClientFinished || f.Resumed != session.No || !f.HandshakeEndKnown[session.Client] {
		t.Errorf("facts %+v", f)
	}
}

func TestHoleBehindTheServerNameLeavesIt(t *testing.T) {
	msg := clientHelloMsg(0x0303, nil, []uint16{0xc02f}, extSNI("dynamodb.test"), ext(extSupportedGroups, vec(2, u16s(29, 23))))
	b := record(recordHandshake, msg)
	c := New(Options{})
	withHole(c, session.Client, b, len(b)-6, 4)
	f := c.Facts()
	if f.ClientHello.State != Partial || f.ClientHello.SNI != "dynamodb.test" || f.ClientHello.Groups() != nil || f.ClientHello.ExtensionsKnown {
		t.Errorf("hello %+v", f.ClientHello)
	}
}

func TestHoleInsideTheLeaf(t *testing.T) {
	client, server := flight12(t)
	der := testCert(t, "rsa").Certificate[0]
	at := bytes.Index(server, der) + 300
	c := New(Options{})
	withHole(c, session.Server, server, at, 100)
	c.Feed(session.Client, client)
	c.End()
	f := c.Facts()
	if f.Chain.State != Partial || len(f.Chain.Certificates) != 0 || !bytes.Equal(f.Chain.PartialCert, der[:300]) || f.Chain.PartialLength != len(der) {
		t.Errorf("chain %v, %d certificates, %d of %d bytes", f.Chain.State, len(f.Chain.Certificates), len(f.Chain.PartialCert), f.Chain.PartialLength)
	}
	if f.Resumed != session.No || f.Established != session.Yes || f.KeyExchange.State != Complete || !f.ServerFlightSeen {
		t.Errorf("resumed %v, established %v, key exchange %v", f.Resumed, f.Established, f.KeyExchange.State)
	}
}

func TestLossNeverMakesAResumption(t *testing.T) {
	client, server := flight12(t)
	hello := 5 + int(be16(server[3:])) // the ServerHello has a record of its own
	ccs := bytes.Index(server, []byte{20, 3, 3, 0, 1, 1})
	for _, test := range []struct {
		name  string
		at, n int
		gap   int
	}{
		{"everything between ServerHello and ChangeCipherSpec", hello, ccs - hello, ccs - hello},
		{"the same, and nobody knows how much", hello, ccs - hello, -1},
		{"some of it, at a record boundary", hello, 40, 40},
		{"the ServerHello too", 0, ccs, ccs},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := New(Options{})
			c.Feed(session.Client, client)
			c.Feed(session.Server, server[:test.at])
			c.Gap(session.Server, test.gap)
			c.Feed(session.Server, server[test.at+test.n:])
			c.End()
			if f := c.Facts(); f.Resumed == session.Yes || !f.Gaps[session.Server] {
				t.Errorf("resumed %v, gaps %v", f.Resumed, f.Gaps)
			}
		})
	}
}

func TestReaderFindsTheNextRecordAtTheBeginningOfAFeed(t *testing.T) {
	client, server := flight12(t)
	cert := 5 + int(be16(server[3:]))
	next := cert + 5 + int(be16(server[cert+3:]))
	c := New(Options{})
	c.Feed(session.Client, client)
	// A segment from the middle of the Certificate to the end of it is missing, and one more has only its rest.
	c.Feed(session.Server, server[:cert])
	c.Gap(session.Server, 100)
	c.Feed(session.Server, server[cert+100:next])
	if !c.Wanted(session.Server) || c.Facts().KeyExchange.State != Absent {
		t.Fatal("found a record in the middle of a certificate")
	}
	c.Feed(session.Server, server[next:next+3]) // and the header comes in two pieces
	c.Feed(session.Server, server[next+3:])
	c.End()
	f := c.Facts()
	if f.KeyExchange.State != Complete || f.Established != session.Yes || f.Resumed != session.No || f.Chain.State != Absent {
		t.Errorf("key exchange %v, established %v, resumed %v, chain %v", f.KeyExchange.State, f.Established, f.Resumed, f.Chain.State)
	}
}

func TestReaderGivesUp(t *testing.T) {
	c := New(Options{})
	c.Feed(session.Server, record(recordHandshake, handshake(typeServerHello, make([]byte, 40))))
	c.Gap(session.Server, -1)
	for range resyncTries + 1 {
		c.Feed(session.Server, []byte("no record here"))
	}
	if f := c.Facts(); !f.GaveUp[session.Server] || c.Wanted(session.Server) {
		t.Errorf("gave up %v", f.GaveUp)
	}
}

func TestPartsThatAreThereWhenTheCaptureEnds(t *testing.T) {
	der := append([]byte{0x30, 0x82, 4, 0}, testBytes(1024, 0)...)
	hello := serverHelloMsg(0x0303, testBytes(32, 0x80), nil, 0xc030)
	flight := record(recordHandshake, hello, certificateMsg(der))
	c := New(Options{})
	c.Feed(session.Server, flight[:400])
	if f := c.Facts(); f.Version != session.TLS12 || f.CipherName() != "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384" {
		t.Errorf("a complete ServerHello in an incomplete record: %v %v", f.Version, f.CipherName())
	}
	c.End()
	if f := c.Facts(); f.Chain.State != Partial || len(f.Chain.PartialCert) < 200 || !bytes.HasPrefix(der, f.Chain.PartialCert) || f.Resumed != session.No {
		t.Errorf("chain %v, %d bytes", f.Chain.State, len(f.Chain.PartialCert))
	}

	c.Reset(Options{})
	c.Feed(session.Server, record(recordHandshake, certificateMsg(der))[:300])
	c.End()
	if f := c.Facts(); !f.Midstream[session.Server] || f.Chain.State != Partial || f.Version != 0 || f.ServerHello.Seen() {
		t.Errorf("Certificate without hello: %v, chain %v", f.Midstream, f.Chain.State)
	}

	// Cut inside the random: nothing but the version field is there, and that says nothing.
	c.Reset(Options{})
	c.Feed(session.Server, record(recordHandshake, hello)[:30])
	c.Close(session.Server, false)
	if f := c.Facts(); f.ServerHello.State != Partial || f.ServerHello.RandomKnown || f.Version != 0 || f.CipherKnown {
		t.Errorf("ServerHello %+v", f.ServerHello)
	}
}

func TestMidstream(t *testing.T) {
	data := record(recordApplicationData, testBytes(100, 1))
	c := New(Options{})
	for range 4 {
		c.Feed(session.Client, data)
		c.Feed(session.Server, data)
	}
	f := c.Facts()
	if !f.Seen() || f.Midstream != [2]bool{true, true} || f.Version != 0 || f.Established != session.Unknown || f.Resumed != session.Unknown ||
		f.ClientAppData || f.ClientFinished || f.ServerFlightSeen || c.Wanted(session.Client) || c.Wanted(session.Server) {
		t.Errorf("facts %+v", f)
	}
	// An encrypted handshake record whose first byte is that of a Certificate.
	c.Reset(Options{})
	c.Feed(session.Client, record(recordHandshake, []byte{11, 0x9c, 0x4d, 0xda}, testBytes(44, 0xec)))
	c.Close(session.Client, false)
	if f := c.Facts(); !f.Midstream[session.Client] || f.ClientChainLength != 0 || f.Sent[session.Client].Has(SentCertificate) || f.ProtocolError != nil {
		t.Errorf("facts %+v", f)
	}
}

func TestNothingIsReadBehindChangeCipherSpec(t *testing.T) {
	hello := record(recordHandshake, serverHelloMsg(0x0303, testBytes(32, 0x80), testBytes(32, 1), 0xc02f))
	c := New(Options{})
	c.Feed(session.Client, record(recordHandshake, clientHelloMsg(0x0303, testBytes(32, 1), []uint16{0xc02f})))
	c.Feed(session.Server, hello)
	c.Feed(session.Server, record(recordChangeCipherSpec, []byte{1}))
	c.Feed(session.Server, record(recordHandshake, certificateMsg([]byte{0x30, 0})))
	if f := c.Facts(); f.Chain.State != Absent || f.Resumed != session.Yes {
		t.Errorf("chain %v, resumed %v", f.Chain.State, f.Resumed)
	}
	// Nor in clear behind a ServerHello of TLS 1.3.
	c.Reset(Options{})
	c.Feed(session.Server, record(recordHandshake, serverHelloMsg(0x0303, testBytes(32, 0x80), nil, 0x1301, ext(extSupportedVersions, u16s(0x0304))),
		certificateMsg([]byte{0x30, 0})))
	c.Feed(session.Server, record(recordHandshake, certificateMsg([]byte{0x30, 0})))
	if f := c.Facts(); f.Chain.State != Absent || f.Version != session.TLS13 {
		t.Errorf("chain %v, version %v", f.Chain.State, f.Version)
	}
}

func TestStreamsThatAreNotTLS(t *testing.T) {
	c := New(Options{})
	c.Feed(session.Client, record(recordHandshake, clientHelloMsg(0x0303, nil, []uint16{0xc02f}, extSNI("a.test"))))
	for range 2 {
		if err := c.Feed(session.Server, []byte("HTTP/1.1 400 Bad Request\r\n")); err != ErrNotTLS {
			t.Errorf("error %v", err)
		}
	}
	f := c.Facts()
	if !f.NotTLS[session.Server] || f.NotTLS[session.Client] || f.ClientHello.SNI != "a.test" || f.ProtocolError != nil {
		t.Errorf("facts %+v", f)
	}
	// After a beginning that was TLS it is a protocol error, and what was known stays.
	c.Reset(Options{})
	b := record(recordHandshake, clientHelloMsg(0x0303, nil, []uint16{0xc02f}, extSNI("a.test")))
	c.Feed(session.Client, b)
	if err := c.Feed(session.Client, []byte("GET / HTTP/1.1")); err != nil {
		t.Errorf("error %v", err)
	}
	f = c.Facts()
	if f.ProtocolError == nil || f.ProtocolError.Offset != int64(len(b)) || f.ClientHello.SNI != "a.test" || c.Wanted(session.Client) {
		t.Errorf("fault %v", f.ProtocolError)
	}
}

func TestRolesReversed(t *testing.T) {
	c := New(Options{})
	b := record(recordHandshake, clientHelloMsg(0x0303, nil, []uint16{0xc02f}))
	c.Feed(session.Server, b)
	if f := c.Facts(); !f.RolesReversed || f.ClientHello.Seen() {
		t.Errorf("facts %+v", f)
	}
	if side, ok := SniffRole(b); !ok || side != session.Client {
		t.Errorf("role %v %v", side, ok)
	}
}

func TestSuitesNobodyKnowsStillGiveTheirProof(t *testing.T) {
	k := &KeyExchange{raw: append(append([]byte{3, 0, 29}, vec(1, make([]byte, 32))...), append(u16s(0x0804), vec(2, make([]byte, 256))...)...)}
	k.parse(0x9999, true, session.TLS12)
	if k.State != Complete || k.Scheme != 0x0804 || len(k.Signature) != 256 || len(k.Params) != 36 || k.Group != 29 {
		t.Errorf("%+v", k)
	}
	k.raw = k.raw[:len(k.raw)-1]
	k.parse(0x9999, true, session.TLS12)
	if k.State != Unreadable || k.Group != 0 {
		t.Errorf("%+v", k)
	}
}

func TestLimits(t *testing.T) {
	// A message that claims 16 MB costs nothing before its bytes come, and then no more than MaxMessage.
	c := New(Options{})
	c.Feed(session.Server, record(recordHandshake, serverHelloMsg(0x0303, testBytes(32, 1), nil, 0xc02f)))
	c.Feed(session.Server, record(recordHandshake, []byte{typeCertificate, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfc, 0xff, 0xff, 0x00, 0x30}))
	if n := c.Bytes(); n > 20<<10 {
		t.Errorf("%d bytes for a claim", n)
	}
	for range 64 {
		c.Feed(session.Server, record(recordHandshake, make([]byte, 16<<10)))
	}
	if n := c.Bytes(); n > 3*MaxMessage {
		t.Errorf("%d bytes", n)
	}
	c.End()
	if f := c.Facts(); f.Chain.State != Partial || len(f.Chain.PartialCert) == 0 || len(f.Chain.PartialCert) > MaxMessage {
		t.Errorf("chain %v, %d bytes", f.Chain.State, len(f.Chain.PartialCert))
	}

	c.Reset(Options{})
	var many [][]byte
	for range 1000 {
		many = append(many, []byte{0x30, 0})
	}
	c.Feed(session.Server, records(16<<10, append(serverHelloMsg(0x0303, testBytes(32, 1), nil, 0xc02f), certificateMsg(many...)...)))
	if f := c.Facts(); f.Chain.State != Complete || len(f.Chain.Certificates) != MaxChain || f.Chain.Count != 1000 {
		t.Errorf("%d certificates of %d", len(f.Chain.Certificates), f.Chain.Count)
	}
	for range 20 {
		c.Feed(session.Client, record(recordAlert, []byte{1, 112}))
	}
	if n := len(c.Facts().Alerts); n != maxAlerts {
		t.Errorf("%d alerts", n)
	}
	if n := connSize; n > 2048 {
		t.Errorf("a Conn has %d bytes", n)
	}
}

func TestSNIIsCleaned(t *testing.T) {
	for name, want := range map[string]string{
		"dynamodb.us-east-1.amazonaws.com": "dynamodb.us-east-1.amazonaws.com", "UPPER.test": "UPPER.test",
		"evil\x00.test\n": `evil\00.test\0a`, "a b": `a\20b`, `a\b`: `a\5cb`, "ü.test": `\c3\bc.test`,
		strings.Repeat("a", 2000): strings.Repeat("a", 1024), strings.Repeat("\x00", 2000): strings.Repeat(`\00`, 341),
	} {
		h := parseHello(clientHelloMsg(0x0303, nil, []uint16{1}, extSNI(name)))
		if h.SNI != want || string(h.SNIRaw()) != name || h.SNIInvalid == (name == want && len(name) < 256) {
			t.Errorf("%.40q gives %.60q, invalid %v", name, h.SNI, h.SNIInvalid)
		}
	}
	if h := parseHello(clientHelloMsg(0x0303, nil, []uint16{1}, ext(extServerName, []byte{0, 9, 0}))); h.Err == nil || h.State != Complete || h.SNI != "" {
		t.Errorf("a bad server_name: %v, %v", h.State, h.Err)
	}
}
