package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/dynwatch/dynwatch/analyze"
	"github.com/dynwatch/dynwatch/bpf"
	"github.com/dynwatch/dynwatch/capture"
	"github.com/dynwatch/dynwatch/capture/afpacket"
	"github.com/dynwatch/dynwatch/internal/config"
	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/live"
	"github.com/dynwatch/dynwatch/internal/privilege"
)

// keepWatching opens the source, reads it, and does so again when it breaks off, until ctx ends.
func (a *agent) keepWatching(ctx context.Context) error {
	pause := a.Pause
	for ctx.Err() == nil {
		began := a.now()
		err := a.watchOnce(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if a.dropped && isPermission(err) {
			return errors.Join(ErrRights, err)
		}
		if a.now().Sub(began) >= steady {
			pause = a.Pause
		}
		a.Log.Error("no source; trying again", "error", err, "in", pause.String())
		a.health.detached(err.Error())
		a.Metrics.SourceFailed(a.failedKind())
		a.notify.tell("STATUS=no source is attached: " + oneLine(err.Error()))
		if !a.wait(ctx, pause) {
			return nil
		}
		pause = min(2*pause, longPause)
	}
	return nil
}

func oneLine(s string) string {
	for i, r := range s {
		if r == '\n' {
			return s[:i]
		}
	}
	return s
}

// failedKind is which source there is not; auto tries packets last.
func (a *agent) failedKind() string {
	if k := a.Settings.Source.Kind; k != live.Auto {
		return k
	}
	return live.Packet
}

func isPermission(err error) bool {
	var (
		sockets *afpacket.PermissionError
		hooks   *bpf.PermissionError
	)
	return errors.As(err, &sockets) || errors.As(err, &hooks)
}

// wait waits for a time, during which the loop lives. It reports whether the time is over.
func (a *agent) wait(ctx context.Context, d time.Duration) bool {
	tick := time.NewTicker(advanceEvery)
	defer tick.Stop()
	for end := a.now().Add(d); ; {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
		now := a.now()
		a.rounds(now)
		if !now.Before(end) {
			return true
		}
	}
}

// ring is the size of eBPF's buffer, in bytes: some hundred handshakes, which the loop reads every few milliseconds. It is mapped twice, and
// so counts twice in what is resident.
const ring = 4 << 20

// watchOnce opens the source and reads it until it ends. The error says why it did; the end of ctx is none.
func (a *agent) watchOnce(ctx context.Context) error {
	// What can only be changed by a new start is taken from the settings that the agent began with.
	o := live.Options{
		Kind: a.Settings.Source.Kind, Interfaces: a.Settings.Source.Interfaces, Endpoints: a.current.Endpoints,
		Ring: ring, Describe: func(p *flow.Process) { a.Resolver.Lookup(p) },
		Note: func(text string) { a.Log.Warn("source", "note", text) },
	}
	w, err := a.Open(o)
	if err != nil {
		return fmt.Errorf("open the source: %w", err)
	}
	defer w.Close()
	a.watch = w
	wanted := a.probesWanted()
	if !a.dropped {
		var also privilege.Set
		if wanted != config.ProbesOff {
			also = live.ProbeRights()
		}
		kept, err := a.DropRights(w, also)
		if err != nil {
			a.Log.Warn("rights were not given up", "error", err)
		}
		a.dropped = err == nil
		a.probes.allowed = err != nil || also != 0
		a.Log.Info("watching this host", "source", w.Kind, "how", w.How(), "rights", kept)
	} else {
		a.Log.Info("watching this host again", "source", w.Kind, "how", w.How())
	}
	limits := w.Stats().Warnings
	for _, text := range limits {
		a.Log.Warn("source", "limit", text)
	}
	a.analyzer = analyze.New(analyze.Options{
		Source: w.Kind, Live: true, Endpoints: a.current.Endpoints, Trust: a.current.Trust, Policy: a.current.Judge.Policy, History: a.History,
		MaxFlows: a.Settings.Limits.Flows, MaxMemory: a.Settings.Limits.MemoryMiB << 20, MaxBuffered: a.Settings.Limits.MemoryMiB << 20 / 4,
		Emit: a.session, EmitFinding: a.later, EmitDNS: a.answer,
	})
	a.Metrics.SourceOpened(w.Kind, len(limits))
	a.health.attached(w.Kind)
	a.announced = false
	a.probes.want(wanted)
	a.tellProbes()
	defer func() {
		a.probes.poll(nil, a.libraryTold)
		a.analyzer.Flush()
		a.tell()
		a.Metrics.SourceClosed()
		a.watch, a.analyzer = nil, nil
	}()
	defer context.AfterFunc(ctx, func() { w.Close() })()
	err = a.pump(w)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// errEnded: nobody closed the source, and it has no more.
var errEnded = errors.New("the source ended")

// pump moves segments to the analysis until the source ends.
func (a *agent) pump(w *live.Watch) error {
	var (
		seg   flow.Segment
		began = a.now()
		last  time.Time // of a round
	)
	for {
		switch err := w.Next(&seg); {
		case err == nil:
			if a.asking.isOwn(&seg, a.now) {
				continue
			}
			a.probes.poll(&seg, a.libraryTold)
			a.analyzer.Segment(&seg)
			w.Judge(&seg, a.analyzer)
			if a.now().Sub(last) < advanceEvery {
				continue
			}
		case errors.Is(err, capture.ErrIdle):
		case errors.Is(err, io.EOF):
			return errEnded
		default:
			return fmt.Errorf("read the source: %w", err)
		}
		last = a.now()
		a.analyzer.Advance(int64(last.Sub(began))) // of the monotonic clock: the other may be set, and goes on while the host sleeps
		a.rounds(last)
	}
}
