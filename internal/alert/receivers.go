package alert

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Receivers are what may change while a Manager runs; each field is as in Options, and 0 is the default.
type Receivers struct {
	Window, Hold     time.Duration
	PerMinute, Burst int
	Sinks            []SinkOptions
}

// Use has other receivers told from now on. It does not wait: Run makes the change. A receiver is the same if its name is.
//
//   - One that stays keeps its queue. If its version is another, what waits goes to the new sink, after an attempt that is under way.
//   - A new one begins with the next alert.
//   - What waits for one that is removed goes to those that are there now if nobody took it yet and nobody else waits for it, stays until there
//     is a receiver if there is none, and is dropped else.
func (m *Manager) Use(r Receivers) error {
	if err := unique(r.Sinks); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.next = &r
	poke(m.turn)
	return nil
}

func unique(sinks []SinkOptions) error {
	seen := make(map[string]bool)
	for _, so := range sinks {
		name := cmp.Or(so.Name, so.Sink.Kind())
		if seen[name] {
			return fmt.Errorf("alerts: two sinks are named %q", name)
		}
		seen[name] = true
	}
	return nil
}

// change makes the change that Use asked for last, and returns the workers that are to be started.
func (m *Manager) change() (started []*worker) {
	m.io.Lock()
	defer m.io.Unlock()
	m.mu.Lock()
	r := m.next
	m.next = nil
	if r == nil {
		m.mu.Unlock()
		return nil
	}
	m.fold.window, m.fold.hold = cmp.Or(r.Window, DefaultWindow), cmp.Or(r.Hold, DefaultHold)
	m.fold.limitTo(cmp.Or(r.PerMinute, DefaultPerMinute), cmp.Or(r.Burst, DefaultBurst))

	var sinks, removed []*worker
	added, changed := []string{}, []string{}
	before := m.sinks
	for _, so := range r.Sinks {
		name := cmp.Or(so.Name, so.Sink.Kind())
		i := slices.IndexFunc(before, func(w *worker) bool { return w.name == name })
		if i < 0 {
			w := newWorker(m, so)
			sinks, started, added = append(sinks, w), append(started, w), append(added, name)
			continue
		}
		w := before[i]
		sinks = append(sinks, w)
		w.min = so.MinSeverity
		if w.version != so.Version {
			w.version, w.next = so.Version, so.Sink
			poke(w.turn)
			changed = append(changed, name)
		}
	}
	m.sinks = sinks
	for _, w := range before {
		if !slices.Contains(sinks, w) {
			removed = append(removed, w)
		}
	}
	moved := false
	for _, w := range removed {
		w.removed = true
		m.leaving = append(m.leaving, w)
		poke(w.turn)
		moved = m.release(w) || moved
	}
	if len(m.sinks) > 0 {
		moved = m.release(m.nobody) || moved
	}
	m.mu.Unlock()
	if len(added)+len(changed)+len(removed) > 0 {
		names := make([]string, len(removed))
		for i, w := range removed {
			names[i] = w.name
		}
		m.log.Info("alerts: other receivers are in use", "added", added, "changed", changed, "removed", names)
	}
	if moved {
		_, _ = m.put(true) // else the next start finds the old names, and decides the same
	}
	return started
}

// release takes from a worker that is not in use any more what waits for it and is not with the receiver just now; it reports whether that was
// anything. It is called with mu held.
func (m *Manager) release(w *worker) bool {
	var moved, kept, dropped int
	for _, it := range m.ordered() {
		if !it.waiting[w] || slices.Contains(w.sending, it) {
			continue
		}
		delete(it.waiting, w)
		if it.taken || len(it.waiting) > 0 {
			dropped++
		} else {
			for _, to := range m.sinks {
				if it.alert.severity() >= to.min {
					it.waiting[to] = true
				}
			}
			switch {
			case len(it.waiting) > 0:
				moved++
			case len(m.sinks) == 0:
				it.waiting[m.nobody] = true
				kept++
			default:
				dropped++
			}
		}
		if len(it.waiting) == 0 {
			m.forget(it)
		} else if it.written && !it.waiting[m.nobody] { // else it is handed out when it is
			for to := range it.waiting {
				to.insert(it)
			}
		}
	}
	w.queue = slices.Clone(w.sending)
	m.stats.Orphaned += uint64(dropped)
	if moved+kept+dropped == 0 {
		return false
	}
	if w != m.nobody && w.name != "" {
		m.log.Warn("alerts: a receiver is no longer configured, and alerts waited for it", "sink", w.name,
			"sent_to_others", moved, "kept_until_there_is_a_receiver", kept, "dropped", dropped)
	} else {
		m.log.Info("alerts: alerts waited for a receiver", "sent", moved, "dropped", dropped)
	}
	return true
}

// insert puts an alert into the queue, at its place by age but not before what is being sent. It is called with mu held.
func (w *worker) insert(it *item) {
	if slices.Contains(w.queue, it) {
		return
	}
	i, _ := slices.BinarySearchFunc(w.queue[len(w.sending):], it, func(a, b *item) int { return cmp.Compare(a.n, b.n) })
	w.queue = slices.Insert(w.queue, len(w.sending)+i, it)
	w.poke()
}

// turned does, between two attempts, what Manager.change has left to the worker.
func (w *worker) turned() (removed, swapped bool) {
	w.m.mu.Lock()
	removed, swapped = w.removed, !w.removed && w.next != nil
	if !removed && !swapped {
		w.m.mu.Unlock()
		return false, false
	}
	old := w.sink
	left := false
	if removed {
		left = w.m.release(w) // what was with the receiver, and was not taken
	} else {
		w.sink, w.next = w.next, nil
	}
	if removed {
		w.m.leaving = slices.DeleteFunc(w.m.leaving, func(x *worker) bool { return x == w })
	}
	if removed || w.sink.Kind() != old.Kind() {
		w.m.retire(old.Kind(), &w.stats)
	}
	w.m.mu.Unlock()
	if err := old.Close(); err != nil {
		w.m.log.Warn("alerts: close a receiver", "sink", w.name, "error", err)
	}
	if left {
		w.m.io.Lock()
		defer w.m.io.Unlock()
		_, _ = w.m.put(true) // see change
	}
	return removed, swapped
}

// retire adds the counts of a sink that is gone to those of its kind, and clears them. It is called with mu held.
func (m *Manager) retire(kind string, s *SinkStats) {
	sum := m.retired[kind]
	if sum == nil {
		sum = &SinkStats{Kind: kind}
		m.retired[kind] = sum
	}
	sum.Sent, sum.Failed, sum.Refused, sum.Dropped = sum.Sent+s.Sent, sum.Failed+s.Failed, sum.Refused+s.Refused, sum.Dropped+s.Dropped
	*s = SinkStats{}
}
