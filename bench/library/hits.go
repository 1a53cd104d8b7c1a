package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dynwatch/dynwatch/bench/programs"
	"github.com/dynwatch/dynwatch/capture/library"
)

const (
	// hitRounds: the least of so many is taken, as other programs of the host may hit the probes meanwhile.
	hitRounds = 15
	// hitUnits are handshakes in a round.
	hitUnits = 20
)

// hits are how often a program ran for a unit of work, and how long each run took.
type hits struct {
	each float64
	run  time.Duration
}

// count prints how often the probes are hit for a unit of a client's work.
func count(w workload, c *client, r *reader) error {
	units := hitUnits
	if !w.handshakes {
		units = 1
	}
	if _, err := c.round(2); err != nil { // imports, caches
		return err
	}
	p, err := r.attach(library.Options{All: true})
	if err != nil {
		return err
	}
	_, err = c.round(1) // loads what programs are loaded when they are first used
	least := map[string]hits{}
	for i := 0; i < hitRounds && err == nil; i++ {
		var round map[string]hits
		if round, err = hitsOf(w, c, units); i == 0 {
			least = round
		}
		for name, h := range least {
			if round[name].each < h.each {
				least[name] = round[name]
			}
		}
	}
	if _, detached := p.detach(); err == nil {
		err = detached
	}
	if err != nil {
		return err
	}
	var sum float64
	var inside time.Duration
	for _, name := range slices.Sorted(maps.Keys(least)) {
		h := least[name]
		if h.each == 0 {
			continue
		}
		sum += h.each
		inside += time.Duration(h.each * float64(h.run))
		fmt.Printf("%-32s %-32s %6.2f of %v\n", w.name, strings.TrimPrefix(name, "dynwatch_"), h.each, h.run)
	}
	fmt.Printf("%-32s %-32s %6.2f, %v in programs\n", w.name, "all", sum, inside.Round(100*time.Nanosecond))
	return nil
}

// hitsOf are the hits of one round, of the library that the client has: those of others are not its own.
func hitsOf(w workload, c *client, units int) (map[string]hits, error) {
	counting, err := programs.Enable()
	if err != nil {
		return nil, err
	}
	defer counting.Close()
	before, err := programs.Read()
	if err != nil {
		return nil, err
	}
	if _, err := c.round(units); err != nil {
		return nil, err
	}
	after, err := programs.Read()
	if err != nil {
		return nil, err
	}
	type total struct {
		count uint64
		time  time.Duration
	}
	totals := map[string]total{} // a program may be loaded more than once, for libraries with different offsets
	for id, a := range after {
		if !strings.HasPrefix(a.Name, "dynwatch_"+w.library+"_") {
			continue
		}
		t := totals[a.Name]
		t.count += a.Count - before[id].Count
		t.time += a.Time - before[id].Time
		totals[a.Name] = t
	}
	all := map[string]hits{}
	for name, t := range totals {
		h := hits{each: float64(t.count) / float64(units)}
		if t.count > 0 {
			h.run = t.time / time.Duration(t.count)
		}
		all[name] = h
	}
	return all, nil
}
