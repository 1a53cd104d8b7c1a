package tlswire

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"testing"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/testenv"
)

// seeds gives streams of both sides: recorded ones, built ones, and those of the corpus where it is.
func seeds(f *testing.F) [][2][]byte {
	f.Helper()
	var l [][2][]byte
	for _, v := range []uint16{tls.VersionTLS10, tls.VersionTLS12, tls.VersionTLS13} {
		x := converse(f, &tls.Config{ServerName: "dynamodb.test", InsecureSkipVerify: true, MinVersion: v, MaxVersion: v, NextProtos: []string{"h2"}},
			&tls.Config{Certificates: []tls.Certificate{testCert(f, "ecdsa")}, MinVersion: v, MaxVersion: v, CurvePreferences: []tls.CurveID{tls.CurveP256}})
		l = append(l, [2][]byte{x.tape.stream(session.Client), x.tape.stream(session.Server)})
	}
	hello := clientHelloMsg(0x0303, testBytes(32, 1), []uint16{0x1301, 0xc02f}, extSNI("a.test"), extALPNOf("h2"))
	l = append(l,
		[2][]byte{records(3, hello), record(recordAlert, []byte{2, 40})},
		[2][]byte{[]byte("\x80\x1f\x01\x00\x02\x00\x06\x00\x00\x00\x10\x07\x00\xc0\x00\x00\x350123456789abcdef"), ssl2ServerHelloBytes()},
		[2][]byte{append(record(recordHandshake, hello), record(recordChangeCipherSpec, []byte{1})...), []byte("HTTP/1.1 400 Bad Request\r\n")},
	)
	for i, file := range testenv.SharedFiles(f, "corpus", "tls", "*.pcap") {
		if i%5 != 0 {
			continue
		}
		flows, err := readFlows(file)
		if err != nil || len(flows) == 0 {
			continue
		}
		var s [2][]byte
		for _, e := range flows[0].events {
			if len(s[e.from]) < 6000 {
				s[e.from] = append(s[e.from], e.data...)
			}
		}
		l = append(l, s)
	}
	return l
}

func ssl2ServerHelloBytes() []byte {
	body := []byte{ssl2ServerHello, 0, 1, 0, 2, 0, 4, 0, 3, 0, 2, 0x30, 0x82, 1, 2, 7, 0, 0xc0, 9, 9}
	return append([]byte{0x80, byte(len(body))}, body...)
}

// grown reports which fact of before is contradicted by after. What is known stays, but for what a HelloRetryRequest replaces.
func grown(before, after *known) error {
	keep := func(what string, was, is any, known bool) error {
		if known && fmt.Sprint(was) != fmt.Sprint(is) {
			return fmt.Errorf("%s was %v and is %v", what, was, is)
		}
		return nil
	}
	retried := before.HelloRetryRequest == nil && after.HelloRetryRequest != nil || before.FirstHello == nil && after.FirstHello != nil
	var errs []error
	for i := range 2 {
		errs = append(errs,
			keep("recognised", before.Recognised[i], after.Recognised[i], before.Recognised[i]),
			keep("not TLS", before.NotTLS[i], after.NotTLS[i], before.NotTLS[i]),
			keep("midstream", before.Midstream[i], after.Midstream[i], before.Midstream[i]),
			keep("end known", before.HandshakeEndKnown[i], after.HandshakeEndKnown[i], before.HandshakeEndKnown[i]),
			keep("end", before.HandshakeEnd[i], after.HandshakeEnd[i], before.HandshakeEndKnown[i]),
			keep("sent", before.Sent[i], before.Sent[i]&after.Sent[i], true))
	}
	errs = append(errs,
		keep("version", before.Version, after.Version, before.Version != 0 && after.SSL2 == nil),
		keep("suite", before.CipherID, after.CipherID, before.CipherKnown),
		keep("offered max", before.OfferedMax, after.OfferedMax, before.OfferedMax != 0 && !retried),
		keep("SNI", before.clientSNI, after.clientSNI, before.clientSNI != "" && !retried),
		keep("resumed", before.Resumed, after.Resumed, before.Resumed != session.Unknown && after.SSL2 == nil),
		keep("established", before.Established, after.Established, before.Established != session.Unknown && after.SSL2 == nil),
		keep("client finished", before.ClientFinished, after.ClientFinished, before.ClientFinished && after.SSL2 == nil),
		keep("client data", before.ClientAppData, after.ClientAppData, before.ClientAppData && after.SSL2 == nil),
		keep("server data", before.ServerAppData, after.ServerAppData, before.ServerAppData && after.SSL2 == nil),
		keep("close_notify", before.ClientCloseNotify, after.ClientCloseNotify, before.ClientCloseNotify && after.SSL2 == nil),
		keep("encrypted alert", before.ClientEncryptedAlert, after.ClientEncryptedAlert, before.ClientEncryptedAlert && after.SSL2 == nil),
		keep("server flight", before.ServerFlightSeen, after.ServerFlightSeen, before.ServerFlightSeen && after.SSL2 == nil),
		keep("certificates", before.certificates, after.certificates, before.certificates > 0),
		keep("alerts", len(before.Alerts), min(len(before.Alerts), len(after.Alerts)), true))
	return errors.Join(errs...)
}

// known is a copy of Facts with what grown needs of the things it points to.
type known struct {
	Facts
	clientSNI    string
	certificates int
}

func knownFacts(c *Conn) *known {
	f := *c.Facts()
	return &known{f, f.ClientHello.SNI, len(f.Chain.Certificates)}
}

func FuzzConn(f *testing.F) {
	for i, s := range seeds(f) {
		f.Add(s[0], s[1], []byte{byte(i), 200, 3, 77, 9})
	}
	f.Fuzz(func(t *testing.T, client, server, plan []byte) {
		streams := [2][]byte{client, server}
		whole := New(Options{})
		whole.Feed(session.Client, client)
		whole.Feed(session.Server, server)
		whole.End()
		want := snapshot(whole.Facts())

		// The plan gives side and length of each piece; spent, it begins anew.
		c := New(Options{})
		before := knownFacts(c)
		left := streams
		wanted := [2]bool{true, true}
		for i := 0; len(left[0])+len(left[1]) > 0; i++ {
			step := byte(i * 37)
			if len(plan) > 0 {
				step = plan[i%len(plan)]
			}
			side := int(step & 1)
			if len(left[side]) == 0 {
				side = 1 - side
			}
			n := min(1+int(step>>1)*int(step>>1)/4, len(left[side]))
			b := bytes.Clone(left[side][:n])
			err := c.Feed(session.Side(side), b)
			clear(b)
			left[side] = left[side][n:]
			now := knownFacts(c)
			if e := grown(before, now); e != nil {
				t.Fatal(e)
			}
			before = now
			if notTLS := c.Facts().NotTLS[side]; notTLS != errors.Is(err, ErrNotTLS) {
				t.Fatalf("error %v, not TLS %v", err, notTLS)
			}
			w := c.Wanted(session.Side(side))
			if w && !wanted[side] {
				t.Fatal("wanted again")
			}
			wanted[side] = w
		}
		c.End()
		if e := grown(before, knownFacts(c)); e != nil {
			t.Fatal(e)
		}
		if got := snapshot(c.Facts()); got != want {
			t.Fatalf("cut by the plan:\n%s\nwhole:\n%s", got, want)
		}
		if c.Bytes() > connSize+4*(len(client)+len(server))+64<<10 {
			t.Fatalf("%d bytes for %d and %d", c.Bytes(), len(client), len(server))
		}
		c.Facts().TLS()
		// A Conn that is used again must know nothing of before.
		c.Reset(Options{})
		c.Feed(session.Server, server)
		c.Feed(session.Client, client)
		c.End()
		if got := snapshot(c.Facts()); got != want {
			t.Fatalf("after Reset:\n%s\nwhole:\n%s", got, want)
		}
	})
}

// anySecrets has the same secrets for everybody.
type anySecrets struct{ s SessionSecrets }

func (a *anySecrets) Lookup([32]byte) (*SessionSecrets, bool) { return &a.s, true }

func FuzzConnWithHoles(f *testing.F) {
	for i, s := range seeds(f) {
		f.Add(append(bytes.Clone(s[0]), s[1]...), len(s[0]), []byte{byte(i), 250, 3, 77, 9, 128, 64})
	}
	secrets := new(anySecrets)
	for _, s := range []*Secret{&secrets.s.ClientHandshake, &secrets.s.ServerHandshake, &secrets.s.ClientTraffic, &secrets.s.ServerTraffic} {
		*s, _ = NewSecret(make([]byte, 32))
	}
	f.Fuzz(func(t *testing.T, data []byte, at int, plan []byte) {
		if at < 0 || at > len(data) || len(plan) == 0 {
			return
		}
		for _, o := range []Options{{}, {Secrets: secrets}} {
			c := New(o)
			before := knownFacts(c)
			left := [2][]byte{data[:at], data[at:]}
			for i := 0; len(left[0])+len(left[1]) > 0; i++ {
				step := plan[i%len(plan)]
				side := session.Side(step & 1)
				if len(left[side]) == 0 {
					side = side.Peer()
				}
				n := min(1+int(step>>3)*int(step>>3), len(left[side]))
				switch step >> 1 & 3 {
				case 1:
					c.Gap(side, n)
				case 2:
					if i%3 == 0 {
						c.Gap(side, -1)
					} else {
						c.Feed(side, left[side][:n])
					}
				default:
					c.Feed(side, left[side][:n])
				}
				left[side] = left[side][n:]
				if i%5 == 4 {
					now := knownFacts(c)
					if e := grown(before, now); e != nil {
						t.Fatal(e)
					}
					before = now
				}
			}
			c.Close(session.Client, true)
			c.End()
			now := knownFacts(c)
			if e := grown(before, now); e != nil {
				t.Fatal(e)
			}
			if c.Bytes() > connSize+4*len(data)+128<<10 {
				t.Fatalf("%d bytes for %d", c.Bytes(), len(data))
			}
			if c.Wanted(session.Client) || c.Wanted(session.Server) {
				t.Fatal("wanted after the end")
			}
			now.TLS()
		}
	})
}

func FuzzClientHello(f *testing.F) {
	f.Add(clientHelloMsg(0x0303, testBytes(32, 9), []uint16{0x1301, 0x0a0a, 0x5600}, extSNI("a.test"), extALPNOf("h2", "http/1.1"),
		ext(10, vec(2, u16s(29, 23))), ext(11, vec(1, []byte{0})), ext(13, vec(2, u16s(0x0403))), ext(43, vec(1, u16s(0x0304))),
		ext(51, vec(2, u16s(29), vec(2, make([]byte, 32)))), ext(35, []byte("ticket")), ext(42, nil),
		ext(41, append(vec(2, vec(2, []byte("id")), make([]byte, 4)), vec(2, vec(1, make([]byte, 32)))...))))
	f.Add(clientHelloMsg(0x0301, nil, []uint16{0x0035}))
	f.Add([]byte{1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, msg []byte) {
		if len(msg) < 4 || len(msg) > MaxMessage {
			return
		}
		h := &ClientHello{raw: msg}
		h.parse(true)
		if h.State != Complete && h.State != Unreadable || h.State == Unreadable && h.Err == nil {
			t.Fatalf("state %v, error %v", h.State, h.Err)
		}
		// A part of the message tells nothing that the whole does not.
		for _, n := range []int{4, len(msg) / 3, len(msg) / 2, len(msg) - 1} {
			if n < 4 || n >= len(msg) {
				continue
			}
			p := &ClientHello{raw: msg[:n]}
			p.parse(false)
			switch {
			case p.State != Partial || p.Err != nil && h.Err == nil:
				t.Fatalf("prefix of %d: state %v, error %v", n, p.State, p.Err)
			case p.RandomKnown && p.Random != h.Random, p.SNI != "" && p.SNI != h.SNI,
				p.OfferedMax != 0 && p.OfferedMax != h.OfferedMax && p.LegacyVersion >= session.TLS12, p.SuitesKnown && !bytes.Equal(p.suites.of(p.raw), h.suites.of(h.raw)),
				p.FallbackSCSV && !h.FallbackSCSV, p.PSKIdentities > h.PSKIdentities, p.EarlyData && !h.EarlyData, p.ExtensionsKnown && !h.ExtensionsKnown:
				t.Fatalf("prefix of %d: %+v, whole %+v", n, p, h)
			}
		}
		// Everything that can be asked can be answered, inside the message.
		total := len(h.Suites())*2 + len(h.Extensions())*4 + len(h.SessionID()) + len(h.Compression())
		if total > len(msg) || len(h.ALPN()) > len(msg) || len(h.KeyShares())*4 > len(msg) || len(h.SNIRaw()) > len(msg) {
			t.Fatal("more than there is")
		}
		for _, c := range h.SNI {
			if c <= ' ' || c > '~' {
				t.Fatalf("SNI %q", h.SNI)
			}
		}
		if ja4 := h.JA4(); (h.State == Complete) != (len(ja4) == 36) || (h.JA3() != "") != (h.State == Complete) {
			t.Fatalf("JA4 %q, JA3 %q", ja4, h.JA3())
		}
		h.Groups()
		h.PointFormats()
		h.SignatureSchemes()
		h.Versions()
		h.TicketHash()
		h.PSKIdentityHash()
	})
}
