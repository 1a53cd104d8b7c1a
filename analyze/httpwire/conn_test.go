package httpwire

import (
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/analyze/session"
)

const (
	plainGet = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
	ok0      = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	quoted   = "POST / HTTP/1.1\r\nHost: dynamodb.us-east-1.amazonaws.com\r\nX-Amz-Target: DynamoDB_20120810.GetItem\r\nContent-Length: 0\r\n\r\n"
	tlsBytes = "\x16\x03\x01\x02\x00\x01"
)

func TestMessageBoundaries(t *testing.T) {
	for _, tt := range []struct {
		name  string
		units []unit
		asks  []string
	}{
		{"a request without body is followed by the next", []unit{client(plainGet + "PUT /b HTTP/1.1\r\nHost: h\r\n\r\n")}, []string{"GET h /a", "PUT h /b"}},
		{"content-length steps over a quoted request",
			[]unit{client("POST /w HTTP/1.1\r\nHost: w\r\ncontent-length: 114\r\n\r\n" + quoted[:114] + plainGet)}, []string{"POST w /w", "GET h /a"}},
		{"chunked steps over a quoted request, extension and trailer",
			[]unit{client("POST /w HTTP/1.1\r\nHost: w\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n2;x=\"y\"\r\nab\r\n72 \r\n" + quoted[:114] +
				"\r\n000\r\nX-Sum: 1\r\nHost: evil\r\n\r\n" + plainGet)}, []string{"POST w /w", "GET h /a"}},
		{"lone LF ends lines", []unit{client("POST /w HTTP/1.1\nHost: w\nContent-Length: 2\n\nab" + plainGet)}, []string{"POST w /w", "GET h /a"}},
		{"lone LF in chunked coding", []unit{client("POST /w HTTP/1.1\nHost: w\nTransfer-Encoding: chunked\n\n2\nab\n0\n\n" + plainGet)}, []string{"POST w /w", "GET h /a"}},
		{"empty lines before a request line are ignored", []unit{client("\r\n\r\n" + plainGet + "\r\n" + plainGet)}, []string{"GET h /a", "GET h /a"}},
		{"names in any case, folded and spaced values", []unit{client("GET /a HTTP/1.1\r\nhOsT:\r\n\t h \r\n\r\n")}, []string{"GET h /a"}},
		{"absolute-form names the host", []unit{client("GET http://u:p@h:80?q HTTP/1.1\r\nHost: other\r\n\r\n")}, []string{"GET h:80 /"}},
		{"asterisk-form", []unit{client("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n")}, []string{"OPTIONS h *"}},
		{"expect: 100-continue, the body follows the interim response",
			[]unit{client("PUT /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"), server("HTTP/1.1 100 Continue\r\n\r\n"),
				client("abc"), server(ok0), client(plainGet)}, []string{"PUT h /a", "GET h /a"}},
		{"transfer-encoding wins over content-length",
			[]unit{client("POST /w HTTP/1.1\r\nHost: w\r\nContent-Length: 900\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + plainGet)}, []string{"POST w /w", "GET h /a"}},
		{"equal content-lengths are one", []unit{client("POST /w HTTP/1.1\r\nHost: w\r\nContent-Length: 1, 1\r\nContent-Length: 1\r\n\r\nx" + plainGet)}, []string{"POST w /w", "GET h /a"}},
		{"a request quoted in the response is none", []unit{client(plainGet), server("HTTP/1.1 200 OK\r\nContent-Length: 134\r\n\r\n" + quoted)}, []string{"GET h /a"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, size := range []int{0, 1, 7} {
				v := drive(Options{}, tt.units, size, false)
				if got := v.asks(); !slices.Equal(got, tt.asks) {
					t.Errorf("pieces of %d: requests %q, want %q", size, got, tt.asks)
				}
				if err := v.conn.Err(session.Client); err != nil {
					t.Errorf("pieces of %d: %v", size, err)
				}
			}
		})
	}
}

func TestResponses(t *testing.T) {
	head := "HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n"
	for _, tt := range []struct {
		name   string
		units  []unit
		status []int
	}{
		{"keep-alive", []unit{client(plainGet + plainGet), server(ok0 + ok0)}, []int{200, 200}},
		{"the answer to HEAD has no body", []unit{client(head + plainGet), server("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + ok0)}, []int{200, 200}},
		{"204 and 304 have no body", []unit{client(plainGet + plainGet), server("HTTP/1.1 204 x\r\n\r\nHTTP/1.1 304 x\r\nContent-Length: 9\r\n\r\n" + ok0)}, []int{204, 304, 200}},
		{"interim responses do not answer", []unit{client(head + plainGet),
			server("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n" + ok0)}, []int{103, 200, 200}},
		{"chunked", []unit{client(plainGet), server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n26\r\n" + ok0 + "\r\n0\r\n\r\n" + ok0)}, []int{200, 200}},
		{"a body until close hides what follows", []unit{client(plainGet), server("HTTP/1.0 200 OK\r\n\r\n" + ok0)}, []int{200}},
		{"a status line without reason", []unit{client(plainGet), server("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n")}, []int{200}},
		{"responses before their requests", []unit{server(ok0), client(head), server("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc" + ok0), client(plainGet + plainGet)}, []int{200, 200, 200}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, size := range []int{0, 1, 7} {
				v := drive(Options{}, tt.units, size, false)
				var got []int
				for _, r := range v.responses {
					got = append(got, r.Status)
				}
				if !slices.Equal(got, tt.status) {
					t.Errorf("pieces of %d: %v, want %v", size, got, tt.status)
				}
			}
		})
	}
}

func TestWhatCannotBeRead(t *testing.T) {
	post := "POST /w HTTP/1.1\r\nHost: w\r\n"
	for _, tt := range []struct {
		name     string
		client   string
		requests int
		err      error
	}{
		{"TLS", tlsBytes, 0, ErrNotHTTP},
		{"SSH", "SSH-2.0-OpenSSH_9.2\r\n", 0, ErrNotHTTP},
		{"SMTP", "EHLO mail.example\r\n", 0, ErrNotHTTP},
		{"HTTP/0.9", "GET /\r\n", 0, ErrNotHTTP},
		{"SIP", "OPTIONS sip:a@b SIP/2.0\r\n\r\n", 0, ErrNotHTTP},
		{"a method of 17 letters", "UPDATEREDIRECTREF / HTTP/1.1\r\nHost: h\r\n\r\n", 0, ErrNotHTTP},
		{"something else after a request", plainGet + tlsBytes, 1, ErrNotHTTP},
		{"a head of 64 KiB and more", post + "X: " + strings.Repeat("a", maxHead) + "\r\n\r\n", 0, ErrHeadTooLarge},
		{"a start line without end", "GET /" + strings.Repeat("a", maxHead), 0, ErrHeadTooLarge},
		{"contradicting content-lengths", post + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab" + plainGet, 1, ErrFraming},
		{"an absurd content-length", post + "Content-Length: 99999999999999999999999\r\n\r\nab" + plainGet, 1, ErrFraming},
		{"a signed content-length", post + "Content-Length: +2\r\n\r\nab" + plainGet, 1, ErrFraming},
		{"a transfer coding that does not end in chunked", post + "Transfer-Encoding: chunked, gzip\r\n\r\nab" + plainGet, 1, ErrFraming},
		{"a chunk-size that is no number", post + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n" + plainGet, 1, ErrFraming},
		{"an empty chunk-size", post + "Transfer-Encoding: chunked\r\n\r\n\r\n" + plainGet, 1, ErrFraming},
		{"a chunk-size over 62 bits", post + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n" + plainGet, 1, ErrFraming},
		{"chunk data longer than said", post + "Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", 1, ErrFraming},
		{"an endless chunk extension", post + "Transfer-Encoding: chunked\r\n\r\n1;" + strings.Repeat("a", maxChunkExtension+1) + "\r\n", 1, ErrFraming},
		{"an endless trailer", post + "Transfer-Encoding: chunked\r\n\r\n0\r\n" + strings.Repeat("a: b\r\n", maxHead/6+1) + "\r\n", 1, ErrFraming},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, size := range []int{0, 1, 1000} {
				v := drive(Options{}, []unit{client(tt.client), client(plainGet)}, size, false)
				if len(v.requests) != tt.requests {
					t.Errorf("pieces of %d: requests %q", size, v.asks())
				}
				if err := v.conn.Err(session.Client); !errors.Is(err, tt.err) {
					t.Errorf("pieces of %d: error %v, want %v", size, err, tt.err)
				}
				if !v.conn.Done(session.Client) || v.conn.Skippable(session.Client) != math.MaxInt64 {
					t.Errorf("pieces of %d: %v is not done", size, v.conn)
				}
				if last := v.events[len(v.events)-1]; !strings.HasPrefix(last, "client: request: ") {
					t.Errorf("pieces of %d: last event %q does not tell", size, last)
				}
			}
		})
	}
}

func TestASideThatCannotBeReadStaysSo(t *testing.T) {
	bad := "POST /w HTTP/1.1\r\nHost: w\r\nContent-Length: +2\r\n\r\n"
	for _, tt := range []struct {
		name  string
		units []unit
	}{
		{"over a gap", []unit{client(bad), {from: session.Client, gap: 10}, client(plainGet)}},
		{"over a gap of unknown length", []unit{client(bad), {from: session.Client, gap: -1}, client(plainGet)}},
		{"though the server opens a tunnel", []unit{client("CONNECT h:443 HTTP/1.1\r\n\r\n"), client("COPY" + bad[4:]), server("HTTP/1.1 200 OK\r\n\r\n"), client(tlsBytes)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := drive(Options{}, tt.units, 0, false)
			if err := v.conn.Err(session.Client); !errors.Is(err, ErrFraming) || !v.conn.Done(session.Client) {
				t.Errorf("error %v, %v", err, v.conn)
			}
			if n := len(v.tunnel[session.Client]); n > 0 {
				t.Errorf("%d bytes read as a tunnel's", n)
			}
			if last := v.events[len(v.events)-1]; !strings.HasPrefix(last, "client: request: ") {
				t.Errorf("last event %q does not tell", last)
			}
		})
	}
}

func TestHeadOfExactlyTheLimitIsRead(t *testing.T) {
	head := "GET / HTTP/1.1\r\nHost: h\r\nX: "
	head += strings.Repeat("a", maxHead-len(head)-4) + "\r\n\r\n"
	for _, size := range []int{0, 1, 999} {
		if v := drive(Options{}, []unit{client(head + plainGet)}, size, false); len(v.requests) != 2 {
			t.Errorf("pieces of %d: %v %v", size, v.asks(), v.conn.Err(session.Client))
		}
	}
}

func TestServerThatCannotBeReadLeavesTheClientReadable(t *testing.T) {
	v := drive(Options{}, []unit{client(plainGet), server("ICY 200 OK\r\n\r\n"), client(plainGet)}, 0, false)
	if len(v.requests) != 2 || !errors.Is(v.conn.Err(session.Server), ErrNotHTTP) || v.conn.Err(session.Client) != nil {
		t.Errorf("%v", v.summary())
	}
}

func TestUpgradeEndsTheReading(t *testing.T) {
	v := drive(Options{}, []unit{
		client("GET /chat HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
		server("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x05hello"),
		client(plainGet), server(ok0)}, 0, false)
	if !v.conn.Upgraded() || len(v.requests) != 1 || len(v.responses) != 1 || v.conn.Err(session.Client) != nil || !v.conn.Done(session.Client) {
		t.Error(v.summary())
	}
}

func TestCloseTellsTruncation(t *testing.T) {
	for _, tt := range []struct {
		name string
		sent string
		err  error
	}{
		{"after a message", plainGet, nil},
		{"inside a head", plainGet + "GET", ErrTruncated},
		{"inside a body", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabc", ErrTruncated},
		{"inside a trailer", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", ErrTruncated},
		{"before anything", "", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := drive(Options{}, []unit{client(tt.sent)}, 0, false)
			v.conn.Close(session.Client)
			if err := v.conn.Err(session.Client); !errors.Is(err, tt.err) || !v.conn.Done(session.Client) {
				t.Errorf("error %v, want %v", err, tt.err)
			}
		})
	}
}

func TestGaps(t *testing.T) {
	post := "POST /w HTTP/1.1\r\nHost: w\r\nContent-Length: 100\r\n\r\n"
	gap := func(n int) unit { return unit{from: session.Client, gap: n} }
	for _, tt := range []struct {
		name  string
		mid   bool
		units []unit
		asks  []string
		guess bool // the last request was resynced
	}{
		{"a gap inside a body costs nothing", false, []unit{client(post + "x"), gap(98), client("x" + plainGet)}, []string{"POST w /w", "GET h /a"}, false},
		{"a gap of exactly the body", false, []unit{client(post), gap(100), client(plainGet)}, []string{"POST w /w", "GET h /a"}, false},
		{"a gap beyond the body takes up at a segment's front", false, []unit{client(post), gap(101), client("xx"), client(plainGet)}, []string{"POST w /w", "GET h /a"}, true},
		{"never inside a segment", false, []unit{client(post), gap(101), client("x" + quoted), client("\r\n" + quoted)}, []string{"POST w /w"}, false},
		{"a gap of unknown length", false, []unit{client(post), gap(-1), client(plainGet)}, []string{"POST w /w", "GET h /a"}, true},
		{"a gap inside a head", false, []unit{client("POST / HTTP/1.1\r\nHo"), gap(10), client("x\r\n\r\n"), client(plainGet)}, []string{"GET h /a"}, true},
		{"a gap between messages", false, []unit{client(plainGet), gap(10), client(plainGet)}, []string{"GET h /a", "GET h /a"}, true},
		{"midstream begins at the first whole line", true, []unit{client("y\":1}"), client(plainGet)}, []string{"GET h /a"}, true},
		{"midstream, a request at once", true, []unit{client(plainGet + plainGet)}, []string{"GET h /a", "GET h /a"}, false},
		{"midstream, the head goes over segments", true, []unit{client(quoted[:60]), client(quoted[60:])}, []string{"POST dynamodb.us-east-1.amazonaws.com /"}, true},
		{"midstream, a line without CR is not believed", true, []unit{client("GET / HTTP/1.1\nHost: h\n\n")}, nil, false},
		{"midstream, a head without Host is not believed", true, []unit{client("GET / HTTP/1.1\r\nA: h\r\n\r\n"), client(plainGet)}, []string{"GET h /a"}, true},
		{"midstream, a head with a line that is no field is not believed", true, []unit{client("GET / HTTP/1.1\r\nHost: h\r\nand so on\r\n\r\n")}, nil, false},
		{"midstream, half a request line is not believed", true, []unit{client("GET / HT"), client("TP/1.1\r\nHost: h\r\n\r\n")}, nil, false},
		{"midstream CONNECT", true, []unit{client("CONNECT h:443 HTTP/1.0\r\n\r\n")}, []string{"CONNECT h:443"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := drive(Options{Midstream: tt.mid}, tt.units, 0, false)
			if got := v.asks(); !slices.Equal(got, tt.asks) {
				t.Fatalf("requests %q, want %q", got, tt.asks)
			}
			if n := len(v.requests); n > 0 && v.requests[n-1].Resynced != tt.guess {
				t.Errorf("resynced = %t", !tt.guess)
			}
		})
	}
}

func TestSkippableTellsBodies(t *testing.T) {
	c := New(Options{})
	feed := func(s string) {
		for b := []byte(s); len(b) > 0; {
			n, _ := c.Feed(session.Client, b)
			b = b[n:]
		}
	}
	want := func(n int64) {
		t.Helper()
		if got := c.Skippable(session.Client); got != n {
			t.Errorf("skippable %d, want %d", got, n)
		}
	}
	want(0)
	feed("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 9223372036854775807\r\n\r\n")
	want(math.MaxInt64)
	c.Skip(session.Client, math.MaxInt64-1)
	want(1)
	c.Skip(session.Client, 1)
	want(0)
	feed("PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1f4\r\nab")
	want(498)
	c.Skip(session.Client, 498)
	want(0)
	feed("\r\n0\r\n\r\n" + plainGet)
	if c.Request().Method != "GET" {
		t.Errorf("%+v", c.Request())
	}
	c.Skip(session.Client, 1) // more than skippable
	feed(plainGet)
	if !c.Request().Resynced {
		t.Error("skipping head bytes is a gap")
	}
}

func TestOdd(t *testing.T) {
	for _, tt := range []struct {
		head string
		odd  Odd
	}{
		{"Host: h\r\n", 0},
		{"Host: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n", OddLengths},
		{"Host: h\r\nHost: i\r\n", OddHost},
		{"Host: u@h\r\n", OddHost},
		{"Host: h\r\nX-Amz-Target: A.b\r\nX-Amz-Target: C.d\r\n", OddTarget},
		{"Host: h\r\nwhat\r\n", OddLine},
		{"Host : h\r\n", OddLine},
		{"Host: h\r\n: x\r\n", OddLine},
		{"Host: h\r\n and more\r\n", OddFold},
		{"Host: h\n", OddLineEnd},
	} {
		v := drive(Options{}, []unit{client("GET / HTTP/1.1\r\n" + tt.head + "\r\n")}, 0, false)
		if len(v.requests) != 1 || v.requests[0].Odd != tt.odd {
			t.Errorf("%q: %+v, want odd %b", tt.head, v.requests, tt.odd)
			continue
		}
		if h := v.requests[0].Asked(); h != "h" && tt.odd != OddFold {
			t.Errorf("%q: host %q", tt.head, h)
		}
	}
}

// Nothing of one connection may show in the next, and no secret of it may stay in memory that waits.
func TestResetForgetsEverything(t *testing.T) {
	for _, o := range []Options{{}, {Tables: true}, {Midstream: true}} {
		c := New(Options{Tables: true})
		for _, u := range []unit{
			client("POST / HTTP/1.1\r\nHost: dynamodb.us-east-1.amazonaws.com\r\nX-Amz-Target: DynamoDB_20120810.GetItem\r\n" +
				"Content-Length: 20\r\n\r\n{\"TableName\":\"orders\""[:20]),
			server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"),
			client("GET /half"),
		} {
			c.Feed(u.from, []byte(u.data))
		}
		if c.Reset(o); !reflect.DeepEqual(c, New(o)) {
			t.Errorf("%+v: %+v", o, *c)
		}
	}
}
