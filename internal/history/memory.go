package history

import (
	"sync"
	"time"

	"github.com/dynwatch/dynwatch/analyze/rules"
	"github.com/dynwatch/dynwatch/analyze/session"
)

// memory is the rules' memory, kept beyond the process. The analysis uses it while the store takes snapshots.
type memory struct {
	mu      sync.Mutex // guards what follows
	recent  *rules.Recent
	changed bool
}

func newMemory(snap rules.Snapshot) *memory {
	m := &memory{recent: rules.NewRecent()}
	m.recent.BaselineAge = UsualFor
	m.recent.Restore(snap)
	return m
}

// Observe implements rules.History.
func (m *memory) Observe(s *session.Session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.changed = true
	m.recent.Observe(s)
}

// FailedTries implements rules.History.
func (m *memory) FailedTries(s *session.Session, within time.Duration) []rules.Try {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.recent.FailedTries(s, within)
}

// Baseline implements rules.History.
func (m *memory) Baseline(s *session.Session) (rules.Baseline, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.recent.Baseline(s)
}

// Authorities implements rules.History.
func (m *memory) Authorities(s *session.Session) []rules.Authority {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.recent.Authorities(s)
}

// snapshot copies what is known if it changed since the last snapshot.
func (m *memory) snapshot(limit int) (snap rules.Snapshot, changed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.changed {
		return snap, false
	}
	m.changed = false
	return m.recent.Snapshot(limit), true
}

// peek copies what is known.
func (m *memory) peek(limit int) rules.Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.recent.Snapshot(limit)
}

// touch has the next snapshot find a change.
func (m *memory) touch() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.changed = true
}

func (m *memory) evicted() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.recent.Evicted()
}
