// Command library measures what the library probes cost clients that make handshakes.
//
// A client program makes connection after connection to a server in another process; each round lets it make so many with the probes attached
// and twice as many without, in an order that changes, and the ratio is what counts: of the time, and of the processor's time that the
// client took, which what else the machine does disturbs less. The A/A control compares the two without. It is one process throughout, as two of the same program
// differ by more than what is measured.
//
//	go run ./bench/library -for 2m
//
// It needs the rights of the probes, and the Debian packages python3-boto3 and curl. Ratios above 1 are time lost.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dynwatch/dynwatch/capture/library"
	"github.com/dynwatch/dynwatch/internal/flow"
)

func main() {
	long := flag.Duration("for", 2*time.Minute, "how long each client is measured")
	amount := flag.Int("handshakes", 60, "handshakes in a third of a round")
	only := flag.String("only", "", "measure only this client")
	auto := flag.Bool("auto", false, "as --library-probes auto: the client is none that opens connections to DynamoDB")
	at := flag.String("serve", "", "be the server, with its root certificate in this folder")
	flag.Parse()
	var err error
	if *at != "" {
		err = serve(*at)
	} else {
		err = run(*long, *amount, *only, *auto)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "library: error:", err)
		os.Exit(1)
	}
}

func run(long time.Duration, amount int, only string, auto bool) error {
	dir, err := os.MkdirTemp("", "dynwatch-bench-library-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	server, address, err := startServer(dir)
	if err != nil {
		return err
	}
	defer server.end()
	if err := bundle(dir); err != nil {
		return err
	}
	fmt.Printf("%-16s %-9s %-6s %-23s %-23s %s\n", "client", "of", "rounds", "with probes (quartiles)", "A/A (quartiles)", "without, each")
	for _, w := range workloads {
		if only != "" && only != w.name {
			continue
		}
		if err := measure(w, dir, address, long, amount, auto); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	return nil
}

// settled is how long the client rests after probes were set or taken away, so that what that left to do is not measured.
const settled = 20 * time.Millisecond

// leastRounds are enough for quartiles.
const leastRounds = 8

func measure(w workload, dir, address string, long time.Duration, amount int, auto bool) error {
	amount = max(1, amount/w.dear)
	c, err := w.start(dir, address)
	if err != nil {
		return err
	}
	defer c.end()
	if _, err := c.round(amount); err != nil { // imports, caches
		return err
	}
	var ratios, control [2][]float64
	var without [2][]time.Duration
	rounds := 0
	for begin := time.Now(); time.Since(begin) < long || rounds < leastRounds; rounds++ {
		var t [3]took // with probes, without, without again
		for i := range t {
			if i = (i + rounds) % 3; rounds%2 == 1 {
				i = 2 - i
			}
			if i == 0 {
				t[i], err = probed(c, w, amount, auto)
			} else {
				time.Sleep(settled)
				t[i], err = c.round(amount)
			}
			if err != nil {
				return err
			}
		}
		for k := range ratios {
			ratios[k] = append(ratios[k], float64(t[0][k])/float64(t[1][k]))
			control[k] = append(control[k], float64(t[2][k])/float64(t[1][k]))
			without[k] = append(without[k], t[1][k]/time.Duration(amount))
		}
	}
	for k, of := range []string{"time", "processor"} {
		slices.Sort(without[k])
		fmt.Printf("%-16s %-9s %-6d %-23s %-23s %v\n", w.name, of, rounds, quartiles(ratios[k]), quartiles(control[k]), without[k][len(without[k])/2].Round(time.Microsecond))
	}
	return nil
}

// quartiles are the median and, in brackets, the first and third quartile.
func quartiles(x []float64) string {
	slices.Sort(x)
	n := len(x)
	return fmt.Sprintf("%.3f (%.3f, %.3f)", x[n/2], x[n/4], x[n*3/4])
}

// probed is a part of a round with the probes attached, polled as a capture does.
func probed(c *client, w workload, amount int, auto bool) (t took, err error) {
	s, err := library.Open(library.Options{All: !auto})
	if err != nil {
		return t, err
	}
	time.Sleep(settled)
	var stop atomic.Bool
	done := make(chan error, 1)
	go func() {
		for !stop.Load() {
			if err := s.Poll(func(*flow.Library) {}); err != nil {
				done <- err
				return
			}
			time.Sleep(3 * time.Millisecond)
		}
		done <- s.Poll(func(*flow.Library) {})
	}()
	t, err = c.round(amount)
	stop.Store(true)
	err = errors.Join(err, <-done)
	seen := s.Stats()
	if n := seen.Handshakes + seen.PassedOver; err == nil && w.handshakes && n < uint64(amount) {
		err = fmt.Errorf("the probes saw %d of %d handshakes: nothing was measured; %s", n, amount, strings.Join(seen.Problems, "; "))
	}
	return t, errors.Join(err, s.Release())
}

// bundle writes a file as programs have it by default: all public authorities, and the server's.
func bundle(dir string) error {
	public, err := os.ReadFile("/etc/ssl/certs/ca-certificates.crt")
	if err != nil {
		return err
	}
	own, err := os.ReadFile(filepath.Join(dir, rootFile))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, bundleFile), append(public, own...), 0o644)
}
