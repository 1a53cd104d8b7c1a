package main

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf/link"

	"github.com/dynwatch/dynwatch/capture/library"
	"github.com/dynwatch/dynwatch/internal/flow"
)

const (
	// settled is how long the client rests after probes were set or taken away, so that what that left to do is not measured.
	settled = 20 * time.Millisecond
	// passing is how long it takes until a process that makes handshakes of no interest is passed over.
	passing = 1200 * time.Millisecond
	// leastCycles are enough for quartiles, and for the ninety-five percent.
	leastCycles = 8
)

// reads is how often a capture looks at what the kernel tells of sockets, and with it at what the probes tell, while there are connections that it follows.
const reads = 3 * time.Millisecond

// reader wakes up as a capture does, which it would without the probes too, and polls those that are attached.
type reader struct {
	mu     sync.Mutex
	source *library.Source // nil for none
	err    error
}

func newReader() *reader {
	r := &reader{}
	go func() { // until the program ends
		for ; ; time.Sleep(reads) {
			r.mu.Lock()
			r.poll()
			r.mu.Unlock()
		}
	}()
	return r
}

// poll reads what the probes told. The caller holds mu.
func (r *reader) poll() {
	if r.source != nil && r.err == nil {
		r.err = r.source.Poll(func(*flow.Library) {})
	}
}

// read has the reader poll a source, or none, and gives the first error of the one before.
func (r *reader) read(s *library.Source) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.poll()
	err := r.err
	r.source, r.err = s, nil
	return err
}

// probes are attached, and read.
type probes struct {
	source *library.Source
	reader *reader
}

func (r *reader) attach(o library.Options) (*probes, error) {
	s, err := library.Open(o)
	if err != nil {
		return nil, err
	}
	return &probes{s, r}, r.read(s)
}

// detach takes the probes away and says what they saw.
func (p *probes) detach() (library.Stats, error) {
	err := p.reader.read(nil)
	seen := p.source.Stats()
	return seen, errors.Join(err, p.source.Release())
}

// foreign counts the links of uprobes that others have: both sides of a ratio pay for those on the same libraries.
func foreign() (n int) {
	var all link.Iterator
	defer all.Close()
	for all.Next() {
		if info, err := all.Link.Info(); err == nil && (info.Type == link.UprobeMultiType || info.Type == link.PerfEventType) {
			n++
		}
	}
	return n
}

// slice is a client's work of some duration.
type slice struct {
	w      workload
	c      *client
	reader *reader
	amount int // units of work
	// without are probes that are left out; nil for none.
	without *regexp.Regexp
}

func (s slice) attach() (*probes, error) {
	return s.reader.attach(library.Options{All: !s.w.passedOver, Without: s.without})
}

// plain is a slice without probes.
func (s slice) plain() (took, error) {
	time.Sleep(settled)
	if _, err := s.c.round(max(1, s.amount/20)); err != nil { // warms what attaching and resting left cold
		return took{}, err
	}
	return s.c.round(s.amount)
}

// probed is one with the probes attached; own is the processor's time that dynwatch took meanwhile.
func (s slice) probed() (t took, own time.Duration, err error) {
	p, err := s.attach()
	if err != nil {
		return t, 0, err
	}
	// What is seen for the first time, as files, is looked at once and not again; and who is of no interest is passed over after a while.
	rest := settled
	if s.w.passedOver {
		rest = passing
	}
	if _, err = s.c.round(5); err == nil {
		time.Sleep(rest)
	}
	before := used()
	if err == nil {
		t, err = s.plain()
	}
	own = used() - before
	seen, failed := p.detach()
	if err = errors.Join(err, failed); err != nil {
		return t, own, err
	}
	n := seen.Handshakes
	if s.w.passedOver {
		n = seen.PassedOver
	}
	if s.w.handshakes && s.without == nil && n < uint64(s.amount) {
		err = fmt.Errorf("the probes saw %d of %d handshakes: nothing was measured; %s", n, s.amount, strings.Join(seen.Problems, "; "))
	}
	return t, own, err
}

// undone is one without probes, which were set before it and taken away again.
func (s slice) undone() (t took, err error) {
	p, err := s.attach()
	if err != nil {
		return t, err
	}
	if _, err := p.detach(); err != nil {
		return t, err
	}
	return s.plain()
}

// calibrated is a slice that takes about so long.
func calibrated(w workload, c *client, r *reader, long time.Duration) (slice, error) {
	s := slice{w: w, c: c, reader: r, amount: 1}
	if _, err := c.round(2); err != nil { // imports, caches
		return s, err
	}
	for {
		t, err := c.round(s.amount)
		switch {
		case err != nil:
			return s, err
		case t[0] > long/2:
			s.amount = max(1, int(float64(s.amount)*float64(long)/float64(t[0])))
			return s, nil
		}
		s.amount *= 2
	}
}

// series are the ratios of one kind of slice to the plain ones before and after it: of the time and of the processor's.
type series [2][]float64

func (x *series) add(t, before, after took) {
	for k := range x {
		if around := before[k] + after[k]; around > 0 {
			x[k] = append(x[k], 2*float64(t[k])/float64(around))
		}
	}
}

func measure(w workload, c *client, r *reader, leftOut *regexp.Regexp, long, each time.Duration) error {
	s, err := calibrated(w, c, r, each)
	if err != nil {
		return err
	}
	s.without = leftOut
	var ratios, control series
	var without [2][]time.Duration
	var own time.Duration
	before, err := s.plain()
	if err != nil {
		return err
	}
	n := 0
	for begin := time.Now(); time.Since(begin) < long || n < 2*leastCycles; n++ {
		var t, after took
		if n%2 == 0 {
			var o time.Duration
			t, o, err = s.probed()
			own += o
		} else {
			t, err = s.undone()
		}
		if err == nil {
			after, err = s.plain()
		}
		if err != nil {
			return err
		}
		if n%2 == 0 {
			ratios.add(t, before, after)
		} else {
			control.add(t, before, after)
		}
		for k := range without {
			without[k] = append(without[k], after[k]/time.Duration(s.amount))
		}
		before = after
	}
	own /= time.Duration((n + 1) / 2 * s.amount)
	for k, of := range []string{"time", "processor"} {
		slices.Sort(without[k])
		fmt.Printf("%-20s %-9s %-6d %-38s %-38s %-13v %v\n", w.name, of, len(ratios[k]), quartiles(ratios[k]), quartiles(control[k]),
			without[k][len(without[k])/2].Round(time.Microsecond), own.Round(time.Microsecond))
	}
	return nil
}

// quartiles are the median, in brackets the first and third quartile, and what the median lies in with 95 % certainty, by the order of the values
// alone.
func quartiles(x []float64) string {
	if len(x) == 0 {
		return "-"
	}
	slices.Sort(x)
	n := len(x)
	off := 0.98 * math.Sqrt(float64(n))
	low, high := max(0, int(float64(n)/2-off)), min(n-1, int(math.Ceil(float64(n)/2+off)))
	return fmt.Sprintf("%.3f (%.3f, %.3f) [%.3f, %.3f]", x[n/2], x[n/4], x[n*3/4], x[low], x[high])
}
