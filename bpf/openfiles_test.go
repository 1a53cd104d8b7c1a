package bpf

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/testenv"
)

// attached is what Load and Attach give, or the test is skipped where this process may not: root, and CI, must be able to.
func attached(t *testing.T, c Config, prefixes ...netip.Prefix) *Socket {
	t.Helper()
	s, err := Load(c)
	if err == nil {
		t.Cleanup(func() { s.Close() })
		if err = s.SetPrefixes(prefixes); err == nil {
			err = s.Attach("")
		}
	}
	skipWithoutRights(t, err)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func skipWithoutRights(t *testing.T, err error) {
	t.Helper()
	var denied *PermissionError
	if errors.As(err, &denied) && os.Getuid() != 0 {
		testenv.Lacks(t, "needs %s: %v", denied.Capabilities, err)
	}
}

// dialled is a connection over loopback.
func dialled(t *testing.T, listenAt string) (client, server net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", listenAt)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if client, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if server, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return client, server
}

// next reads the next event that one of the connections' own sockets sent.
func next(t *testing.T, s *Socket) Event {
	t.Helper()
	var e Event
	if err := s.Read(&e, time.Now().Add(5*time.Second)); err != nil {
		t.Fatalf("no event: %v", err)
	}
	return e
}

func TestEarlierConnectionsAreFoundWithAndWithoutTheIterator(t *testing.T) {
	for name, find := range map[string]func(*Socket) error{
		"by the iterator": (*Socket).findByIterator,
		"by /proc":        func(s *Socket) error { return s.findByFiles("/proc") },
	} {
		for _, listenAt := range []string{"127.0.7.40:0", "[::1]:0"} {
			t.Run(name+" "+listenAt, func(t *testing.T) {
				client, server := dialled(t, listenAt)
				asked := client.RemoteAddr().(*net.TCPAddr).AddrPort()
				other, _ := dialled(t, "127.0.7.41:0") // nobody asked for it
				s := attached(t, Config{Ports: []uint16{asked.Port()}}, netip.MustParsePrefix("127.0.7.40/32"))
				err := find(s)
				var missing *NotSupportedError
				if v, _ := features.LinuxVersionCode(); errors.As(err, &missing) && name == "by the iterator" && (v < 5<<16|12<<8 || confidential()) {
					testenv.Beyond(t, "this kernel, which has no such iterator: %v", err)
				}
				if err != nil {
					t.Fatal(err)
				}
				if err := s.FindEarlier(); err != nil { // once more: nothing twice
					t.Fatal(err)
				}
				e := next(t, s)
				comm, err := os.ReadFile("/proc/self/comm")
				if err != nil {
					t.Fatal(err)
				}
				o := &e.Opener
				if !o.Earlier || o.PID != uint32(os.Getpid()) || o.CommString()+"\n" != string(comm) || o.UID != uint32(os.Getuid()) ||
					o.CgroupID == 0 || o.NetNS == 0 || o.Started == 0 || o.Cookie == 0 || netip.AddrPortFrom(o.Dst.Addr(), o.DstPort) != asked {
					t.Errorf("opener %+v", o)
				}
				if e.Tuple.Src() != client.LocalAddr().(*net.TCPAddr).AddrPort() || e.Tuple.Dst() != asked || len(e.Payload) != 0 || e.Number != 0 || e.Flags != flow.ACK {
					t.Errorf("event %+v", e)
				}
				if _, err := other.Write([]byte("something else entirely, of nobody's concern")); err != nil {
					t.Fatal(err)
				}
				const request = "GET / HTTP/1.1\r\n\r\n"
				if _, err := client.Write([]byte(request)); err != nil {
					t.Fatal(err)
				}
				if _, err := server.Read(make([]byte, 100)); err != nil {
					t.Fatal(err)
				}
				after := next(t, s)
				if after.Opener != e.Opener || string(after.Payload) != request || after.Number != 1 || after.FromServer {
					t.Errorf("next event %+v, payload %q", after, after.Payload)
				}
			})
		}
	}
}

func TestWhatCannotBeFollowedIsSaid(t *testing.T) {
	dialled(t, "127.0.7.42:0")
	s := attached(t, Config{}, netip.MustParsePrefix("127.0.7.42/32"))
	if err := s.connect.Conns.Close(); err != nil { // no storage can be had any more
		t.Fatal(err)
	}
	if err := s.findByFiles("/proc"); err == nil || !strings.Contains(err.Error(), "follow 1 connections") {
		t.Errorf("error %v", err)
	}
	if err := s.findByFiles(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("without /proc: no error")
	}
}

// keeperOf is set in the environment of a process that keeps what it was given open, until its standard input ends.
const keeperOf = "DYNWATCH_TEST_KEEPS"

func TestKeeper(*testing.T) {
	if os.Getenv(keeperOf) != "" {
		io.Copy(io.Discard, os.Stdin)
	}
}

// TestProcessesThatMayNotBeLookedAtAreSaid lets another process keep the connection, and looks without the right to.
func TestProcessesThatMayNotBeLookedAtAreSaid(t *testing.T) {
	client, _ := dialled(t, "127.0.7.43:0")
	s := attached(t, Config{}, netip.MustParsePrefix("127.0.7.43/32"))
	file, err := client.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	keeper := exec.Command("/proc/self/exe", "-test.run=^TestKeeper$")
	keeper.Env = append(os.Environ(), keeperOf+"=1")
	keeper.ExtraFiles = []*os.File{file}
	stop, err := keeper.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := keeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer keeper.Wait()
	defer stop.Close()
	file.Close()
	client.Close()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with what it may do
		var caps [2]unix.CapUserData
		head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		if err := unix.Capget(&head, &caps[0]); err != nil {
			done <- err
			return
		}
		caps[0].Effective &^= 1 << unix.CAP_SYS_PTRACE
		caps[0].Permitted &^= 1 << unix.CAP_SYS_PTRACE
		if err := unix.Capset(&head, &caps[0]); err != nil {
			done <- err
			return
		}
		done <- s.findByFiles("/proc")
	}()
	err = <-done
	var denied *PermissionError
	if !errors.As(err, &denied) || denied.Capabilities != "CAP_SYS_PTRACE" || !strings.Contains(err.Error(), "follow 1 connections") {
		t.Errorf("error %v", err)
	}
	if err := s.findByFiles("/proc"); err != nil {
		t.Errorf("with the right: %v", err)
	}
	if e := next(t, s); e.Opener.PID != uint32(keeper.Process.Pid) {
		t.Errorf("opener %+v", e.Opener)
	}
}

func TestOwnersAreReadFromProc(t *testing.T) {
	const status = "Name:\tx\nUmask:\t0022\nUid:\t1000\t0\t0\t0\n"
	after := " S 1 42 42 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 12345 1000000 200 18446744073709551615"
	for name, c := range map[string]struct {
		stat, status string
		want         owner
		fails        bool
	}{
		"a plain name":                   {"42 (nginx)" + after, status, owner{"nginx", 1000, 123450000000}, false},
		"a name with parentheses":        {"42 (a) S 1 (b)" + after, status, owner{"a) S 1 (b", 1000, 123450000000}, false},
		"no name":                        {"42 nginx" + after, status, owner{}, true},
		"cut before the start time":      {"42 (nginx) S 1 42", status, owner{}, true},
		"a start time that is no number": {"42 (nginx)" + strings.Replace(after, "12345", "x", 1), status, owner{}, true},
		"no user id":                     {"42 (nginx)" + after, "Name:\tx\n", owner{}, true},
		"nothing":                        {"", "", owner{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseOwner([]byte(c.stat), []byte(c.status))
			if got != c.want || (err != nil) != c.fails {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

func TestSocketsAreReadFromProc(t *testing.T) {
	const heading = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
	for name, c := range map[string]struct {
		line     string
		ok       bool
		src, dst string
		inode    uint64
	}{
		"established": {"   0: 0A0200C0:9C40 076433C6:01BB 01 00000000:00000000 00:00000000 00000000  1000        0 31337 1 0000000000000000 20 4 30 10 -1", true,
			"192.0.2.10:40000", "198.51.100.7:443", 31337},
		"connecting": {"   1: 0A0200C0:9C40 076433C6:01BB 02 00000000:00000000 00:00000000 00000000  1000        0 5 1 0", true, "192.0.2.10:40000", "198.51.100.7:443", 5},
		"over IPv6": {"   0: B80D0120000000000000000001000000:9C40 B80D0120000000000000000002000000:01BB 01 00000000:00000000 00:00000000 00000000 0 0 7 1 0", true,
			"[2001:db8::1]:40000", "[2001:db8::2]:443", 7},
		"IPv4-mapped": {"   0: 0000000000000000FFFF00000A0200C0:9C40 0000000000000000FFFF0000076433C6:01BB 01 00000000:00000000 00:00000000 00000000 0 0 7 1 0", true,
			"192.0.2.10:40000", "198.51.100.7:443", 7},
		"listening":                    {"   0: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 9 1 0", false, "", "", 0},
		"without a file (time-wait)":   {"   0: 0A0200C0:9C40 076433C6:01BB 06 00000000:00000000 00:00000000 00000000 0 0 0 1 0", false, "", "", 0},
		"established without a file":   {"   0: 0A0200C0:9C40 076433C6:01BB 01 00000000:00000000 00:00000000 00000000 0 0 0 1 0", false, "", "", 0},
		"the heading":                  {heading, false, "", "", 0},
		"a cut line":                   {"   0: 0A0200C0:9C40 076433C6:01BB 01 00000000:00000000", false, "", "", 0},
		"an address of no known size":  {"   0: 0A02:9C40 076433C6:01BB 01 0:0 0:0 0 0 0 7 1 0", false, "", "", 0},
		"an address that is no number": {"   0: 0A0200CX:9C40 076433C6:01BB 01 0:0 0:0 0 0 0 7 1 0", false, "", "", 0},
		"a port that is no number":     {"   0: 0A0200C0:9C40X 076433C6:01BB 01 0:0 0:0 0 0 0 7 1 0", false, "", "", 0},
		"nothing":                      {"", false, "", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			inode, o, ok := parseSocket(c.line)
			if ok != c.ok {
				t.Fatalf("ok is %v", ok)
			}
			if ok && (o.src != netip.MustParseAddrPort(c.src) || o.dst != netip.MustParseAddrPort(c.dst) || inode != c.inode) {
				t.Errorf("%v > %v, inode %d", o.src, o.dst, inode)
			}
		})
	}
}

// TestPrefixSetHoldsWhatItsPrefixesHold compares with the bits, of 128, as the kernel compares them.
func TestPrefixSetHoldsWhatItsPrefixesHold(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	address := func() netip.Addr {
		if r.IntN(3) == 0 {
			return netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", r.IntN(1<<16)))
		}
		return netip.AddrFrom4([4]byte{192, 0, byte(r.IntN(4)), byte(r.Uint32())})
	}
	holds := func(p netip.Prefix, a netip.Addr) bool {
		bits := p.Bits() + 128 - p.Addr().BitLen()
		x, y := p.Addr().As16(), a.As16()
		for i := range bits {
			if (x[i/8]^y[i/8])>>(7-i%8)&1 != 0 {
				return false
			}
		}
		return true
	}
	held := 0
	for range 500 {
		var set prefixSet
		list := make([]netip.Prefix, r.IntN(8))
		for i := range list {
			a := address()
			list[i] = netip.PrefixFrom(a, r.IntN(a.BitLen()+1))
			set.add(list[i])
		}
		for range 100 {
			a := address()
			want := slices.ContainsFunc(list, func(p netip.Prefix) bool { return holds(p, a) })
			if set.contains(a) != want {
				t.Fatalf("%v in %v: %v", a, list, !want)
			}
			if want {
				held++
			}
		}
	}
	if held < 1000 || held > 49000 {
		t.Errorf("%d of 50000 are held: this tests little", held)
	}
}
