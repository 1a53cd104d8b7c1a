package history

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/dynwatch/dynwatch/analyze/rules"
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/journal"
)

// Options are what a Store works with. Path is required; the rest has defaults.
type Options struct {
	Path string
	// MaxEntries and MaxFindings bound the number of inventory entries (default 5,000) and of findings (2,000), MaxBytes what both take
	// together, in memory and about as much on disk, where the file may be twice that and a mebibyte (16 MiB).
	MaxEntries, MaxFindings int
	MaxBytes                int64
	// FlushEvery is how often changes are written (10 s). Findings are written within a second.
	FlushEvery time.Duration
	// Log takes what an operator should know; nil is silent.
	Log *slog.Logger
}

// FileName is the name of the journal in the agent's state folder.
const FileName = "history.journal"

// Defaults of Options, and what is fixed.
const (
	DefaultMaxEntries  = 5_000
	DefaultMaxFindings = 2_000
	DefaultMaxBytes    = 16 << 20
	DefaultFlushEvery  = 10 * time.Second

	// UsualFor is how long the rules' memory holds what was usual; a day for a memory that ends with the process.
	UsualFor = 30 * 24 * time.Hour
	// usualEvery is how often that memory is written, usualPairs how much of it.
	usualEvery = time.Minute
	usualPairs = 2048

	findingsWithin = time.Second
	// longFor is how long a file that could not be shortened is left as it is: each attempt takes for a moment what the disk has left.
	longFor = time.Minute
	reserve = 256 << 10
)

// Stats count what a Store did. All but the sizes only go up.
type Stats struct {
	Entries, MaxEntries   int
	Findings, MaxFindings int
	Bytes, MaxBytes       int64
	FileBytes             int64
	// EvictedEntries and EvictedFindings were dropped to keep the bounds, DroppedFindings because they were larger than any may be.
	EvictedEntries, EvictedFindings, DroppedFindings uint64
	// Writes and WriteErrors count appends and rewrites of the file. Failing holds from an error to the next success.
	Writes, WriteErrors uint64
	Failing             bool
	// DamagedRecords could not be read when the store was opened.
	DamagedRecords int
	// UsualEvicted counts what the rules' memory forgot to keep its bounds.
	UsualEvicted uint64
	// LastWrite is when the latest write succeeded; zero if none did.
	LastWrite time.Time
}

// Store is a history that is open for writing. Add, AddFinding, AddDNS, Stats and Snapshot may be called by any goroutine; Run by one.
type Store struct {
	o      Options
	log    *slog.Logger
	memory *memory
	wake   chan struct{} // a finding waits

	mu sync.Mutex // guards what follows
	st *state
	// dirty are entries to be written, gone ids to be removed, saved the id of the latest finding that is written.
	dirty        []*held
	gone         []uint64
	saved        uint64
	goneFindings uint64 // id of the latest finding to be removed, 0 if none
	usualAt      time.Time
	stats        Stats

	io      sync.Mutex // guards the journal
	j       *journal.Journal
	tooLong uint64 // of the journal, as far as they are counted
	// shortenAt is when a file that is too long is to be shortened, if that failed.
	shortenAt time.Time
}

// Open opens or makes a history. What could not be read is set aside and said in the log; the error is for a file that cannot be written
// at all, or that another process writes (journal.ErrLocked).
func Open(o Options) (*Store, error) {
	if o.MaxEntries <= 0 {
		o.MaxEntries = DefaultMaxEntries
	}
	if o.MaxFindings <= 0 {
		o.MaxFindings = DefaultMaxFindings
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.FlushEvery <= 0 {
		o.FlushEvery = DefaultFlushEvery
	}
	h := &Store{o: o, log: o.Log, st: newState(), wake: make(chan struct{}, 1)}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	j, rec, err := journal.Open(o.Path, journal.Options{Kind: journalKind, Schema: journalSchema, Reserve: reserve}, h.st.replay)
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	if rec.SetAside != "" {
		h.log.Warn("history: the file could not be read whole; what could is kept", "reason", rec.Reason, "set_aside", rec.SetAside, "records", rec.Records)
	}
	h.j = j
	h.stats.DamagedRecords = rec.Damaged
	h.saved = h.st.lastFinding()
	h.memory = newMemory(h.st.usual)
	h.st.usual = rules.Snapshot{} // the memory has it
	h.mu.Lock()
	h.bound()
	h.mu.Unlock()
	return h, nil
}

// Memory is the rules' memory over sessions, which outlives the process.
func (h *Store) Memory() rules.History { return h.memory }

// Add counts a session that is DynamoDB's, and keeps its findings. Nothing of it is kept by reference.
func (h *Store) Add(s *session.Session) {
	if !s.Endpoint.Known() {
		return
	}
	h.count(s)
	for _, f := range s.Findings {
		h.keep(findingOf(s, f))
	}
}

// AddFinding keeps a finding that showed after its session was added. In the inventory the session then stands under its new verdict, too.
func (h *Store) AddFinding(s *session.Session, f session.Finding) {
	if !s.Endpoint.Known() {
		return
	}
	h.count(s)
	h.keep(findingOf(s, f))
}

// AddDNS keeps the findings of a DNS answer.
func (h *Store) AddDNS(d *session.DNS) {
	for _, f := range d.Findings {
		h.keep(findingOfDNS(d, f))
	}
}

func (h *Store) count(s *session.Session) {
	k, start := keyOf(s), s.Start
	h.mu.Lock()
	defer h.mu.Unlock()
	var e *held
	if at, ok := h.st.byKey[k]; ok {
		e = at.Value.(*held)
		h.st.order.MoveToFront(at)
	} else {
		e = h.st.insert(entryRecord{ID: h.st.lastID + 1, Entry: Entry{Key: k, First: start, Last: start}})
	}
	e.Sessions++
	if start.Before(e.First) {
		e.First = start
	}
	if !start.Before(e.Last) {
		e.Last = start
		e.Service, e.Region, e.EndpointKind = s.Endpoint.Service, s.Endpoint.Region, s.Endpoint.Kind
		e.Visibility, e.Trust = string(s.Visibility), string(s.Trust)
		if x := shownOf(s); x != nil {
			h.st.show(e, x)
		}
	}
	if !e.dirty {
		e.dirty = true
		h.dirty = append(h.dirty, e)
	}
	h.bound()
}

func (h *Store) keep(f Finding, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil || findingSize(&f) > journal.MaxRecord/2 {
		h.stats.DroppedFindings++
		return
	}
	h.st.addFinding(findingRecord{h.st.lastID + 1, f})
	h.bound()
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// bound keeps the bounds. It is called with mu held.
func (h *Store) bound() {
	// Too many bytes are taken by either: what takes more than its half gives way.
	for len(h.st.findings) > h.o.MaxFindings || h.st.bytes > h.o.MaxBytes && h.st.findingBytes > h.o.MaxBytes/2 {
		h.goneFindings = h.st.findings[0].ID
		h.st.dropFinding()
		h.stats.EvictedFindings++
	}
	for h.st.order.Len() > h.o.MaxEntries || h.st.bytes > h.o.MaxBytes && h.st.order.Len() > 0 {
		e := h.st.removeEntry(h.st.order.Back())
		h.gone = append(h.gone, e.ID)
		h.stats.EvictedEntries++
	}
}

// Run writes changes until ctx ends, and once more then. Its error is that of the last write.
func (h *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(h.o.FlushEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return h.flush(true)
		case <-tick.C:
		case <-h.wake:
			select { // findings come in swarms
			case <-ctx.Done():
			case <-time.After(findingsWithin):
			}
		}
		_ = h.flush(false) // counted and logged; the next one tries again
	}
}

// Flush writes what has changed, at once.
func (h *Store) Flush() error { return h.flush(true) }

// Close gives the file back. Whoever called Run waits for its end first.
func (h *Store) Close() error {
	h.io.Lock()
	defer h.io.Unlock()
	return h.j.Close()
}

// batch is what one flush writes.
type batch struct {
	entries      []*held
	gone         []uint64
	goneFindings uint64
	saved, until uint64 // findings behind the one, up to the other
	usual        []line // nil if it has not changed
}

func (b *batch) empty() bool {
	return len(b.entries) == 0 && len(b.gone) == 0 && b.goneFindings == 0 && b.saved >= b.until && b.usual == nil
}

// flush writes what has changed.
func (h *Store) flush(last bool) error {
	h.io.Lock()
	defer h.io.Unlock()
	b := h.collect(last)
	var err error
	if !b.empty() {
		err = h.write(b)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stats.FileBytes = h.j.Size()
	if n := h.j.TooLong() - h.tooLong; n > 0 {
		h.tooLong += n
		h.stats.DroppedFindings += n // nothing else comes near
		h.log.Error("history: records that are too long are not in the file", "records", n)
	}
	if err != nil {
		h.putBack(b)
		h.stats.WriteErrors++
		if !h.stats.Failing {
			h.stats.Failing = true
			h.log.Error("history: cannot write; the inventory goes on in memory and is written later", "error", err)
		}
		return err
	}
	if b.empty() {
		return nil
	}
	h.stats.Writes++
	h.stats.LastWrite = time.Now()
	if h.stats.Failing {
		h.stats.Failing = false
		h.log.Info("history: writing again")
	}
	return nil
}

// write appends a batch. A file that has grown to twice of what is in it is written anew.
func (h *Store) write(b *batch) error {
	err := h.j.Append(journal.Encode(h.lines(b)))
	h.mu.Lock()
	worth := h.st.bytes
	h.mu.Unlock()
	if err == nil && (h.j.Size() < 2*worth+1<<20 || time.Now().Before(h.shortenAt)) {
		return nil
	}
	if rerr := h.j.Rewrite(journal.Encode(h.lines(h.all()))); rerr != nil {
		if err == nil {
			h.shortenAt = time.Now().Add(longFor)
			h.log.Warn("history: cannot shorten the file; what is new is written", "bytes", h.j.Size(), "error", rerr)
			return nil // all is written
		}
		return errors.Join(err, rerr)
	}
	return nil
}

// collect takes what is to be written.
func (h *Store) collect(last bool) *batch {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := &batch{entries: h.dirty, gone: h.gone, goneFindings: h.goneFindings, saved: h.saved, until: h.st.lastFinding()}
	h.dirty, h.gone, h.goneFindings, h.saved = nil, nil, 0, max(h.saved, b.until)
	for _, e := range b.entries {
		e.dirty = false
	}
	if now := time.Now(); last || now.Sub(h.usualAt) >= usualEvery {
		if snap, changed := h.memory.snapshot(usualPairs); changed {
			b.usual, h.usualAt = usualLines(snap), now
		}
	}
	return b
}

// all is a batch of everything that is not still to be written.
func (h *Store) all() *batch {
	b := &batch{usual: usualLines(h.memory.peek(usualPairs))}
	h.mu.Lock()
	defer h.mu.Unlock()
	b.until = h.saved
	b.entries = make([]*held, 0, h.st.order.Len())
	for e := h.st.order.Back(); e != nil; e = e.Prev() {
		b.entries = append(b.entries, e.Value.(*held))
	}
	return b
}

// lines are the records of a batch, each as things stand when it is its turn: what is evicted meanwhile is left out, and what changes meanwhile is
// part of the next batch as well.
func (h *Store) lines(b *batch) iter.Seq[line] {
	return func(yield func(line) bool) {
		if len(b.gone) > 0 && !yield(line{Gone: b.gone}) {
			return
		}
		if b.goneFindings > 0 && !yield(line{GoneFindings: b.goneFindings}) {
			return
		}
		for _, e := range b.entries {
			h.mu.Lock()
			_, ok := h.st.byID[e.ID]
			r := e.entryRecord
			h.mu.Unlock()
			if ok && !yield(line{Entry: &r}) {
				return
			}
		}
		for id := b.saved; ; {
			h.mu.Lock()
			f, ok := h.st.findingBehind(id)
			h.mu.Unlock()
			if !ok || f.ID > b.until {
				break
			}
			if id = f.ID; !yield(line{Finding: &f}) {
				return
			}
		}
		for _, l := range b.usual {
			if !yield(l) {
				return
			}
		}
	}
}

// putBack has a batch written again. It is called with mu held.
func (h *Store) putBack(b *batch) {
	for _, e := range b.entries {
		if _, ok := h.st.byID[e.ID]; ok && !e.dirty {
			e.dirty = true
			h.dirty = append(h.dirty, e)
		}
	}
	h.gone = append(b.gone, h.gone...)
	h.goneFindings = max(h.goneFindings, b.goneFindings)
	h.saved = min(h.saved, b.saved)
	if b.usual != nil {
		h.memory.touch()
		h.usualAt = time.Time{}
	}
}

// Stats returns the counters.
func (h *Store) Stats() Stats {
	evicted := h.memory.evicted()
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.stats
	s.Entries, s.MaxEntries = h.st.order.Len(), h.o.MaxEntries
	s.Findings, s.MaxFindings = len(h.st.findings), h.o.MaxFindings
	s.Bytes, s.MaxBytes = h.st.bytes, h.o.MaxBytes
	s.UsualEvicted = evicted
	return s
}
