package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/dynwatch/dynwatch/bench/traffic"
)

// tool is one command of a comparison.
type tool struct {
	name string
	argv []string
	// bytes is how much of the capture it reads; 0 means all.
	bytes int64
	// rounds is how often it takes part; 0 means always.
	rounds int

	samples []sample
}

// sample is what one run of a tool took.
type sample struct {
	wall, cpu float64 // seconds; cpu is user and system
	// rss is the largest resident set in bytes. Linux counts what the parent had when it started the program: see makeApart.
	rss int64
}

// run runs a tool once with its output thrown away.
func (t *tool) run() (sample, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return sample{}, err
	}
	defer null.Close()
	var complaint strings.Builder
	cmd := exec.Command(t.argv[0], t.argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = null, null, &limited{&complaint, 1000}
	begin := time.Now()
	err = cmd.Run()
	wall := time.Since(begin).Seconds()
	if err != nil {
		return sample{}, fmt.Errorf("%s: %w: %s", strings.Join(t.argv, " "), err, complaint.String())
	}
	s := sample{wall: wall, cpu: (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		s.rss = usage.Maxrss * 1024
	}
	return s, nil
}

// limited passes on the first n bytes.
type limited struct {
	w io.Writer
	n int
}

func (l *limited) Write(p []byte) (int, error) {
	k := min(len(p), l.n)
	l.n -= k
	if _, err := l.w.Write(p[:k]); err != nil {
		return 0, err
	}
	return len(p), nil
}

// table is a comparison of tools on one capture.
type table struct {
	file  *traffic.Manifest
	tools []tool
	// against and alsoAgainst are tools that the others' speed is compared with.
	against, alsoAgainst string
}

func (t *table) run(rounds int) error {
	for round := range rounds {
		// The order changes, so that no tool always follows the same one.
		for i := range t.tools {
			tool := &t.tools[(i+round)%len(t.tools)]
			if tool.rounds > 0 && len(tool.samples) >= tool.rounds {
				continue
			}
			s, err := tool.run()
			if err != nil {
				return err
			}
			tool.samples = append(tool.samples, s)
		}
	}
	t.print(os.Stdout)
	return nil
}

// bytesOf is how much a tool reads.
func (t *table) bytesOf(x *tool) int64 {
	if x.bytes > 0 {
		return x.bytes
	}
	return t.file.Bytes
}

func (t *table) print(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	head := "tool\truns\twall s (quartiles)\tCPU s\tMB/s\tpackets/s\tpeak MiB"
	base := []string{t.against, t.alsoAgainst}
	for _, b := range base {
		if b != "" {
			head += "\ttimes " + b + "'s speed (quartiles)\tby CPU"
		}
	}
	fmt.Fprintln(tw, head)
	for i := range t.tools {
		x := &t.tools[i]
		wall, cpu, rss := x.column(func(s sample) float64 { return s.wall }), x.column(func(s sample) float64 { return s.cpu }), int64(0)
		for _, s := range x.samples {
			rss = max(rss, s.rss)
		}
		low, mid, high := quartiles(wall)
		_, cpuMid, _ := quartiles(cpu)
		bytes := float64(t.bytesOf(x))
		fmt.Fprintf(tw, "%s\t%d\t%.2f (%.2f-%.2f)\t%.2f\t%.0f\t%.2f M\t%.0f", x.name, len(x.samples), mid, low, high, cpuMid,
			bytes/mid/1e6, bytes/float64(t.file.Bytes)*float64(t.file.Packets)/mid/1e6, float64(rss)/(1<<20))
		for _, b := range base {
			if b != "" {
				low, mid, high := quartiles(t.speed(x, t.find(b), func(s sample) float64 { return s.wall }))
				_, byCPU, _ := quartiles(t.speed(x, t.find(b), func(s sample) float64 { return s.cpu }))
				fmt.Fprintf(tw, "\t%.2f (%.2f-%.2f)\t%.2f", mid, low, high, byCPU)
			}
		}
		fmt.Fprintln(tw)
	}
	tw.Flush() // of os.Stdout: nobody is left to be told
}

func (t *tool) column(what func(sample) float64) []float64 {
	values := make([]float64, len(t.samples))
	for i, s := range t.samples {
		values[i] = what(s)
	}
	return values
}

func (t *table) find(name string) *tool {
	i := slices.IndexFunc(t.tools, func(x tool) bool { return x.name == name })
	return &t.tools[i]
}

// speed is how many times as fast as base x was, in bytes a second of wall or CPU time, round by round. A tool that took part in fewer rounds
// lends the others its last one.
func (t *table) speed(x, base *tool, seconds func(sample) float64) []float64 {
	var ratios []float64
	for i := range max(len(x.samples), len(base.samples)) {
		a, b := x.samples[min(i, len(x.samples)-1)], base.samples[min(i, len(base.samples)-1)]
		ratios = append(ratios, float64(t.bytesOf(x))/seconds(a)/(float64(t.bytesOf(base))/seconds(b)))
	}
	return ratios
}

// quartiles interpolates between the values that are nearest.
func quartiles(values []float64) (low, mid, high float64) {
	v := slices.Sorted(slices.Values(values))
	at := func(q float64) float64 {
		x := q * float64(len(v)-1)
		i := int(x)
		if i+1 >= len(v) {
			return v[len(v)-1]
		}
		return v[i] + (x-float64(i))*(v[i+1]-v[i])
	}
	return at(0.25), at(0.5), at(0.75)
}
