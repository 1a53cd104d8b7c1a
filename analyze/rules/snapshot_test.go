package rules

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// carried is what a Recent knows after its snapshot went through JSON.
func carried(t *testing.T, r *Recent) *Recent {
	t.Helper()
	data, err := json.Marshal(r.Snapshot(100))
	if err != nil {
		t.Fatal(err)
	}
	var snap Snapshot
	if err := json.Unmarshal(data, &snap); err != nil {
		t.Fatal(err)
	}
	next := NewRecent()
	next.Restore(snap)
	if !reflect.DeepEqual(next.Snapshot(100), r.Snapshot(100)) {
		t.Errorf("restored\n%+v\nwant\n%+v", next.Snapshot(100), r.Snapshot(100))
	}
	return next
}

func TestBaselineOutlivesARestart(t *testing.T) {
	r := NewRecent()
	for i := range 3 {
		r.Observe(change(good13(), func(s *session.Session) { s.Start = t0.Add(time.Duration(i) * time.Minute) }))
	}
	lower := change(good13(), func(s *session.Session) {
		s.Start = t0.Add(time.Hour)
		s.TLS.Version, s.TLS.Cipher = session.TLS12, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
	})
	next := carried(t, r)
	want, _ := r.Baseline(lower)
	if got, ok := next.Baseline(lower); !ok || !got.Last.Equal(want.Last) || got.Version != session.TLS13 || got.Sessions != 3 {
		t.Errorf("baseline %+v (%v), want %+v", got, ok, want)
	}
	if f := tlsDowngradeRule.Check(&Input{Session: lower, History: next}); f == nil || f.Evidence["signal"] != "baseline" {
		t.Errorf("no downgrade after the restart: %+v", f)
	}
	if f := tlsDowngradeRule.Check(&Input{Session: lower, History: NewRecent()}); f != nil {
		t.Errorf("a downgrade without memory: %+v", f)
	}
}

// A pair that has no settled version has none after a restart, and goes on counting where it was.
func TestSnapshotKeepsUnsettledPairs(t *testing.T) {
	r := NewRecent()
	for i, v := range []session.Version{session.TLS13, session.TLS13, session.TLS12, session.TLS13, session.TLS13} {
		r.Observe(change(good13(), func(s *session.Session) { s.Start, s.TLS.Version = t0.Add(time.Duration(i)*time.Minute), v }))
	}
	next := carried(t, r)
	ask := change(good13(), func(s *session.Session) { s.Start = t0.Add(time.Hour) })
	for range 2 {
		a, okA := r.Baseline(ask)
		b, okB := next.Baseline(ask)
		if okA != okB || a.Version != b.Version || a.Sessions != b.Sessions {
			t.Errorf("%+v %v, restored %+v %v", a, okA, b, okB)
		}
		more := change(good13(), func(s *session.Session) { s.Start = t0.Add(10 * time.Minute) })
		r.Observe(more)
		next.Observe(more)
	}
}

func TestAuthoritiesOutliveARestart(t *testing.T) {
	h := amazonPast(3, certified(time.Hour, exampleRoot)).(*Recent)
	f := issuerChangedRule.Check(&Input{Session: certified(2*time.Hour, exampleRoot), History: carried(t, h)})
	if f == nil || f.Severity != session.High {
		t.Errorf("%+v", f)
	}
}

func TestPairsAreTheWorkloads(t *testing.T) {
	pod := func(name, container string) *session.Session {
		return change(good13(), func(s *session.Session) {
			s.Process = &flow.Process{PID: 7, Exe: "/usr/bin/python3", Pod: name, Namespace: "shop", ContainerID: container}
		})
	}
	r := NewRecent()
	for _, id := range []string{"a", "b", "c"} {
		r.Observe(pod("orders-7d9f8b6c5d-x2x7"+map[string]string{"a": "p", "b": "q", "c": "r"}[id], id))
	}
	if _, ok := r.Baseline(change(pod("orders-6c4b8d7f9b-zk4qw", "d"), func(s *session.Session) { s.Start = t0.Add(time.Hour) })); !ok {
		t.Error("the next container of the workload has no baseline")
	}
	if _, ok := r.Baseline(change(pod("carts-6c4b8d7f9b-zk4qw", "d"), func(s *session.Session) { s.Start = t0.Add(time.Hour) })); ok {
		t.Error("another workload has its baseline")
	}
}

func TestSnapshotIsBounded(t *testing.T) {
	r := NewRecent()
	for i := range 50 {
		r.Observe(change(good12(), func(s *session.Session) { s.Endpoint.Name = fmt.Sprint(i, ".example") }))
	}
	snap := r.Snapshot(10)
	if len(snap.Pairs) != 10 || len(snap.Endpoints) != 10 || snap.Endpoints[0].Endpoint != "49.example" {
		t.Errorf("%d pairs, %d endpoints, the first %+v", len(snap.Pairs), len(snap.Endpoints), snap.Endpoints[0])
	}
}

func TestRestoreLeavesNonsenseOut(t *testing.T) {
	r := NewRecent()
	r.Restore(Snapshot{
		Pairs: []PairMemory{
			{Client: "c", Program: "p", Endpoint: "e", Negotiated: []Negotiated{{0xffff, -1, t0}, {session.TLS13, 3, time.Time{}}}},
			{Client: "", Program: "p", Endpoint: "e", Negotiated: []Negotiated{{session.TLS13, 3, t0}}},
		},
		Endpoints: []EndpointMemory{{"", nil}, {"e", []Authority{{Name: "x", First: t0, Last: t0.Add(-1), Sessions: 3}, {Name: "", First: t0, Last: t0, Sessions: 3}}}},
	})
	if snap := r.Snapshot(10); len(snap.Pairs) != 0 || len(snap.Endpoints) != 1 || len(snap.Endpoints[0].Authorities) != 0 {
		t.Errorf("%+v", snap)
	}
}
