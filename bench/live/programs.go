package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/dynwatch/dynwatch/bench/programs"
)

// printRuns prints how often each program of a watcher runs for one unit of the workload, and for how long, by the kernel's own count.
// That count takes time itself, which the empty programs show.
func printRuns(work workload, w watcher) error {
	const units = 20000
	stats, err := programs.Enable()
	if err != nil {
		return err
	}
	defer stats.Close()
	before, err := programs.Read()
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
	after, err := programs.Read()
	if err = errors.Join(err, w.off()); err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(after)) {
		a, b := after[id], before[id]
		if n := a.Count - b.Count; n >= units/2 { // fewer are other packets of this host
			each := float64(a.Time-b.Time) / float64(n)
			fmt.Printf("        %-40s %5.2f runs of %4.0f ns\n", fmt.Sprintf("%s (%s)", a.Name, a.Type), float64(n)/units, each)
		}
	}
	return nil
}
