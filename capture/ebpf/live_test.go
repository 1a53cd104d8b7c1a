package ebpf

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/bpf"
	"github.com/dynwatch/dynwatch/capture"
	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/testenv"
)

// open starts a source; root must be able to.
func open(t *testing.T, o Options) *Source {
	t.Helper()
	s, err := Open(o)
	var denied *bpf.PermissionError
	if errors.As(err, &denied) && os.Getuid() != 0 {
		testenv.Lacks(t, "needs %s: %v", denied.Capabilities, err)
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

// listen gives a listening socket and its address.
func listen(t *testing.T, at string) (net.Listener, netip.AddrPort) {
	t.Helper()
	ln, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln, ln.Addr().(*net.TCPAddr).AddrPort()
}

// vacant is an address at which nobody listens.
func vacant(t *testing.T, at string) netip.AddrPort {
	t.Helper()
	ln, addr := listen(t, at)
	ln.Close()
	return addr
}

// connect makes a connection to a listener that nobody else accepts from, and gives its two ends.
func connect(t *testing.T, ln net.Listener) (client, server net.Conn) {
	t.Helper()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	server, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return client, server
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

// prefixes parses.
func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i := range list {
		out[i] = netip.MustParsePrefix(list[i])
	}
	return out
}

const ours = "dynamodb.us-east-1.amazonaws.com"

// checkOpening checks that segs begin as a connection does, and that its owner is this process.
func checkOpening(t *testing.T, segs []flow.Segment) {
	t.Helper()
	if len(segs) < 3 {
		t.Fatalf("%d segments of the connection", len(segs))
	}
	if !segs[0].Flags.Has(flow.SYN) || segs[0].Flags.Has(flow.ACK) || !segs[1].Flags.Has(flow.SYN|flow.ACK) {
		t.Errorf("it begins with flags %02x, %02x", segs[0].Flags, segs[1].Flags)
	}
	for _, s := range segs {
		if s.Cookie == 0 || s.Cookie != segs[0].Cookie {
			t.Errorf("cookie %d, of the first segment %d", s.Cookie, segs[0].Cookie)
		}
		if s.Opening == nil {
			t.Fatal("no opening")
		}
		checkProcess(t, s.Opening.Process)
	}
}

func checkProcess(t *testing.T, p flow.Process) {
	t.Helper()
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	if p.PID != os.Getpid() || p.Comm != strings.TrimSpace(string(comm)) || !p.UIDKnown || int(p.UID) != os.Getuid() || p.TID == 0 || p.CgroupID == 0 {
		t.Fatalf("opened by %+v, not by this process", p)
	}
	if p.StartTime == 0 || p.NetNS == 0 {
		t.Errorf("start time %d and namespace %d: the kernel's BTF was not used", p.StartTime, p.NetNS)
	}
}

func checkNoLoss(t *testing.T, s *Source) {
	t.Helper()
	for name, n := range s.Stats().Loss {
		if n != 0 {
			t.Errorf("%s: %d", name, n)
		}
	}
	for _, w := range s.Stats().Warnings {
		t.Errorf("warning: %s", w)
	}
}

func TestConnectionToAPrefixIsSeenWhole(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			addr := serve(t, "127.0.7.1:0", 1000, version)
			s := open(t, Options{Prefixes: prefixes("127.0.7.1/32")})
			r := record(t, s)
			before := time.Now()
			ask(t, addr, ours, 1000)
			segs := with(r.stop(), addr)
			checkOpening(t, segs)
			checkNoLoss(t, s)
			client, server := segs[0].Src(), addr
			for _, src := range []netip.AddrPort{client, server} {
				b, fromSYN := stream(segs, src)
				if !fromSYN || len(b) < 200 || b[0] != 0x16 {
					t.Errorf("stream from %v: from its SYN %t, %d bytes", src, fromSYN, len(b))
				}
			}
			var netns syscall.Stat_t
			if err := syscall.Stat("/proc/thread-self/ns/net", &netns); err != nil {
				t.Fatal(err)
			}
			if got := segs[0].Opening.Process.NetNS; got != netns.Ino {
				t.Errorf("network namespace %d, want %d", got, netns.Ino)
			}
			if at := time.Unix(0, segs[0].Opening.Time); at.Before(before.Add(-time.Millisecond)) || at.After(time.Now()) {
				t.Errorf("opened at %v, asked for at %v", at, before)
			}
			if last := segs[len(segs)-1]; last.Flags&(flow.FIN|flow.RST) == 0 && segs[len(segs)-2].Flags&(flow.FIN|flow.RST) == 0 {
				t.Errorf("it ends with flags %02x", last.Flags)
			}
		})
	}
}

func TestStartTimeIsThatOfProc(t *testing.T) {
	addr := serve(t, "127.0.7.2:0", 10, tls.VersionTLS13)
	r := record(t, open(t, Options{Prefixes: prefixes("127.0.7.2/32")}))
	ask(t, addr, ours, 10)
	segs := with(r.stop(), addr)
	checkOpening(t, segs)
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	ticks, err := strconv.ParseUint(fields[19], 10, 64) // field 22, in hundredths of a second
	if err != nil {
		t.Fatal(err)
	}
	if got := segs[0].Opening.Process.StartTime / 1e7; got != ticks {
		t.Errorf("start time %d ticks, /proc says %d", got, ticks)
	}
}

func TestNamesAtForeignAddressesAreFound(t *testing.T) {
	addr := serve(t, "127.0.7.3:0", 1000, tls.VersionTLS12)
	for name, want := range map[string]bool{
		ours: true, "DynamoDB.eu-west-1.amazonaws.com": true, "012345678901.ddb.us-east-1.amazonaws.com": true,
		"x.dax-clusters.us-east-1.amazonaws.com": true, "streams.dynamodb.us-east-1.amazonaws.com": true,
		"Table.Store.example": true, "s3.us-east-1.amazonaws.com": false, "dynamo.example": false, "table.store.example.org": false,
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, Options{LookAtOthers: true, Names: []string{"table.store.EXAMPLE"}})
			r := record(t, s)
			ask(t, addr, name, 1000)
			segs := with(r.stop(), addr)
			checkNoLoss(t, s)
			if !want {
				if len(segs) != 0 {
					t.Errorf("%d segments of a connection to another name", len(segs))
				}
				return
			}
			checkOpening(t, segs)
			if b, fromSYN := stream(segs, addr); !fromSYN || len(b) < 500 {
				t.Errorf("server's stream: from its SYN %t, %d bytes", fromSYN, len(b))
			}
		})
	}
}

// helloFor is a record with a ClientHello that has one extension, server_name.
func helloFor(name string) []byte {
	block := func(size int, b []byte) []byte { // b after its length
		return append(binary.BigEndian.AppendUint32(nil, uint32(len(b)))[4-size:], b...)
	}
	list := append([]byte{0}, block(2, []byte(name))...) // name type: host_name
	extension := append([]byte{0, 0}, block(2, block(2, list))...)
	hello := append([]byte{3, 3}, make([]byte, 32)...) // version, random
	hello = append(hello, 0, 0, 2, 0xc0, 0x2f, 1, 0)   // no session, a cipher suite, no compression
	hello = append(hello, block(2, extension)...)      // extensions
	return append([]byte{22, 3, 1}, block(2, append([]byte{1}, block(3, hello)...))...)
}

// TestServerNamesOfOddLengthAreDoubtful: they are neither found, as if they were DynamoDB's, nor let go.
func TestServerNamesOfOddLengthAreDoubtful(t *testing.T) {
	for what, test := range map[string]struct {
		name string
		want bool
	}{
		"empty":                 {"", true},
		"the longest one read":  {strings.Repeat("a.", 60) + ".example", false},
		"one character longer":  {strings.Repeat("a.", 60) + "x.example", true},
		"as long as names go":   {strings.Repeat("abcdefghi.", 25) + "xyz", true},
		"an ordinary one":       {"www.example.com", false},
		"one of ours, too long": {strings.Repeat("a.", 60) + ours, true},
	} {
		t.Run(what, func(t *testing.T) {
			s := open(t, Options{LookAtOthers: true})
			addr := exchange(t, "127.0.7.70:0", helloFor(test.name), []byte("what a server says"))
			s.Close()
			copied := 0
			var seg flow.Segment
			for err := error(nil); err == nil || errors.Is(err, capture.ErrIdle); err = s.Next(&seg) {
				if seg.Dst() != addr || len(seg.Payload) == 0 {
					continue
				}
				copied++
				if !s.Doubtful() {
					t.Error("taken for one that is wanted")
				}
			}
			if (copied > 0) != test.want {
				t.Errorf("%d segments with the client's bytes", copied)
			}
		})
	}
}

func TestDoubtfulConnectionsAreCopiedUntilDecided(t *testing.T) {
	addr := serve(t, "127.0.7.4:0", 1000, tls.VersionTLS12)
	s := open(t, Options{LookAtOthers: true})
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	tc := tls.Client(c, &tls.Config{InsecureSkipVerify: true}) // an address has no server name
	if err := tc.Handshake(); err != nil {
		t.Fatal(err)
	}
	var seg flow.Segment
	var server int
	for server == 0 {
		if err := s.Next(&seg); err != nil && !errors.Is(err, capture.ErrIdle) {
			t.Fatal(err)
		}
		if seg.Src() == addr {
			server += len(seg.Payload)
		}
	}
	if !s.Doubtful() {
		t.Fatal("it is not doubtful")
	}
	if err := s.Decide(false); err != nil || s.Doubtful() {
		t.Fatalf("decided: %v", err)
	}
	tc.Write([]byte("hello"))
	io.ReadFull(tc, make([]byte, 1000))
	c.Close()
	s.Close()
	for err = error(nil); err == nil || errors.Is(err, capture.ErrIdle); err = s.Next(&seg) {
		if (seg.Src() == addr || seg.Dst() == addr) && seg.Flags&(flow.FIN|flow.RST) != 0 {
			t.Error("the end of a connection that was let go")
		}
	}
}

// decide reads a source up to the first bytes from a doubtful connection's client, and decides.
func decide(t *testing.T, s *Source, to netip.AddrPort, keep bool) {
	t.Helper()
	var seg flow.Segment
	for deadline := time.Now().Add(20 * time.Second); seg.Dst() != to || len(seg.Payload) == 0; {
		if err := s.Next(&seg); err != nil && !errors.Is(err, capture.ErrIdle) {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing comes of the connection to %v", to)
		}
	}
	if !s.Doubtful() {
		t.Fatalf("the connection to %v is not doubtful", to)
	}
	if err := s.Decide(keep); err != nil {
		t.Fatal(err)
	}
}

// http2 begins a connection by HTTP/2 in cleartext: the kernel cannot tell what it is about.
var http2 = []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + strings.Repeat("\x00", 30))

// TestAKeptConnectionHasTheFullBudget: that of one whose name was found, whatever was spent of it in doubt.
func TestAKeptConnectionHasTheFullBudget(t *testing.T) {
	s := open(t, Options{LookAtOthers: true})
	ln, addr := listen(t, "127.0.7.71:0")
	c, p := connect(t, ln)
	transfer(t, c, p, http2)
	decide(t, s, addr, true)
	r := record(t, s)
	transfer(t, c, p, make([]byte, 100<<10))
	transfer(t, p, c, make([]byte, 300<<10))
	copied := map[netip.AddrPort]int{c.LocalAddr().(*net.TCPAddr).AddrPort(): len(http2)}
	for _, seg := range with(r.stop(), addr) {
		copied[seg.Src()] += len(seg.Payload)
	}
	for src, most := range map[netip.AddrPort]int{c.LocalAddr().(*net.TCPAddr).AddrPort(): 16 << 10, addr: 64 << 10} {
		if copied[src] != most {
			t.Errorf("%d bytes from %v, budget %d", copied[src], src, most)
		}
	}
}

// TestKeepingAConnectionDoesNotProlongItsTail: a budget that application data has ended stays ended.
func TestKeepingAConnectionDoesNotProlongItsTail(t *testing.T) {
	s := open(t, Options{LookAtOthers: true})
	ln, addr := listen(t, "127.0.7.72:0")
	c, p := connect(t, ln)
	record17 := append([]byte{0x17, 3, 3, 0x40, 0}, make([]byte, 16<<10)...)
	transfer(t, c, p, helloFor(""))
	transfer(t, p, c, helloFor("")) // whatever the server answers
	transfer(t, c, p, record17)
	decide(t, s, addr, true)
	r := record(t, s)
	transfer(t, p, c, record17)
	transfer(t, c, p, record17)
	copied := map[netip.AddrPort]int{}
	for _, seg := range with(r.stop(), addr) {
		copied[seg.Src()] += len(seg.Payload)
	}
	for src, n := range copied {
		if n > 2<<10+len(helloFor("")) {
			t.Errorf("%d bytes from %v", n, src)
		}
	}
}

// TestASocketThatConnectsAgainIsDoubtfulAgain: what was decided of its connection before is not what becomes of this one.
func TestASocketThatConnectsAgainIsDoubtfulAgain(t *testing.T) {
	s := open(t, Options{LookAtOthers: true})
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for _, at := range []string{"127.0.7.64:0", "127.0.7.65:0"} {
		ln, addr := listen(t, at)
		defer ln.Close()
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Write(fd, http2); err != nil {
			t.Fatal(err)
		}
		decide(t, s, addr, false)
		disconnect(t, fd)
	}
}

// disconnect leaves a socket without its connection, for another one.
func disconnect(t *testing.T, fd int) {
	t.Helper()
	unspec := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	if _, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&unspec)), unsafe.Sizeof(unspec)); errno != 0 {
		t.Fatal(errno)
	}
}

// TestALateDecisionIsForItsOwnConnection: by then the socket has another one.
func TestALateDecisionIsForItsOwnConnection(t *testing.T) {
	s := open(t, Options{LookAtOthers: true})
	fd := stream4(t)
	var addrs [2]netip.AddrPort
	for i, at := range []string{"127.0.7.73:0", "127.0.7.74:0"} {
		_, addrs[i] = listen(t, at)
		if i > 0 {
			disconnect(t, fd)
		}
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(addrs[i].Port()), Addr: addrs[i].Addr().As4()}); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Write(fd, http2); err != nil {
			t.Fatal(err)
		}
	}
	decide(t, s, addrs[0], false)
	r := record(t, s)
	if _, err := unix.Write(fd, []byte("and more")); err != nil {
		t.Fatal(err)
	}
	segs := with(r.stop(), addrs[1])
	checkOpening(t, segs)
	if b, _ := stream(segs, segs[0].Src()); string(b) != string(http2)+"and more" {
		t.Errorf("of the second connection came %q", b)
	}
}

// exchange makes a connection to a server that takes what comes, sends b in one write, and reads back the server's answer.
func exchange(t *testing.T, at string, b, answer []byte) netip.AddrPort {
	t.Helper()
	ln, addr := listen(t, at)
	defer ln.Close()
	c, p := connect(t, ln)
	defer c.Close()
	defer p.Close()
	transfer(t, c, p, b)
	transfer(t, p, c, answer)
	return addr
}

func transfer(t *testing.T, from, to net.Conn, b []byte) {
	t.Helper()
	go from.Write(b)
	if _, err := io.ReadFull(to, make([]byte, len(b))); err != nil {
		t.Fatal(err)
	}
}

func TestCleartextAtForeignAddressesIsFound(t *testing.T) {
	long := "Cookie: " + strings.Repeat("x", 700) + "\r\n"
	for name, test := range map[string]struct {
		first string
		want  bool
	}{
		"host":                {"POST / HTTP/1.1\r\nHost: dynamodb.eu-central-1.amazonaws.com\r\n\r\n", true},
		"target":              {"POST / HTTP/1.1\r\nHost: 127.0.7.5\r\nX-Amz-Target: DynamoDB_20120810.GetItem\r\n\r\n", true},
		"target, far":         {"POST / HTTP/1.1\r\nHost: 127.0.7.5\r\n" + long + "X-Amz-Target: DynamoDB_20120810.GetItem\r\n\r\n", true},
		"over two windows":    {"POST /" + strings.Repeat("y", 117) + "dynamodb HTTP/1.1\r\nHost: z\r\n\r\n", true},
		"tunnel":              {"CONNECT dynamodb.us-east-1.amazonaws.com:443 HTTP/1.1\r\nHost: dynamodb.us-east-1.amazonaws.com:443\r\n\r\n", true},
		"dax":                 {"\x67J7yne5G" + strings.Repeat("\x00", 60), true},
		"http2":               {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + strings.Repeat("\x00", 30), true},
		"socks5, a name":      {"\x05\x01\x00\x03\x30dynamodb.us-east-1.amazonaws.com.cdn.corp.example" + "\x01\xbb", true},
		"headers to follow":   {"POST / HTTP/1.1\r\nUser-Agent: something long enough to be looked at\r\n", true},
		"another host":        {"GET / HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: curl\r\n\r\n", false},
		"name after the body": {"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n" + strings.Repeat("z", 1300) + "dynamodb", false},
		"operator's host":     {"POST / HTTP/1.1\r\nHost: table.store.example\r\n\r\n", true},
		"with a port":         {"POST / HTTP/1.1\r\nAccept: */*\r\nhost: Table.Store.Example:8000\r\n\r\n", true},
		"without a space":     {"POST / HTTP/1.1\r\nAccept: */*\r\nHost:table.store.example\r\n\r\n", true},
		"host, far":           {"POST / HTTP/1.1\r\n" + long + "Host: table.store.example\r\n\r\n", true},
		"over the window":     {"POST /" + strings.Repeat("y", 100) + " HTTP/1.1\r\nHost: table.store.example\r\n\r\n", true},
		"target behind host":  {"POST / HTTP/1.1\r\nHost: 127.0.7.5\r\nHost: z\r\nX-Amz-Target: DynamoDB_20120810.GetItem\r\n\r\n", true},
		"operator's tunnel":   {"CONNECT table.store.example:443 HTTP/1.1\r\nHost: table.store.example:443\r\n\r\n", true},
		"tunnel, no host":     {"CONNECT table.store.example:443 HTTP/1.0\r\nUser-Agent: something\r\n\r\n", true},
		"a longer host":       {"POST / HTTP/1.1\r\nHost: table.store.example.org\r\nUser-Agent: curl\r\n\r\n", false},
		"a shorter host":      {"POST / HTTP/1.1\r\nHost: table.store\r\nUser-Agent: something\r\n\r\n", false},
		"elsewhere":           {"POST / HTTP/1.1\r\nReferer: table.store.example\r\nX-Host: table.store.example\r\n\r\n", false},
		"another tunnel":      {"CONNECT www.example.com:443 HTTP/1.1\r\nHost: www.example.com:443\r\n\r\n", false},
		"ssh":                 {"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3 with a comment\r\n", false},
		"truncated hello":     {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("r", 32) + "\x20" + strings.Repeat("s", 32), true},
		"lying hello":         {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("r", 32) + "\xff" + strings.Repeat("\xff", 300), true},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, Options{LookAtOthers: true, Names: []string{"table.store.EXAMPLE"}})
			r := record(t, s)
			addr := exchange(t, "127.0.7.5:0", []byte(test.first), []byte("HTTP/1.1 200 OK\r\n\r\n"))
			segs := with(r.stop(), addr)
			checkNoLoss(t, s)
			if !test.want {
				if len(segs) != 0 {
					t.Errorf("%d segments of another's connection", len(segs))
				}
				return
			}
			checkOpening(t, segs)
			if b, _ := stream(segs, segs[0].Src()); string(b) != test.first {
				t.Errorf("client's stream is %q", b)
			}
		})
	}
}

// TestNegotiationWithASOCKSServerIsPassedOver: what comes after it tells.
func TestNegotiationWithASOCKSServerIsPassedOver(t *testing.T) {
	for what, secret := range map[string]struct{ name, password string }{
		"no password":          {},
		"a short one":          {"serviceuser", "secret"},
		"one of 30 characters": {"serviceuser", strings.Repeat("p", 30)},
		"the longest":          {strings.Repeat("n", 255), strings.Repeat("p", 255)},
	} {
		t.Run(what, func(t *testing.T) {
			s := open(t, Options{LookAtOthers: true})
			r := record(t, s)
			ln, addr := listen(t, "127.0.7.75:0")
			c, p := connect(t, ln)
			transfer(t, c, p, []byte("\x05\x02\x00\x02"))
			if secret.name == "" {
				transfer(t, p, c, []byte("\x05\x00"))
			} else {
				transfer(t, p, c, []byte("\x05\x02"))
				transfer(t, c, p, []byte("\x01"+string(append([]byte{byte(len(secret.name))}, secret.name...))+string(append([]byte{byte(len(secret.password))}, secret.password...))))
				transfer(t, p, c, []byte("\x01\x00"))
			}
			request := "\x05\x01\x00\x03\x20" + ours + "\x01\xbb"
			transfer(t, c, p, []byte(request))
			segs := with(r.stop(), addr)
			checkOpening(t, segs)
			if b, _ := stream(segs, segs[0].Src()); string(b) != request {
				t.Errorf("client's stream is %q", b)
			}
		})
	}
}

func TestServerThatSpeaksFirstIsLetGo(t *testing.T) {
	s := open(t, Options{LookAtOthers: true})
	r := record(t, s)
	ln, addr := listen(t, "127.0.7.6:0")
	c, p := connect(t, ln)
	transfer(t, p, c, bytes.Repeat([]byte("220 mail.example "), 10))
	transfer(t, c, p, []byte("POST / HTTP/1.1\r\nHost: dynamodb.us-east-1.amazonaws.com\r\n\r\n"))
	if segs := with(r.stop(), addr); len(segs) != 0 {
		t.Errorf("%d segments", len(segs))
	}
}

// TestManyConnectionsMayWaitForTheirFirstBytes opens more of them than the table of openers has places.
func TestManyConnectionsMayWaitForTheirFirstBytes(t *testing.T) {
	const n = 5000
	limit := syscall.Rlimit{Cur: 3 * n, Max: 3 * n}
	var now syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &now); err != nil {
		t.Fatal(err)
	}
	if now.Cur < limit.Cur {
		limit.Max = max(limit.Max, now.Max)
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatalf("raise the limit of %d open files: %v", now.Cur, err)
		}
		defer syscall.Setrlimit(syscall.RLIMIT_NOFILE, &now)
	}
	s := open(t, Options{LookAtOthers: true, BufferBytes: 32 << 20})
	r := record(t, s)
	ln, err := net.Listen("tcp", "127.0.7.22:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	clients := make(map[netip.AddrPort]net.Conn)
	for range n {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		p, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		clients[c.LocalAddr().(*net.TCPAddr).AddrPort()] = c
	}
	for _, c := range clients {
		if _, err := c.Write([]byte("POST / HTTP/1.1\r\nHost: dynamodb.us-east-1.amazonaws.com\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
	}
	for _, seg := range with(r.stop(), ln.Addr().(*net.TCPAddr).AddrPort()) {
		checkProcess(t, seg.Opening.Process)
		delete(clients, seg.Src())
	}
	if len(clients) > 0 {
		t.Errorf("%d of %d were not looked at", len(clients), n)
	}
	checkNoLoss(t, s)
}

func TestPortsAreFollowedAtAnyAddress(t *testing.T) {
	addr := vacant(t, "127.0.7.7:0")
	s := open(t, Options{Ports: []uint16{8111, addr.Port()}})
	r := record(t, s)
	exchange(t, addr.String(), []byte("hi"), []byte("ho"))
	checkOpening(t, with(r.stop(), addr))
}

func TestSuperPacketsComeInPieces(t *testing.T) {
	s := open(t, Options{Prefixes: prefixes("127.0.7.8/32")})
	r := record(t, s)
	there, back := make([]byte, 15<<10), make([]byte, 60<<10)
	rand.Read(there)
	rand.Read(back)
	there[0], back[0] = 1, 2
	addr := exchange(t, "127.0.7.8:0", there, back)
	segs := with(r.stop(), addr)
	checkOpening(t, segs)
	checkNoLoss(t, s)
	if b, _ := stream(segs, segs[0].Src()); !bytes.Equal(b, there) {
		t.Errorf("client's stream: %d bytes, or others", len(b))
	}
	if b, _ := stream(segs, addr); !bytes.Equal(b, back) {
		t.Errorf("server's stream: %d bytes, or others", len(b))
	}
}

func TestBudgetIsKeptAndItsEndIsCounted(t *testing.T) {
	s := open(t, Options{Prefixes: prefixes("127.0.7.9/32")})
	r := record(t, s)
	there, back := make([]byte, 100<<10), make([]byte, 300<<10)
	addr := exchange(t, "127.0.7.9:0", there, back)
	segs := with(r.stop(), addr)
	for src, most := range map[netip.AddrPort]int{segs[0].Src(): 16 << 10, addr: 64 << 10} {
		if b, _ := stream(segs, src); len(b) != most {
			t.Errorf("%d bytes from %v, budget %d", len(b), src, most)
		}
	}
	loss := s.Stats().Loss
	if loss["ebpf.connections_over_budget"] != 1 || loss["ebpf.connections_over_budget_bytes"] == 0 {
		t.Errorf("loss %v", loss)
	}
}

func TestApplicationDataEndsTheCopying(t *testing.T) {
	addr := serve(t, "127.0.7.17:0", 100<<10, tls.VersionTLS13)
	s := open(t, Options{Prefixes: prefixes("127.0.7.17/32")})
	r := record(t, s)
	ask(t, addr, ours, 100<<10)
	var final, bytes, fins int
	for _, s := range with(r.stop(), addr) {
		if s.Flags.Has(flow.FIN) {
			fins++
		}
		if s.Src() != addr {
			continue
		}
		if final > 0 && len(s.Payload) > 0 {
			t.Errorf("%d bytes after the final ones", len(s.Payload))
		}
		if s.Final {
			final++
		}
		bytes += len(s.Payload)
	}
	if final != 1 || bytes > 6<<10 || fins == 0 {
		t.Errorf("%d final segments, %d bytes, %d ends", final, bytes, fins)
	}
	checkNoLoss(t, s)
}

func TestIPv6(t *testing.T) {
	addr := vacant(t, "[::1]:0")
	s := open(t, Options{Prefixes: prefixes("::1/128")})
	r := record(t, s)
	exchange(t, addr.String(), []byte("hi"), []byte("ho"))
	segs := with(r.stop(), addr)
	checkOpening(t, segs)
	if b, _ := stream(segs, addr); string(b) != "ho" {
		t.Errorf("server's stream %q", b)
	}
	t.Run("name at a foreign address", func(t *testing.T) {
		addr := serve(t, "[::1]:0", 10, tls.VersionTLS13)
		r := record(t, open(t, Options{LookAtOthers: true}))
		ask(t, addr, ours, 10)
		checkOpening(t, with(r.stop(), addr))
	})
}

func TestMappedAddressIsTheIPv4One(t *testing.T) {
	_, addr := listen(t, "127.0.7.10:0")
	r := record(t, open(t, Options{Prefixes: prefixes("127.0.7.10/32")}))
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM, 0) // and a blocking connect
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}); err != nil {
		t.Fatal(err)
	}
	unix.Write(fd, []byte("hi"))
	segs := with(r.stop(), addr)
	checkOpening(t, segs)
	if !segs[0].DstIP.Is4() || !segs[0].SrcIP.Is4() {
		t.Errorf("%v > %v", segs[0].Src(), segs[0].Dst())
	}
}

func TestRefusedConnectionIsSeen(t *testing.T) {
	addr := vacant(t, "127.0.7.11:0")
	r := record(t, open(t, Options{Prefixes: prefixes("127.0.7.11/32")}))
	if c, err := net.Dial("tcp", addr.String()); err == nil {
		c.Close()
		t.Fatal("not refused")
	}
	segs := with(r.stop(), addr)
	if len(segs) != 2 || segs[0].Flags != flow.SYN || !segs[1].Flags.Has(flow.RST) {
		t.Errorf("segments %+v", segs)
	}
}

func TestEarlierConnectionsAreListed(t *testing.T) {
	ln, addr := listen(t, "127.0.7.12:0")
	c, p := connect(t, ln)
	s := open(t, Options{Prefixes: prefixes("127.0.7.12/32")})
	r := record(t, s)
	transfer(t, c, p, []byte("GET / HTTP/1.1\r\n\r\n"))
	segs := with(r.stop(), addr)
	if len(segs) != 2 {
		t.Fatalf("segments %+v", segs)
	}
	for _, s := range segs {
		if !s.Opening.Earlier || s.Opening.Time != 0 || s.Src() != c.LocalAddr().(*net.TCPAddr).AddrPort() || s.Dst() != addr {
			t.Errorf("%v > %v, opening %+v", s.Src(), s.Dst(), s.Opening)
		}
		checkProcess(t, s.Opening.Process)
	}
	if len(segs[0].Payload) != 0 || string(segs[1].Payload) != "GET / HTTP/1.1\r\n\r\n" {
		t.Errorf("payloads %q, %q", segs[0].Payload, segs[1].Payload)
	}
	checkNoLoss(t, s)
}

func TestPrefixesAreSwappedWithoutAGap(t *testing.T) {
	ln, addr := listen(t, "127.0.7.13:0")
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	sets := [][]netip.Prefix{prefixes("127.0.7.13/32"), nil}
	for i := range 2000 {
		sets[1] = append(sets[1], netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 32))
	}
	sets[1] = append(sets[1], prefixes("127.0.7.0/24")...)
	s := open(t, Options{Prefixes: sets[0]})
	r := record(t, s)
	stop, swapped := make(chan struct{}), make(chan int)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				swapped <- n
				return
			default:
				if err := s.SetPrefixes(sets[n%2]); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	const tries = 500
	for range tries {
		c, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	close(stop)
	n := <-swapped
	seen := map[uint64]bool{}
	for _, s := range with(r.stop(), addr) {
		seen[s.Cookie] = true
	}
	if len(seen) != tries {
		t.Errorf("%d of %d connections seen over %d swaps", len(seen), tries, n)
	}
	t.Logf("%d swaps", n)
	checkNoLoss(t, s)
}

func TestFullRingIsCounted(t *testing.T) {
	s := open(t, Options{Prefixes: prefixes("127.0.7.14/32"), BufferBytes: 1})
	for range 20 {
		exchange(t, "127.0.7.14:0", bytes.Repeat([]byte("x"), 3000), []byte("y"))
	}
	loss := s.Stats().Loss
	if loss["ebpf.ring_full"] == 0 || loss["ebpf.ring_full_bytes"] == 0 {
		t.Errorf("loss %v", loss)
	}
}

func TestCloseGivesWhatWasSeenBefore(t *testing.T) {
	s := open(t, Options{Prefixes: prefixes("127.0.7.15/32")})
	addr := exchange(t, "127.0.7.15:0", []byte("x"), []byte("y"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	exchange(t, "127.0.7.15:0", []byte("x"), []byte("y"))
	var seg flow.Segment
	n := 0
	for {
		err := s.Next(&seg)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if seg.Src() != addr && seg.Dst() != addr {
			t.Errorf("a segment of later than Close: %v > %v", seg.Src(), seg.Dst())
		}
		n++
	}
	if n < 5 {
		t.Errorf("%d segments", n)
	}
	if err := s.Next(&seg); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestSendfileAndSpliceAreSeen(t *testing.T) {
	request := []byte("POST / HTTP/1.1\r\nHost: dynamodb.us-east-1.amazonaws.com\r\nContent-Length: 0\r\n\r\n")
	name := t.TempDir() + "/request"
	if err := os.WriteFile(name, request, 0o600); err != nil {
		t.Fatal(err)
	}
	for how, send := range map[string]func(t *testing.T, file, socket int){
		"sendfile": func(t *testing.T, file, socket int) {
			if _, err := unix.Sendfile(socket, file, nil, len(request)); err != nil {
				t.Fatal(err)
			}
		},
		"splice": func(t *testing.T, file, socket int) {
			var p [2]int
			if err := unix.Pipe2(p[:], 0); err != nil {
				t.Fatal(err)
			}
			defer unix.Close(p[0])
			defer unix.Close(p[1])
			if _, err := unix.Splice(file, nil, p[1], nil, len(request), 0); err != nil {
				t.Fatal(err)
			}
			if _, err := unix.Splice(p[0], nil, socket, nil, len(request), 0); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(how, func(t *testing.T) {
			_, addr := listen(t, "127.0.7.16:0")
			r := record(t, open(t, Options{LookAtOthers: true}))
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}); err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			send(t, int(f.Fd()), fd)
			segs := with(r.stop(), addr)
			checkOpening(t, segs)
			if b, _ := stream(segs, segs[0].Src()); !bytes.Equal(b, request) {
				t.Errorf("client's stream %q", b)
			}
		})
	}
}
