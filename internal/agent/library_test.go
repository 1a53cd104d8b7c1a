package agent

import (
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/bpf"
	"github.com/dynwatch/dynwatch/capture/library"
	"github.com/dynwatch/dynwatch/internal/config"
	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/live"
	"github.com/dynwatch/dynwatch/internal/privilege"
)

// fakeLibrary is library probes that tell nothing, or fail.
type fakeLibrary struct {
	all bool

	mu       sync.Mutex
	followed []int
	fail     error
	released bool
}

func (l *fakeLibrary) Follow(pid int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.followed = append(l.followed, pid)
}

func (l *fakeLibrary) Poll(func(*flow.Library)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.released {
		panic("polled after it was released")
	}
	return l.fail
}

func (l *fakeLibrary) Stats() library.Stats {
	return library.Stats{Files: 3, Probes: 21, Kinds: map[string]int{"openssl": 21}, Refused: 1, Closed: 2, Loss: map[string]uint64{"library.ring_full": 4}}
}

func (l *fakeLibrary) Release() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.released = true
	return nil
}

func (l *fakeLibrary) done() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.released
}

// shelf gives out fake library probes, or errors.
type shelf struct {
	mu     sync.Mutex
	opened []*fakeLibrary
	err    error
	wait   chan struct{} // nil does not wait
}

func (s *shelf) open(o library.Options) (Library, error) {
	if s.wait != nil {
		<-s.wait
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	l := &fakeLibrary{all: o.All}
	s.opened = append(s.opened, l)
	return l, nil
}

func (s *shelf) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.opened)
}

// withProbes are settings with library probes of a mode.
func withProbes(t *testing.T, mode string) *Settings {
	c := config.Default()
	c.Source.LibraryProbes = mode
	return &Settings{Config: c, Judge: judge(t)}
}

func sourceOf(kind string) func(live.Options) (*live.Watch, error) {
	return func(live.Options) (*live.Watch, error) { return &live.Watch{Source: newFake(), Kind: kind}, nil }
}

func TestReadyOnlyOnceLibraryProbesWereTried(t *testing.T) {
	s := &shelf{wait: make(chan struct{})}
	r := start(t, Options{Open: sourceOf(live.EBPF), OpenLibrary: s.open})
	r.await("it says what it waits for", func() bool {
		status, body := r.get("/readyz")
		return status == 503 && strings.Contains(body, "library probes are being attached")
	})
	r.awaitMetric(`dynwatch_source_up{source="ebpf"} 1`)
	close(s.wait)
	r.await("ready", func() bool {
		status, body := r.get("/readyz")
		return status == 200 && body == "ok\nlibrary probes: in 3 files; 1 more should have some and have not; 2 processes, or files of theirs, could not be looked at\n"
	})
	r.awaitMetric(`dynwatch_library_probes_up 1`)
	r.awaitMetric(`dynwatch_library_probes{library="openssl"} 21`)
	r.awaitMetric(`dynwatch_library_failures{reason="closed"} 2`)
	r.awaitMetric(`dynwatch_events_lost_total{reason="ring_full",stage="library"} 4`)
}

// TestLibraryProbesThatTakeLongDoNotKeepTheAgentFromBeingReady: nor is what they are waited for lost.
func TestLibraryProbesThatTakeLongDoNotKeepTheAgentFromBeingReady(t *testing.T) {
	s := &shelf{wait: make(chan struct{})}
	now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	p := newProbing(s.open, slog.New(slog.DiscardHandler), func() time.Time { return now })
	p.want(config.ProbesAuto)
	now = now.Add(awaitProbes - time.Second)
	if p.take(); p.tried {
		t.Error("ready too soon")
	}
	now = now.Add(time.Second)
	if note, lacks := "", ""; !p.take() || !p.tried {
		t.Error("not ready")
	} else if note, lacks = p.state(); note != "library probes: being attached" || lacks != "" {
		t.Errorf("%q, %q", note, lacks)
	}
	close(s.wait)
	p.beside.Wait()
	if !p.take() || p.src == nil {
		t.Error("they came, and were not taken")
	}
	p.close()
	if !s.opened[0].done() {
		t.Error("not released")
	}
}

func TestLibraryProbesThatCannotBeHad(t *testing.T) {
	for _, tt := range []struct {
		name, mode, kind string
		err              error
		status           int
		says, metric     string
	}{
		{"a kernel without", config.ProbesAuto, live.EBPF, &bpf.NotSupportedError{}, 200, "library probes: none: ", "unsupported"},
		{"rights that are missing", config.ProbesAuto, live.EBPF, &bpf.PermissionError{}, 200, "library probes: none: ", "no_rights"},
		{"something else", config.ProbesAuto, live.EBPF, errors.New("no memory"), 200, "library probes: none: no memory", "broken"},
		{"demanded", config.ProbesAll, live.EBPF, errors.New("no memory"), 503, "no library probes of all processes, which are wanted: no memory", "broken"},
		{"nobody would say whom to follow", config.ProbesAuto, live.Packet, nil, 200, "library probes: off", ""},
		{"demanded beside packets", config.ProbesAll, live.Packet, nil, 200, "library probes: in 3 files", ""},
		{"off", config.ProbesOff, live.EBPF, nil, 200, "library probes: off", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &shelf{err: tt.err}
			r := start(t, Options{Settings: withProbes(t, tt.mode), Open: sourceOf(tt.kind), OpenLibrary: s.open})
			r.await("what /readyz says", func() bool {
				status, body := r.get("/readyz")
				return status == tt.status && strings.Contains(body, tt.says)
			})
			if tt.metric != "" {
				r.awaitMetric(`dynwatch_library_failures{reason="` + tt.metric + `"} 1`)
				r.awaitMetric(`dynwatch_library_probes_up 0`)
			}
			if off := strings.HasSuffix(tt.says, "off"); off && s.count() > 0 {
				t.Error("probes were attached")
			}
		})
	}
}

// TestLibraryProbesChangeByReload: the source goes on, and there are probes at every moment at which some are wanted.
func TestLibraryProbesChangeByReload(t *testing.T) {
	s := &shelf{}
	next := make(chan *Settings, 1)
	hangup := make(chan os.Signal, 1)
	src, k := newFake(), &kept{}
	r := start(t, Options{
		Settings: withProbes(t, config.ProbesAuto), OpenLibrary: s.open, Hangup: hangup, Reload: func() (*Settings, error) { return <-next, nil }, Recorders: []Recorder{k},
		Open: func(live.Options) (*live.Watch, error) { return &live.Watch{Source: src, Kind: live.EBPF}, nil },
	})
	reload := func(mode string) {
		next <- withProbes(t, mode)
		hangup <- os.Interrupt
	}
	r.await("the first", func() bool { return s.count() == 1 })
	segments := plain(40000)
	src.segments <- segments[0]
	src.segments <- segments[1]
	r.await("the process is announced", func() bool {
		s.opened[0].mu.Lock()
		defer s.opened[0].mu.Unlock()
		return slices.Contains(s.opened[0].followed, 42)
	})
	reload(config.ProbesAll)
	r.await("others", func() bool { return s.count() == 2 && s.opened[0].done() })
	if s.opened[0].all || !s.opened[1].all || s.opened[1].done() {
		t.Error("the probes are not those that were asked for")
	}
	reload(config.ProbesOff)
	r.await("none", func() bool { return s.opened[1].done() })
	r.awaitMetric(`dynwatch_library_probes_up 0`)
	reload(config.ProbesAuto)
	r.await("again", func() bool { return s.count() == 3 })
	r.awaitMetric(`dynwatch_library_probes_up 1`)
	for _, seg := range segments[2:] {
		src.segments <- seg
	}
	r.await("the session that was under way", func() bool { n, _ := k.counts(); return n == 1 })
	k.mu.Lock()
	defer k.mu.Unlock()
	if s := k.sessions[0]; s.Loss.Any() || s.Loss.Midstream {
		t.Errorf("it lost something: %+v", s.Loss)
	}
	r.awaitMetric(`dynwatch_source_starts_total{source="ebpf"} 1`)
}

// TestRightsAreKeptForLibraryProbesOnly: who begins without them cannot have them later, and is told so.
func TestRightsAreKeptForLibraryProbesOnly(t *testing.T) {
	for mode, kept := range map[string]bool{config.ProbesAuto: true, config.ProbesAll: true, config.ProbesOff: false} {
		t.Run(mode, func(t *testing.T) {
			s := &shelf{}
			var also privilege.Set
			next := make(chan *Settings, 1)
			hangup := make(chan os.Signal, 1)
			r := start(t, Options{
				Settings: withProbes(t, mode), OpenLibrary: s.open, Hangup: hangup, Reload: func() (*Settings, error) { return <-next, nil }, Open: sourceOf(live.EBPF),
				DropRights: func(_ *live.Watch, set privilege.Set) (string, error) { also = set; return "none", nil },
			})
			r.await("ready", func() bool { status, _ := r.get("/readyz"); return status == 200 })
			if also.Has(unix.CAP_PERFMON) != kept || also.Has(unix.CAP_SYS_PTRACE) != kept {
				t.Errorf("kept beside the source's: %v", also)
			}
			if kept {
				return
			}
			next <- withProbes(t, config.ProbesAuto)
			hangup <- os.Interrupt
			r.await("it says so", func() bool {
				status, body := r.get("/readyz")
				return status == 200 && strings.Contains(body, "library probes: none: the rights for them were given up at the start: start the agent anew")
			})
			if !strings.Contains(r.log.String(), errProbeRights.Error()) || s.count() > 0 {
				t.Error("the log does not say so, or it was tried all the same")
			}
			r.awaitMetric(`dynwatch_library_failures{reason="no_rights"} 1`)
		})
	}
}

func TestLibraryProbesThatBreakOffDoNotEndTheWatching(t *testing.T) {
	s := &shelf{}
	r := start(t, Options{Open: sourceOf(live.EBPF), OpenLibrary: s.open})
	r.awaitMetric(`dynwatch_library_probes_up 1`)
	s.opened[0].mu.Lock()
	s.opened[0].fail = errors.New("the ring is gone")
	s.opened[0].mu.Unlock()
	r.awaitMetric(`dynwatch_library_probes_up 0`)
	r.awaitMetric(`dynwatch_library_failures{reason="broken"} 1`)
	if status, body := r.get("/readyz"); status != 200 || !strings.Contains(body, "the ring is gone") {
		t.Errorf("%d %s", status, body)
	}
	if !s.opened[0].done() {
		t.Error("they were not released")
	}
}
