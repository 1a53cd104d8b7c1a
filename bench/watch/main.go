// Command watch measures what `dynwatch capture` does on a live host under load: whether it loses handshakes, how long after a handshake its
// line of JSON comes out, and how much memory it takes.
//
// Client and server are this program, over loopback. The handshakes are recordings of crypto/tls, TLS 1.2 and 1.3 by turns, played over real
// connections: on two processors, making them anew would be the limit, not dynwatch. Every session that is put out is compared with what
// was played; a session that is wrong, or one that is missing and that no counter tells of, fails the run. Slowness never does.
//
//	go build -o bin/dynwatch ./cmd/dynwatch && go run ./bench/watch -dynwatch bin/dynwatch
//
// It needs the rights of the eBPF source.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// options of a run.
type options struct {
	dynwatch string
	source   string
	duration time.Duration
	// tracked and untracked are connections a second of the measurement of loss, paced of that of latency.
	tracked, untracked, paced int
	open                      int
}

func main() {
	if os.Getenv(keeperMark) != "" {
		if err := keepFiles(); err != nil {
			fmt.Fprintln(os.Stderr, "watch: keeper: error:", err)
			os.Exit(1)
		}
		return
	}
	// The players are in system calls nearly all the time: with one for each processor nobody would be left to read what dynwatch says.
	runtime.GOMAXPROCS(runtime.NumCPU() + 4)
	var o options
	only := flag.String("only", "loss,latency,memory", "what to measure")
	flag.StringVar(&o.dynwatch, "dynwatch", "bin/dynwatch", "the program")
	flag.StringVar(&o.source, "source", "ebpf", "its --source")
	flag.DurationVar(&o.duration, "duration", 10*time.Second, "how long handshakes are played for loss and latency")
	flag.IntVar(&o.tracked, "tracked", 5000, "loss: handshakes a second with DynamoDB")
	flag.IntVar(&o.untracked, "untracked", 20000, "loss: connections a second to others beside them")
	flag.IntVar(&o.paced, "paced", 500, "latency: handshakes a second")
	flag.IntVar(&o.open, "open", 10000, "memory: connections that are open at the end")
	flag.Parse()
	if err := run(*only, &o); err != nil {
		fmt.Fprintln(os.Stderr, "watch: error:", err)
		os.Exit(1)
	}
}

func run(only string, o *options) error {
	measurements := map[string]func(*options, *recordings) error{"loss": loss, "latency": latency, "memory": memory}
	rec, err := record()
	if err != nil {
		return err
	}
	for _, name := range strings.Split(only, ",") {
		m := measurements[name]
		if m == nil {
			return fmt.Errorf("-only %s: use loss, latency, memory, or several with commas", name)
		}
		if err := m(o, rec); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
