package httpwire

import (
	"testing"

	"github.com/dynwatch/dynwatch/analyze/session"
)

func TestTunnels(t *testing.T) {
	const (
		connect  = "CONNECT dynamodb.us-east-1.amazonaws.com:443 HTTP/1.0\r\n\r\n"
		accepted = "HTTP/1.1 200 Connection established\r\n\r\n"
		refused  = "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 5\r\n\r\nabcde"
		hello    = tlsBytes + "client"
		answer   = "\x16\x03\x03\x00\x7aserver"
		plain    = "POST / HTTP/1.1\r\nHost: h\r\n\r\n"
	)
	gap := func(from session.Side) unit { return unit{from: from, gap: 100} }
	for _, tt := range []struct {
		name           string
		mid            bool
		units          []unit
		client, server string // what belongs to the tunnel
		tunnel         bool
		requests       int
	}{
		{"accepted", false, []unit{client(connect), server(accepted), client(hello), server(answer)}, hello, answer, true, 1},
		{"accepted with Content-Length, which means nothing", false, []unit{client(connect), server("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n" + answer), client(hello)}, hello, answer, true, 1},
		{"the server's first tunnel bytes come with the answer", false, []unit{client(connect), server(accepted + answer), client(hello)}, hello, answer, true, 1},
		{"cleartext HTTP inside", false, []unit{client(connect), server(accepted), client(plain), server(ok0)}, plain, ok0, true, 1},
		{"refused, tried again with credentials", false, []unit{client(connect), server(refused), client(connect), server(accepted), client(hello)}, hello, "", true, 2},
		{"refused, something else asked", false, []unit{client(connect), server(refused), client(plainGet), server(ok0)}, "", "", false, 2},
		{"the client does not wait for the answer", false, []unit{client(connect + hello), server(accepted + answer)}, hello, answer, true, 1},
		{"the client does not wait and is refused", false, []unit{client(connect + hello), server(refused)}, hello, "", true, 1},
		{"no answer was captured: TLS inside", false, []unit{client(connect), client(hello)}, hello, "", true, 1},
		{"no answer was captured: HTTP inside", false, []unit{client(connect), client(plain)}, plain, "", true, 1},
		{"the answer is lost in a gap", false, []unit{client(connect), gap(session.Server), server(answer), client(hello)}, hello, answer, true, 1},
		{"the answer comes before the request", false, []unit{server(accepted), client(connect), client(hello), server(answer)}, hello, answer, true, 1},
		{"the server's side alone", false, []unit{server(accepted), server(answer)}, "", answer, true, 0},
		{"the server's side alone, an ordinary answer", false, []unit{server("HTTP/1.1 200 OK\r\n\r\n"), server("text")}, "", "", false, 0},
		{"a 2xx to GET with a body like TLS", false, []unit{client(plainGet), server("HTTP/1.1 200 OK\r\n\r\n" + answer)}, "", "", false, 1},
		{"interim response first", false, []unit{client(connect), server("HTTP/1.1 100 Continue\r\n\r\n" + accepted + answer), client(hello)}, hello, answer, true, 1},
		{"after other requests", false, []unit{client(plainGet), server(ok0), client(connect), server(accepted + answer), client(hello)}, hello, answer, true, 2},
		{"midstream", true, []unit{client("rest of something"), client(connect), server(accepted), client(hello), server(answer)}, hello, answer, true, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, size := range []int{0, 1} {
				if size == 1 && tt.mid {
					continue // a boundary is guessed at the front of a segment only
				}
				v := drive(Options{Midstream: tt.mid}, tt.units, size, false)
				if string(v.tunnel[0]) != tt.client || string(v.tunnel[1]) != tt.server || v.conn.Tunnel() != tt.tunnel || len(v.requests) != tt.requests {
					t.Errorf("pieces of %d: tunnel %t %q, want %t %q %q\n%s", size, v.conn.Tunnel(), v.tunnel, tt.tunnel, tt.client, tt.server, v.summary())
				}
			}
		})
	}
}

func TestAnswerToConnectIsMarked(t *testing.T) {
	v := drive(Options{}, []unit{client("CONNECT u:p@h:443?x=y HTTP/1.1\r\nHost: h:443\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n\r\n"),
		server("HTTP/1.1 200 OK\r\n\r\n")}, 0, false)
	r := v.requests[0]
	if r.Form != AuthorityForm || r.Authority != "h:443" || !r.Credentials.Proxy || r.Credentials.ProxyScheme != "Basic" || !r.Credentials.UserInfo {
		t.Errorf("%+v", r)
	}
	if !v.responses[0].ToConnect {
		t.Errorf("%+v", v.responses[0])
	}
}
