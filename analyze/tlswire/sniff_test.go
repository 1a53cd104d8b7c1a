package tlswire

import (
	"bytes"
	mrand "math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/testenv"
)

func TestSniff(t *testing.T) {
	hello := record(recordHandshake, clientHelloMsg(0x0303, nil, []uint16{1}))
	ssl2 := []byte("\x80\x1f\x01\x00\x02\x00\x06\x00\x00\x00\x10\x07\x00\xc0\x00\x00\x35")
	for _, test := range []struct {
		name  string
		first []byte
		from  session.Side
		want  Sniffed
	}{
		{"nothing", nil, session.Client, NeedMore},
		{"one byte of a record", hello[:1], session.Client, NeedMore},
		{"a record header", hello[:5], session.Client, NeedMore},
		{"a ClientHello", hello, session.Client, Yes},
		{"a ServerHello", record(recordHandshake, serverHelloMsg(0x0303, make([]byte, 32), nil, 1)), session.Server, Yes},
		{"application data", record(recordApplicationData, make([]byte, 40)), session.Client, Yes},
		{"an alert", record(recordAlert, []byte{2, 40}), session.Server, Yes},
		{"an encrypted handshake record", record(recordHandshake, make([]byte, 40)), session.Client, Yes},
		{"a hello cut into small records", record(recordHandshake, []byte{1, 0}), session.Client, Yes},
		{"an SSL 2.0 hello", ssl2, session.Client, Yes},
		{"the beginning of an SSL 2.0 hello", ssl2[:10], session.Client, NeedMore},
		{"an SSL 2.0 hello from the server", ssl2, session.Server, No},
		{"an SSL 2.0 SERVER-HELLO", ssl2ServerHelloBytes(), session.Server, Yes},
		{"HTTP", []byte("GET / HTTP/1.1\r\n"), session.Client, No},
		{"an HTTP answer", []byte("HTTP/1.1 200 OK\r\n"), session.Server, No},
		{"SSH", []byte("SSH-2.0-OpenSSH"), session.Server, No},
		{"a record that is too long", []byte{22, 3, 1, 0xff, 0xff, 1}, session.Client, No},
		{"a version that never was", []byte{22, 3, 9, 0, 50, 1}, session.Client, No},
		{"a long ChangeCipherSpec", []byte{20, 3, 3, 0, 2, 1}, session.Client, No},
		{"an empty handshake record", []byte{22, 3, 3, 0, 0, 22}, session.Client, No},
		{"DTLS", []byte{22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 90}, session.Client, No},
		{"zeros", make([]byte, 20), session.Client, No},
		{"high bytes", bytes.Repeat([]byte{0xff}, 20), session.Client, No},
	} {
		if got := Sniff(test.first, test.from); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
		// More bytes may settle a NeedMore, and change nothing else.
		settled := NeedMore
		for n := range len(test.first) + 1 {
			got := Sniff(test.first[:n], test.from)
			if settled != NeedMore && got != settled || n >= sniffMax && got == NeedMore {
				t.Errorf("%s: %v after %d bytes, %v before", test.name, got, n, settled)
			}
			settled = got
		}
	}
}

func TestSniffIsNotFooledByChance(t *testing.T) {
	r := mrand.New(mrand.NewPCG(1, 2))
	b := make([]byte, 16)
	yes := 0
	for range 2_000_000 {
		for i := 0; i < len(b); i += 8 {
			v := r.Uint64()
			for j := range 8 {
				b[i+j] = byte(v >> (8 * j))
			}
		}
		if Sniff(b, session.Client) == Yes || Sniff(b, session.Server) == Yes {
			yes++
		}
	}
	if yes > 10 {
		t.Errorf("%d of two million random streams are TLS", yes)
	}
}

func BenchmarkSniff(b *testing.B) {
	http := []byte("POST / HTTP/1.1\r\nHost: dynamodb.us-east-1.amazonaws.com\r\n")
	hello := record(recordHandshake, clientHelloMsg(0x0303, nil, []uint16{1}))
	b.ReportAllocs()
	for b.Loop() {
		if Sniff(http, session.Client) != No || Sniff(hello, session.Client) != Yes {
			b.Fatal("wrong")
		}
	}
}

// BenchmarkHandshakes feeds the streams of all captures of the corpus that begin with TLS, as segments: many handshakes, little data.
func BenchmarkHandshakes(b *testing.B) {
	dir := testenv.Shared(b, "corpus", "tls")
	files, _ := filepath.Glob(filepath.Join(dir, "*.pcap"))
	var flows []*tcpFlow
	total := 0
	for _, file := range files {
		l, err := readFlows(file)
		if err != nil {
			continue
		}
		for _, fl := range l {
			if fl.feed(New(Options{})) != nil {
				continue
			}
			flows = append(flows, fl)
			for _, e := range fl.events {
				total += len(e.data)
			}
		}
	}
	c := New(Options{})
	b.SetBytes(int64(total))
	b.ReportMetric(float64(len(flows)), "flows")
	b.ReportAllocs()
	for b.Loop() {
		for _, fl := range flows {
			c.Reset(Options{})
			for i := range fl.events {
				switch e := &fl.events[i]; {
				case e.gap > 0:
					c.Gap(e.from, e.gap)
				case len(e.data) > 0:
					c.Feed(e.from, e.data)
				}
			}
			c.End()
			c.Facts()
		}
	}
}

func BenchmarkClientHello(b *testing.B) {
	hello := record(recordHandshake, clientHelloMsg(0x0303, testBytes(32, 1), []uint16{0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f},
		extSNI("dynamodb.us-east-1.amazonaws.com"), extALPNOf("h2", "http/1.1"), ext(10, vec(2, u16s(29, 23))), ext(43, vec(1, u16s(0x0304, 0x0303))),
		ext(51, vec(2, u16s(29), vec(2, make([]byte, 32))))))
	c := New(Options{})
	b.SetBytes(int64(len(hello)))
	b.ReportAllocs()
	for b.Loop() {
		c.Reset(Options{})
		c.Feed(session.Client, hello)
		if c.Facts().ClientHello.SNI == "" {
			b.Fatal("no SNI")
		}
	}
}

func BenchmarkFeedOfADecidedSide(b *testing.B) {
	c := New(Options{})
	c.Feed(session.Client, []byte("not TLS at all"))
	data := make([]byte, 1460)
	b.ReportAllocs()
	for b.Loop() {
		c.Feed(session.Client, data)
	}
}

func TestClientHelloAllocatesItsNameAlone(t *testing.T) {
	hello := record(recordHandshake, clientHelloMsg(0x0303, testBytes(32, 1), []uint16{0x1301}, extSNI("dynamodb.us-east-1.amazonaws.com"), extALPNOf("h2")))
	c := New(Options{})
	if n := testing.AllocsPerRun(100, func() {
		c.Reset(Options{})
		c.Feed(session.Client, hello)
		c.Facts()
	}); n > 1 {
		t.Errorf("%v allocations", n)
	}
}
