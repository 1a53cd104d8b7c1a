// Command live measures what the eBPF source costs the programs of a host.
//
// Each measurement is a pair of neighbouring windows, one with the programs attached and one without, in alternating order; the ratio of the
// two is what counts, so that a machine that grows slower meanwhile slows both. The A/A control pairs two windows without, and shows how
// much of a ratio is noise. Client and server are one pinned thread on loopback, so that nothing but the network stack is measured.
//
// Beside dynwatch stand, on the same load and in turn with it: dynwatch without the look at first bytes; programs on the same hooks that do nothing,
// which is what the kernel takes for calling any; and a tcpdump whose filter matches nothing of it.
//
//	go run ./bench/live -pairs 150
//
// It needs the rights of the source, and tcpdump. Ratios above 1 are time lost.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/capture/ebpf"
)

func main() {
	pairs := flag.Int("pairs", 150, "pairs of windows for each measurement")
	window := flag.Duration("window", 25*time.Millisecond, "length of a window")
	only := flag.String("only", "", "measure only the named workload")
	tcpdump := flag.Bool("tcpdump", true, "measure tcpdump too")
	programs := flag.Bool("programs", true, "print each program's own runs and time, too")
	hooks := flag.Bool("hooks", false, "measure a program that does nothing, at each hook by itself and at others that see the same, instead of dynwatch")
	flag.Parse()
	if err := run(*pairs, *window, *only, *tcpdump, *programs, *hooks); err != nil {
		fmt.Fprintln(os.Stderr, "live: error:", err)
		os.Exit(1)
	}
}

// followed is an address on loopback that the tracked measurements are followed at.
var followed = netip.MustParseAddr("127.0.9.1")

func run(pairs int, window time.Duration, only string, tcpdump, programs, hooks bool) error {
	runtime.LockOSThread()
	if err := pin(0); err != nil {
		return err
	}
	other := netip.MustParseAddr("127.0.9.2")
	untracked := ebpf.Options{LookAtOthers: true, DNS: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	unlooked := untracked
	unlooked.LookAtOthers = false
	tracked := untracked
	tracked.Prefixes = []netip.Prefix{netip.PrefixFrom(followed, 32)}
	emptyPrograms := emptyAt("empty programs on the same hooks", sourcesHooks...)
	others := []opener{watching("dynwatch", untracked), watching("dynwatch, no look at first bytes", unlooked), plainly(untracked.Prefixes[0]), emptyPrograms}
	if hooks {
		others = singleHooks()
	} else if tcpdump {
		others = append(others, tcpdumps)
	}
	found := false
	few := []opener{watching("dynwatch", untracked)}
	followedBy := []opener{watching("dynwatch", tracked), plainly(tracked.Prefixes[0]), emptyPrograms}
	for _, m := range []struct {
		name    string
		work    func(netip.Addr) (workload, error)
		at      netip.Addr
		against []opener
	}{
		{"untracked bulk, 64 KiB", bulk, other, others},
		{"untracked ping-pong, 64 B", pingPong, other, others},
		{"untracked connections, any bytes", connections([]byte(anyBytes)), other, others},
		{"untracked connections, ClientHello", connections(clientHello()), other, few},
		{"untracked connections, HTTP request", connections([]byte(request)), other, few},
		{"tracked ping-pong, 64 B", pingPong, followed, followedBy},
		{"tracked connections, ClientHello", connections(clientHello()), followed, followedBy},
	} {
		if only != "" && only != m.name {
			continue
		}
		found = true
		if err := measure(m.name, m.work, m.at, m.against, pairs, window, programs); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	if !found {
		return fmt.Errorf("-only %q names no workload", only)
	}
	return nil
}

// measure prints the table of one workload.
func measure(name string, open func(netip.Addr) (workload, error), at netip.Addr, openers []opener, pairs int, window time.Duration, programs bool) error {
	var watchers []watcher
	defer func() {
		for _, w := range watchers {
			w.close()
		}
	}()
	for _, open := range openers {
		w, err := open()
		if err != nil {
			return err
		}
		watchers = append(watchers, w)
	}
	// A long connection is opened while it is watched.
	for _, w := range watchers {
		if err := w.on(); err != nil {
			return err
		}
	}
	w, err := open(at)
	if err != nil {
		return err
	}
	defer w.close()
	for _, w := range watchers {
		if err := w.off(); err != nil {
			return err
		}
	}
	off := func() (float64, error) { return timed(w, window) }
	ratios := make([][]float64, len(watchers)+1)
	var units []float64
	for i := range pairs + warmUps {
		for k := range ratios {
			on := off // the control
			if k < len(watchers) {
				on = func() (float64, error) {
					if err := watchers[k].on(); err != nil {
						return 0, err
					}
					t, err := timed(w, window)
					return t, errors.Join(err, watchers[k].off())
				}
			}
			with, without, err := pair(on, off, i%2 == 0)
			if err != nil {
				return err
			}
			if i >= warmUps {
				ratios[k], units = append(ratios[k], with/without), append(units, without)
			}
		}
	}
	fmt.Printf("%s (%.2f us without, %d pairs)\n", name, quantile(units, 0.5)*1e6, pairs)
	for k, r := range ratios {
		what := "A/A control"
		if k < len(watchers) {
			what = watchers[k].name()
		}
		fmt.Printf("    %-36s %.3f (%.3f-%.3f)\n", what, quantile(r, 0.5), quantile(r, 0.25), quantile(r, 0.75))
		if k < len(watchers) && programs {
			if err := printRuns(w, watchers[k]); err != nil {
				return err
			}
		}
	}
	return nil
}

// warmUps is how many rounds go before the first that counts.
const warmUps = 3

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
