// Command library measures what the library probes cost clients that make handshakes.
//
// A client program makes connection after connection to a server in another process, in short slices of work. Every other slice is without probes;
// those between have the probes attached, and in turn are the A/A control, for which the probes are set, too, but taken away again before. What
// counts is the ratio of such a slice to the two plain ones around it: of the time, and of the processor's time that the client took, which what else
// the machine does disturbs less. It is one client throughout, as two of the same program differ by more than what is measured. This program wakes up every
// 3 ms all the while, as a capture does with and without the probes for what the kernel tells of the connections.
//
//	go run ./bench/library -for 9m
//
// Ratios above 1 are time lost; [ ] is what the median lies in with 95 % certainty. With -without REGEXP some of the probes are left out: what the ratio
// loses by that is theirs.
//
//	go run ./bench/library -hits
//
// counts, instead: how often each probe is hit for each handshake and for 64 MiB of data, and how long its program then runs, by the kernel's own
// count. What else the machine does makes little difference to that. A hit also costs its trap: go test ./bpf -run '^$' -bench Probe.
//
// It needs the rights of the probes, and the Debian packages python3-boto3, curl, and with -hits nodejs and python3-pycurl.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

func main() {
	long := flag.Duration("for", 9*time.Minute, "how long all clients are measured together")
	slice := flag.Duration("slice", 200*time.Millisecond, "how long a slice of work takes, about")
	only := flag.String("only", "", "measure the clients whose name this regular expression matches")
	without := flag.String("without", "", "leave out the probes whose program's name this regular expression matches, as dynwatch_openssl_asked")
	hits := flag.Bool("hits", false, "count the hits of the probes instead")
	at := flag.String("serve", "", "be the server, with its root certificate in this folder")
	client := flag.String("client", "", "be a client, which trusts the certificates in this file, of the address that is the argument")
	flag.Parse()
	var err error
	switch {
	case *at != "":
		err = serve(*at)
	case *client != "":
		err = get(*client, flag.Arg(0))
	default:
		err = run(*only, *without, *hits, *long, *slice)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "library: error:", err)
		os.Exit(1)
	}
}

func run(only, without string, hits bool, long, slice time.Duration) error {
	pattern, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	var leftOut *regexp.Regexp
	if without != "" {
		if leftOut, err = regexp.Compile(without); err != nil {
			return fmt.Errorf("-without: %w", err)
		}
	}
	var chosen []workload
	for _, w := range workloads {
		switch {
		case hits && w.passedOver:
		case only != "" && pattern.MatchString(w.name), only == "" && (hits || w.timed):
			chosen = append(chosen, w)
		}
	}
	if len(chosen) == 0 {
		return errors.New("no such client")
	}
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
	if n := foreign(); n > 0 {
		fmt.Fprintf(os.Stderr, "library: warning: other programs hold %d links of probes: what theirs cost is in both sides of each ratio, and the traps of places that both probe are in none\n", n)
	}
	r := newReader()
	printHead(hits)
	for _, w := range chosen {
		c, err := w.start(dir, address)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		if hits {
			err = count(w, c, r)
		} else {
			err = measure(w, c, r, leftOut, long/time.Duration(len(chosen)), slice)
		}
		c.end()
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	return nil
}

func printHead(hits bool) {
	if hits {
		fmt.Printf("%-32s %-32s %s\n", "client", "probe", "hits")
		return
	}
	fmt.Printf("%-20s %-9s %-6s %-38s %-38s %-13s %s\n", "client", "of", "cycles", "with probes (quartiles) [95 %]", "A/A (quartiles) [95 %]", "without, each",
		"dynwatch, each")
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
