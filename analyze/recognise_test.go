package analyze

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// connect is a CONNECT request for dynamodbName with a proxy's password, and tunnel the proxy's consent.
const (
	connect = "CONNECT " + dynamodbName + ":443 HTTP/1.1\r\nHost: " + dynamodbName + ":443\r\nProxy-Authorization: Basic " + plantedPassword + "\r\n\r\n"
	tunnel  = "HTTP/1.1 200 Connection established\r\n\r\n"
	okEmpty = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
)

// proxyV2 is a PROXY protocol header with n bytes of extensions.
func proxyV2(n int) string {
	b := append([]byte(proxyV2Signature), 0x21, 0x11)
	b = binary.BigEndian.AppendUint16(b, uint16(12+n))
	b = append(b, 10, 0, 0, 1, 10, 0, 0, 2, 0x9c, 0x40, 1, 0xbb)
	return string(b) + strings.Repeat("\x04", n)
}

// daxOpening is the cleartext DAX protocol up to the user agent.
var daxOpening = "\x67J7yne5G\x00\x61s\xa1\x69UserAgent\x61x\x00"

// request is a DynamoDB request for a host.
func request(host string) string {
	return strings.Replace(dynamodbRequest, "Host: "+dynamodbName, "Host: "+host, 1)
}

func TestWhatIsRecognised(t *testing.T) {
	tls13, tls12 := handshake{}.dialogue(t), handshake{max: 0x303}.dialogue(t)
	plain := request(dynamodbName)
	proxy := "10.0.0.99:3128"
	for _, tt := range []struct {
		name      string
		server    string // farAddr if empty
		segs      func(w *wire)
		transport session.Transport // "" is no session
		matched   string            // MatchedBy, joined
		check     func(s *session.Session) bool
	}{
		{name: "TLS on any port", server: "203.0.113.9:8000", transport: "tls", matched: "sni", segs: func(w *wire) { w.open().say(tls13, 0) }},
		{name: "TLS on the port of DNS", server: "203.0.113.9:53", transport: "tls", matched: "sni", segs: func(w *wire) { w.open().say(tls13, 0) }},
		{name: "TLS byte by byte", transport: "tls", matched: "sni", segs: func(w *wire) { w.open().say(tls12, 1) },
			check: func(s *session.Session) bool { return s.Verdict == "ok" || s.Visibility == "visible" }},
		{name: "TLS without SYNs", transport: "tls", matched: "sni", segs: func(w *wire) { w.say(tls12, 0) },
			check: func(s *session.Session) bool {
				return s.Client == addrPort(clientAddr) && s.Loss.Midstream && s.Visibility == "visible"
			}},
		{name: "TLS without SYNs, the client on the lower port", server: "203.0.113.9:50000", transport: "tls", matched: "sni",
			segs: func(w *wire) { w.say(tls12, 0) }, check: func(s *session.Session) bool { return s.Client == addrPort(clientAddr) }},
		{name: "TLS without SYNs, the server's side first", server: "203.0.113.9:50000", transport: "tls", matched: "sni",
			segs: func(w *wire) {
				w.say(tls12, 0)
				w.segs[0], w.segs[2] = w.segs[2], w.segs[0]
			}, check: func(s *session.Session) bool {
				return s.Client == addrPort(clientAddr) && s.TLS.ClientHelloSeen && s.Visibility == "visible"
			}},
		{name: "TLS without SYNs, the hello's segments in the wrong order", transport: "tls", matched: "sni",
			segs: func(w *wire) {
				w.say(tls12, 100)
				w.segs[0], w.segs[1] = w.segs[1], w.segs[0]
			}, check: func(s *session.Session) bool { return s.TLS.ClientHelloSeen }},
		{name: "TLS from its middle, at DynamoDB's address", server: dynamodbAddr, transport: "unknown", matched: "range",
			segs:  func(w *wire) { w.say(tls13[len(tls13)-4:], 0) },
			check: func(s *session.Session) bool { return s.Verdict == "incomplete" && len(s.Findings) == 0 }},
		{name: "TLS from its middle, elsewhere", segs: func(w *wire) { w.say(tls13[len(tls13)-4:], 0) }},

		{name: "HTTP", transport: "http", matched: "host target scope", segs: func(w *wire) { w.open().send(fromClient, plain, 0).send(fromServer, okEmpty, 0) },
			check: func(s *session.Session) bool { return s.HTTP.Status == 200 && s.HTTP.Operation == "PutItem" }},
		{name: "HTTP byte by byte", transport: "http", matched: "host target scope", segs: func(w *wire) { w.open().send(fromClient, plain, 1) }},
		{name: "HTTP without SYNs", transport: "http", matched: "host target scope", segs: func(w *wire) { w.send(fromClient, plain, 0) }},
		{name: "HTTP from the middle of a body", transport: "http", matched: "host target scope",
			segs: func(w *wire) {
				w.send(fromClient, "some JSON\"}", 0).send(fromServer, okEmpty, 0).send(fromClient, plain, 0)
			}},
		{name: "HTTP answers alone", server: "203.0.113.9:80", transport: "http", matched: "response", segs: func(w *wire) {
			w.send(fromServer, "HTTP/1.1 200 OK\r\nx-amzn-RequestId: ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGHIJKLMNOPQRSTUVWX\r\nx-amz-crc32: 2745614147\r\n"+
				"Content-Type: application/x-amz-json-1.0\r\nContent-Length: 2\r\n\r\n{}", 0)
			w.segs = w.segs[:1]
		}, check: func(s *session.Session) bool { return s.HTTP.ResponseOnly && s.Loss.OneSided }},
		{name: "any HTTP answers alone, from DynamoDB's address", server: "52.94.0.10:80", transport: "unknown", matched: "range", segs: func(w *wire) {
			w.send(fromServer, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", 0)
			w.segs = w.segs[:1]
		}, check: func(s *session.Session) bool { return s.Verdict == "incomplete" && len(s.Findings) == 0 }},
		{name: "a second request on the connection is DynamoDB's", transport: "http", matched: "host target scope", segs: func(w *wire) {
			w.open().send(fromClient, "GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n", 0).send(fromServer, okEmpty, 0).send(fromClient, plain, 0)
		}, check: func(s *session.Session) bool {
			return s.HTTP.Requests == 1 && s.HTTP.Total == 2 && s.HTTP.Host == dynamodbName
		}},
		{name: "h2c with prior knowledge, to DynamoDB's address", server: "52.94.0.10:80", transport: "http", matched: "range", segs: func(w *wire) {
			w.open().send(fromClient, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", 0)
		}, check: func(s *session.Session) bool { return s.HTTP.H2C }},

		{name: "CONNECT with TLS inside", server: proxy, transport: "connect+tls", matched: "sni connect",
			segs: func(w *wire) {
				w.open().send(fromClient, connect, 0).send(fromServer, tunnel, 0).say(tls12, 0)
			}, check: func(s *session.Session) bool {
				p := s.Proxy
				return p.Connect && p.Established && p.Status == 200 && p.CredentialsExposed && p.Target == dynamodbName+":443" &&
					s.Visibility == "visible" && s.TLS.KeyProof == session.KeyProofValid
			}},
		{name: "CONNECT with TLS inside, and a megabyte lost behind the handshake", server: proxy, transport: "connect+tls", matched: "sni connect",
			segs: func(w *wire) {
				w.open().send(fromClient, connect, 0).send(fromServer, tunnel, 0).say(tls12, 0)
				w.seq[fromServer] += 900_000
				w.send(fromServer, "\x17\x03\x03\x00\x05hello", 0).close()
			}, check: func(s *session.Session) bool { return !s.Loss.Any() && s.Verdict == "finding" }},
		{name: "CONNECT with TLS inside, the consent not captured", server: proxy, transport: "connect+tls", matched: "sni connect",
			segs: func(w *wire) {
				w.open().send(fromClient, connect, 0)
				w.seq[fromServer] += uint32(len(tunnel))
				w.say(tls12, 0)
			}, check: func(s *session.Session) bool { return s.TLS.ClientHelloSeen && !s.Proxy.Established }},
		{name: "CONNECT and the hello in one segment", server: proxy, transport: "connect+tls", matched: "sni connect",
			segs: func(w *wire) {
				w.open().send(fromClient, connect+string(tls12[0].Data), 0).send(fromServer, tunnel, 0).say(tls12[1:], 0)
			}, check: func(s *session.Session) bool { return s.Visibility == "visible" }},
		{name: "CONNECT with TLS for another name inside", server: proxy,
			segs: func(w *wire) {
				w.open().send(fromClient, strings.ReplaceAll(connect, dynamodbName, "www.example.com"), 0).send(fromServer, tunnel, 0)
				w.say(handshake{sni: "www.example.com", certificate: &testPKI().other}.dialogue(t), 0)
			}},
		{name: "CONNECT to an address, with DynamoDB's SNI inside", server: proxy, transport: "connect+tls", matched: "sni",
			segs: func(w *wire) {
				w.open().send(fromClient, strings.ReplaceAll(connect, dynamodbName, "52.94.0.10"), 0).send(fromServer, tunnel, 0).say(tls12, 0)
			}},
		{name: "CONNECT with HTTP inside", server: proxy, transport: "connect+http", matched: "host target scope connect",
			segs: func(w *wire) {
				w.open().send(fromClient, connect, 0).send(fromServer, tunnel, 0).send(fromClient, plain, 0).send(fromServer, okEmpty, 0)
			}, check: func(s *session.Session) bool { return s.HTTP.Requests == 1 && s.Proxy.Established }},
		{name: "CONNECT refused", server: proxy, transport: "unknown", matched: "connect",
			segs: func(w *wire) {
				w.open().send(fromClient, connect, 0).send(fromServer, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", 0).close()
			}, check: func(s *session.Session) bool {
				return s.Proxy.Status == 403 && !s.Proxy.Established && len(s.Findings) == 0 && s.Verdict == "unverified"
			}},
		{name: "CONNECT refused, then allowed for another target", server: proxy, transport: "connect+tls", matched: "sni connect",
			segs: func(w *wire) {
				w.open().send(fromClient, strings.ReplaceAll(connect, dynamodbName, "www.example.com"), 0)
				w.send(fromServer, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", 0)
				w.send(fromClient, connect, 0).send(fromServer, tunnel, 0).say(tls12, 0)
			}, check: func(s *session.Session) bool {
				return s.Proxy.Target == dynamodbName+":443" && s.Proxy.Established && s.Proxy.Status == 200
			}},
		{name: "a request to be forwarded", server: proxy, transport: "http", matched: "host target scope", segs: func(w *wire) {
			w.open().send(fromClient, strings.Replace(plain, "POST /", "POST http://"+dynamodbName+"/", 1), 0)
		}, check: func(s *session.Session) bool {
			return s.Proxy.Target == dynamodbName && !s.Proxy.Connect && s.Proxy.CredentialsExposed
		}},
		{name: "requests to be forwarded, of which one is DynamoDB's", server: proxy, transport: "http", matched: "host target scope", segs: func(w *wire) {
			w.open().send(fromClient, "GET http://www.example.com/ HTTP/1.1\r\nHost: www.example.com\r\n\r\n", 0).send(fromServer, okEmpty, 0)
			w.send(fromClient, strings.Replace(plain, "POST /", "POST http://"+dynamodbName+"/", 1), 0)
		}, check: func(s *session.Session) bool { return s.Proxy.Target == dynamodbName }},

		{name: "PROXY version 1 before TLS", transport: "tls", matched: "sni", segs: func(w *wire) {
			w.open().send(fromClient, "PROXY TCP4 10.0.0.1 10.0.0.2 40000 443\r\n", 0).say(tls12, 0)
		}, check: func(s *session.Session) bool { return s.Visibility == "visible" }},
		{name: "PROXY version 1 and TLS in pieces", transport: "tls", matched: "sni", segs: func(w *wire) {
			w.open().send(fromClient, "PROXY TCP4 10.0.0.1 10.0.0.2 40000 443\r\n", 3).say(tls12, 0)
		}},
		{name: "PROXY version 1 before HTTP", transport: "http", matched: "host target scope", segs: func(w *wire) {
			w.open().send(fromClient, "PROXY TCP4 10.0.0.1 10.0.0.2 40000 80\r\n"+plain, 50)
		}},
		{name: "PROXY version 2 with long extensions, in pieces", transport: "tls", matched: "sni", segs: func(w *wire) {
			w.open().send(fromClient, proxyV2(1700), 500).say(tls12, 0)
		}, check: func(s *session.Session) bool { return s.Visibility == "visible" }},
		{name: "PROXY version 2, and the server's answer captured first", transport: "tls", matched: "sni", segs: func(w *wire) {
			w.open().send(fromClient, proxyV2(0), 0).say(tls12, 0)
			w.segs[5], w.segs[7] = w.segs[7], w.segs[5]
		}, check: func(s *session.Session) bool { return s.TLS.ClientHelloSeen && s.Visibility == "visible" }},

		{name: "TLS after a greeting of the server's and a command, as in SMTP", transport: "tls", matched: "sni", segs: func(w *wire) {
			w.open().send(fromServer, "220 mail.example.com ESMTP\r\n", 0).send(fromClient, "STARTTLS\r\n", 0).send(fromServer, "220 go ahead\r\n", 0).say(tls12, 0)
		}, check: func(s *session.Session) bool {
			return s.Visibility == "visible" && s.Endpoint.AddrAWS == session.Unknown
		}},
		{name: "SOCKS 5 before TLS", server: "203.0.113.9:1080", transport: "tls", matched: "sni", segs: func(w *wire) {
			w.open().send(fromClient, "\x05\x01\x00", 0).send(fromServer, "\x05\x00", 0)
			w.send(fromClient, "\x05\x01\x00\x03"+string(rune(len(dynamodbName)))+dynamodbName+"\x01\xbb", 0)
			w.send(fromServer, "\x05\x00\x00\x01\x0a\x00\x00\x01\x9c\x40", 0).say(tls13, 0)
		}, check: func(s *session.Session) bool {
			return s.Proxy != nil && s.Proxy.Target == dynamodbName+":443" && !s.Proxy.Connect && len(s.Findings) == 0
		}},
		{name: "SOCKS 5 with a password before TLS", server: "203.0.113.9:1080", transport: "tls", matched: "sni", segs: func(w *wire) {
			w.open().send(fromClient, "\x05\x01\x02", 0).send(fromServer, "\x05\x02", 0).send(fromClient, "\x01\x04user\x0f"+plantedPassword[:15], 0)
			w.send(fromServer, "\x01\x00", 0).send(fromClient, "\x05\x01\x00\x01\x34\x5e\x00\x0a\x01\xbb", 0)
			w.send(fromServer, "\x05\x00\x00\x01\x0a\x00\x00\x01\x9c\x40", 0).say(tls13, 0)
		}, check: func(s *session.Session) bool {
			return s.Proxy != nil && s.Proxy.Target == "52.94.0.10:443" && s.Proxy.CredentialsExposed
		}},
		{name: "SOCKS 4a before TLS", server: "203.0.113.9:1080", transport: "tls", matched: "sni", segs: func(w *wire) {
			w.open().send(fromClient, "\x04\x01\x01\xbb\x00\x00\x00\x01user\x00"+dynamodbName+"\x00", 0)
			w.send(fromServer, "\x00\x5a\x00\x00\x00\x00\x00\x00", 0).say(tls13, 0)
		}, check: func(s *session.Session) bool { return s.Proxy != nil && s.Proxy.Target == dynamodbName+":443" }},
		{name: "SOCKS 5 before HTTP", server: "203.0.113.9:1080", transport: "http", matched: "host target scope", segs: func(w *wire) {
			w.open().send(fromClient, "\x05\x01\x00", 0).send(fromServer, "\x05\x00", 0)
			w.send(fromClient, "\x05\x01\x00\x03"+string(rune(len(dynamodbName)))+dynamodbName+"\x00\x50", 0)
			w.send(fromServer, "\x05\x00\x00\x01\x0a\x00\x00\x01\x9c\x40", 0).send(fromClient, plain, 0)
		}, check: func(s *session.Session) bool { return s.Proxy.Target == dynamodbName+":80" }},

		{name: "DAX", server: "10.0.0.9:8111", transport: "dax", matched: "port", segs: func(w *wire) { w.open().send(fromClient, daxOpening, 0) }},
		{name: "DAX, with a hole in the answers that nobody reads", server: "10.0.0.9:8111", transport: "dax", matched: "port", segs: func(w *wire) {
			w.open().send(fromClient, daxOpening[:9], 0)
			w.seq[fromServer] += 1000
			w.send(fromServer, "answer", 0).send(fromClient, daxOpening[9:], 0).close()
		}, check: func(s *session.Session) bool { return !s.Loss.Any() }},
		{name: "DAX's bytes on another port", server: "10.0.0.9:8112", segs: func(w *wire) { w.open().send(fromClient, daxOpening, 0) }},

		{name: "SSH", segs: func(w *wire) {
			w.open().send(fromServer, "SSH-2.0-OpenSSH_9.2\r\n", 0).send(fromClient, "SSH-2.0-OpenSSH_9.2\r\n", 0).close()
		}},
		{name: "a body that quotes a request", segs: func(w *wire) {
			w.open().send(fromClient, "POST /log HTTP/1.1\r\nHost: logs.example.com\r\nContent-Length: 2000\r\n\r\n", 0)
			w.send(fromClient, plain, 0).send(fromClient, strings.Repeat("x", 2000-len(plain)), 0).close()
		}},
		{name: "an unknown protocol that quotes a request", segs: func(w *wire) {
			w.open().send(fromClient, "\x00\x01\x02\x03binary", 0).send(fromClient, plain, 0).close()
		}},
		{name: "an unknown protocol that quotes a hello inside a segment", segs: func(w *wire) {
			w.open().send(fromClient, "\x00\x01\x02\x03binary"+string(tls13[0].Data), 0).close()
		}},
		{name: "random bytes", segs: func(w *wire) {
			w.open().send(fromClient, strings.Repeat("\x9f\x07\xe2\x55", 300), 100).send(fromServer, strings.Repeat("\xc4\xd0\x01", 300), 77).close()
		}},
		{name: "random bytes at DynamoDB's address", server: dynamodbAddr, transport: "unknown", matched: "range", segs: func(w *wire) {
			w.open().send(fromClient, strings.Repeat("\x9f\x07\xe2\x55", 300), 10).send(fromServer, strings.Repeat("\xc4\xd0\x01", 300), 77).close()
		}, check: func(s *session.Session) bool { return len(s.Findings) == 0 && s.Verdict == "unverified" }},
		{name: "QUIC", server: dynamodbAddr, segs: func(w *wire) {
			w.add(fromClient, 0, 0, "\xc3\x00\x00\x00\x01\x08quic")
			w.segs[0].Proto = flow.UDP
		}},
		{name: "another transport protocol", server: dynamodbAddr, segs: func(w *wire) {
			w.open().say(tls13, 0)
			for i := range w.segs {
				w.segs[i].Proto = 132
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := tt.server
			if server == "" {
				server = farAddr
			}
			w := newWire(clientAddr, server)
			tt.segs(w)
			r := newRun(t, nil).feed(w.segs...)
			if tt.transport == "" {
				r.none(t)
				return
			}
			s := r.only(t)
			if s.Transport != tt.transport || strings.Join(s.Endpoint.MatchedBy, " ") != tt.matched {
				t.Errorf("transport %s, matched by %v, want %s, %s", s.Transport, s.Endpoint.MatchedBy, tt.transport, tt.matched)
			}
			if tt.check != nil && !tt.check(s) {
				t.Errorf("%s, findings %v, %+v, TLS %+v, HTTP %+v, proxy %+v", s.Verdict, ruleIDs(s), *s, s.TLS, s.HTTP, s.Proxy)
			}
			checkNoSecrets(t, s)
		})
	}
}

// The bytes that are recognised must be so in any split of the first of them.
func TestTheFirstBytesAreRecognisedInAnySplit(t *testing.T) {
	tls12 := handshake{max: 0x303}.dialogue(t)
	for _, first := range []string{string(tls12[0].Data), request(dynamodbName), connect, proxyV2(20) + string(tls12[0].Data), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"} {
		for n := 1; n < min(len(first), 60); n++ {
			w := newWire(clientAddr, dynamodbAddr).open().send(fromClient, first[:n], 0).send(fromClient, first[n:], 0).close()
			s := newRun(t, nil).feed(w.segs...).only(t)
			whole := newRun(t, nil).feed(newWire(clientAddr, dynamodbAddr).open().send(fromClient, first, 0).close().segs...).only(t)
			if s.Transport != whole.Transport || s.Endpoint.Name != whole.Endpoint.Name || s.Verdict != whole.Verdict {
				t.Errorf("%.10q cut at %d: %s %s %s, whole: %s %s %s", first, n, s.Transport, s.Endpoint.Name, s.Verdict,
					whole.Transport, whole.Endpoint.Name, whole.Verdict)
			}
		}
	}
}

func FuzzProxyHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 10.0.0.1 10.0.0.2 40000 443\r\nx"))
	f.Add([]byte(proxyV2(3) + "x"))
	f.Add([]byte("PROX"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, more := proxyHeader(b)
		if n < 0 || n > len(b) || n > proxyV2Max || n > 0 && more {
			t.Fatalf("%d, %v", n, more)
		}
		for k := range min(len(b), proxyV2Max+1) {
			short, unsure := proxyHeader(b[:k])
			if n > 0 && k < n && k > 0 && (short != 0 || !unsure) {
				t.Fatalf("the first %d of %d bytes: %d, %v", k, n, short, unsure)
			}
			if n > 0 && k >= n && short != n {
				t.Fatalf("%d bytes: %d, but %d of more", k, short, n)
			}
			if n == 0 && !more && short != 0 {
				t.Fatalf("a header of %d bytes was seen in %d, and none in more", short, k)
			}
		}
	})
}

func FuzzSOCKS(f *testing.F) {
	f.Add([]byte("\x05\x01\x00"), []byte("\x05\x01\x00\x03\x01a\x01\xbb"))
	f.Add([]byte("\x04\x01\x01\xbb\x00\x00\x00\x01user\x00a.example\x00"), []byte{})
	f.Add([]byte("\x05\x01\x02"), []byte("\x01\x04user\x04pass"))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		var c conn
		c.watchSOCKS(true, first)
		c.watchSOCKS(false, second)
		if c.proxy != nil && (!utf8.ValidString(c.proxy.Target) || len(c.proxy.Target) > 260 || bytes.ContainsAny([]byte(c.proxy.Target), "\x00\n\x1b ")) {
			t.Errorf("target %q", c.proxy.Target)
		}
	})
}
