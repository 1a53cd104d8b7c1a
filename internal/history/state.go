package history

import (
	"cmp"
	"container/list"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/dynwatch/dynwatch/analyze/rules"
)

// Kind and Schema of the journal.
const (
	journalKind   = "history"
	journalSchema = 1
)

// entryRecord is an entry in the journal. A later one with the same id replaces it.
type entryRecord struct {
	ID uint64 `json:"id"`
	Entry
}

type findingRecord struct {
	ID uint64 `json:"id"`
	Finding
}

// line is one record of the journal; one field is set.
type line struct {
	Entry   *entryRecord   `json:"entry,omitempty"`
	Finding *findingRecord `json:"finding,omitempty"`
	// Gone are ids of entries that were evicted; GoneFindings is the highest id of a finding that was.
	Gone         []uint64 `json:"gone,omitempty"`
	GoneFindings uint64   `json:"gone_findings,omitempty"`
	// Usual is a part of the rules' memory; Again says that it is the first part, and what was read before is void.
	Usual *rules.Snapshot `json:"usual,omitempty"`
	Again bool            `json:"again,omitempty"`
}

// How much of the rules' memory one record takes: with names as long as they may be, half of journal.MaxRecord.
const (
	pairsPerRecord     = 400
	endpointsPerRecord = 80
)

// usualLines puts the rules' memory into records.
func usualLines(snap rules.Snapshot) []line {
	list := []line{{Usual: &rules.Snapshot{}, Again: true}}
	for pairs := range slices.Chunk(snap.Pairs, pairsPerRecord) {
		list = append(list, line{Usual: &rules.Snapshot{Pairs: pairs}})
	}
	for endpoints := range slices.Chunk(snap.Endpoints, endpointsPerRecord) {
		list = append(list, line{Usual: &rules.Snapshot{Endpoints: endpoints}})
	}
	return list
}

// held is an entry with what the store needs to keep it.
type held struct {
	entryRecord
	size  int // of its record, about
	dirty bool
}

// state is what the records of a journal add up to.
type state struct {
	byKey    map[Key]*list.Element
	byID     map[uint64]*list.Element
	order    list.List // of *held, the latest touched in front
	findings []findingRecord
	usual    rules.Snapshot
	lastID   uint64
	// bytes is what entries and findings take, about; findingBytes is the findings' part.
	bytes, findingBytes int64
}

func newState() *state {
	return &state{byKey: make(map[Key]*list.Element), byID: make(map[uint64]*list.Element)}
}

// replay takes a record in.
func (st *state) replay(record []byte) error {
	var l line
	if err := json.Unmarshal(record, &l); err != nil {
		return err
	}
	switch {
	case l.Entry != nil:
		return st.putEntry(*l.Entry)
	case l.Finding != nil:
		if l.Finding.ID <= st.lastFinding() {
			return fmt.Errorf("finding %d is not after %d", l.Finding.ID, st.lastFinding())
		}
		st.addFinding(*l.Finding)
	case len(l.Gone) > 0:
		for _, id := range l.Gone {
			if e, ok := st.byID[id]; ok {
				st.removeEntry(e)
			}
		}
	case l.GoneFindings > 0:
		for len(st.findings) > 0 && st.findings[0].ID <= l.GoneFindings {
			st.dropFinding()
		}
		st.lastID = max(st.lastID, l.GoneFindings)
	case l.Usual != nil:
		if l.Again {
			st.usual = rules.Snapshot{}
		}
		st.usual.Pairs = append(st.usual.Pairs, l.Usual.Pairs...)
		st.usual.Endpoints = append(st.usual.Endpoints, l.Usual.Endpoints...)
	default:
		return errors.New("a record of no known kind")
	}
	return nil
}

func (st *state) lastFinding() uint64 {
	if len(st.findings) == 0 {
		return 0
	}
	return st.findings[len(st.findings)-1].ID
}

// findingBehind is the oldest finding whose id is greater.
func (st *state) findingBehind(id uint64) (findingRecord, bool) {
	i, _ := slices.BinarySearchFunc(st.findings, id+1, func(f findingRecord, id uint64) int { return cmp.Compare(f.ID, id) })
	if i == len(st.findings) {
		return findingRecord{}, false
	}
	return st.findings[i], true
}

func (st *state) putEntry(r entryRecord) error {
	if e, ok := st.byID[r.ID]; ok {
		h := e.Value.(*held)
		if h.Key != r.Key {
			return fmt.Errorf("entry %d has two keys", r.ID)
		}
		st.bytes -= int64(h.size)
		h.entryRecord, h.size = r, entrySize(&r.Entry)
		st.bytes += int64(h.size)
		st.order.MoveToFront(e)
		return nil
	}
	if _, ok := st.byKey[r.Key]; ok {
		return fmt.Errorf("entry %d has the key of another", r.ID)
	}
	st.insert(r)
	return nil
}

func (st *state) insert(r entryRecord) *held {
	h := &held{entryRecord: r, size: entrySize(&r.Entry)}
	e := st.order.PushFront(h)
	st.byKey[r.Key], st.byID[r.ID] = e, e
	st.lastID = max(st.lastID, r.ID)
	st.bytes += int64(h.size)
	return h
}

// show notes what a probe was shown.
func (st *state) show(h *held, x *Shown) {
	h.Shown = x
	st.bytes -= int64(h.size)
	h.size = entrySize(&h.Entry)
	st.bytes += int64(h.size)
}

func (st *state) removeEntry(e *list.Element) *held {
	h := st.order.Remove(e).(*held)
	delete(st.byKey, h.Key)
	delete(st.byID, h.ID)
	st.bytes -= int64(h.size)
	return h
}

func (st *state) addFinding(r findingRecord) {
	st.findings = append(st.findings, r)
	st.lastID = max(st.lastID, r.ID)
	n := int64(findingSize(&r.Finding))
	st.bytes += n
	st.findingBytes += n
}

// dropFinding forgets the oldest.
func (st *state) dropFinding() {
	n := int64(findingSize(&st.findings[0].Finding))
	st.bytes -= n
	st.findingBytes -= n
	st.findings[0] = findingRecord{}
	st.findings = st.findings[1:]
}

// What an entry and a finding take in memory and in the journal, in bytes, whichever is more: the texts, and the rest of the record.
func entrySize(e *Entry) int {
	n := 600 + len(e.Namespace) + len(e.Workload) + len(e.Endpoint) + len(e.Cipher) + len(e.Issuer)
	if e.Shown != nil {
		n += 200 + len(e.Shown.Issuer)
	}
	return n
}

func findingSize(f *Finding) int {
	return 400 + len(f.Namespace) + len(f.Workload) + len(f.Endpoint) + len(f.Issuer) + len(f.Message) + len(f.Event)
}
