package alert

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

const (
	// limitedEvery is how often what the rate limit held back is told.
	limitedEvery = time.Minute
	// maxEvents is how many kinds have the object of a finding that is still to be told. It is most of what a kind takes, and to make it most of
	// what a finding costs: it is replaced every eventEvery at most.
	maxEvents  = 512
	eventEvery = 10 * time.Second
)

// fold is one kind of finding within its window.
type fold struct {
	// Alert is the latest told or to be told, its times and finding those of the latest finding.
	Alert Alert `json:"alert"`
	// Until is the window's end. Told is set once an alert of the kind was made.
	Until time.Time `json:"until"`
	Told  bool      `json:"told,omitempty"`
	// Untold findings have not been told; the first of them was at UntoldSince.
	Untold      uint64    `json:"untold,omitempty"`
	UntoldSince time.Time `json:"untold_since,omitzero"`

	eventAt time.Time // when the alert's Finding was made, or was tried to; zero if it was told since
	dirty   bool      // not in the journal as it is
}

// folder decides which findings become alerts. It has no clock.
type folder struct {
	window, hold time.Duration
	maxKinds     int
	folds        map[string]*fold
	// The rate limit: a bucket of tokens, full at the start.
	perSecond, burst, tokens float64
	filledAt                 time.Time

	folded, limited uint64
	events          int // kinds with a Finding
	// changed are folds to be written, gone those to be removed.
	changed []*fold
	gone    []string
}

// add takes a finding in and returns the alert that is due at once, or nil.
func (f *folder) add(a *Alert, now time.Time) *Alert {
	k, ok := f.folds[a.Fingerprint]
	if ok && now.Before(k.Until) {
		worse := a.severity() > k.Alert.severity()
		k.Untold++
		if k.Untold == 1 {
			k.UntoldSince = a.First
		}
		f.take(k, a, now, worse)
		f.change(k)
		if worse && k.Told && !a.Limited {
			return f.tell(k, now)
		}
		f.folded++
		return nil
	}
	if ok { // the window is over, and nobody has looked since
		due := f.close(k, now)
		if due != nil {
			k.Untold, k.UntoldSince = 1, a.First
			f.take(k, a, now, false)
			f.change(k)
			f.folded++
			return due
		}
	}
	if len(f.folds) >= f.maxKinds || !f.token(now) {
		f.limit(a, now)
		return nil
	}
	a.complete()
	k = &fold{Alert: *a, Until: now.Add(f.window), Untold: 1, UntoldSince: a.First}
	f.folds[a.Fingerprint] = k
	if k.Alert.Finding != nil {
		f.events++
	}
	return f.tell(k, now)
}

// take moves a fold's facts to those of the latest finding, its Finding if that is wanted: then an older one goes though there is none, for it
// would stand beside facts that are not its own.
func (f *folder) take(k *fold, a *Alert, now time.Time, whole bool) {
	old := k.Alert
	has := old.Finding != nil
	if whole || (has || f.events < maxEvents) && now.Sub(k.eventAt).Abs() >= eventEvery {
		a.complete()
		k.eventAt = now
	} else {
		a.Finding = old.Finding
	}
	k.Alert = *a
	k.Alert.event = nil
	k.Alert.First = old.First
	if old.severity() >= a.severity() {
		k.Alert.Severity = old.Severity
	}
	if old.Last.After(a.Last) {
		k.Alert.Last = old.Last
	}
	switch {
	case has && k.Alert.Finding == nil:
		f.events--
	case !has && k.Alert.Finding != nil:
		f.events++
	}
}

// drop forgets the Finding of a kind.
func (f *folder) drop(k *fold) {
	k.eventAt = time.Time{}
	if k.Alert.Finding != nil {
		k.Alert.Finding = nil
		f.events--
	}
}

// tell makes the alert of what was not told yet.
func (f *folder) tell(k *fold, now time.Time) *Alert {
	a := k.Alert
	a.ID, a.Count, a.First, a.Repeat = newID(), k.Untold, k.UntoldSince, k.Told
	k.Told, k.Untold, k.UntoldSince = true, 0, time.Time{}
	f.drop(k) // with the next finding comes another
	f.change(k)
	return &a
}

// limit counts a finding under its rule alone.
func (f *folder) limit(a *Alert, now time.Time) {
	f.limited++
	key := fingerprint("limited", a.Rule)
	k, ok := f.folds[key]
	if !ok {
		k = &fold{Alert: Alert{Fingerprint: key, Rule: a.Rule, Severity: a.Severity, Limited: true, First: a.First, Last: a.Last}, Until: now.Add(limitedEvery)}
		f.folds[key] = k
	}
	if k.Untold++; k.Untold == 1 {
		k.UntoldSince = a.First
	}
	if a.severity() > k.Alert.severity() {
		k.Alert.Severity = a.Severity
	}
	if a.Last.After(k.Alert.Last) {
		k.Alert.Last = a.Last
	}
	f.change(k)
}

// due returns the alerts of windows that are over, and forgets kinds that did not come again.
func (f *folder) due(now time.Time) []*Alert {
	var list []*Alert
	for _, k := range f.folds {
		if k.Until.After(now.Add(f.window)) && !k.Alert.Limited {
			k.Until = now.Add(f.window) // the clock was set back
		}
		if now.Before(k.Until) {
			continue
		}
		if a := f.close(k, now); a != nil {
			list = append(list, a)
		}
	}
	slices.SortFunc(list, func(a, b *Alert) int {
		return cmp.Or(a.First.Compare(b.First), cmp.Compare(a.Fingerprint, b.Fingerprint))
	})
	return list
}

// close ends a window: what was folded is told and a new window begins, or the kind is forgotten.
func (f *folder) close(k *fold, now time.Time) *Alert {
	if k.Untold == 0 {
		f.drop(k)
		delete(f.folds, k.Alert.Fingerprint)
		f.gone = append(f.gone, k.Alert.Fingerprint)
		return nil
	}
	k.Until = now.Add(f.window)
	if k.Alert.Limited {
		k.Until = now.Add(limitedEvery)
		k.Alert.Message = fmt.Sprintf("%d findings were held back by the rate limit: dynwatch findings --rule %s lists the latest", k.Untold, k.Alert.Rule)
	}
	return f.tell(k, now)
}

// active are the kinds that were told and may still go on, for receivers that ask to be reminded.
func (f *folder) active(now time.Time) []*Alert {
	var list []*Alert
	for _, k := range f.folds {
		if k.Told && now.Before(k.Alert.Last.Add(f.hold)) {
			a := k.Alert
			list = append(list, &a)
		}
	}
	slices.SortFunc(list, func(a, b *Alert) int { return cmp.Compare(a.Fingerprint, b.Fingerprint) })
	return list
}

// count counts the kinds with a Finding.
func (f *folder) count() {
	f.events = 0
	for _, k := range f.folds {
		if k.Alert.Finding != nil {
			f.events++
		}
	}
}

func (f *folder) change(k *fold) {
	if !k.dirty {
		k.dirty = true
		f.changed = append(f.changed, k)
	}
}

// token takes one from the bucket.
func (f *folder) token(now time.Time) bool {
	if f.filledAt.IsZero() {
		f.filledAt, f.tokens = now, f.burst
	}
	if d := now.Sub(f.filledAt); d > 0 {
		f.tokens = min(f.burst, f.tokens+d.Seconds()*f.perSecond)
		f.filledAt = now
	}
	if f.tokens < 1 {
		return false
	}
	f.tokens--
	return true
}

// limitTo sets the rate limit. A bucket that was filled before keeps what is in it.
func (f *folder) limitTo(perMinute, burst int) {
	f.perSecond, f.burst = float64(perMinute)/60, float64(burst)
	f.tokens = min(f.tokens, f.burst)
}
