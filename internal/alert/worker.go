package alert

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
)

const (
	// maxBatch is how many alerts are sent at once to a sink that takes several; sendTimeout how long one attempt may take.
	maxBatch    = 32
	sendTimeout = 15 * time.Second
	// refusals is how often an alert is offered to a receiver that refuses it.
	refusals = 3
)

// batcher is a sink that takes several alerts at once.
type batcher interface{ batches() }

// worker sends the alerts of one receiver, oldest first.
type worker struct {
	m    *Manager
	name string
	wake chan struct{} // alerts are queued
	turn chan struct{} // next or removed is set

	// Set by the worker itself, under the manager's mu.
	sink Sink
	// Guarded by the manager's mu, as all that follows. next takes the sink's place as soon as nothing is being sent; removed ends the worker then.
	next    Sink
	removed bool
	version string
	min     session.Severity
	queue   []*item
	sending []*item // the head of the queue, while it is with the receiver
	stats   SinkStats
}

func newWorker(m *Manager, o SinkOptions) *worker {
	return &worker{
		m: m, name: cmp.Or(o.Name, o.Sink.Kind()), sink: o.Sink, version: o.Version, min: o.MinSeverity,
		wake: make(chan struct{}, 1), turn: make(chan struct{}, 1),
	}
}

func (w *worker) poke() { poke(w.wake) }

// poke leaves a note in a channel that has room for one.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run sends until ctx ends, then what is left as long as the receiver takes it, at most until stopped ends; or until the receiver is removed.
func (w *worker) run(ctx, stopped context.Context) {
	for w.serve(ctx, stopped) {
	}
}

// serve is run with one sink; it reports whether there is another.
func (w *worker) serve(ctx, stopped context.Context) (again bool) {
	var refresh <-chan time.Time
	if r, ok := w.sink.(refresher); ok {
		t := time.NewTicker(r.RefreshEvery())
		defer t.Stop()
		refresh = t.C
	}
	failures, refused, single, last := 0, 0, false, false
	for {
		if removed, swapped := w.turned(); removed || swapped {
			return swapped
		}
		batch := w.head(single)
		if len(batch) == 0 {
			if ctx.Err() != nil {
				if last {
					return false
				}
				last = true
				_ = w.m.write(false) // the latest alerts may be on their way to the queue
				continue
			}
			select {
			case <-ctx.Done():
			case <-w.wake:
			case <-w.turn:
			case <-refresh:
				w.refresh(stopped)
			}
			continue
		}
		err := w.send(stopped, batch)
		var no *RefusedError
		switch {
		case err == nil:
			failures, refused, single = 0, 0, false
			continue
		case errors.As(err, &no) && len(batch) > 1:
			single = true // one of them is at fault
			continue
		case errors.As(err, &no):
			if refused++; refused >= refusals {
				w.giveUp(batch[0], err)
				failures, refused, single = 0, 0, false
				continue
			}
		}
		failures++
		if ctx.Err() != nil {
			return false // it is down: what waits is on disk
		}
		select {
		case <-ctx.Done():
			return false
		case <-w.turn: // perhaps to a receiver that is up
			failures, refused, single = 0, 0, false
		case <-time.After(backoff(failures, err, rand.Float64())):
		}
	}
}

// head is what is to be sent next.
func (w *worker) head(single bool) []*item {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	n := 1
	if _, ok := w.sink.(batcher); ok && !single {
		n = maxBatch
	}
	w.sending = append([]*item(nil), w.queue[:min(n, len(w.queue))]...)
	return w.sending
}

// send sends a batch once. What the receiver took is on the journal as acknowledged before anything else is sent.
func (w *worker) send(ctx context.Context, batch []*item) error {
	alerts := make([]*Alert, len(batch))
	for i, it := range batch {
		alerts[i] = it.alert
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	err := w.sink.Send(ctx, alerts)
	var partly *PartlyRefusedError
	lost := 0
	if errors.As(err, &partly) {
		w.m.log.Error("alerts: a receiver took some alerts only, and will not take the rest", "sink", w.name, "refused", partly.Refused, "error", partly.Err)
		lost, err = min(partly.Refused, len(batch)), nil
	}
	w.m.mu.Lock()
	w.sending = nil
	w.note(err, len(batch)-lost)
	if err == nil {
		w.stats.Refused += uint64(lost)
		w.remove(batch, true)
	}
	w.m.mu.Unlock()
	if err == nil {
		_ = w.m.write(false) // counted and logged
	}
	return err
}

// note counts an attempt, and says when a receiver goes away or comes back. It is called with mu held.
func (w *worker) note(err error, n int) {
	if err == nil {
		w.stats.Sent += uint64(n)
		w.stats.LastSuccess = w.m.now()
		if w.stats.Failing {
			w.stats.Failing = false
			w.m.log.Info("alerts: a receiver takes alerts again", "sink", w.name, "waiting", len(w.queue))
		}
		return
	}
	w.stats.Failed++
	if !w.stats.Failing {
		w.stats.Failing = true
		w.m.log.Warn("alerts: a receiver does not take alerts; they are kept and sent again", "sink", w.name, "waiting", len(w.queue), "error", err)
	}
}

// remove takes alerts that were taken, or given up, off the queue. It is called with mu held.
func (w *worker) remove(batch []*item, taken bool) {
	for _, it := range batch {
		if !it.waiting[w] {
			continue // dropped meanwhile
		}
		w.m.done(w, it, taken)
		if len(it.waiting) == 0 {
			w.m.forget(it)
		}
	}
	rest := w.queue[:0:0]
	for _, it := range w.queue {
		if it.waiting[w] {
			rest = append(rest, it)
		}
	}
	w.queue = rest
}

// giveUp drops an alert that the receiver will not take.
func (w *worker) giveUp(it *item, err error) {
	w.m.mu.Lock()
	w.stats.Refused++
	w.m.log.Error("alerts: a receiver refuses an alert, which is dropped for it", "sink", w.name, "alert", it.alert.ID, "rule", it.alert.Rule, "error", err)
	w.remove([]*item{it}, false)
	w.m.mu.Unlock()
	_ = w.m.write(false)
}

// refresh reminds the receiver of what goes on.
func (w *worker) refresh(ctx context.Context) {
	w.m.mu.Lock()
	kept := slices.DeleteFunc(w.m.fold.active(w.m.now()), func(a *Alert) bool { return a.severity() < w.min })
	w.m.mu.Unlock()
	if len(kept) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	err := w.sink.(refresher).Refresh(ctx, kept)
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	w.note(err, 0)
}
