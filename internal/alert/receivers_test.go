package alert

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// lockedLog is a log that may be read while it is written.
type lockedLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// await polls until ready.
func await(t *testing.T, what string, ready func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ready(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

// down is a receiver that takes nothing.
func down() *recorder {
	r := newRecorder()
	r.fail = errors.New("down")
	return r
}

// use changes the receivers, without limit of the rate, and returns when they are in use.
func use(t *testing.T, m *Manager, sinks ...SinkOptions) {
	t.Helper()
	if err := m.Use(Receivers{Burst: 1 << 20, Sinks: sinks}); err != nil {
		t.Fatal(err)
	}
	await(t, "the change", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.next == nil
	})
}

// stats are those of one sink in use.
func stats(m *Manager, name string) SinkStats {
	for _, s := range m.Stats().Sinks {
		if s.Name == name {
			return s
		}
	}
	return SinkStats{}
}

func TestAReceiverThatStaysIsLeftAlone(t *testing.T) {
	kept, again, added := down(), newRecorder(), newRecorder()
	m := manager(t, Options{Sinks: []SinkOptions{{Name: "kept", Sink: kept, Version: "1"}}})
	end := start(t, m)
	m.Add(weak("one.example"))
	await(t, "an attempt", func() bool { return stats(m, "kept").Failed > 0 })
	use(t, m, SinkOptions{Name: "kept", Sink: again, Version: "1"}, SinkOptions{Name: "added", Sink: added})
	kept.setFail(nil)
	m.Add(weak("two.example"))
	added.wait(t, 1)
	kept.wait(t, 2)
	if err := end(); err != nil {
		t.Fatal(err)
	}
	if got := kept.endpoints(); !slices.Equal(got, []string{"one.example", "two.example"}) {
		t.Errorf("the one that stayed got %q", got)
	}
	if got := added.endpoints(); !slices.Equal(got, []string{"two.example"}) || len(again.endpoints()) != 0 {
		t.Errorf("the new one got %q, the one that was not needed %q", got, again.endpoints())
	}
}

func TestWhatWaitsGoesToTheReceiversNewAddress(t *testing.T) {
	var log lockedLog
	path := filepath.Join(t.TempDir(), "a")
	old, now := down(), newRecorder()
	m := manager(t, Options{Path: path, Sinks: []SinkOptions{{Name: "pager", Sink: old, Version: "1"}}, Log: testLog(&log)})
	end := start(t, m)
	for i := range 3 {
		m.Add(weak(fmt.Sprintf("%d.example", i)))
	}
	await(t, "an attempt", func() bool { return stats(m, "pager").Failed > 0 && stats(m, "pager").Queued == 3 })
	began := time.Now()
	use(t, m, SinkOptions{Name: "pager", Sink: now, Version: "2"})
	now.wait(t, 3)
	t.Logf("delivered %v after the change", time.Since(began))
	if err := end(); err != nil {
		t.Fatal(err)
	}
	if got := now.endpoints(); !slices.Equal(got, []string{"0.example", "1.example", "2.example"}) || len(old.endpoints()) != 0 {
		t.Errorf("%q, and the old one %q", got, old.endpoints())
	}
	if !strings.Contains(log.String(), "changed=[pager]") {
		t.Error(log.String())
	}
	nothingWaits(t, m, path)
}

// nothingWaits closes a manager and looks at what it left on disk.
func nothingWaits(t *testing.T, m *Manager, path string) {
	t.Helper()
	m.Close()
	r := newRecorder()
	after := manager(t, Options{Path: path, Sinks: []SinkOptions{{Name: "next start", Sink: r}}})
	if n := after.Stats().Queued; n != 0 {
		t.Errorf("%d wait at the next start", n)
	}
	after.Close()
}

func TestWhatNobodyTookGoesToThoseThatAreThere(t *testing.T) {
	for _, tt := range []struct {
		name    string
		restart bool
	}{
		{name: "while it runs"},
		{name: "by a new start", restart: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log lockedLog
			path := filepath.Join(t.TempDir(), "a")
			old, up, strict := down(), newRecorder(), newRecorder()
			// The other receiver of the beginning wants critical alerts alone, and takes them.
			before := []SinkOptions{{Name: "old", Sink: old}, {Name: "strict", Sink: strict, MinSeverity: session.Critical}}
			m := manager(t, Options{Path: path, Sinks: before, Log: testLog(&log)})
			end := start(t, m)
			m.Add(weak("nobody.example"))
			s, f := weak("taken.example")
			f.Severity = session.Critical
			m.Add(s, f)
			strict.wait(t, 1)
			await(t, "an attempt", func() bool { return stats(m, "old").Failed > 0 && stats(m, "old").Queued == 2 })
			after := []SinkOptions{{Name: "strict", Sink: strict, MinSeverity: session.Critical}, {Name: "new", Sink: up}}
			if tt.restart {
				if err := end(); err != nil {
					t.Fatal(err)
				}
				m.Close()
				m = manager(t, Options{Path: path, Sinks: after, Log: testLog(&log)})
				end = start(t, m)
			} else {
				use(t, m, after...)
			}
			up.wait(t, 1)
			await(t, "an empty queue", func() bool { return m.Stats().Queued == 0 })
			if err := end(); err != nil {
				t.Fatal(err)
			}
			if got := up.endpoints(); !slices.Equal(got, []string{"nobody.example"}) || len(strict.endpoints()) != 1 {
				t.Errorf("the new one got %q, the other %q", got, strict.endpoints())
			}
			if st := m.Stats(); st.Orphaned != 1 || st.QueuedBytes != 0 {
				t.Errorf("%+v", st)
			}
			if said := log.String(); !strings.Contains(said, "sink=old sent_to_others=1 kept_until_there_is_a_receiver=0 dropped=1") {
				t.Error(said)
			}
			nothingWaits(t, m, path)
		})
	}
}

func TestWithoutReceiversAlertsWaitForOne(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart %t", restart), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a")
			old, up := down(), newRecorder()
			m := manager(t, Options{Path: path, Sinks: sink(old)})
			end := start(t, m)
			m.Add(weak("one.example"))
			await(t, "an attempt", func() bool { return stats(m, "recorder").Failed > 0 })
			use(t, m)
			await(t, "nobody is told", func() bool { return len(m.Stats().Sinks) == 1 && m.Stats().Queued == 1 })
			if s := m.Stats().Sinks[0]; s.Name != "" || s.Kind != "recorder" || s.Failed == 0 {
				t.Errorf("the counts of what was are %+v", s)
			}
			m.Add(weak("two.example")) // nobody would hear of it: it must not count as told
			if restart {
				if err := end(); err != nil {
					t.Fatal(err)
				}
				m.Close()
				m = manager(t, Options{Path: path})
				end = start(t, m)
				if n := m.Stats().Queued; n != 1 {
					t.Fatalf("%d wait after the new start", n)
				}
			}
			use(t, m, SinkOptions{Name: "new", Sink: up})
			up.wait(t, 1)
			m.Add(weak("two.example"))
			up.wait(t, 1)
			if err := end(); err != nil {
				t.Fatal(err)
			}
			if got := up.endpoints(); !slices.Equal(got, []string{"one.example", "two.example"}) {
				t.Errorf("%q", got)
			}
			nothingWaits(t, m, path)
		})
	}
}

// slow is a receiver whose answer the test gives.
type slow struct {
	*recorder
	asked  chan struct{}
	answer chan error
	closed chan struct{}
}

func (s *slow) Send(ctx context.Context, alerts []*Alert) error {
	s.asked <- struct{}{}
	if err := <-s.answer; err != nil {
		return err
	}
	return s.recorder.Send(ctx, alerts)
}

func (s *slow) Close() error {
	close(s.closed)
	return nil
}

// An attempt that is under way when its receiver is removed is not made twice, and not forgotten.
func TestAnAttemptThatIsUnderWayDecides(t *testing.T) {
	for name, answer := range map[string]error{"taken": nil, "not taken": errors.New("down")} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a")
			old := &slow{newRecorder(), make(chan struct{}), make(chan error), make(chan struct{})}
			up := newRecorder()
			m := manager(t, Options{Path: path, Sinks: []SinkOptions{{Name: "old", Sink: old}}})
			end := start(t, m)
			m.Add(weak("one.example"))
			<-old.asked
			m.Add(weak("two.example"))
			use(t, m, SinkOptions{Name: "new", Sink: up})
			up.wait(t, 1) // two.example does not wait for the answer
			if st := m.Stats(); st.Queued == 0 || len(st.Sinks) != 2 {
				t.Errorf("%+v", st)
			}
			old.answer <- answer
			<-old.closed
			want := []string{"two.example"}
			if answer != nil {
				up.wait(t, 1)
				want = append(want, "one.example")
			}
			await(t, "an empty queue", func() bool { return m.Stats().Queued == 0 })
			if err := end(); err != nil {
				t.Fatal(err)
			}
			if got := up.endpoints(); !slices.Equal(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
			nothingWaits(t, m, path)
		})
	}
}

// Whatever is changed while findings arrive, each reaches somebody.
func TestNothingIsLostWhileReceiversChange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	a, b, c := newRecorder(), down(), newRecorder()
	m := manager(t, Options{Path: path, Sinks: []SinkOptions{{Name: "a", Sink: a}}})
	end := start(t, m)
	sets := [][]SinkOptions{
		{{Name: "b", Sink: b}},
		{{Name: "b", Sink: b, Version: "2"}, {Name: "c", Sink: c}},
		{{Name: "c", Sink: c}},
		{{Name: "a", Sink: a}, {Name: "b", Sink: b}},
		{{Name: "a", Sink: b, Version: "3"}},
		{{Name: "a", Sink: a, Version: "4"}, {Name: "c", Sink: c}},
	}
	const n = 600
	for i := range n {
		m.Add(weak(fmt.Sprintf("%d.example", i)))
		if i%20 == 19 {
			if err := m.Use(Receivers{Burst: 1 << 20, Sinks: sets[i/20%len(sets)]}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
	}
	use(t, m, SinkOptions{Name: "a", Sink: a}, SinkOptions{Name: "c", Sink: c})
	await(t, "an empty queue", func() bool { return m.Stats().Queued == 0 })
	if err := end(); err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, e := range append(a.endpoints(), c.endpoints()...) {
		got[e] = true
	}
	if len(got) != n {
		t.Errorf("%d of %d arrived: %+v", len(got), n, m.Stats())
	}
	nothingWaits(t, m, path)
}

func TestNamesStayUnique(t *testing.T) {
	r := newRecorder()
	m := manager(t, Options{Sinks: sink(r)})
	if err := m.Use(Receivers{Sinks: []SinkOptions{{Sink: newRecorder()}, {Sink: newRecorder()}}}); err == nil {
		t.Error("two of a name were taken")
	}
	end := start(t, m)
	m.Add(weak("one.example"))
	r.wait(t, 1) // the old ones stay
	if err := end(); err != nil {
		t.Fatal(err)
	}
}
