package alert

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/journal"
)

// FileName is the name of the journal in the agent's state folder.
const FileName = "alerts.journal"

const (
	journalKind   = "alerts"
	journalSchema = 1
	// reserve is what stays writable on a disk that others filled: some hundred alerts.
	reserve = 1 << 20
	// diskRetry is how long a disk is left alone after an error, anewRetry how long the journal is not written anew after that failed: each attempt
	// costs what all waiting alerts weigh, and takes for a moment what the disk has left.
	diskRetry = time.Second
	anewRetry = time.Minute
	// longEvery is how often the log says that the journal cannot be shortened.
	longEvery = time.Hour
)

// Options are what a Manager works with. Path is required; the rest has defaults.
type Options struct {
	Path string
	// Host names this host in alerts.
	Host string
	// Window is how long findings of one kind are folded (default one hour).
	Window time.Duration
	// Hold is how long after its latest finding an alert counts as going on, for Alertmanager (15 minutes).
	Hold time.Duration
	// PerMinute and Burst are the rate limit (60 and 120).
	PerMinute, Burst int
	// MaxQueued and MaxBytes bound the alerts that wait (10,000 and 16 MiB); the oldest give way.
	MaxQueued int
	MaxBytes  int64
	// MaxKinds bounds the kinds of finding that are folded at a time (2,048); those beyond it count as limited.
	MaxKinds int
	Sinks    []SinkOptions
	// Drain is how long, once Run's context ends, what waits is still sent to receivers that take it (5 s).
	Drain time.Duration
	// Log takes what an operator should know; nil is silent.
	Log *slog.Logger
}

// SinkOptions are one receiver.
type SinkOptions struct {
	// Name is the sink's in logs, statistics and the journal; empty is its kind. It is no secret, and stays the same over restarts.
	Name string
	Sink Sink
	// MinSeverity keeps milder alerts from this sink.
	MinSeverity session.Severity
	// Version changes when anything about the receiver does. Manager.Use leaves a sink alone that has the name and the version of a new one.
	Version string
}

// Defaults of Options.
const (
	DefaultWindow    = time.Hour
	DefaultHold      = 15 * time.Minute
	DefaultPerMinute = 60
	DefaultBurst     = 120
	DefaultMaxQueued = 10_000
	DefaultMaxBytes  = 16 << 20
	DefaultMaxKinds  = 2048
	DefaultDrain     = 5 * time.Second
)

// Stats count what a Manager did. What has no other comment only goes up, from the start of the process.
type Stats struct {
	// Findings came in: each became an alert, was Folded into one, or Limited by the rate.
	Findings, Folded, Limited uint64
	// Alerts were made, of all kinds.
	Alerts uint64
	// Dropped were given up because the queue was full, before every sink had taken them. Orphaned were not sent to a sink that is no longer
	// configured: another took them, will get them, or none of those that are left wants them.
	Dropped, Orphaned uint64
	// Queued alerts wait now, QueuedBytes is what they take, Oldest when the oldest was made (zero if none waits); Unsaved of them are not on
	// disk. Kinds are folded now.
	Queued, MaxQueued     int
	QueuedBytes, MaxBytes int64
	Unsaved, Kinds        int
	Oldest                time.Time
	// WriteErrors count, each record that was left out because it is too long among them; Failing holds from an error of the disk to the next success.
	WriteErrors    uint64
	Failing        bool
	FileBytes      int64
	DamagedRecords int
	// Sinks are those in use, then, without a name and by kind, the sums of those that were.
	Sinks []SinkStats
}

// SinkStats are of one sink.
type SinkStats struct {
	Name, Kind string
	// Sent alerts were acknowledged, Failed attempts were not, Refused alerts were given up because the receiver will not take them,
	// Dropped ones because the queue was full.
	Sent, Failed, Refused, Dropped uint64
	// Queued alerts wait now. Failing holds while the latest attempt failed; LastSuccess is when one did not.
	Queued      int
	Failing     bool
	LastSuccess time.Time
}

// Manager takes findings in and tells receivers. Add, AddDNS, Use, Sync and Stats may be called by any goroutine; Run by one.
type Manager struct {
	o    Options
	log  *slog.Logger
	wake chan struct{} // alerts wait to be written
	turn chan struct{} // next is set

	mu    sync.Mutex // guards what follows
	sinks []*worker
	// nobody holds alerts that no sink has taken, from when the last sink was removed until there is one again.
	nobody *worker
	// leaving are no longer in sinks and have not ended yet.
	leaving []*worker
	next    *Receivers
	retired map[string]*SinkStats // of sinks that are gone, by kind
	fold    folder
	items   map[uint64]*item
	last    uint64 // number of the latest item
	bytes   int64
	// fresh items are not in the journal, acked says what it does not know of sinks that are done.
	fresh []*item
	acked []ackRecord
	stats Stats
	maxed bool // the queue is full, and that was said

	io sync.Mutex // guards what follows; taken before mu
	j  *journal.Journal
	// whole is the journal's length when it was last written anew, wholeWeight the weight of what was in it; zero until this process did so.
	whole, wholeWeight int64
	// After an error the disk is left alone for a while, and longer before all is written anew.
	retryAt, anewAt time.Time
	lastErr         error
	// longSaid is when the log last said that the journal cannot be shortened; zero once it was.
	longSaid time.Time
	tooLong  uint64 // of the journal, as far as they are counted

	now func() time.Time
}

// item is an alert that waits for some sinks.
type item struct {
	n       uint64
	made    time.Time
	alert   *Alert
	waiting map[*worker]bool
	taken   bool // by some receiver
	saved   bool // in the journal
	written bool // or it was tried
}

// record is one line of the journal; one field is set.
type record struct {
	Alert *alertRecord `json:"alert,omitempty"`
	Ack   *ackRecord   `json:"ack,omitempty"`
	Fold  *fold        `json:"fold,omitempty"`
	Gone  []string     `json:"gone,omitempty"`
}

type alertRecord struct {
	N     uint64    `json:"n"`
	Made  time.Time `json:"made"`
	Sinks []string  `json:"sinks"`
	Taken bool      `json:"taken,omitempty"`
	Alert *Alert    `json:"alert"`
}

// ackRecord says that a sink is done with alerts: it took them, or they were given up.
type ackRecord struct {
	Sink string   `json:"sink"`
	N    []uint64 `json:"n"`
	Lost bool     `json:"lost,omitempty"`
}

// Open opens or makes the journal and takes up what it holds.
func Open(o Options) (*Manager, error) {
	o.Window = cmp.Or(o.Window, DefaultWindow)
	o.Hold = cmp.Or(o.Hold, DefaultHold)
	o.PerMinute = cmp.Or(o.PerMinute, DefaultPerMinute)
	o.Burst = cmp.Or(o.Burst, DefaultBurst)
	o.MaxQueued = cmp.Or(o.MaxQueued, DefaultMaxQueued)
	o.MaxBytes = cmp.Or(o.MaxBytes, DefaultMaxBytes)
	o.MaxKinds = cmp.Or(o.MaxKinds, DefaultMaxKinds)
	o.Drain = cmp.Or(o.Drain, DefaultDrain)
	m := &Manager{
		o: o, log: o.Log, wake: make(chan struct{}, 1), turn: make(chan struct{}, 1), items: make(map[uint64]*item), now: time.Now,
		nobody: &worker{}, retired: make(map[string]*SinkStats),
		fold: folder{window: o.Window, hold: o.Hold, maxKinds: o.MaxKinds, folds: make(map[string]*fold), perSecond: float64(o.PerMinute) / 60, burst: float64(o.Burst)},
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	if err := unique(o.Sinks); err != nil {
		return nil, err
	}
	byName := make(map[string]*worker)
	for _, so := range o.Sinks {
		w := newWorker(m, so)
		byName[w.name] = w
		m.sinks = append(m.sinks, w)
	}
	j, rec, err := journal.Open(o.Path, journal.Options{Kind: journalKind, Schema: journalSchema, Reserve: reserve},
		func(r []byte) error { return m.replay(r, byName) })
	if err != nil {
		return nil, fmt.Errorf("alerts: %w", err)
	}
	m.j = j
	m.stats.DamagedRecords = rec.Damaged
	if rec.SetAside != "" {
		m.log.Warn("alerts: the journal could not be read whole; what could is kept", "reason", rec.Reason, "set_aside", rec.SetAside, "records", rec.Records)
	}
	m.takeUp(byName)
	m.fold.count()
	return m, nil
}

// replay takes a record of the journal in. For sinks that are no longer configured it adds workers to byName that never run.
func (m *Manager) replay(data []byte, byName map[string]*worker) error {
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return err
	}
	switch {
	case r.Alert != nil:
		if r.Alert.Alert == nil || m.items[r.Alert.N] != nil {
			return fmt.Errorf("alert %d is empty, or there twice", r.Alert.N)
		}
		it := &item{
			n: r.Alert.N, made: r.Alert.Made, alert: r.Alert.Alert, waiting: make(map[*worker]bool), taken: r.Alert.Taken, saved: true, written: true,
		}
		m.last = max(m.last, it.n)
		for _, name := range r.Alert.Sinks {
			if byName[name] == nil {
				byName[name] = &worker{name: name}
			}
			it.waiting[byName[name]] = true
		}
		m.hold(it)
	case r.Ack != nil:
		for _, n := range r.Ack.N {
			if it := m.items[n]; it != nil {
				delete(it.waiting, byName[r.Ack.Sink])
				it.taken = it.taken || !r.Ack.Lost
			}
		}
	case r.Fold != nil:
		m.fold.folds[r.Fold.Alert.Fingerprint] = r.Fold
	case len(r.Gone) > 0:
		for _, fp := range r.Gone {
			delete(m.fold.folds, fp)
		}
	default:
		return errors.New("a record of no known kind")
	}
	return nil
}

// takeUp has what was read wait for its sinks.
func (m *Manager) takeUp(byName map[string]*worker) {
	for _, it := range m.ordered() {
		if len(it.waiting) == 0 {
			m.forget(it)
			continue
		}
		for w := range it.waiting {
			w.queue = append(w.queue, it)
		}
	}
	moved := false
	for name, w := range byName {
		if !slices.Contains(m.sinks, w) && (name != "" || len(m.sinks) > 0) && m.release(w) {
			moved = true
		}
	}
	if w := byName[""]; w != nil && len(m.sinks) == 0 {
		m.nobody = w
	}
	m.bound()
	if n := len(m.items); n > 0 {
		m.log.Info("alerts: alerts of before wait to be sent", "alerts", n)
	}
	if moved {
		_, _ = m.put(true) // at worst it is decided again at the next start
	}
}

// ordered are the items by their number.
func (m *Manager) ordered() []*item {
	list := make([]*item, 0, len(m.items))
	for _, it := range m.items {
		list = append(list, it)
	}
	slices.SortFunc(list, func(a, b *item) int { return cmp.Compare(a.n, b.n) })
	return list
}

// Add takes a finding of a session in. It does not wait for the disk. Nothing of the session is kept by reference.
func (m *Manager) Add(s *session.Session, f session.Finding) {
	m.add(ofSession(s, f))
}

// AddDNS takes the findings of a DNS answer in.
func (m *Manager) AddDNS(d *session.DNS) {
	for _, f := range d.Findings {
		m.add(ofDNS(d, f))
	}
}

func (m *Manager) add(a *Alert) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.sinks) == 0 {
		return // a kind that was told to nobody must not be taken for told
	}
	m.stats.Findings++
	a.Host = m.o.Host
	if a.First.IsZero() {
		a.First, a.Last = m.now(), m.now()
	}
	if due := m.fold.add(a, m.now()); due != nil {
		m.enqueue(due)
	}
}

// enqueue has an alert written and sent. It is called with mu held.
func (m *Manager) enqueue(a *Alert) {
	a.Host = m.o.Host
	m.stats.Alerts++
	m.last++
	it := &item{n: m.last, made: m.now(), alert: a, waiting: make(map[*worker]bool)}
	for _, w := range m.sinks {
		if a.severity() >= w.min {
			it.waiting[w] = true
		}
	}
	if len(it.waiting) == 0 {
		return
	}
	m.hold(it)
	m.fresh = append(m.fresh, it)
	m.bound()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// hold counts an item in, forget out. Both are called with mu held.
func (m *Manager) hold(it *item) {
	m.items[it.n] = it
	m.bytes += int64(it.alert.size())
}

func (m *Manager) forget(it *item) {
	delete(m.items, it.n)
	m.bytes -= int64(it.alert.size())
}

// bound keeps the queue's bounds: the oldest alerts go. It is called with mu held.
func (m *Manager) bound() {
	if len(m.items) <= m.o.MaxQueued && m.bytes <= m.o.MaxBytes {
		if m.maxed && len(m.items) < m.o.MaxQueued*9/10 && m.bytes < m.o.MaxBytes*9/10 {
			m.maxed = false
		}
		return
	}
	if !m.maxed {
		m.maxed = true
		m.log.Error("alerts: the queue is full, and the oldest alerts are dropped; a receiver is down or too slow", "alerts", len(m.items), "bytes", m.bytes)
	}
	// Room for a tenth is made at once: finding the oldest costs a sort.
	for _, it := range m.ordered() {
		if len(m.items) <= m.o.MaxQueued-m.o.MaxQueued/10 && m.bytes <= m.o.MaxBytes-m.o.MaxBytes/10 {
			break
		}
		m.stats.Dropped++
		for w := range it.waiting {
			w.stats.Dropped++
			m.done(w, it, false)
		}
		m.forget(it)
	}
	for _, w := range m.sinks {
		w.queue = slices.DeleteFunc(w.queue, func(it *item) bool { return !it.waiting[w] })
	}
	m.fresh = slices.DeleteFunc(m.fresh, func(it *item) bool { return len(it.waiting) == 0 })
}

// done notes that a sink has no more to do with an alert, because the receiver took it or because it was given up; the journal learns of it with
// the next write. It is called with mu held.
func (m *Manager) done(w *worker, it *item, taken bool) {
	delete(it.waiting, w)
	it.taken = it.taken || taken
	if it.saved {
		m.acknowledge(w, it, !taken)
	}
}

func (m *Manager) acknowledge(w *worker, it *item, lost bool) {
	if n := len(m.acked); n > 0 && m.acked[n-1].Sink == w.name && m.acked[n-1].Lost == lost {
		m.acked[n-1].N = append(m.acked[n-1].N, it.n)
		return
	}
	m.acked = append(m.acked, ackRecord{w.name, []uint64{it.n}, lost})
}

// Run writes alerts to disk and sends them until ctx ends, then for a moment what still waits. Its error is that of the last write.
func (m *Manager) Run(ctx context.Context) error {
	var sinks sync.WaitGroup
	stopped, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	run := func(w *worker) { sinks.Go(func() { w.run(ctx, stopped) }) }
	m.mu.Lock()
	for _, w := range m.sinks {
		run(w)
	}
	m.mu.Unlock()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	m.closeWindows() // some ended while nobody ran
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-m.wake:
		case <-m.turn:
			for _, w := range m.change() {
				run(w)
			}
		case <-tick.C:
			m.closeWindows()
		}
		_ = m.write(false) // counted and logged; the next one tries again
	}
	// What was added up to now goes out like all else.
	drain := time.AfterFunc(m.o.Drain, stop)
	defer drain.Stop()
	sinks.Wait()
	err := m.write(true)
	m.mu.Lock()
	open := slices.Concat(m.sinks, m.leaving)
	m.mu.Unlock()
	for _, w := range open {
		if cerr := w.sink.Close(); err == nil {
			err = cerr
		}
	}
	return err
}

// closeWindows makes alerts of what was folded in windows that are over.
func (m *Manager) closeWindows() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.sinks) == 0 {
		return // what was folded is told to those who come
	}
	for _, a := range m.fold.due(m.now()) {
		m.enqueue(a)
	}
}

// Sync returns once everything that was added before is on the disk, or the error of the disk.
func (m *Manager) Sync() error { return m.write(true) }

// Close gives the journal back. Whoever called Run waits for its end first.
func (m *Manager) Close() error {
	m.io.Lock()
	defer m.io.Unlock()
	return m.j.Close()
}

// batch is what one write puts on the disk, as it was at one moment: a kind that says its findings were told, without the alert that tells them,
// would lose them in a crash.
type batch struct {
	whole bool // all that there is, in place of what was written before
	// alerts are to be written: in a whole batch those that were written before, then the unsaved.
	alerts []pending
	fresh  []*item // with those that every sink is done with already
	acked  []ackRecord
	folds  []fold
	// changed are the kinds that are not in the journal as they are, gone those that were forgotten.
	changed []*fold
	gone    []string
}

// pending is an alert as it was then: the sinks that waited for it, and whether another had taken it.
type pending struct {
	*item
	sinks    []*worker
	hadTaken bool
}

// collect takes what is to be written. It is called with mu held.
func (m *Manager) collect(whole bool) *batch {
	b := &batch{whole: whole, fresh: m.fresh, acked: m.acked, changed: m.fold.changed, gone: m.fold.gone}
	m.fresh, m.acked, m.fold.changed, m.fold.gone = nil, nil, nil, nil
	take := func(it *item) {
		if len(it.waiting) > 0 { // else it was sent from memory
			b.alerts = append(b.alerts, pending{it, slices.Collect(maps.Keys(it.waiting)), it.taken})
		}
	}
	if whole {
		for _, it := range m.ordered() {
			if it.saved {
				take(it)
			}
		}
		for _, k := range m.fold.folds {
			b.folds = append(b.folds, *k)
		}
	}
	slices.SortFunc(b.fresh, func(a, b *item) int { return cmp.Compare(a.n, b.n) })
	for _, it := range b.fresh {
		take(it)
	}
	for _, k := range b.changed {
		k.dirty = false
		if !whole && m.fold.folds[k.Alert.Fingerprint] == k {
			b.folds = append(b.folds, *k)
		}
	}
	return b
}

// records are the lines of a batch. Those that only take back what earlier lines say are not in a whole one.
func (b *batch) records() iter.Seq[record] {
	return func(yield func(record) bool) {
		for _, p := range b.alerts {
			if !yield(p.record()) {
				return
			}
		}
		if !b.whole {
			for i := range b.acked {
				if !yield(record{Ack: &b.acked[i]}) {
					return
				}
			}
			if len(b.gone) > 0 && !yield(record{Gone: b.gone}) {
				return
			}
		}
		for i := range b.folds {
			if !yield(record{Fold: &b.folds[i]}) {
				return
			}
		}
	}
}

// record is an alert in the journal.
func (p pending) record() record {
	r := &alertRecord{N: p.n, Made: p.made, Sinks: make([]string, 0, len(p.sinks)), Taken: p.hadTaken, Alert: p.alert}
	for _, w := range p.sinks {
		r.Sinks = append(r.Sinks, w.name)
	}
	slices.Sort(r.Sinks)
	return record{Alert: r}
}

// write puts what is new on the disk and then hands new alerts to the sinks: also when the disk did not take them, for an alert that is told
// and may be told twice is better than one that is not. Unless now is set, a disk that failed a moment ago is not tried again.
func (m *Manager) write(now bool) error {
	m.io.Lock()
	defer m.io.Unlock()
	if m.lastErr != nil && !now && m.now().Before(m.retryAt) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.hand(m.fresh)
		return m.lastErr
	}
	wrote, err := m.put(false)
	long, due := m.long(), !m.now().Before(m.anewAt)
	if long && due || err != nil && (now || due) { // what is too large or broken may be mended by writing it anew
		_, again := m.put(true)
		switch {
		case again == nil:
			wrote, err = true, nil
		case err == nil && (m.longSaid.IsZero() || m.now().Sub(m.longSaid) >= longEvery):
			m.longSaid = m.now()
			m.log.Warn("alerts: the journal cannot be shortened; what waits is saved, and the file grows until it can be", "bytes", m.j.Size(), "error", again)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats.FileBytes = m.j.Size()
	if n := m.j.TooLong() - m.tooLong; n > 0 {
		m.tooLong += n
		m.stats.WriteErrors += n
		m.log.Error("alerts: records that are too long are not in the journal, and would not survive a restart", "records", n)
	}
	m.lastErr = err
	if err != nil {
		m.hand(m.fresh)
		m.retryAt = m.now().Add(diskRetry)
		m.stats.WriteErrors++
		if !m.stats.Failing {
			m.stats.Failing = true
			m.log.Error("alerts: cannot write the journal; alerts are sent from memory and would not survive a restart", "error", err)
		}
		m.lastErr = fmt.Errorf("alerts: %w", err)
		return m.lastErr
	}
	if wrote && m.stats.Failing {
		m.stats.Failing = false
		m.log.Info("alerts: the journal is written again")
	}
	return nil
}

// long reports whether the journal is to be shortened: it is twice as long as what is in it, and 256 KiB. Weights are guesses, good for what was taken
// out since the journal was last written anew; what is in it they may be far from. It is called with io held.
func (m *Manager) long() bool {
	m.mu.Lock()
	gone := max(0, m.wholeWeight-m.weight())
	m.mu.Unlock()
	return m.j.Size() >= 2*max(0, m.whole-gone)+256<<10
}

// weight is what alerts that wait, and kinds, take in the journal, about. It is called with mu held.
func (m *Manager) weight() int64 { return m.bytes + 600*int64(len(m.fold.folds)) }

// put adds what is new to the journal, or writes it anew from all that waits; wrote is whether that was anything. What it could write is handed to
// the sinks. It is called with io held.
func (m *Manager) put(whole bool) (wrote bool, err error) {
	m.mu.Lock()
	b, weight := m.collect(whole), m.weight()
	m.mu.Unlock()
	before := m.j.Size()
	if records := journal.Encode(b.records()); whole {
		if err = m.j.Rewrite(records); err != nil {
			m.anewAt = m.now().Add(anewRetry)
		} else {
			m.shortened(weight)
		}
	} else {
		err = m.j.Append(records)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var back []*item
	for _, p := range b.alerts {
		if p.saved {
			continue
		}
		if err != nil {
			if len(p.waiting) > 0 {
				back = append(back, p.item)
			}
			continue
		}
		p.saved = true
		// Sinks that were done with it while it was written are told of in the next write.
		for _, w := range p.sinks {
			if !p.waiting[w] {
				m.acknowledge(w, p.item, !p.taken)
			}
		}
	}
	if err != nil {
		m.fresh = append(back, m.fresh...) // in the order in which they are sent
		m.acked = append(b.acked, m.acked...)
		for _, k := range b.changed {
			if m.fold.folds[k.Alert.Fingerprint] == k {
				m.fold.change(k)
			}
		}
		m.fold.gone = append(b.gone, m.fold.gone...)
		return false, err
	}
	m.hand(b.fresh)
	return whole || m.j.Size() != before, nil
}

// shortened notes that the journal was written anew. It is called with io held.
func (m *Manager) shortened(weight int64) {
	m.whole, m.wholeWeight, m.anewAt = m.j.Size(), weight, time.Time{}
	if !m.longSaid.IsZero() {
		m.longSaid = time.Time{}
		m.log.Info("alerts: the journal is shortened again", "bytes", m.whole)
	}
}

// hand has sinks send what was written, or could not be. It is called with mu held.
func (m *Manager) hand(list []*item) {
	for _, it := range list {
		if it.written {
			continue
		}
		it.written = true
		for _, w := range m.sinks {
			if it.waiting[w] {
				w.queue = append(w.queue, it)
				w.poke()
			}
		}
	}
}

// Stats returns the counters.
func (m *Manager) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.stats
	s.Folded, s.Limited = m.fold.folded, m.fold.limited
	s.Queued, s.MaxQueued, s.QueuedBytes, s.MaxBytes = len(m.items), m.o.MaxQueued, m.bytes, m.o.MaxBytes
	s.Kinds = len(m.fold.folds)
	for _, it := range m.items {
		if !it.saved {
			s.Unsaved++
		}
		if s.Oldest.IsZero() || it.made.Before(s.Oldest) {
			s.Oldest = it.made
		}
	}
	for _, w := range slices.Concat(m.sinks, m.leaving) {
		ws := w.stats
		ws.Name, ws.Kind, ws.Queued = w.name, w.sink.Kind(), len(w.queue)
		s.Sinks = append(s.Sinks, ws)
	}
	for _, kind := range slices.Sorted(maps.Keys(m.retired)) {
		s.Sinks = append(s.Sinks, *m.retired[kind])
	}
	return s
}
