package history

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/journal"
)

// Query selects from a history. The zero value selects all.
type Query struct {
	// Since and Until are inclusive bounds: a finding's time lies between them, an entry was seen between them. Zero is no bound.
	Since, Until time.Time
	// Workload and Endpoint are parts of the names, in any case.
	Workload, Endpoint string
	// Verdict is that of entries, Rule and MinSeverity are findings'.
	Verdict, Rule string
	MinSeverity   session.Severity
}

// Content is what was selected: entries by their latest session, findings by time, the latest first.
type Content struct {
	Entries  []Entry
	Findings []Finding
	// Damaged counts lines of the file that could not be read.
	Damaged int
}

// Read selects from the history at path. It needs only the right to read the file, and works while an agent writes it: what it does not show
// are the changes of the last seconds.
func Read(path string, q Query) (*Content, error) {
	var st *state
	var found journal.Found
	// What looks damaged may be a line that was written over while it was read (after a full disk): it is whole the next time.
	for try := 0; ; try++ {
		var err error
		st = newState()
		if found, err = journal.Read(path, journalKind, journalSchema, st.replay); err != nil {
			return nil, fmt.Errorf("history: %w", err)
		}
		if found.Damaged == 0 || try == 2 {
			break
		}
	}
	c := st.content(q)
	c.Damaged = found.Damaged
	return c, nil
}

// Snapshot selects from an open history.
func (h *Store) Snapshot(q Query) *Content {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.st.content(q)
}

func (st *state) content(q Query) *Content {
	c := &Content{}
	for e := st.order.Front(); e != nil; e = e.Next() {
		if x := &e.Value.(*held).Entry; q.entry(x) {
			c.Entries = append(c.Entries, *x)
		}
	}
	slices.SortStableFunc(c.Entries, func(a, b Entry) int {
		return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.Workload, b.Workload), cmp.Compare(a.Endpoint, b.Endpoint))
	})
	for i := range slices.Backward(st.findings) {
		if f := &st.findings[i].Finding; q.finding(f) {
			c.Findings = append(c.Findings, *f)
		}
	}
	slices.SortStableFunc(c.Findings, func(a, b Finding) int { return b.Time.Compare(a.Time) })
	return c
}

func (q *Query) entry(e *Entry) bool {
	return !(!q.Since.IsZero() && e.Last.Before(q.Since) || !q.Until.IsZero() && e.First.After(q.Until)) &&
		part(q.Workload, e.Namespace+"/"+e.Workload) && part(q.Endpoint, e.Endpoint) && (q.Verdict == "" || q.Verdict == e.Verdict)
}

func (q *Query) finding(f *Finding) bool {
	if !q.Since.IsZero() && f.Time.Before(q.Since) || !q.Until.IsZero() && f.Time.After(q.Until) || q.Rule != "" && q.Rule != f.Rule {
		return false
	}
	if q.MinSeverity != session.SeverityNone {
		if s, err := session.ParseSeverity(f.Severity); err != nil || s < q.MinSeverity {
			return false
		}
	}
	return part(q.Workload, f.Namespace+"/"+f.Workload) && part(q.Endpoint, f.Endpoint)
}

func part(want, of string) bool {
	return want == "" || strings.Contains(strings.ToLower(of), strings.ToLower(want))
}
