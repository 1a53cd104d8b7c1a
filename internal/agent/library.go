package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/dynwatch/dynwatch/bpf"
	"github.com/dynwatch/dynwatch/capture/library"
	"github.com/dynwatch/dynwatch/internal/config"
	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/live"
	"github.com/dynwatch/dynwatch/internal/metrics"
)

// Library is probes in TLS libraries, as library.Source has them. Follow and Poll are called by the loop.
type Library interface {
	Follow(pid int)
	Poll(func(*flow.Library)) error
	Stats() library.Stats
	Release() error
}

const (
	// tryProbesEvery is how often library probes are tried again that could not be had for a reason that may pass.
	tryProbesEvery = time.Minute
	// awaitProbes is how long the agent is not ready for want of library probes that are still being attached: a host with very many programs
	// takes longer, and is watched meanwhile.
	awaitProbes = 10 * time.Second
)

// errProbeRights: library probes were switched off when rights were given up.
var errProbeRights = errors.New("the rights for them were given up at the start: start the agent anew")

// probing keeps library probes as the configuration wants them. It belongs to the loop. Attaching and detaching take up to seconds, during which
// the loop goes on: they are done beside it.
type probing struct {
	open func(library.Options) (Library, error)
	log  *slog.Logger
	now  func() time.Time

	// mode is what is wanted: one of config.Probes….
	mode string
	src  Library // nil without
	run  int     // of the sources so far
	// allowed: the rights are there. tried: an attempt to attach has ended or takes long, or none was wanted.
	allowed, tried bool
	// err is why there is not what is wanted; next is when to try again, zero for never.
	err  error
	next time.Time

	opening bool
	began   time.Time
	opened  chan openedLibrary
	beside  sync.WaitGroup
}

type openedLibrary struct {
	mode string
	src  Library
	err  error
}

func newProbing(open func(library.Options) (Library, error), log *slog.Logger, now func() time.Time) *probing {
	if open == nil {
		open = func(o library.Options) (Library, error) { return library.Open(o) }
	}
	return &probing{open: open, log: log, now: now, mode: config.ProbesOff, allowed: true, opened: make(chan openedLibrary, 1)}
}

// want has probes attached, or detached, as a mode says.
func (p *probing) want(mode string) {
	if mode == p.mode {
		p.tried = p.tried || mode == config.ProbesOff
		return
	}
	p.mode, p.err, p.next = mode, nil, time.Time{}
	switch {
	case mode == config.ProbesOff:
		p.tried = true
		p.release()
		p.log.Info("library probes are off")
	case !p.allowed:
		p.fail(errProbeRights)
	default:
		p.begin()
	}
}

// begin attaches, beside the loop.
func (p *probing) begin() {
	if p.opening {
		return // take sees that the mode is another now
	}
	p.opening, p.began = true, p.now()
	mode := p.mode
	p.beside.Go(func() {
		src, err := p.open(library.Options{All: mode == config.ProbesAll})
		if err != nil {
			src = nil // of whatever type
		}
		p.opened <- openedLibrary{mode, src, err} // has room: one opens at a time
	})
}

// take takes what begin has come to, and tries again when it is time. It reports whether something changed.
func (p *probing) take() bool {
	select {
	case o := <-p.opened:
		p.opening = false
		switch {
		case o.mode != p.mode: // another was wanted meanwhile
			p.discard(o.src)
			if p.mode != config.ProbesOff {
				p.begin()
			}
			return false
		case o.err != nil:
			p.fail(o.err)
		default:
			p.release() // those of another mode, which told until now
			p.src, p.err, p.tried = o.src, nil, true
			p.run++
			s := o.src.Stats()
			p.log.Info("library probes are attached", "mode", p.mode, "files", s.Files, "probes", s.Probes)
			for _, text := range s.Problems {
				p.log.Warn("library probes", "problem", text)
			}
		}
		return true
	default:
	}
	if p.opening && !p.tried && p.now().Sub(p.began) >= awaitProbes {
		p.tried = true
		return true
	}
	if !p.next.IsZero() && !p.now().Before(p.next) {
		p.next = time.Time{}
		p.begin()
	}
	return false
}

// fail notes that there is not what is wanted. Probes that are attached stay.
func (p *probing) fail(err error) {
	if p.err == nil || p.err.Error() != err.Error() {
		say := p.log.Warn
		if p.mode == config.ProbesAll {
			say = p.log.Error
		}
		if p.src != nil {
			say("the library probes that are attached stay as they are", "error", err)
		} else {
			say("no library probes: the certificates of TLS 1.3 are not seen, nor who does not verify", "error", err)
		}
	}
	p.err, p.tried = err, true
	if !permanent(err) {
		p.next = p.now().Add(tryProbesEvery)
	}
}

// permanent reports whether nothing changes by trying again.
func permanent(err error) bool {
	var (
		permission *bpf.PermissionError
		support    *bpf.NotSupportedError
	)
	return errors.Is(err, errProbeRights) || errors.As(err, &permission) || errors.As(err, &support)
}

// poll gives out what libraries told. seg is the segment that comes next, nil if there is none.
func (p *probing) poll(seg *flow.Segment, yield func(*flow.Library)) {
	if p.src == nil {
		return
	}
	if seg != nil && seg.Proto == flow.TCP && seg.Opening != nil && seg.Opening.Process.PID != 0 {
		p.src.Follow(seg.Opening.Process.PID)
	}
	if err := p.src.Poll(yield); err != nil {
		p.release()
		p.fail(fmt.Errorf("read what they tell: %w", err))
	}
}

// release detaches what is attached.
func (p *probing) release() {
	p.discard(p.src)
	p.src = nil
}

func (p *probing) discard(src Library) {
	if src == nil {
		return
	}
	p.beside.Go(func() {
		if err := src.Release(); err != nil {
			p.log.Warn("detach library probes", "error", err)
		}
	})
}

// close detaches everything and waits for it.
func (p *probing) close() {
	p.release()
	p.mode, p.next = config.ProbesOff, time.Time{}
	p.beside.Wait()
	if p.opening {
		p.discard((<-p.opened).src)
		p.beside.Wait()
	}
}

// state says in words how library probes stand, and what is missing for the agent to be ready, "" if nothing is.
func (p *probing) state() (note, lacks string) {
	switch {
	case !p.tried:
		return "", "library probes are being attached"
	case p.mode == config.ProbesOff:
		return "library probes: off", ""
	case p.err != nil && p.src == nil:
		note = "library probes: none: " + oneLine(p.err.Error())
	case p.src == nil:
		note = "library probes: being attached"
	default:
		s := p.src.Stats()
		note = fmt.Sprintf("library probes: in %d files", s.Files)
		if n := s.Refused + s.Over; n > 0 {
			note += fmt.Sprintf("; %d more should have some and have not", n)
		}
		if s.Closed > 0 {
			note += fmt.Sprintf("; %d processes, or files of theirs, could not be looked at", s.Closed)
		}
	}
	if p.mode == config.ProbesAll && p.err != nil {
		lacks = "no library probes of all processes, which are wanted: " + oneLine(p.err.Error())
	}
	return note, lacks
}

// told is how library probes stand, for the metrics.
func (p *probing) told() metrics.Library {
	l := metrics.Library{Run: p.run}
	if p.src != nil {
		l.Up, l.Stats = true, p.src.Stats()
	}
	var (
		permission *bpf.PermissionError
		support    *bpf.NotSupportedError
	)
	switch {
	case p.err == nil:
	case errors.As(p.err, &support):
		l.Missing = metrics.LibraryUnsupported
	case errors.Is(p.err, errProbeRights), errors.As(p.err, &permission):
		l.Missing = metrics.LibraryNoRights
	default:
		l.Missing = metrics.LibraryBroken
	}
	return l
}

// probesWanted is the mode of library probes for the source that is attached.
func (a *agent) probesWanted() string {
	mode := a.current.Source.LibraryProbes
	if mode == config.ProbesAuto && a.watch.Kind != live.EBPF {
		return config.ProbesOff
	}
	return mode
}
