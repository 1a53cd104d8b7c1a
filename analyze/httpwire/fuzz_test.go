package httpwire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// conversations are seeds: both sides' streams.
var conversations = [][2]string{
	{plainGet + quoted + plainGet, ok0 + "HTTP/1.1 100 Continue\r\n\r\n" + ok0},
	{"POST /w HTTP/1.1\r\nHost: w\r\nTransfer-Encoding: chunked\r\n\r\n2;x=\"y\"\r\nab\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n" + plainGet,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\nHTTP/1.0 200 OK\r\n\r\nrest"},
	{"CONNECT h:443 HTTP/1.1\r\n\r\n" + tlsBytes, "HTTP/1.1 407 no\r\nContent-Length: 2\r\n\r\nab" + ok0 + tlsBytes},
	{"HEAD / HTTP/1.0\nhost:\n h\n\nGET http://u@h/?X-Amz-Signature=1 HTTP/1.1\r\nCookie: a\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/1.1 101 x\r\n\r\n"},
	{"POST / HTTP/1.1\r\nX-Amz-Target: DynamoDB_20120810.GetItem\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: 19\r\n\r\n{\"TableName\":\"abc\"}" + plainGet,
		"HTTP/1.1 200 OK\r\n\r\n\x16\x03\x01"},
	{"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"},
	{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x05\x01\x0d\x00\x00\x00\x01\x01\x82\x84\x86\x00\x00\x00\x00\x09\x04\x00\x00\x00\x01", ""},
}

// interleave cuts two streams into units; the plan's low bit chooses the side, the rest the length. What is left comes at the end.
func interleave(client, server string, plan []byte) (units []unit) {
	rest := [2]string{client, server}
	for _, p := range plan {
		from := session.Side(p & 1)
		n := min(int(p>>1)*int(p>>1), len(rest[from]))
		units = append(units, unit{from: from, data: rest[from][:n]})
		rest[from] = rest[from][n:]
	}
	return append(units, unit{from: session.Client, data: rest[0]}, unit{from: session.Server, data: rest[1]})
}

// FuzzSplit: however the bytes are cut, and whether bodies are skipped or fed, the same is told.
func FuzzSplit(f *testing.F) {
	for i, c := range conversations {
		f.Add(c[0], c[1], []byte{}, uint8(i))
		f.Add(c[0], c[1], []byte{30, 31, 10, 13}, uint8(1))
	}
	f.Fuzz(func(t *testing.T, client, server string, plan []byte, size uint8) {
		units := interleave(client, server, plan[:min(len(plan), 32)])
		for _, o := range []Options{{}, {Tables: true}} {
			whole := drive(o, units, 0, false)
			for _, v := range []*seen{drive(o, units, int(size%16)+1, false), drive(o, units, 0, true), drive(o, units, int(size%16)+1, true)} {
				if a, b := whole.summary(), v.summary(); a != b {
					t.Fatalf("split by %d changes the result\nwhole: %s\nsplit: %s", size%16+1, a, b)
				}
			}
			check(t, whole)
		}
	})
}

// check holds a result to what is always true of it.
func check(t *testing.T, v *seen) {
	t.Helper()
	for side := range session.Side(2) {
		if v.conn.Err(side) != nil && !v.conn.Done(side) && v.conn.side[side].state != stateFailing {
			t.Errorf("%v: an error and yet readable", v.conn)
		}
		if b := v.conn.side[side].buf; len(b) > maxHead {
			t.Errorf("head buffer of %d bytes", len(b))
		}
	}
	for _, r := range v.requests {
		if len(r.Method) == 0 || len(r.Method) > maxMethod || len(r.Path) > maxPath || len(r.Asked()) > maxHost || strings.ContainsAny(r.Asked()+r.Path, "/\x00\r\n") &&
			r.Form == AuthorityForm {
			t.Errorf("%+v", r)
		}
		operation, service, by := r.DynamoDB()
		if (service == "") != (len(by) == 0) || service == "" && operation != "" {
			t.Errorf("%+v: %q %q %q", r, operation, service, by)
		}
	}
}

// FuzzMidstream: gaps and a start in the middle neither panic nor get stuck, and a guessed head is flawless.
func FuzzMidstream(f *testing.F) {
	for _, c := range conversations {
		f.Add(c[0], c[1], []byte{30, 31, 10, 13}, uint8(3))
	}
	f.Fuzz(func(t *testing.T, client, server string, plan []byte, gaps uint8) {
		var units []unit
		for i, u := range interleave(client, server, plan[:min(len(plan), 32)]) {
			if gaps>>(i%8)&1 == 1 {
				u = unit{from: u.from, gap: len(u.data)}
			}
			units = append(units, u)
		}
		v := drive(Options{Midstream: gaps&1 == 0, Tables: true}, units, 0, gaps&2 == 0)
		check(t, v)
		for _, r := range v.requests {
			if r.Resynced && !r.flawless() {
				t.Errorf("%+v", r)
			}
		}
		v.conn.Close(session.Client)
		v.conn.Close(session.Server)
	})
}

// FuzzRequestOracle: where net/http reads a request at a boundary and we do, both see the same method, target, host and length, and
// the next request begins at the same place.
func FuzzRequestOracle(f *testing.F) {
	for _, c := range conversations {
		f.Add(c[0])
	}
	f.Add("GET x:/ HTTP/1.0\nHost: h \n \n\r\n")
	f.Add("GET / HTTP/1.1\r\nHost : h\r\nno field: 1\r\n\r\nPOST /second HTTP/1.1\r\nHost: h\r\nContent-Length : 3\r\n\r\nabc")
	f.Add("GET / HTTP/1.1\r\nA : b\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET /second HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n")
	f.Add("GET long-scheme.of+20://h/ HTTP/1.0\n\n")
	f.Fuzz(func(t *testing.T, stream string) {
		v := drive(Options{}, []unit{client(stream)}, 0, false)
		br := bufio.NewReader(strings.NewReader(stream))
		for i := 0; ; i++ {
			want, err := http.ReadRequest(br)
			if err != nil || want.ProtoMajor != 1 || len(want.Method) > maxMethod || want.RequestURI == "" {
				return
			}
			if i >= len(v.requests) {
				if err := v.conn.Err(session.Client); err != nil && errors.Is(err, ErrHeadTooLarge) {
					return
				}
				t.Fatalf("net/http reads %s %s as request %d, we do not: %s", want.Method, want.RequestURI, i, v.summary())
			}
			got := v.requests[i]
			// net/http takes a name with space before its colon for another one.
			hosted, framed := true, true
			for key := range want.Header {
				if bare := strings.TrimRight(key, " "); bare != key {
					hosted = hosted && !strings.EqualFold(bare, "Host")
					framed = framed && !strings.EqualFold(bare, "Content-Length") && !strings.EqualFold(bare, "Transfer-Encoding")
				}
			}
			if (!hosted || !framed) && got.Odd&OddLine == 0 {
				t.Fatalf("space before a colon is not told: %+v", got)
			}
			if want.ProtoMinor == 0 && (got.Chunked || want.ContentLength < 0) {
				return // net/http ignores the transfer coding of HTTP/1.0
			}
			uri := want.RequestURI
			_, _, path, _ := splitTarget([]byte(want.Method), []byte(uri))
			length := want.ContentLength
			if length == 0 && got.ContentLength <= 0 || length == -1 && got.Chunked {
				length = got.ContentLength
			}
			host := strings.TrimRight(want.Host, " \t") // net/http leaves the space before a folded line that is empty
			if j := strings.LastIndexByte(host, '@'); j >= 0 {
				host = host[j+1:]
			}
			if got.Method != want.Method || got.Path != keep("", path, maxPath) || framed && got.ContentLength != length || int(got.Minor) != want.ProtoMinor ||
				hosted && got.Asked() != keep("", []byte(host), maxHost) && !strings.ContainsAny(uri, "%@") && got.Form != AuthorityForm {
				t.Fatalf("net/http: %s %q host %q length %d\nwe: %+v", want.Method, uri, want.Host, want.ContentLength, got)
			}
			if got.Form == AuthorityForm || !framed {
				return
			}
			if _, err := io.Copy(io.Discard, want.Body); err != nil {
				return
			}
		}
	})
}

// FuzzResponseOracle is the same for responses.
func FuzzResponseOracle(f *testing.F) {
	for _, c := range conversations {
		f.Add(c[1])
	}
	f.Fuzz(func(t *testing.T, stream string) {
		v := drive(Options{}, []unit{server(stream)}, 0, false)
		br := bufio.NewReader(strings.NewReader(stream))
		for i := 0; ; i++ {
			want, err := http.ReadResponse(br, nil)
			if err != nil || want.ProtoMajor != 1 || want.StatusCode < 100 || strings.HasPrefix(want.Status, " ") {
				return
			}
			if i >= len(v.responses) {
				if errors.Is(v.conn.Err(session.Server), ErrHeadTooLarge) || !bytes.HasPrefix([]byte(want.Proto), []byte("HTTP/1.")) {
					return
				}
				if strings.Contains(stream, "  ") {
					return // net/http takes several spaces before the status code
				}
				t.Fatalf("net/http reads %s as response %d, we do not: %s", want.Status, i, v.summary())
			}
			got := v.responses[i]
			if want.ProtoMinor == 0 && len(want.TransferEncoding) == 0 && got.Chunked || got.Odd&OddLengths != 0 {
				return
			}
			if got.Status != want.StatusCode || int(got.Minor) != want.ProtoMinor || want.ContentLength > 0 && got.ContentLength != want.ContentLength {
				t.Fatalf("net/http: %s length %d\nwe: %+v", want.Status, want.ContentLength, got)
			}
			if want.StatusCode == 101 || v.conn.Tunnel() {
				return
			}
			if _, err := io.Copy(io.Discard, want.Body); err != nil {
				return
			}
		}
	})
}
