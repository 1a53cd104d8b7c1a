// Command live measures what the eBPF source costs the programs of a host.
//
// Each measurement is a pair of neighbouring windows, one with the programs attached and one without, in alternating order; the ratio of the
// two is what counts, so that a machine that grows slower meanwhile slows both. The A/A control pairs two windows without, and shows how
// much of a ratio is noise. Client and server are one pinned thread on loopback, so that nothing but the network stack is measured.
//
//	go run ./bench/live -pairs 150
//
// It needs the rights of the source. Ratios above 1 are time lost.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/capture"
	"github.com/dynwatch/dynwatch/capture/ebpf"
	"github.com/dynwatch/dynwatch/internal/flow"
)

func main() {
	pairs := flag.Int("pairs", 150, "pairs of windows for each measurement")
	window := flag.Duration("window", 25*time.Millisecond, "length of a window")
	only := flag.String("only", "", "measure only the named workload")
	flag.Parse()
	if err := run(*pairs, *window, *only); err != nil {
		fmt.Fprintln(os.Stderr, "live: error:", err)
		os.Exit(1)
	}
}

// followed is an address on loopback that the tracked measurements are followed at.
var followed = netip.MustParseAddr("127.0.9.1")

func run(pairs int, window time.Duration, only string) error {
	runtime.LockOSThread()
	if err := pin(0); err != nil {
		return err
	}
	other := netip.MustParseAddr("127.0.9.2")
	untracked := ebpf.Options{LookAtOthers: true, DNS: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	tracked := untracked
	tracked.Prefixes = []netip.Prefix{netip.PrefixFrom(followed, 32)}
	fmt.Printf("%-44s %8s %8s %8s %8s   %s\n", "workload", "median", "q1", "q3", "A/A", "without, per unit")
	for _, m := range []struct {
		name string
		work func(netip.Addr) (workload, error)
		at   netip.Addr
		o    ebpf.Options
	}{
		{"untracked bulk, 64 KiB", bulk, other, untracked},
		{"untracked ping-pong, 64 B", pingPong, other, untracked},
		{"untracked connections, any bytes", connections([]byte(anyBytes)), other, untracked},
		{"untracked connections, ClientHello", connections(clientHello()), other, untracked},
		{"untracked connections, HTTP request", connections([]byte(request)), other, untracked},
		{"tracked ping-pong, 64 B", pingPong, followed, tracked},
		{"tracked connections, ClientHello", connections(clientHello()), followed, tracked},
	} {
		if only != "" && only != m.name {
			continue
		}
		if err := measure(m.name, m.work, m.at, m.o, pairs, window); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return nil
}

// measure prints the line of one workload.
func measure(name string, open func(netip.Addr) (workload, error), at netip.Addr, o ebpf.Options, pairs int, window time.Duration) error {
	src, err := ebpf.Open(o)
	if err != nil {
		return err
	}
	done := make(chan struct{})
	go drain(src, done)
	defer func() { src.Close(); <-done; src.Close() }()
	w, err := open(at) // a long connection is opened while it is watched
	if err != nil {
		return err
	}
	defer w.close()
	off := func() (float64, error) { return timed(w, window) }
	on := func() (float64, error) {
		if err := src.Resume(); err != nil {
			return 0, err
		}
		t, err := timed(w, window)
		return t, errors.Join(err, src.Pause())
	}
	if err := src.Pause(); err != nil {
		return err
	}
	for range 5 { // warm up
		if _, err := on(); err != nil {
			return err
		}
	}
	ratios, control, units := make([]float64, 0, pairs), make([]float64, 0, pairs), make([]float64, 0, pairs)
	for i := range pairs {
		with, without, err := pair(on, off, i%2 == 0)
		if err != nil {
			return err
		}
		a, b, err := pair(off, off, i%2 == 0)
		if err != nil {
			return err
		}
		ratios, control, units = append(ratios, with/without), append(control, a/b), append(units, without)
	}
	fmt.Printf("%-44s %8.3f %8.3f %8.3f %8.3f   %.2f us\n", name, quantile(ratios, 0.5), quantile(ratios, 0.25), quantile(ratios, 0.75),
		quantile(control, 0.5), quantile(units, 0.5)*1e6)
	return nil
}

// pair takes two neighbouring measurements.
func pair(first, second func() (float64, error), inOrder bool) (a, b float64, err error) {
	if inOrder {
		if a, err = first(); err == nil {
			b, err = second()
		}
		return a, b, err
	}
	if b, err = second(); err == nil {
		a, err = first()
	}
	return a, b, err
}

// timed is the processor time of this thread that one unit of work takes, in seconds. On loopback the kernel does both ends' work in it.
func timed(w workload, window time.Duration) (float64, error) {
	for range warmUp { // attaching patches code and empties caches
		if err := w.step(); err != nil {
			return 0, err
		}
	}
	start, err := threadTime()
	if err != nil {
		return 0, err
	}
	for n := 0; ; n++ {
		if n%16 == 0 && n > 0 {
			now, err := threadTime()
			if d := now - start; err != nil || d >= window {
				return d.Seconds() / float64(n), err
			}
		}
		if err := w.step(); err != nil {
			return 0, err
		}
	}
}

// warmUp is how many units of work go before each measurement.
const warmUp = 32

// threadTime is the processor time that this thread has used.
func threadTime() (time.Duration, error) {
	var ts unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts)
	return time.Duration(ts.Nano()), err
}

func quantile(v []float64, q float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[int(q*float64(len(s)-1)+0.5)]
}

// drain reads a source until its end.
func drain(src capture.Source, done chan struct{}) {
	defer close(done)
	for {
		var seg flow.Segment
		if err := src.Next(&seg); err != nil && !errors.Is(err, capture.ErrIdle) {
			if !errors.Is(err, io.EOF) {
				fmt.Fprintln(os.Stderr, "live: error:", err)
			}
			return
		}
	}
}
