package afpacket

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/capture"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// needRights skips, or fails where tests have to have the rights.
func needRights(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("needs CAP_NET_RAW, CAP_NET_ADMIN and CAP_SYS_ADMIN")
	}
	t.Skip("needs CAP_NET_RAW, CAP_NET_ADMIN and CAP_SYS_ADMIN")
}

// isolate moves the test's goroutine into a network namespace of its own, in which loopback is up. The thread ends with the goroutine,
// and the namespace with the thread.
func isolate(t *testing.T) {
	t.Helper()
	needRights(t)
	runtime.LockOSThread() // never unlocked
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("new network namespace: %v", err)
	}
	ip(t, "link set lo up")
}

// ip runs iproute2 in the namespace of the calling thread.
func ip(t *testing.T, args string) {
	t.Helper()
	if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", args, err, out)
	}
}

// neighbour is another network namespace, with a goroutine that lives in it.
type neighbour struct {
	thread int
	work   chan func()
}

func newNeighbour(t *testing.T) *neighbour {
	t.Helper()
	n := &neighbour{work: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread()
		n.thread = unix.Gettid()
		ready <- unix.Unshare(unix.CLONE_NEWNET)
		for f := range n.work {
			f()
		}
	}()
	if err := <-ready; err != nil {
		t.Fatalf("new network namespace: %v", err)
	}
	t.Cleanup(func() { close(n.work) })
	return n
}

func (n *neighbour) do(f func()) {
	done := make(chan struct{})
	n.work <- func() { defer close(done); f() }
	<-done
}

// connected makes a neighbour at the other end of the interface "near": 192.0.2.1 here, 192.0.2.2 there.
func connected(t *testing.T) *neighbour {
	t.Helper()
	isolate(t)
	n := newNeighbour(t)
	ip(t, "link add near type veth peer name far netns "+strconv.Itoa(n.thread))
	ip(t, "addr add 192.0.2.1/24 dev near")
	ip(t, "link set near up")
	n.do(func() {
		ip(t, "addr add 192.0.2.2/24 dev far")
		ip(t, "link set far up")
		ip(t, "link set lo up")
	})
	return n
}

// listen accepts connections and sends back what comes, until the client has sent all.
func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	return l
}

// talk sends a message, reads it back, and closes.
func talk(t *testing.T, address, message string) {
	t.Helper()
	c, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() {
		io.WriteString(c, message)
		c.(*net.TCPConn).CloseWrite()
	}()
	back, err := io.ReadAll(c)
	if err != nil || string(back) != message {
		t.Fatalf("%d bytes came back of %d: %v", len(back), len(message), err)
	}
}

func open(t *testing.T, o Options) *Source {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// collect reads until want says that it is enough, or nothing came for a good while. Payloads are copied.
func collect(t *testing.T, s *Source, want func([]flow.Segment) bool) []flow.Segment {
	t.Helper()
	var (
		all []flow.Segment
		seg flow.Segment
	)
	for idle := 0; idle < 100 && !want(all); {
		err := s.Next(&seg)
		switch {
		case err == nil:
			idle = 0
			seg.Payload = append([]byte(nil), seg.Payload...)
			all = append(all, seg)
		case errors.Is(err, capture.ErrIdle):
			idle++
		default:
			t.Fatal(err)
		}
	}
	return all
}

// ended holds once a FIN came from both sides.
func ended(all []flow.Segment) bool {
	var from []uint16
	for i := range all {
		if all[i].Flags.Has(flow.FIN) {
			from = append(from, all[i].SrcPort)
		}
	}
	return len(from) >= 2 && from[0] != from[len(from)-1]
}
