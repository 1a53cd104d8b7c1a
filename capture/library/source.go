package library

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dynwatch/dynwatch/bpf"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// Options say what to watch.
type Options struct {
	// All watches every process's handshakes for ever. Otherwise a process whose handshakes are none that Follow announced is left in peace after
	// a few, until it is announced.
	All bool
	// Programs are files that will be run soon: they get their probes at once.
	Programs []string
	// Without leaves out the probes whose program's name it matches, to measure what the others cost. What is then told is not the truth.
	Without *regexp.Regexp
}

const (
	// fullScanEvery is how often all processes are looked at, so that nothing that was missed stays missed, and what is unused is let go.
	fullScanEvery = time.Minute
	// trial is how many handshakes of a process are looked at that nobody follows.
	trial = 3
	// maxProcesses bounds the processes that are remembered, each of two generations.
	maxProcesses = 1024
	// lookAgain is how long the mappings of a process are not read again for the sake of an address that is in none of them: it chooses how often it
	// asks, and from where.
	lookAgain = 100 * time.Millisecond
	// queue bounds the processes that wait to be looked at.
	queue = 1024
)

// looks are how long after a program's start its mappings are looked at: the loader maps libraries within a millisecond, interpreters
// import them later.
var looks = []time.Duration{0, 5 * time.Millisecond, 50 * time.Millisecond, time.Second}

// Source gives out what the probes see. Poll and Follow are called by one goroutine, the other methods by any.
type Source struct {
	kernel *bpf.Library
	attach *attacher
	all    bool

	event      bpf.LibraryEvent
	handshakes handshakes
	clock      bpf.Clock
	processes  generations[int, *process]
	candidates []candidate // in the order of their times
	looks      budget

	nudges  chan int
	closing chan struct{}
	done    sync.WaitGroup
	once    sync.Once

	// absentUntil is until when it may matter to a handshake that events were missed, 0 if to none; doubted is when handshakes were last doubted.
	absentUntil, doubted uint64
	losses               losses

	malformed, dropped, handshakesSeen atomic.Uint64

	mu       sync.Mutex
	last     bpf.LibraryCounters
	released bool
}

// process is what is known of one that makes handshakes.
type process struct {
	library, path string
	gnuTLS, s2n   struct{ library, path string } // beside another
	callers       []codeRange
	// strangers are the last addresses that none of callers is at; looked is when callers were looked up for the last time.
	strangers  [4]uint64
	looked     time.Time
	named      bool
	nodeOff    bool
	handshakes int
	followed   bool
	asking     asking
	candidate  bool // to be ignored
	ignored    bool
}

// Open loads the probes and attaches them to the libraries of this host. It fails with a *bpf.NotSupportedError or a *bpf.PermissionError
// where that is why.
func Open(o Options) (*Source, error) {
	kernel, err := bpf.LoadLibrary()
	if err != nil {
		return nil, err
	}
	s := &Source{
		kernel: kernel, attach: newAttacher(kernel), all: o.All, processes: newGenerations[int, *process](maxProcesses, 0),
		nudges: make(chan int, queue), closing: make(chan struct{}),
	}
	s.attach.without = o.Without
	s.handshakes = newHandshakes()
	s.handshakes.describe, s.handshakes.wall, s.handshakes.caller, s.handshakes.missed = s.describe, s.clock.Wall, s.caller, s.missedBetween
	s.clock.Sync()
	if err := kernel.WatchExec(); err != nil {
		return nil, errors.Join(err, kernel.Close())
	}
	if err := s.attach.fullScan(); err != nil {
		s.attach.close()
		return nil, errors.Join(err, kernel.Close())
	}
	for _, name := range o.Programs {
		s.attach.coming(name)
	}
	s.done.Go(s.watchExecs)
	s.done.Go(s.keepAttached)
	return s, nil
}

// Try attaches to the libraries of this host and detaches again. It fails if there is one that should have probes and cannot get them.
func Try() error {
	s, err := Open(Options{})
	if err != nil {
		return err
	}
	stats := s.Stats()
	if err := s.Release(); err != nil {
		return err
	}
	if stats.Refused > 0 {
		return fmt.Errorf("%d of %d files refused: %s", stats.Refused, stats.Refused+stats.Files, strings.Join(stats.Problems, "; "))
	}
	return nil
}

// coming attaches to a program that will be run.
func (a *attacher) coming(name string) {
	r, err := openRoot(os.Getpid())
	if err != nil {
		return
	}
	defer r.close()
	a.turn.Lock()
	defer a.turn.Unlock()
	if f, ok := a.file(r, name, ""); ok {
		a.attach([]found{f}, false)
	}
}

// watchExecs hands started programs to keepAttached.
func (s *Source) watchExecs() {
	for {
		pid, err := s.kernel.ReadExec(time.Time{})
		switch {
		case errors.Is(err, bpf.ErrClosed):
			return
		case err != nil:
			s.malformed.Add(1)
			continue
		}
		s.nudge(pid)
	}
}

// nudge has a process looked at soon.
func (s *Source) nudge(pid int) {
	select {
	case s.nudges <- pid:
	default:
		s.dropped.Add(1) // the next full scan finds it, if it lives so long
	}
}

// look is a process that is due to be looked at.
type look struct {
	pid int
	at  time.Time
}

// keepAttached attaches to what comes, and detaches from what goes.
func (s *Source) keepAttached() {
	waiting := make([][]look, len(looks)) // by the look that is next: each is in the order of its times
	timer := time.NewTimer(0)
	full := time.Now().Add(fullScanEvery)
	for {
		now := time.Now()
		until := full
		for i := range waiting {
			for len(waiting[i]) > 0 && !waiting[i][0].at.After(now) {
				w := waiting[i][0]
				waiting[i] = waiting[i][1:]
				has, err := s.attach.process(w.pid)
				if err == nil && i < 3 {
					s.attach.remember(w.pid, has)
				}
				if err != nil && !errors.Is(err, errBusy) || i+1 == len(looks) {
					continue // gone, or looked at often enough
				}
				if len(waiting[i+1]) < queue {
					waiting[i+1] = append(waiting[i+1], look{pid: w.pid, at: now.Add(looks[i+1])})
				}
			}
			if len(waiting[i]) > 0 && waiting[i][0].at.Before(until) {
				until = waiting[i][0].at
			}
		}
		if !now.Before(full) {
			_ = s.attach.fullScan() // /proc cannot be read: nothing is found
			full = time.Now().Add(fullScanEvery)
			continue
		}
		timer.Reset(time.Until(until))
		select {
		case pid := <-s.nudges:
			waiting[0] = append(waiting[0], look{pid: pid})
		case <-timer.C:
		case <-s.closing:
			return
		}
	}
}

// Follow announces that a process opens a connection whose handshake is of interest.
func (s *Source) Follow(pid int) {
	p, known := s.processes.get(pid)
	if !known {
		p = &process{}
		s.processes.put(pid, p)
	}
	if p.followed {
		return
	}
	p.followed = true
	s.nudge(pid)
	if p.ignored || !known { // one that is left in peace tells nothing, and may have been forgotten here
		p.ignored = false
		_ = s.kernel.Ignore(pid, false) // it stays ignored: its handshakes are told as not captured
	}
}

// Poll gives out what was told of handshakes since the last call. It does not wait. A handshake may be given out more than once, each time
// with all that is known of it; what the client sent after it had made up its mind comes later than this.
func (s *Source) Poll(yield func(*flow.Library)) error {
	for {
		ok, err := s.kernel.Read(&s.event)
		if errors.Is(err, bpf.ErrMalformed) {
			s.malformed.Add(1)
			continue
		}
		if err != nil {
			return err
		}
		if !ok {
			s.doubt(yield)
			s.ignore()
			return nil
		}
		if s.event.Kind == bpf.LibraryHandshake {
			s.handshakesSeen.Add(1)
			s.clock.Sync()
		}
		s.handshakes.add(&s.event, func(h *handshake) {
			if _, _, absent := h.judge(); absent {
				s.absentUntil = h.time + uint64(inspectedFor)
			}
			yield(h.told())
		})
	}
}

// doubt looks, while there are handshakes that it may matter to, whether an event was missed: then nothing is concluded from the absence of any.
func (s *Source) doubt(yield func(*flow.Library)) {
	if s.absentUntil == 0 {
		return
	}
	now := bpf.Monotonic()
	missed := !s.lookForLosses(now, now) || s.losses.to > s.doubted // the ring is empty
	select {
	case <-s.closing:
		missed = true
	default:
	}
	if missed {
		s.doubted = now
		s.handshakes.doubt(now, yield)
	}
	if now > s.absentUntil {
		s.absentUntil = 0
	}
}

// missedBetween reports whether events may have been lost between two times, of which the second is that of the event in hand.
func (s *Source) missedBetween(from, to uint64) bool {
	return !s.lookForLosses(bpf.Monotonic(), to) || s.losses.between(from, to)
}

// lookForLosses brings losses up to date, and reports whether it could. event is the time of the event in hand.
func (s *Source) lookForLosses(now, event uint64) bool {
	n, err := s.kernel.Missed()
	if err == nil {
		s.losses.look(n, now, event)
	}
	return err == nil
}

// losses remember when events were lost, as far as looks from time to time can tell.
type losses struct {
	count    uint64 // at the last look
	looked   uint64 // when that was
	from, to uint64 // when what was lost last was lost
}

// look takes the count of what was lost so far, with the time, and that of the event in hand: the ring may hold many older ones than what is lost.
func (l *losses) look(count, now, event uint64) {
	if count != l.count {
		if event > l.to { // none is left that the loss before this one matters to
			l.from = l.looked
		}
		l.count, l.to = count, now
	}
	l.looked = now
}

// between reports whether anything may have been lost between two times.
func (l *losses) between(from, to uint64) bool { return l.to != 0 && from <= l.to && to >= l.from }

// caller tells whose code of a process is at an address.
func (s *Source) caller(pid int, address uint64) caller {
	p, ok := s.processes.get(pid)
	if !ok {
		return callerUnknown
	}
	find := func() caller {
		for _, c := range p.callers {
			if address >= c.from && address < c.to {
				return c.caller
			}
		}
		return callerUnknown
	}
	c := find()
	if c != callerUnknown || slices.Contains(p.strangers[:], address) || time.Since(p.looked) < lookAgain {
		return c
	}
	p.looked = time.Now()
	if has, err := s.attach.programs(pid); err == nil { // mapped since
		p.callers = has.callers
	}
	if c = find(); c == callerUnknown {
		copy(p.strangers[1:], p.strangers[:])
		p.strangers[0] = address
	}
	return c
}

// describe completes a new handshake, and counts it as its process's.
func (s *Source) describe(h *handshake) {
	p, ok := s.processes.get(h.PID)
	if !ok {
		p = &process{}
		s.processes.put(h.PID, p)
	}
	if !p.named {
		p.named = true
		s.name(h.PID, p)
	}
	h.Name, h.Path = p.library, p.path
	if h.gnuTLS {
		h.Name, h.Path = p.gnuTLS.library, p.gnuTLS.path
	}
	if h.s2n {
		h.Name, h.Path = p.s2n.library, p.s2n.path
	}
	// Node.js has libssl accept everything, and asks for its judgement.
	h.nodeOff = p.nodeOff && h.callback && h.modeKnown && h.mode&verifyPeer == 0
	if h.isOpenSSL() && h.modeKnown && h.mode&verifyPeer == 0 {
		s.listen(h, p)
	}
	p.handshakes++
	if !s.all && !p.followed && p.handshakes >= trial && !p.ignored && !p.candidate && len(s.candidates) < maxProcesses {
		p.candidate = true
		s.candidates = append(s.candidates, candidate{p, h.PID, time.Now()})
	}
}

// candidate is a process that will be left in peace, unless it is announced.
type candidate struct {
	*process
	pid  int
	seen time.Time
}

// announcedWithin is how long after a handshake was told of its connection may be announced: sockets are told of by another way, which may lag behind.
const announcedWithin = time.Second

// ignore leaves processes in peace whose handshakes are of no interest.
func (s *Source) ignore() {
	for len(s.candidates) > 0 && time.Since(s.candidates[0].seen) > announcedWithin {
		c := s.candidates[0]
		s.candidates = s.candidates[1:]
		c.candidate = false
		if !c.followed {
			c.ignored = s.kernel.Ignore(c.pid, true) == nil
		}
	}
}

// name finds out which library a process has, and if it is Node.js with its checks switched off.
func (s *Source) name(pid int, p *process) {
	has, err := s.attach.programs(pid)
	if err != nil {
		return
	}
	exe := has.exe
	if n := s.attach.library(exe); n != "" {
		p.library, p.path = n, exe
	}
	for _, name := range has.libraries {
		n := s.attach.library(name)
		switch {
		case n == "":
		case strings.HasPrefix(n, "GnuTLS"):
			p.gnuTLS.library, p.gnuTLS.path = n, name
		case strings.HasPrefix(n, "s2n"):
			p.s2n.library, p.s2n.path = n, name
		case p.path == "" || p.path != exe && strings.HasPrefix(path.Base(name), "libssl"):
			p.library, p.path = n, name
		}
	}
	p.callers = has.callers
	if base := path.Base(exe); base == "node" || base == "nodejs" {
		p.nodeOff = hasVariable(pid, "NODE_TLS_REJECT_UNAUTHORIZED=0")
	}
}

// hasVariable looks for one setting in the environment that a process was started with. Nothing else of it is kept.
func hasVariable(pid int, setting string) bool {
	b, err := os.ReadFile(procPath(pid, "environ"))
	if err != nil {
		return false
	}
	return slices.Contains(strings.Split(string(b), "\x00"), setting)
}

// Close detaches everything. What was seen before can still be polled, once, before Release.
func (s *Source) Close() {
	s.once.Do(func() {
		close(s.closing)
		_ = s.kernel.CloseExec()
		s.done.Wait()
		s.attach.close()
	})
}

// Release gives back what is left after Close. Poll must not be called after it.
func (s *Source) Release() error {
	s.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.released {
		return nil
	}
	s.released = true
	s.last, _ = s.kernel.Counters()
	return s.kernel.Close()
}

// Stats are a source's counters.
type Stats struct {
	// Files that have probes now, and the probes in them; Refused are files that should have probes and have not; Detached had them until nobody used
	// them any more.
	Files, Probes, Refused, Detached int
	// Kinds are Probes by library, in one word: openssl, go.
	Kinds map[string]int
	// Unread of Refused could not be read, or have not what probes need; Over are files beyond the limit. Closed are processes, and files
	// of processes, that the last scan was not let look at: their libraries may have no probes.
	Unread, Over, Closed int
	// Handshakes were told of.
	Handshakes uint64
	// PassedOver are handshakes of processes that were found to be of no interest.
	PassedOver uint64
	// Loss counts what was not told.
	Loss map[string]uint64
	// Problems are the first reasons for Refused.
	Problems []string
}

// Stats reads the counters.
func (s *Source) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.released {
		if c, err := s.kernel.Counters(); err == nil {
			s.last = c
		}
	}
	s.attach.mu.Lock()
	defer s.attach.mu.Unlock()
	a, k := s.attach.stats, s.last
	return Stats{
		Files: a.Files, Probes: a.Probes, Refused: a.Refused, Detached: a.Detached,
		Kinds: maps.Clone(a.Kinds), Unread: a.Unread, Over: a.Over, Closed: a.Closed,
		Handshakes: s.handshakesSeen.Load(), PassedOver: k.PassedOver, Problems: slices.Clone(a.Problems),
		Loss: map[string]uint64{
			"library.ring_full":        k.RingFull,
			"library.too_large":        k.TooLarge,
			"library.unreadable":       k.Unreadable,
			"library.execs_lost":       k.ExecsLost + s.dropped.Load(),
			"library.malformed_events": s.malformed.Load(),
			"library.files_refused":    uint64(a.Refused),
			"library.files_over_limit": uint64(a.Over),
		},
	}
}
