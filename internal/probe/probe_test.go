package probe

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/analyze/rules"
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/analyze/tlswire"
)

func config(kind string) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{makePKI().chains[kind]}, MinVersion: tls.VersionTLS12}
}

func TestHelloIsReadByOthers(t *testing.T) {
	for _, v := range []session.Version{session.SSL30, session.TLS10, session.TLS11, session.TLS12, session.TLS13} {
		t.Run(v.String(), func(t *testing.T) {
			h := &hello{version: v, name: name, suites: suites12(), fallback: !v.Is13()}
			if v.Is13() {
				h.suites = suites13
			}
			b, err := h.record()
			if err != nil {
				t.Fatal(err)
			}
			c := tlswire.New(tlswire.Options{})
			if err := c.Feed(session.Client, b); err != nil {
				t.Fatal(err)
			}
			f := c.Facts()
			ch := f.ClientHello
			if ch.State != tlswire.Complete || ch.Err != nil || ch.OfferedMax != v || ch.FallbackSCSV != h.fallback || f.ProtocolError != nil {
				t.Errorf("%+v, offered %s", ch.Err, ch.OfferedMax)
			}
			if v > session.SSL30 && ch.SNI != name {
				t.Errorf("SNI %q", ch.SNI)
			}
			if v < session.TLS12 {
				return // crypto/tls wants extensions that such a hello has not
			}
			seen := make(chan uint16, 1)
			at := serve(t, func(c net.Conn) {
				tls.Server(c, &tls.Config{GetConfigForClient: func(i *tls.ClientHelloInfo) (*tls.Config, error) {
					seen <- i.SupportedVersions[0]
					return config("good"), nil
				}}).Handshake()
			})
			c2, err := net.Dial("tcp", at.String())
			if err != nil {
				t.Fatal(err)
			}
			defer c2.Close()
			h.fallback = false
			b, _ = h.record()
			c2.Write(b)
			answer := make([]byte, 6)
			if _, err := io.ReadFull(c2, answer); err != nil || answer[0] != 22 || answer[5] != 2 {
				t.Errorf("crypto/tls answers % x: %v", answer, err)
			}
			if got := <-seen; got != uint16(v) {
				t.Errorf("crypto/tls reads version %x", got)
			}
		})
	}
	for _, id := range weakSuites() {
		if n := tlswire.CipherName(id); !isWeak(n) {
			t.Errorf("%s is among the weak suites", n)
		}
	}
	for _, id := range preferred {
		if n := tlswire.CipherName(id); isWeak(n) {
			t.Errorf("%s is among the preferred suites", n)
		}
	}
}

// TestLowerVersionsShowAnotherCertificate: an interceptor that only old clients meet.
func TestLowerVersionsShowAnotherCertificate(t *testing.T) {
	at := serveTLS(t, &tls.Config{GetConfigForClient: func(i *tls.ClientHelloInfo) (*tls.Config, error) {
		if !slices.Contains(i.SupportedVersions, tls.VersionTLS13) {
			return config("private"), nil
		}
		return config("good"), nil
	}})
	p := one(t, options(t), target(at))
	if p.Session.Trust != session.TrustAllowed || found(p)[rules.UnexpectedIssuer] != session.Critical || p.Verdict() != session.VerdictFinding {
		t.Fatalf("%s, findings %v", p.Session.Trust, p.Findings())
	}
	if m := p.Findings()[0].Message; !strings.Contains(m, "TLS 1.2") {
		t.Errorf("the finding does not say to whom: %s", m)
	}
}

func TestEndsSoonIsAWarning(t *testing.T) {
	at := serveTLS(t, config("ends-soon"))
	o := options(t)
	o.ExpiryWarning = 30 * 24 * time.Hour
	p := one(t, o, target(at))
	if p.Verdict() != session.VerdictOK || len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0], "ends in 9 days") {
		t.Errorf("%s, warnings %q", p.Verdict(), p.Warnings)
	}
	o.ExpiryWarning = 24 * time.Hour
	if p := one(t, o, target(at)); len(p.Warnings) != 0 {
		t.Errorf("warnings %q", p.Warnings)
	}
}

// TestNoSentinel: Go's server marks TLS 1.2; one behind which TLS 1.2 ends elsewhere does not.
func TestNoSentinel(t *testing.T) {
	old := config("good")
	old.MaxVersion = tls.VersionTLS12 // it does not know of TLS 1.3
	at := serveTLS(t, &tls.Config{GetConfigForClient: func(i *tls.ClientHelloInfo) (*tls.Config, error) {
		if !slices.Contains(i.SupportedVersions, tls.VersionTLS13) {
			return old, nil
		}
		return config("good"), nil
	}})
	p := one(t, options(t), target(at))
	if p.Sentinel != session.No || p.Fallback != "accepted" || len(p.Warnings) != 2 || p.Verdict() != session.VerdictOK {
		t.Errorf("sentinel %v, fallback %q, %s, warnings %q", p.Sentinel, p.Fallback, p.Verdict(), p.Warnings)
	}
	p = one(t, options(t), target(serveTLS(t, config("good"))))
	if p.Sentinel != session.Yes || p.Fallback != "refused" || len(p.Warnings) != 0 {
		t.Errorf("sentinel %v, fallback %q, warnings %q", p.Sentinel, p.Fallback, p.Warnings)
	}
}

// TestForcedDowngrade: somebody in the path strips TLS 1.3 from the hello, and the server's sentinel tells.
func TestForcedDowngrade(t *testing.T) {
	behind := serveTLS(t, config("good"))
	at := serve(t, func(c net.Conn) {
		up, err := net.Dial("tcp", behind.String())
		if err != nil {
			return
		}
		defer up.Close()
		head := make([]byte, 5)
		if _, err := io.ReadFull(c, head); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint16(head[3:]))
		io.ReadFull(c, body)
		// The extension keeps its length and is no longer known: the server falls back to the legacy version.
		if i := bytes.Index(body, []byte{0, 43, 0}); i > 0 {
			body[i], body[i+1] = 0xfa, 0xce
		}
		up.Write(append(head, body...))
		relay(c, up)
	})
	p := one(t, options(t), target(at))
	if p.Session == nil || found(p)[rules.TLSDowngrade] != session.Critical {
		t.Errorf("%s; findings %v", p.Err, p.Findings())
	}
}

// relay copies both ways until either side ends.
func relay(a, b net.Conn) {
	go func() { io.Copy(a, b); a.Close() }()
	io.Copy(b, a)
}

func TestClientCertificateWanted(t *testing.T) {
	c := config("good")
	c.ClientAuth = tls.RequireAnyClientCert
	p := one(t, options(t), target(serveTLS(t, c)))
	if p.Session == nil || p.Session.Trust != session.TrustAllowed || !p.Session.TLS.ClientCertificateRequested {
		t.Errorf("%s %+v", p.Err, p.Session)
	}
}

// TestNameOfTheOperator: who probes a name says that it is DynamoDB's; nobody says it of a bare address.
func TestNameOfTheOperator(t *testing.T) {
	at := serveTLS(t, config("private"))
	p := one(t, options(t), Target{Host: "db.corp.example", Addr: at.Addr(), Port: at.Port()})
	if found(p)[rules.UnexpectedIssuer] != session.Critical {
		t.Errorf("findings %v", p.Findings())
	}
	at = serveTLS(t, config("wrong-name"))
	p = one(t, options(t), Target{Addr: at.Addr(), Port: at.Port()})
	if p.Verdict() != session.VerdictNotApplicable || len(p.Findings()) != 0 || len(p.Warnings) != 1 {
		t.Errorf("%s %v %q", p.Verdict(), p.Findings(), p.Warnings)
	}
	at = serveTLS(t, config("private"))
	p = one(t, options(t), Target{Addr: at.Addr(), Port: at.Port()}) // its certificate bears a DynamoDB name
	if found(p)[rules.UnexpectedIssuer] != session.Critical {
		t.Errorf("findings %v", p.Findings())
	}
}

func TestThroughAProxy(t *testing.T) {
	behind := serveTLS(t, config("good"))
	asked := make(chan string, 64)
	proxy := serve(t, func(c net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil || r.Method != http.MethodConnect {
			return
		}
		asked <- r.Host
		if r.Host == "refused.example:443" {
			io.WriteString(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
			return
		}
		up, err := net.Dial("tcp", behind.String())
		if err != nil {
			return
		}
		defer up.Close()
		io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
		relay(c, up)
	})
	o := options(t)
	o.Proxy = proxy.String()
	p := one(t, o, Target{Host: name, Port: 443})
	if p.Session == nil || p.Session.Transport != session.TransportConnectTLS || p.Session.Trust != session.TrustAllowed || taken(p) != "1.3 1.2" {
		t.Fatalf("%s %+v", p.Err, p)
	}
	if got := <-asked; got != name+":443" {
		t.Errorf("the proxy was asked for %s", got)
	}
	if f := found(p); len(f) != 1 || f[rules.CleartextProxy] != session.Medium {
		t.Errorf("findings %v", p.Findings())
	}
	o.Policy = &rules.Policy{AllowProxies: []string{proxy.String()}}
	if p := one(t, o, Target{Host: name, Port: 443}); p.Verdict() != session.VerdictOK || p.Resolution.By != "proxy" {
		t.Errorf("%s %v", p.Verdict(), p.Findings())
	}
	if p := one(t, o, Target{Host: "refused.example", Port: 443}); !strings.Contains(p.Err, "status 403") {
		t.Errorf("error %q", p.Err)
	}
}

// TestHostileServers: whatever a server does, a probe ends in time, keeps little, and says what happened.
func TestHostileServers(t *testing.T) {
	record := func(kind byte, payload []byte) []byte {
		return append([]byte{kind, 3, 3, byte(len(payload) >> 8), byte(len(payload))}, payload...)
	}
	serverHello := func() []byte {
		body := append([]byte{3, 3}, bytes.Repeat([]byte{7}, 32)...)
		body = append(body, 0, 0xc0, 0x2f, 0)
		return record(22, append([]byte{2, 0, 0, byte(len(body))}, body...))
	}
	endless := func(c net.Conn) {
		c.Write(serverHello())
		message := append([]byte{11, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfc}, make([]byte, 16000)...)
		for {
			if _, err := c.Write(record(22, message)); err != nil {
				return
			}
			message = make([]byte, 16000)
		}
	}
	tests := map[string]struct {
		handle func(net.Conn)
		err    string // within; "" if something is concluded
	}{
		"silence":       {func(c net.Conn) { io.Copy(io.Discard, c) }, "no answer"},
		"closes":        {func(net.Conn) {}, ""},
		"HTTP":          {func(c net.Conn) { io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") }, "HTTP, not TLS"},
		"SSH":           {func(c net.Conn) { io.WriteString(c, "SSH-2.0-OpenSSH_9.2\r\n"); io.Copy(io.Discard, c) }, "not TLS"},
		"garbage":       {func(c net.Conn) { c.Write(bytes.Repeat([]byte{0xa5}, 1<<20)) }, "not TLS"},
		"endless chain": {endless, ""},
		"endless alerts": {func(c net.Conn) {
			for {
				if _, err := c.Write(record(21, []byte{1, 90})); err != nil {
					return
				}
			}
		}, ""},
		"slow bytes": {func(c net.Conn) {
			for _, b := range serverHello() {
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		}, ""},
		"endless hello": {func(c net.Conn) {
			c.Write(record(22, []byte{2, 0xff, 0xff, 0xff}))
			for {
				if _, err := c.Write(record(22, make([]byte, 16000))); err != nil {
					return
				}
			}
		}, ""},
	}
	for what, test := range tests {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			o := options(t)
			o.Timeout, o.Ciphers = time.Second, true
			o.Plaintext = 1 // nobody listens
			begin := time.Now()
			p := one(t, o, target(serve(t, test.handle)))
			if d := time.Since(begin); d > budgetFactor*o.Timeout+5*time.Second {
				t.Errorf("took %v", d)
			}
			if test.err != "" && !strings.Contains(p.Err, test.err) {
				t.Errorf("error %q, want %q", p.Err, test.err)
			}
			if p.Session == nil && p.Err == "" {
				t.Error("neither a session nor an error")
			}
			if p.Verdict() == session.VerdictOK {
				t.Error("is ok")
			}
		})
	}
}

func TestNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().(*net.TCPAddr).AddrPort()
	l.Close()
	if p := one(t, options(t), target(at)); p.Err != "connection refused" || p.Verdict() != session.VerdictUnverified || len(p.Versions) != 0 {
		t.Errorf("%+v", p)
	}
}

func TestCancelled(t *testing.T) {
	at := serve(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	begin := time.Now()
	p := New(options(t)).Probe(ctx, target(at))[0]
	if d := time.Since(begin); d > 3*time.Second || p.Session != nil {
		t.Errorf("took %v: %+v", d, p)
	}
}

func TestParseTarget(t *testing.T) {
	tests := map[string]string{
		name: name + "/invalid IP/443", "DynamoDB.us-east-1.amazonaws.com.:8443": "dynamodb.us-east-1.amazonaws.com./invalid IP/8443",
		"192.0.2.7": "/192.0.2.7/443", "192.0.2.7:8000": "/192.0.2.7/8000", "[2001:db8::1]:444": "/2001:db8::1/444", "2001:db8::1": "/2001:db8::1/443",
		"my-cluster.abc123.dax-clusters.us-east-1.amazonaws.com": "my-cluster.abc123.dax-clusters.us-east-1.amazonaws.com/invalid IP/9111",
		"localhost:8000": "localhost/invalid IP/8000",
	}
	for in, want := range tests {
		got, err := ParseTarget(in)
		if s := fmt.Sprintf("%s/%v/%d", got.Host, got.Addr, got.Port); err != nil || s != want {
			t.Errorf("%q is %s (%v), want %s", in, s, err, want)
		}
	}
	for _, in := range []string{"", "https://" + name, "a b", "*.example.com", name + ":0", name + ":99999", "10.0.0.0/8", "host:port", ":443"} {
		if got, err := ParseTarget(in); err == nil {
			t.Errorf("%q is %+v", in, got)
		}
	}
}

// FuzzServer has a server answer anything to both kinds of attempts.
func FuzzServer(f *testing.F) {
	key := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 300)
	for i := range noise {
		noise[i] = byte(key.Uint32())
	}
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), uint8(0))
	f.Add([]byte{21, 3, 1, 0, 2, 2, 70}, uint8(1))
	f.Add(append([]byte{22, 3, 3, 1, 44}, noise...), uint8(2))
	f.Add([]byte{}, uint8(3))
	o := options(f)
	p := New(o)
	r := &route{host: name, server: netip.MustParseAddrPort("192.0.2.1:443"), port: 443}
	f.Fuzz(func(t *testing.T, answer []byte, how uint8) {
		h := &hello{version: []session.Version{session.SSL30, session.TLS10, session.TLS12, session.TLS13}[how%4], name: name, suites: suites12()}
		record, err := h.record()
		if err != nil {
			t.Fatal(err)
		}
		tape := newTaped(stuck{}, time.Now())
		tape.note(session.Client, record)
		for len(answer) > 0 {
			n := min(len(answer), 1+int(how)*7)
			tape.note(session.Server, answer[:n])
			answer = answer[n:]
		}
		tape.end(session.Side(how>>4&1), how>>5&1 == 1)
		a := p.judge(tape, r, o.Endpoints, nil)
		out := &session.Probe{Start: time.Now(), Host: name, Server: r.server}
		p.conclude(out, &a, []attempt{a}, nil)
		if (out.Session == nil) == (out.Err == "") {
			t.Fatalf("session %v and error %q", out.Session, out.Err)
		}
		if a.answered && a.answer != "" {
			t.Fatalf("answered, and %q", a.answer)
		}
		if out.Verdict() == session.VerdictOK {
			t.Fatal("a server without the key is ok")
		}
	})
}

// stuck is a connection that nothing is read from or written to.
type stuck struct{ net.Conn }

func (stuck) LocalAddr() net.Addr  { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 9), Port: 40000} }
func (stuck) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443} }
