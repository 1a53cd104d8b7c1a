package ebpf

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/bpf"
	"github.com/dynwatch/dynwatch/capture"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// open starts a source, or skips the test where this process may not: root, and CI, must be able to.
func open(t *testing.T, o Options) *Source {
	t.Helper()
	s, err := Open(o)
	var denied *bpf.PermissionError
	if errors.As(err, &denied) && os.Getuid() != 0 && os.Getenv("CI") == "" {
		t.Skipf("needs %s: %v", denied.Capabilities, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(); s.Close() })
	return s
}

// recorder reads a source in the background.
type recorder struct {
	t    *testing.T
	src  *Source
	done chan struct{}

	mu   sync.Mutex
	segs []flow.Segment
}

func record(t *testing.T, s *Source) *recorder {
	r := &recorder{t: t, src: s, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		for {
			var seg flow.Segment
			switch err := s.Next(&seg); {
			case err == nil:
				seg.Payload = append([]byte(nil), seg.Payload...)
				r.mu.Lock()
				r.segs = append(r.segs, seg)
				r.mu.Unlock()
			case errors.Is(err, capture.ErrIdle):
			case errors.Is(err, io.EOF):
				return
			default:
				t.Error(err)
				return
			}
		}
	}()
	return r
}

// stop closes the source and returns all that it gave.
func (r *recorder) stop() []flow.Segment {
	r.t.Helper()
	if err := r.src.Close(); err != nil {
		r.t.Error(err)
	}
	<-r.done
	return r.segs
}

// with are the segments of connections to a destination, as the client asked for it.
func with(segs []flow.Segment, dst netip.AddrPort) []flow.Segment {
	var out []flow.Segment
	for _, s := range segs {
		if s.Dst() == dst || s.Src() == dst {
			out = append(out, s)
		}
	}
	return out
}

// stream are the payload bytes that went from src, by sequence number; fromSYN tells that the first byte follows the SYN.
func stream(segs []flow.Segment, src netip.AddrPort) (b []byte, fromSYN bool) {
	var next uint32
	for _, s := range segs {
		if s.Src() != src {
			continue
		}
		if s.Flags.Has(flow.SYN) {
			next, fromSYN = s.Seq+1, true
		}
		seq := s.Seq
		if s.Flags.Has(flow.SYN) {
			seq++
		}
		if next == 0 {
			next = seq
		}
		if skip := int(int32(next - seq)); skip >= 0 && skip < len(s.Payload) {
			b = append(b, s.Payload[skip:]...)
			next += uint32(len(s.Payload) - skip)
		}
	}
	return b, fromSYN
}

var certificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "dynamodb.us-east-1.amazonaws.com"},
		DNSNames: []string{"dynamodb.us-east-1.amazonaws.com"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

// serve runs a TLS server at addr that answers every connection's first bytes with n bytes.
func serve(t *testing.T, addr string, n int, version uint16) netip.AddrPort {
	t.Helper()
	ln, err := tls.Listen("tcp", addr, &tls.Config{Certificates: []tls.Certificate{certificate()}, MinVersion: version, MaxVersion: version})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, 512)
				if _, err := c.Read(buf); err == nil {
					c.Write(make([]byte, n))
					c.Read(buf)
				}
			}()
		}
	}()
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

// ask makes one TLS connection, sends a few bytes and reads n.
func ask(t *testing.T, addr netip.AddrPort, name string, n int) {
	t.Helper()
	c, err := tls.Dial("tcp", addr.String(), &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, n)); err != nil {
		t.Fatal(err)
	}
}

func TestConnectionToAPrefixIsSeenWhole(t *testing.T) {
	addr := serve(t, "127.0.7.1:0", 1000, tls.VersionTLS13)
	s := open(t, Options{Prefixes: []netip.Prefix{netip.MustParsePrefix("127.0.7.1/32")}})
	r := record(t, s)
	ask(t, addr, "dynamodb.us-east-1.amazonaws.com", 1000)
	segs := with(r.stop(), addr)
	for _, s := range segs {
		t.Logf("%v %v > %v flags %02x seq %d len %d/%d %+v", time.Unix(0, s.Time).Format(time.StampMicro), s.Src(), s.Dst(), s.Flags, s.Seq, len(s.Payload), s.Length, s.Opening.Process)
	}
	t.Logf("%+v", s.Stats())
	if len(segs) == 0 {
		t.Fatal("nothing seen")
	}
}
