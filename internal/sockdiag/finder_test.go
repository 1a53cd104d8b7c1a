package sockdiag

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/testenv"
	"github.com/dynwatch/dynwatch/internal/testnet"
)

// childVariable makes the test program a client in another network namespace. Its value is the interface that the client is bound to, or
// anyInterface.
const (
	childVariable = "SOCKDIAG_TEST_CHILD"
	anyInterface  = "any"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		child()
		return
	}
	os.Exit(m.Run())
}

// child opens a connection over an address of its own, prints its ends, and waits until standard input ends.
func child() {
	if err := testnet.Configure("link set lo up", "addr add 192.0.2.1/32 dev lo"); err != nil {
		fmt.Println("error", err)
		return
	}
	l, err := net.Listen("tcp", "192.0.2.1:0")
	if err != nil {
		fmt.Println("error", err)
		return
	}
	var d net.Dialer
	if device := os.Getenv(childVariable); device != anyInterface {
		d.Control = func(_, _ string, c syscall.RawConn) (err error) {
			return errors.Join(c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), device) }), err)
		}
	}
	c, err := d.Dial("tcp", l.Addr().String())
	if err != nil {
		fmt.Println("error", err)
		return
	}
	fmt.Println(c.LocalAddr(), c.RemoteAddr())
	io.Copy(io.Discard, os.Stdin)
	runtime.KeepAlive(c)
}

// startChild starts a client in a namespace of its own and returns the five-tuple of what it sends.
func startChild(t *testing.T, device string) (pid int, tuple flow.FiveTuple, stop func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+device)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = func() { in.Close(); cmd.Wait() }
	t.Cleanup(stop)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	local, remote, _ := strings.Cut(strings.TrimSpace(line), " ")
	a, err1 := netip.ParseAddrPort(local)
	b, err2 := netip.ParseAddrPort(remote)
	if err1 != nil || err2 != nil {
		t.Fatalf("child: %s", line)
	}
	return cmd.Process.Pid, Tuple(a, b), stop
}

func open(t testing.TB, o Options) *Finder {
	t.Helper()
	f, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func addrPort(t testing.TB, sa unix.Sockaddr) netip.AddrPort {
	t.Helper()
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))
	}
	t.Fatalf("address %T", sa)
	return netip.AddrPort{}
}

// dial makes a connection to a listener of its own with a socket of the given family, and returns the five-tuple of what it sends.
func dial(t testing.TB, network, address string, remote func(port int) unix.Sockaddr, family int) (fd int, tuple flow.FiveTuple) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		testenv.Lacks(t, "%s: %v", network, err)
	}
	t.Cleanup(func() { l.Close() })
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(fd, remote(l.Addr().(*net.TCPAddr).Port)); err != nil {
		t.Fatal(err)
	}
	a, err1 := unix.Getsockname(fd)
	b, err2 := unix.Getpeername(fd)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return fd, Tuple(addrPort(t, a), addrPort(t, b))
}

func ipv4(port int) unix.Sockaddr {
	return &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
}

func TestOwnerOfOwnSockets(t *testing.T) {
	for _, c := range []struct {
		name, network, address string
		family                 int
		remote                 func(int) unix.Sockaddr
	}{
		{"IPv4", "tcp4", "127.0.0.1:0", unix.AF_INET, ipv4},
		{"IPv6", "tcp6", "[::1]:0", unix.AF_INET6, func(port int) unix.Sockaddr {
			return &unix.SockaddrInet6{Port: port, Addr: netip.IPv6Loopback().As16()}
		}},
		{"IPv4-mapped", "tcp4", "127.0.0.1:0", unix.AF_INET6, func(port int) unix.Sockaddr {
			return &unix.SockaddrInet6{Port: port, Addr: netip.MustParseAddr("::ffff:127.0.0.1").As16()}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := open(t, Options{})
			fd, tuple := dial(t, c.network, c.address, c.remote, c.family)
			o := f.Opening(tuple)
			if o == nil {
				t.Fatalf("no owner of %+v: %+v", tuple, f.Stats())
			}
			p := o.Process
			if p.PID != os.Getpid() || !p.UIDKnown || p.UID != uint32(os.Getuid()) || p.NetNS != f.own || p.StartTime == 0 || p.Comm == "" {
				t.Errorf("%+v", p)
			}
			if again := f.Opening(tuple); again == o || again.Process.PID != p.PID {
				t.Error("an Opening was given out twice")
			}
			unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}) // closed by a reset, without TIME_WAIT
			unix.Close(fd)
			if o := f.Opening(tuple); o != nil {
				t.Errorf("closed: %+v", o)
			}
			if s := f.Stats(); s.Lookups != 3 || s.NoSocket != 1 || s.NoProcess != 0 || s.Failed != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestOwnerOfASocketBoundToADevice has sockets as curl --interface makes them.
func TestOwnerOfASocketBoundToADevice(t *testing.T) {
	testnet.Pair(t)
	f := open(t, Options{})
	for _, c := range []struct {
		device string
		remote [4]byte
	}{{"lo", [4]byte{127, 0, 0, 2}}, {"near", [4]byte{192, 0, 2, 99}}} {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := unix.BindToDevice(fd, c.device); err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp4", "127.0.0.2:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		remote := &unix.SockaddrInet4{Port: l.Addr().(*net.TCPAddr).Port, Addr: c.remote}
		if err := unix.Connect(fd, remote); err != nil && err != unix.EINPROGRESS {
			t.Fatal(err)
		}
		local, err := unix.Getsockname(fd)
		if err != nil {
			t.Fatal(err)
		}
		o := f.Opening(Tuple(addrPort(t, local), addrPort(t, remote)))
		if o == nil || o.Process.PID != os.Getpid() || o.Process.NetNS != f.own {
			t.Errorf("%s: %+v, %+v", c.device, o, f.Stats())
		}
	}
	if s := f.Stats(); s.Failed != 0 {
		t.Errorf("%+v", s)
	}
}

func TestOwnerOfASocketBoundToADeviceElsewhere(t *testing.T) {
	testenv.Root(t)
	pid, tuple, _ := startChild(t, "lo")
	f := open(t, Options{})
	if o := f.Opening(tuple); o == nil || o.Process.PID != pid {
		t.Errorf("%+v, %+v", o, f.Stats())
	}
}

func TestListenerIsNoOwner(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	local := netip.MustParseAddrPort(l.Addr().String())
	if o := open(t, Options{}).Opening(Tuple(local, netip.MustParseAddrPort("127.0.0.1:9"))); o != nil {
		t.Errorf("%+v", o)
	}
}

// TestOwnerWhileConnecting looks for a socket whose SYN nobody answers: the neighbour does not exist.
func TestOwnerWhileConnecting(t *testing.T) {
	testnet.Pair(t)
	f := open(t, Options{})
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: 443, Addr: [4]byte{192, 0, 2, 99}}); err != unix.EINPROGRESS {
		t.Fatal(err)
	}
	local, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	o := f.Opening(Tuple(addrPort(t, local), netip.MustParseAddrPort("192.0.2.99:443")))
	if o == nil || o.Process.PID != os.Getpid() {
		t.Errorf("%+v, %+v", o, f.Stats())
	}
}

func TestOwnerInAnotherNamespace(t *testing.T) {
	testenv.Root(t)
	f := open(t, Options{})
	pid, tuple, stop := startChild(t, anyInterface)
	o := f.Opening(tuple)
	if o == nil {
		t.Fatalf("not found: %+v", f.Stats())
	}
	if ns, err := namespaceOf(filepath.Join("/proc", strconv.Itoa(pid), "ns/net")); err != nil || o.Process.NetNS != ns || ns == f.own {
		t.Errorf("namespace %d, want %d (%v), own %d", o.Process.NetNS, ns, err, f.own)
	}
	if o.Process.PID != pid {
		t.Errorf("pid %d, want %d", o.Process.PID, pid)
	}
	before := f.Stats().Visits
	if o := f.Opening(tuple); o == nil || f.Stats().Visits != before+1 {
		t.Errorf("the address was not remembered: %+v", f.Stats())
	}
	// Nothing of ours keeps the namespace alive: every thread is back home.
	threads, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range threads {
		if ns, err := namespaceOf(path); err == nil && ns == o.Process.NetNS {
			t.Errorf("%s is left in the namespace", path)
		}
	}
	stop()
	if o := f.Opening(tuple); o != nil {
		t.Errorf("after the child's end: %+v", o)
	}
	if s := f.Stats(); s.Failed != 0 || s.Refused != 0 {
		t.Errorf("%+v", s)
	}
}

func TestMissedConnectionOfANamespaceHidesNoOther(t *testing.T) {
	testenv.Root(t)
	_, tuple, _ := startChild(t, anyInterface)
	now := time.Now()
	f := open(t, Options{Now: func() time.Time { return now }})
	if f.Opening(tuple) == nil {
		t.Fatal("not found at all")
	}
	now = now.Add(10 * relist)
	missed := tuple
	missed.SrcPort ^= 0x4000 // as one that was refused, and is gone
	if o := f.Opening(missed); o != nil {
		t.Fatalf("%+v", o)
	}
	for range 3 {
		if f.Opening(tuple) == nil {
			t.Errorf("after %v: no owner", now)
		}
		now = now.Add(400 * time.Millisecond)
	}
}

func TestPacketsFromOutsideEnterNoNamespace(t *testing.T) {
	testenv.Root(t)
	_, tuple, _ := startChild(t, anyInterface)
	now := time.Now()
	f := open(t, Options{Now: func() time.Time { return now }})
	if f.Opening(tuple) == nil {
		t.Fatal("not found at all")
	}
	before := f.Stats()
	for i := range 500 {
		outside := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 40000)
		if o := f.Opening(Tuple(outside, netip.MustParseAddrPort("203.0.113.1:443"))); o != nil {
			t.Fatalf("%+v", o)
		}
	}
	if s := f.Stats(); s.Visits != before.Visits || s.Listings != before.Listings {
		t.Errorf("%+v, then %+v", before, s)
	}
	if f.Opening(tuple) == nil {
		t.Errorf("no owner of the open connection: %+v", f.Stats())
	}
}

func TestSpentVisitsCountOnceForEachConnection(t *testing.T) {
	testenv.Root(t)
	_, tuple, _ := startChild(t, anyInterface)
	startChild(t, anyInterface)
	now := time.Now()
	f := open(t, Options{Now: func() time.Time { return now }})
	f.visits.refill(now)
	f.visits.left = 0
	if o := f.Opening(tuple); o != nil {
		t.Errorf("%+v", o)
	}
	if s := f.Stats(); s.Limited != 1 || s.Visits != 0 {
		t.Errorf("%+v", s)
	}
	now = now.Add(relist)
	if o := f.Opening(tuple); o == nil {
		t.Errorf("a second later: %+v", f.Stats())
	}
}

func TestUnknownAddressIsNotSoughtAgainAtOnce(t *testing.T) {
	now := time.Now()
	f := open(t, Options{Now: func() time.Time { return now }})
	tuple := Tuple(netip.MustParseAddrPort("198.51.100.1:1000"), netip.MustParseAddrPort("198.51.100.2:443"))
	for range 100 {
		if o := f.Opening(tuple); o != nil {
			t.Fatalf("%+v", o)
		}
	}
	if s := f.Stats(); s.Listings != 1 {
		t.Errorf("%+v", s)
	}
	now = now.Add(relist)
	f.Opening(tuple)
	if s := f.Stats(); s.Listings != 2 {
		t.Errorf("%+v", s)
	}
}

func TestBudgetsEndTheSearch(t *testing.T) {
	now := time.Now()
	f := open(t, Options{FilesPerSecond: 1, VisitsPerSecond: 1, Now: func() time.Time { return now }})
	f.files.refill(now)
	f.files.left = 0
	_, tuple := dial(t, "tcp4", "127.0.0.1:0", ipv4, unix.AF_INET)
	o := f.Opening(tuple)
	if o == nil || o.Process.PID != 0 || !o.Process.UIDKnown || o.Process.UID != uint32(os.Getuid()) {
		t.Errorf("%+v", o)
	}
	if s := f.Stats(); s.Limited != 1 || s.NoProcess != 1 || s.Files != 0 {
		t.Errorf("%+v", s)
	}
}

func TestBudgetRefills(t *testing.T) {
	now := time.Now()
	b := budget{perSecond: 100}
	if n := b.refill(now); n != 100 {
		t.Errorf("first: %d", n)
	}
	b.left = 0
	for _, c := range []struct {
		after time.Duration
		want  int
	}{{100 * time.Millisecond, 10}, {time.Hour, 100}, {-time.Hour, 100}} {
		now = now.Add(c.after)
		if n := b.refill(now); n != c.want {
			t.Errorf("after %v: %d, want %d", c.after, n, c.want)
		}
	}
}

func TestCloseTwice(t *testing.T) {
	f := open(t, Options{})
	_, tuple := dial(t, "tcp4", "127.0.0.1:0", ipv4, unix.AF_INET)
	if err := errors.Join(f.Close(), f.Close()); err != nil {
		t.Error(err)
	}
	if o := f.Opening(tuple); o != nil {
		t.Errorf("after Close: %+v", o)
	}
}

func TestYoungestProcessComesFirst(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"1", "50", "300", "200", "self", "0", "x9"} {
		if err := os.Mkdir(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if got := fmt.Sprint(listPids(root)); got != "[300 200 50 1]" {
		t.Errorf("without loadavg: %s", got)
	}
	if err := os.WriteFile(filepath.Join(root, "loadavg"), []byte("0.1 0.1 0.1 1/100 210\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(listPids(root)); got != "[200 50 1 300]" {
		t.Errorf("with loadavg: %s", got)
	}
}

func TestNamesOfProcessesArePrintable(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "50"), 0o755); err != nil {
		t.Fatal(err)
	}
	stat := "50 (a\xff) \x1b) S 1 50 50 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 700 0 0\n"
	if err := os.WriteFile(filepath.Join(root, "50", "stat"), []byte(stat), 0o644); err != nil {
		t.Fatal(err)
	}
	if comm, start, err := nameAndStart(root, 50); comm != "a?) ?" || start != 700*nanosPerTick || err != nil {
		t.Errorf("%q, %d, %v", comm, start, err)
	}
}

func BenchmarkOpening(b *testing.B) {
	_, tuple := dial(b, "tcp4", "127.0.0.1:0", ipv4, unix.AF_INET)
	b.Run("recent process", func(b *testing.B) {
		f := open(b, Options{FilesPerSecond: 1 << 40})
		b.ReportAllocs()
		for b.Loop() {
			f.Opening(tuple)
		}
	})
	b.Run("all processes", func(b *testing.B) {
		f := open(b, Options{FilesPerSecond: 1 << 40})
		b.ReportAllocs()
		for b.Loop() {
			f.recent = nil
			f.Opening(tuple)
		}
		b.ReportMetric(float64(f.Stats().Files)/float64(b.N), "files/op")
	})
	b.Run("no socket", func(b *testing.B) {
		f := open(b, Options{})
		t := tuple
		t.SrcPort++
		b.ReportAllocs()
		for b.Loop() {
			f.Opening(t)
		}
	})
}
