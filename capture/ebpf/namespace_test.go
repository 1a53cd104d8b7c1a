package ebpf

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/testenv"
	"github.com/dynwatch/dynwatch/internal/testnet"
)

// listener is a listening socket made with plain system calls, so that it belongs to the namespace of the thread.
func listener(t *testing.T, at netip.AddrPort) (fd int, port int) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	patient(t, fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 8); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fd, name.(*unix.SockaddrInet4).Port
}

func accept(t *testing.T, ln int) int {
	t.Helper()
	fd, _, err := unix.Accept(ln)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	patient(t, fd)
	return fd
}

// iptables runs in the namespace of the calling goroutine.
func iptables(t *testing.T, args string) {
	t.Helper()
	if out, err := testenv.Command(t, "iptables", strings.Fields(args)...).CombinedOutput(); err != nil {
		t.Fatalf("iptables %s: %v: %s", args, err, out)
	}
}

func stream4(t *testing.T) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	patient(t, fd)
	return fd
}

// patient has system calls on a socket, and on those accepted from it, fail rather than wait for ever.
func patient(t *testing.T, fd int) {
	t.Helper()
	for _, option := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, option, &unix.Timeval{Sec: 10}); err != nil {
			t.Fatal(err)
		}
	}
}

// converse sends a request from one socket to the other, and an answer back.
func converse(t *testing.T, client, server int) {
	t.Helper()
	for _, w := range []struct {
		from, to int
		what     string
	}{{client, server, request}, {server, client, "answer"}} {
		if _, err := unix.Write(w.from, []byte(w.what)); err != nil {
			t.Errorf("send %q: %v", w.what, err)
		}
		if n, err := unix.Read(w.to, make([]byte, 1000)); n != len(w.what) {
			t.Errorf("receive %q: %d bytes, %v", w.what, n, err)
		}
	}
}

// request is one that an address nobody named is followed for.
const request = "POST / HTTP/1.1\r\nHost: dynamodb.us-east-1.amazonaws.com\r\nContent-Length: 0\r\n\r\n"

func TestRedirectionIsTold(t *testing.T) {
	for how, o := range map[string]Options{
		"by prefix": {Prefixes: prefixes("198.51.100.0/24")},
		"by name":   {LookAtOthers: true},
	} {
		t.Run(how, func(t *testing.T) {
			testnet.Enter(t)
			testnet.IP(t, "addr add 192.0.2.1/32 dev lo", "route add 198.51.100.0/24 dev lo")
			ln, port := listener(t, netip.MustParseAddrPort("127.0.0.1:0"))
			iptables(t, "-t nat -A OUTPUT -p tcp -d 198.51.100.7 -j REDIRECT --to-ports "+fmt.Sprint(port))
			r := record(t, open(t, o))
			fd := stream4(t)
			if err := unix.Connect(fd, &unix.SockaddrInet4{Port: 443, Addr: [4]byte{198, 51, 100, 7}}); err != nil {
				t.Fatal(err)
			}
			converse(t, fd, accept(t, ln))
			asked := netip.MustParseAddrPort("198.51.100.7:443")
			segs := with(r.stop(), asked)
			checkOpening(t, segs)
			for _, s := range segs {
				if got, want := s.Opening.RedirectedTo, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port)); got != want {
					t.Errorf("redirected to %v, want %v", got, want)
				}
			}
			if b, _ := stream(segs, segs[0].Src()); string(b) != request {
				t.Errorf("client's stream %q", b)
			}
			if b, _ := stream(segs, asked); string(b) != "answer" {
				t.Errorf("server's stream %q", b)
			}
		})
	}
}

func TestOtherNamespacesAreSeen(t *testing.T) {
	n := testnet.Pair(t)
	var ns unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &ns); err != nil {
		t.Fatal(err)
	}
	back := bytes.Repeat([]byte("0123456789abcdef"), 2000)
	var ln, port int
	n.Do(func() { ln, port = listener(t, netip.MustParseAddrPort("192.0.2.2:0")) })
	r := record(t, open(t, Options{Prefixes: prefixes("192.0.2.2/32")}))
	fd := stream4(t)
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{192, 0, 2, 2}}); err != nil {
		t.Fatal(err)
	}
	p := accept(t, ln)
	go unix.Write(p, back)
	for n := 0; n < len(back); {
		m, err := unix.Read(fd, make([]byte, 64<<10))
		if err != nil || m == 0 {
			t.Fatalf("read: %d, %v", m, err)
		}
		n += m
	}
	segs := r.stop()
	checkOpening(t, segs)
	if got := segs[0].Opening.Process.NetNS; got != ns.Ino {
		t.Errorf("network namespace %d, want %d", got, ns.Ino)
	}
	if b, _ := stream(segs, segs[0].Dst()); !bytes.Equal(b, back) {
		t.Errorf("server's stream: %d bytes, or others", len(b))
	}
}

func TestFastOpenData(t *testing.T) {
	for how, o := range map[string]Options{
		"by prefix": {Prefixes: prefixes("127.0.7.20/32")},
		"by name":   {LookAtOthers: true},
	} {
		t.Run(how, func(t *testing.T) {
			testnet.Enter(t)
			// 0x400 has the server take data in a SYN without a cookie, 4 has the client send it so: no first round is needed.
			if err := os.WriteFile("/proc/sys/net/ipv4/tcp_fastopen", []byte("1543"), 0); err != nil {
				t.Fatal(err)
			}
			ln, port := listener(t, netip.MustParseAddrPort("127.0.7.20:0"))
			if err := unix.SetsockoptInt(ln, unix.IPPROTO_TCP, unix.TCP_FASTOPEN, 5); err != nil {
				t.Fatal(err)
			}
			r := record(t, open(t, o))
			fd := stream4(t)
			if err := unix.Sendto(fd, []byte(request), unix.MSG_FASTOPEN, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 7, 20}}); err != nil {
				t.Fatal(err)
			}
			p := accept(t, ln)
			unix.Read(p, make([]byte, 1000))
			unix.Write(p, []byte("answer"))
			unix.Read(fd, make([]byte, 1000))
			segs := with(r.stop(), netip.AddrPortFrom(netip.MustParseAddr("127.0.7.20"), uint16(port)))
			checkOpening(t, segs)
			if !segs[0].Flags.Has(flow.SYN) || string(segs[0].Payload) != request {
				t.Errorf("the SYN carries %q", segs[0].Payload)
			}
			if b, fromSYN := stream(segs, segs[0].Dst()); string(b) != "answer" || !fromSYN {
				t.Errorf("server's stream %q", b)
			}
		})
	}
}

// TestMain lets the test binary play the child of TestOwnerIsWhoConnected.
func TestMain(m *testing.M) {
	if os.Getenv("DYNWATCH_TEST_CHILD") != "" {
		c, err := net.FileConn(os.NewFile(3, "socket"))
		if err == nil {
			_, err = c.Write([]byte(request))
		}
		if err == nil {
			_, err = c.Read(make([]byte, 100))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestOwnerIsWhoConnected(t *testing.T) {
	ln, addr := listen(t, "127.0.7.21:0")
	r := record(t, open(t, Options{LookAtOthers: true}))
	c, p := connect(t, ln)
	f, err := c.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "DYNWATCH_TEST_CHILD=1")
	cmd.ExtraFiles = []*os.File{f}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f.Close()
	p.Read(make([]byte, 1000))
	p.Write([]byte("answer"))
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	p.Close()
	segs := with(r.stop(), addr)
	checkOpening(t, segs)
	if b, _ := stream(segs, segs[0].Src()); string(b) != request {
		t.Errorf("client's stream %q", b)
	}
}
