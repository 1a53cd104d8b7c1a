// Profile runs the pipeline of `dynwatch capture -r FILE` in process, and writes profiles of it.
//
//	go run ./bench/profile -cpu cpu.out -heap heap.out -allocs allocs.out FILE && go tool pprof -top cpu.out
//
// The program itself takes no profiles: it is small and stays so. What is measured here is the same reading, analysis and
// printing, wired as cmd/dynwatch wires them.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"time"

	"github.com/dynwatch/dynwatch/analyze"
	"github.com/dynwatch/dynwatch/analyze/endpoint"
	"github.com/dynwatch/dynwatch/analyze/rules"
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/analyze/trust"
	"github.com/dynwatch/dynwatch/capture"
	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/output"
)

func main() {
	var (
		all    = flag.Bool("all", false, "report every TLS session")
		json   = flag.Bool("json", false, "print JSON instead of text")
		rounds = flag.Int("rounds", 1, "how often the file is read")
		cpu    = flag.String("cpu", "", "write a CPU profile to `FILE`")
		heap   = flag.String("heap", "", "write a profile of what is in use at the end of the last round, before it is released, to `FILE`")
		allocs = flag.String("allocs", "", "write a profile of all allocations to `FILE`")
	)
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: profile [flags] FILE")
		flag.PrintDefaults()
		os.Exit(2)
	}
	if *heap != "" || *allocs != "" {
		runtime.MemProfileRate = 4096
	} else {
		runtime.MemProfileRate = 0
	}
	if err := run(flag.Arg(0), *all, *json, *rounds, *cpu, *heap, *allocs); err != nil {
		fmt.Fprintln(os.Stderr, "profile: error:", err)
		os.Exit(1)
	}
}

func run(name string, all, json bool, rounds int, cpu, heap, allocs string) error {
	if cpu != "" {
		f, err := os.Create(cpu)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	for i := range rounds {
		begin := time.Now()
		last := func() error {
			if i < rounds-1 || heap == "" {
				return nil
			}
			runtime.GC()
			return writeProfile("heap", heap)
		}
		stats, err := read(name, all, json, last)
		if err != nil {
			return err
		}
		fmt.Printf("%.3f s, %d segments, %d flows, %d sessions\n", time.Since(begin).Seconds(), stats.Segments, stats.Flows, stats.Sessions)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Printf("%.1f MB allocated in %d objects, %d collections, %.1f MB from the system\n",
		float64(m.TotalAlloc)/1e6, m.Mallocs, m.NumGC, float64(m.Sys)/1e6)
	if allocs != "" {
		return writeProfile("allocs", allocs)
	}
	return nil
}

// read is one run over the file; full is called when all packets were read and nothing is released yet.
func read(name string, all, json bool, full func() error) (analyze.Stats, error) {
	set, err := endpoint.NewSet(endpoint.Embedded(), nil)
	if err != nil {
		return analyze.Stats{}, err
	}
	store, err := trust.NewStore(trust.Policy{})
	if err != nil {
		return analyze.Stats{}, err
	}
	var a *analyze.Analyzer
	src, err := capture.OpenAhead(capture.FileOptions{Names: []string{name}, Prepare: func(seg *flow.Segment) { a.Prepare(seg) }})
	if err != nil {
		return analyze.Stats{}, err
	}
	defer src.Close()
	out := bufio.NewWriterSize(io.Discard, 64<<10)
	var print interface {
		Session(*session.Session) error
		DNS(*session.DNS) error
	} = output.NewText(out, false)
	if json {
		print = output.NewJSON(out)
	}
	var printErr error
	a = analyze.New(analyze.Options{
		Source: "file", All: all, Endpoints: set, Trust: store, Policy: &rules.Policy{MinVersion: session.TLS12},
		Emit:    func(s *session.Session) { printErr = errors.Join(printErr, print.Session(s)) },
		EmitDNS: func(d *session.DNS) { printErr = errors.Join(printErr, print.DNS(d)) },
	})
	for {
		segs, err := src.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return a.Stats(), err
		}
		a.Segments(segs)
	}
	if err := full(); err != nil {
		return a.Stats(), err
	}
	a.Flush()
	return a.Stats(), errors.Join(append(src.Errs(), printErr)...)
}

func writeProfile(kind, name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := pprof.Lookup(kind).WriteTo(f, 0); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
