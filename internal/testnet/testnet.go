// Package testnet gives tests servers, and network namespaces of their own, so that neither the host's addresses, routes and filter rules nor those of
// another test matter, and nothing is left behind. It needs root; without, tests end as testenv says.
//
// A namespace belongs to a thread. [Enter] takes the test's own goroutine into one, [New] makes one beside it whose goroutine does what
// it is told. Sockets belong to the namespace in which they were made, whoever uses them later; the goroutines of net.Dial with several addresses,
// and of anything else that starts some, do not.
package testnet

import (
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

// Enter moves the calling goroutine to a new namespace in which loopback is up. Its thread ends with it, and the namespace with the thread.
func Enter(t testing.TB) {
	t.Helper()
	testenv.Root(t)
	testenv.Tool(t, "ip")
	if err := enter(); err != nil {
		t.Fatal(err)
	}
}

func enter() error {
	runtime.LockOSThread() // never unlocked: the runtime then ends the thread
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("new network namespace: %w", err)
	}
	return Configure("link set lo up")
}

// IP runs commands of ip(8) in the namespace of the calling goroutine.
func IP(t testing.TB, commands ...string) {
	t.Helper()
	if err := Configure(commands...); err != nil {
		t.Fatal(err)
	}
}

// Configure is IP for a process that a test has started.
func Configure(commands ...string) error {
	for _, c := range commands {
		if out, err := exec.Command("ip", strings.Fields(c)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", c, err, out)
		}
	}
	return nil
}

// Namespace is another one than the test's, with loopback up and a goroutine that lives in it until the end of the test.
type Namespace struct {
	// Thread is the id of the goroutine's thread, by which ip(8) knows the namespace.
	Thread int

	t    testing.TB
	work chan func()
	gone chan struct{} // closed when the goroutine has ended
}

// New makes a namespace.
func New(t testing.TB) *Namespace {
	t.Helper()
	testenv.Root(t)
	testenv.Tool(t, "ip")
	n := &Namespace{t: t, work: make(chan func()), gone: make(chan struct{})}
	ready := make(chan error)
	go func() {
		defer close(n.gone)
		err := enter()
		n.Thread = unix.Gettid()
		ready <- err
		for f := range n.work {
			f()
		}
	}()
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		close(n.work)
		<-n.gone
	})
	return n
}

// Do has the namespace's goroutine call f, and waits. Where f ends the test, Do does so too.
func (n *Namespace) Do(f func()) {
	n.t.Helper()
	done := make(chan struct{})
	select {
	case n.work <- func() { f(); close(done) }:
	case <-n.gone:
	}
	select {
	case <-done:
	case <-n.gone:
		n.t.FailNow()
	}
}

// IP runs commands of ip(8) in the namespace.
func (n *Namespace) IP(commands ...string) {
	n.t.Helper()
	n.Do(func() { IP(n.t, commands...) })
}

// Pair enters a namespace and makes another at the other end of a cable: 192.0.2.1 at the interface "near" here, 192.0.2.2 at "far" there.
func Pair(t testing.TB) *Namespace {
	t.Helper()
	Enter(t)
	n := New(t)
	IP(t, fmt.Sprintf("link add near type veth peer name far netns %d", n.Thread), "addr add 192.0.2.1/24 dev near", "link set near up")
	n.IP("addr add 192.0.2.2/24 dev far", "link set far up")
	return n
}
