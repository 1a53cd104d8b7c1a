package alert

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

var t0 = time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)

func newFolder() *folder {
	return &folder{window: time.Hour, hold: 15 * time.Minute, maxKinds: DefaultMaxKinds, folds: make(map[string]*fold), perSecond: 1, burst: 10}
}

// a is one finding of a kind at a time.
func finding(kind string, after time.Duration) *Alert {
	a := &Alert{Rule: "weak-cipher", Severity: "high", Endpoint: kind, Message: "m", Count: 1, First: t0.Add(after), Last: t0.Add(after)}
	a.Fingerprint = a.kind()
	return a
}

func TestTheFirstOfAKindIsToldAtOnce(t *testing.T) {
	f := newFolder()
	a := f.add(finding("a", 0), t0)
	if a == nil || a.Count != 1 || a.Repeat || a.ID == "" || !a.First.Equal(t0) {
		t.Fatalf("%+v", a)
	}
	if b := f.add(finding("b", 0), t0); b == nil || b.ID == a.ID || b.Fingerprint == a.Fingerprint {
		t.Errorf("another kind: %+v", b)
	}
	for i := range 5 {
		if x := f.add(finding("a", time.Duration(i+1)*time.Minute), t0.Add(time.Duration(i+1)*time.Minute)); x != nil {
			t.Errorf("told again: %+v", x)
		}
	}
	if due := f.due(t0.Add(59 * time.Minute)); due != nil {
		t.Errorf("due within the window: %+v", due)
	}
	due := f.due(t0.Add(time.Hour))
	if len(due) != 1 || due[0].Count != 5 || !due[0].Repeat || !due[0].First.Equal(t0.Add(time.Minute)) || !due[0].Last.Equal(t0.Add(5*time.Minute)) || due[0].Fingerprint != a.Fingerprint {
		t.Fatalf("at the window's end: %+v", due)
	}
	if f.folded != 5 || len(f.folds) != 1 {
		t.Errorf("%d folded, %d kinds", f.folded, len(f.folds))
	}
	if due := f.due(t0.Add(2 * time.Hour)); due != nil || len(f.folds) != 0 {
		t.Errorf("a kind that did not come again: %+v, %d kinds", due, len(f.folds))
	}
	if x := f.add(finding("a", 3*time.Hour), t0.Add(3*time.Hour)); x == nil || x.Repeat || x.Count != 1 {
		t.Errorf("long after: %+v", x)
	}
}

func TestAWorseFindingIsToldAtOnce(t *testing.T) {
	f := newFolder()
	f.add(finding("a", 0), t0)
	f.add(finding("a", 0), t0)
	worse := finding("a", time.Minute)
	worse.Severity = "critical"
	if a := f.add(worse, t0.Add(time.Minute)); a == nil || a.Severity != "critical" || a.Count != 2 || !a.Repeat {
		t.Errorf("%+v", a)
	}
	if a := f.add(finding("a", 2*time.Minute), t0.Add(2*time.Minute)); a != nil {
		t.Errorf("a milder one after it: %+v", a)
	}
	if due := f.due(t0.Add(time.Hour)); len(due) != 1 || due[0].Severity != "critical" {
		t.Errorf("%+v", due)
	}
}

func TestTheRateIsLimited(t *testing.T) {
	f := newFolder()
	told := 0
	for i := range 100 {
		if f.add(finding(fmt.Sprint(i), 0), t0) != nil {
			told++
		}
	}
	if told != 10 || f.limited != 90 {
		t.Errorf("%d told at once, %d limited", told, f.limited)
	}
	due := f.due(t0.Add(time.Minute))
	if len(due) != 1 || !due[0].Limited || due[0].Count != 90 || due[0].Endpoint != "" || due[0].Rule != "weak-cipher" || due[0].Severity != "high" || due[0].Finding != nil {
		t.Fatalf("%+v", due)
	}
	if f.add(finding("later", 0), t0.Add(time.Minute)) == nil {
		t.Error("the bucket is not filled again")
	}
	if due := f.due(t0.Add(2 * time.Minute)); due != nil {
		t.Errorf("nothing was held back since: %+v", due)
	}
}

// The counts of all alerts add up to the number of findings, whatever comes when.
func TestEveryFindingIsCountedOnce(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		f := newFolder()
		now, in, out := t0, uint64(0), uint64(0)
		count := func(list ...*Alert) {
			for _, a := range list {
				if a != nil {
					out += a.Count
				}
			}
		}
		for range 3000 {
			now = now.Add(time.Duration(r.ExpFloat64() * float64(20*time.Second)))
			if r.IntN(10) == 0 {
				count(f.due(now)...)
			}
			a := finding(fmt.Sprint(r.IntN(60)), now.Sub(t0))
			if r.IntN(20) == 0 {
				a.Severity = "critical"
			}
			in++
			count(f.add(a, now))
		}
		count(f.due(now.Add(24 * time.Hour))...)
		if in != out {
			t.Fatalf("%d findings, %d told", in, out)
		}
	}
}

func TestAClockThatIsSetBackHoldsNothingBackForLong(t *testing.T) {
	f := newFolder()
	f.add(finding("a", 0), t0)
	f.add(finding("a", 0), t0)
	f.due(t0.Add(-1000 * time.Hour))
	if due := f.due(t0.Add(-1000*time.Hour + time.Hour)); len(due) != 1 || due[0].Count != 1 {
		t.Errorf("%+v", due)
	}
}

func TestKindsAreBounded(t *testing.T) {
	f := newFolder()
	f.burst, f.perSecond = 1e9, 1e9
	for i := range DefaultMaxKinds + 500 {
		f.add(finding(fmt.Sprint(i), 0), t0)
	}
	if len(f.folds) > DefaultMaxKinds+1 || f.limited != 500 {
		t.Errorf("%d kinds, %d limited", len(f.folds), f.limited)
	}
}

func TestActive(t *testing.T) {
	f := newFolder()
	f.add(finding("a", 0), t0)
	f.add(finding("b", 0), t0)
	f.add(finding("b", 10*time.Minute), t0.Add(10*time.Minute))
	for after, want := range map[time.Duration]int{0: 2, 14 * time.Minute: 2, 16 * time.Minute: 1, 26 * time.Minute: 0} {
		if got := f.active(t0.Add(after)); len(got) != want {
			t.Errorf("after %s: %d active, want %d", after, len(got), want)
		}
	}
}

// A kind has the object of a recent finding for its next telling, and most findings of a swarm are folded without one being made.
func TestFindingsOfASwarmAreNotAllMadeWhole(t *testing.T) {
	f := newFolder()
	made := 0
	at := func(after time.Duration) *Alert {
		a := finding("a", after)
		a.event = func() ([]byte, error) { made++; return fmt.Appendf(nil, "%d", after/time.Second), nil }
		return a
	}
	if a := f.add(at(0), t0); string(a.Finding) != "0" || f.events != 0 {
		t.Fatalf("%s, %d", a.Finding, f.events)
	}
	for s := time.Second; s <= 25*time.Second; s += 50 * time.Millisecond {
		f.add(at(s), t0.Add(s))
	}
	if made != 4 || f.events != 1 {
		t.Errorf("%d made, %d kept", made, f.events)
	}
	for _, k := range f.folds {
		if k.Alert.event != nil {
			t.Error("the session is kept")
		}
	}
	if due := f.due(t0.Add(time.Hour)); len(due) != 1 || string(due[0].Finding) != "21" || !due[0].Last.Equal(t0.Add(25*time.Second)) || f.events != 0 {
		t.Errorf("%+v, %d", due, f.events)
	}
	worse := at(time.Hour + time.Second)
	worse.Severity = "critical"
	if a := f.add(worse, t0.Add(time.Hour+time.Second)); a == nil || string(a.Finding) != "3601" || f.events != 0 {
		t.Errorf("a worse one: %+v, %d", a, f.events)
	}
}

func TestFindingsAreKeptForSoManyKinds(t *testing.T) {
	f := newFolder()
	f.burst = maxEvents + 100
	whole := func(i int) *Alert {
		a := finding(fmt.Sprint(i), 0)
		a.event = func() ([]byte, error) { return []byte("{}"), nil }
		return a
	}
	for i := range maxEvents + 100 {
		if a := f.add(whole(i), t0); a == nil || a.Finding == nil {
			t.Fatalf("%d: %+v", i, a)
		}
		f.add(whole(i), t0)
	}
	kept := func() int { // by the count that runs beside, and is the one that is there
		t.Helper()
		running := f.events
		if f.count(); f.events != running {
			t.Errorf("%d are kept, counted as %d", f.events, running)
		}
		return running
	}
	if n := kept(); n != maxEvents {
		t.Errorf("%d are kept", n)
	}
	if due := f.due(t0.Add(time.Hour)); len(due) != maxEvents+100 || f.events != 0 {
		t.Errorf("%d are due, %d kept", len(due), f.events)
	}
	f.due(t0.Add(2 * time.Hour))
	if n := kept(); len(f.folds) != 0 || n != 0 {
		t.Errorf("%d kinds, %d kept", len(f.folds), n)
	}
}

// A finding whose object is too large, or cannot be made, stands without one: not beside that of another, and it is not tried with each of a swarm.
func TestAFindingWithoutAnObject(t *testing.T) {
	made := 0
	at := func(after time.Duration, event string, err error) *Alert {
		a := finding("a", after)
		a.event = func() ([]byte, error) { made++; return []byte(event), err }
		return a
	}
	huge := strings.Repeat("x", maxEvent+1)
	for what, late := range map[string]*Alert{"huge": at(50*time.Minute, huge, nil), "an error": at(50*time.Minute, "", errors.New("no"))} {
		f := newFolder()
		f.add(at(0, "0", nil), t0)
		f.add(at(time.Second, "1", nil), t0.Add(time.Second))
		if f.events != 1 {
			t.Errorf("%s: %d are kept", what, f.events)
		}
		late.Message = "late"
		f.add(late, t0.Add(50*time.Minute))
		if f.events != 0 {
			t.Errorf("%s: %d are kept then", what, f.events)
		}
		if due := f.due(t0.Add(time.Hour)); len(due) != 1 || due[0].Message != "late" || due[0].Finding != nil {
			t.Errorf("%s: %+v with finding %s", what, due[0], due[0].Finding)
		}
		// And the first one after it was told has its own.
		f.add(at(time.Hour, "60", nil), t0.Add(time.Hour))
		if due := f.due(t0.Add(2 * time.Hour)); len(due) != 1 || string(due[0].Finding) != "60" || f.events != 0 {
			t.Errorf("%s: %+v, %d kept", what, due, f.events)
		}
	}
	made = 0
	f := newFolder()
	f.add(at(0, huge, nil), t0)
	for after := time.Millisecond; after < 25*time.Second; after += 10 * time.Millisecond {
		f.add(at(after, huge, nil), t0.Add(after))
	}
	if made != 4 || f.events != 0 {
		t.Errorf("made %d times in 25 s, %d kept", made, f.events)
	}
}
