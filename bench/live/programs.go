package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// tally is how often a program ran, and for how long.
type tally struct {
	name  string
	count uint64
	time  time.Duration
}

// runs reads the kernel's statistics of the programs that this process has open, by their number.
func runs() (map[ebpf.ProgramID]tally, error) {
	files, err := filepath.Glob("/proc/self/fdinfo/*")
	if err != nil {
		return nil, err
	}
	all := map[ebpf.ProgramID]tally{}
	for _, file := range files {
		about, _ := os.ReadFile(file) // one that is closed meanwhile is no program
		for line := range strings.Lines(string(about)) {
			var id ebpf.ProgramID
			if _, err := fmt.Sscanf(line, "prog_id: %d", &id); err != nil {
				continue
			}
			if all[id], err = ran(id); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

func ran(id ebpf.ProgramID) (tally, error) {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return tally{}, err
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return tally{}, err
	}
	s, err := p.Stats()
	if err != nil {
		return tally{}, err
	}
	return tally{fmt.Sprintf("%s (%s)", info.Name, info.Type), s.RunCount, s.Runtime}, nil
}

// printRuns prints how often each program of a watcher runs for one unit of the workload, and for how long, by the kernel's own count.
// That count takes time itself, which the empty programs show.
func printRuns(work workload, w watcher) error {
	const units = 20000
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		return err
	}
	defer stats.Close()
	before, err := runs()
	if err != nil {
		return err
	}
	if err := w.on(); err != nil {
		return err
	}
	for range units {
		if err := work.step(); err != nil {
			return errors.Join(err, w.off())
		}
	}
	after, err := runs()
	if err = errors.Join(err, w.off()); err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(after)) {
		a, b := after[id], before[id]
		if n := a.count - b.count; n >= units/2 { // fewer are other packets of this host
			each := float64(a.time-b.time) / float64(n)
			fmt.Printf("        %-40s %5.2f runs of %4.0f ns\n", a.name, float64(n)/units, each)
		}
	}
	return nil
}
