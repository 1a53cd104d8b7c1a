package rules

import (
	"net/netip"
	"slices"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// Bounds of Recent. With all of them reached it holds about 20 MB.
const (
	maxTryKeys      = 4096 // clients with an endpoint that failed
	maxTriesPerKey  = 8
	maxPairs        = 16384 // client programs with an endpoint
	maxTriedCiphers = 128
	maxIdentity     = 256 // bytes of a program's, an endpoint's or an authority's name
	maxEndpoints    = 1024
	maxAuthorities  = 8 // of one endpoint
)

// baselineSessions is how often a pair must have negotiated a version, without a lower one in between, before it is what they used to
// negotiate; baselineAge is how long that holds after the latest, unless the Recent says otherwise.
const (
	baselineSessions = 3
	baselineAge      = 24 * time.Hour
)

// Recent is a History in memory. It forgets what was not asked for longest once it is full, and counts that.
type Recent struct {
	// BaselineAge is how long what was negotiated, or who certified, holds as the usual; NewRecent sets a day.
	BaselineAge time.Duration

	tries     lru[tryKey, []failedTry]
	pairs     lru[pairKey, pair]
	endpoints lru[string, []Authority]
	// dropped counts tries pushed out by later ones of the same client.
	dropped uint64
}

// NewRecent returns an empty Recent.
func NewRecent() *Recent {
	return &Recent{
		BaselineAge: baselineAge,
		tries:       newLRU[tryKey, []failedTry](maxTryKeys),
		pairs:       newLRU[pairKey, pair](maxPairs),
		endpoints:   newLRU[string, []Authority](maxEndpoints),
	}
}

// Evicted counts what was forgotten to keep the bounds: single tries, clients with all their tries, pairs, and endpoints.
func (r *Recent) Evicted() uint64 {
	return r.dropped + r.tries.evicted + r.pairs.evicted + r.endpoints.evicted
}

// tryKey groups tries by who made them and to whom. The client is its container, or else its address: programs of one host share it, and
// so may hosts behind one address translation; FailedTries tells them apart.
type tryKey struct {
	client string
	// name or, for lookups where one of two tries bore no name (SSL 3.0 has no SNI), addr; the other is zero.
	name string
	addr netip.Addr
}

type failedTry struct {
	Try
	pid     int // 0 if unknown
	name    string
	ciphers []uint16
	// cleared is the start of the first answered try with the same suites after it, zero if there was none.
	cleared time.Time
}

// pairKey is a client program with an endpoint.
type pairKey struct{ client, program, endpoint string }

// pair counts, for each rank of version, the sessions that negotiated at least that rank. Until a count has reached baselineSessions a
// lower session sets it back to zero: a pair that negotiates now this, now that, has no baseline above the lower one.
type pair struct {
	count   [maxRank + 1]int
	last    [maxRank + 1]time.Time
	version [maxRank + 1]session.Version
}

// maxRank is the highest that session.Version.Rank returns.
const maxRank = 6

func clientOf(s *session.Session) string {
	if s.Process != nil && s.Process.ContainerID != "" {
		return clip(s.Process.ContainerID)
	}
	return s.Client.Addr().Unmap().String()
}

// pairClientOf is clientOf for what is remembered long: a workload keeps its name when its containers and addresses change.
func pairClientOf(s *session.Session) string {
	switch w := s.Process.Workload(); w.Kind {
	case "pod", "unit":
		return clip(w.Kind + " " + w.String())
	}
	return clientOf(s)
}

// programOf names the client program: its executable, or, where no process is known, the fingerprint of its hello.
func programOf(s *session.Session) string {
	if p := s.Process; p != nil {
		if p.Exe != "" {
			return clip(p.Exe)
		}
		return clip(p.Comm)
	}
	switch {
	case s.TLS.JA4 != "":
		return clip(s.TLS.JA4)
	case s.TLS.JA3 != "":
		return clip(s.TLS.JA3)
	}
	return ""
}

func endpointOf(s *session.Session) string {
	if n := asked(s); n != "" {
		return clip(n)
	}
	return s.Server.Addr().Unmap().String()
}

func clip(s string) string { return s[:min(len(s), maxIdentity)] }

func pidOf(s *session.Session) int {
	if s.Process == nil {
		return 0
	}
	return s.Process.PID
}

// keysOf are the keys under which tries of the client to the endpoint are found: by name, and by address.
func keysOf(s *session.Session) []tryKey {
	client := clientOf(s)
	keys := []tryKey{{client: client, addr: s.Server.Addr().Unmap()}}
	if n := asked(s); n != "" {
		keys = append(keys, tryKey{client: client, name: clip(n)})
	}
	return keys
}

// Observe implements History.
func (r *Recent) Observe(s *session.Session) {
	if s.TLS == nil || !s.Endpoint.Known() || s.Start.IsZero() {
		return
	}
	if outcome, ok := failure(s); ok {
		r.addTry(s, outcome)
		return
	}
	if s.TLS.ServerHelloSeen && s.TLS.ClientHelloSeen {
		r.clearTries(s)
		r.addToPair(s)
		r.addAuthority(s)
	}
}

func (r *Recent) addTry(s *session.Session, outcome string) {
	try := failedTry{
		Try:     Try{Start: s.Start, OfferedMax: s.TLS.OfferedMax, ClientPort: s.Client.Port(), Outcome: outcome},
		pid:     pidOf(s),
		name:    clip(asked(s)),
		ciphers: fallbackSuites(s),
	}
	for _, k := range keysOf(s) {
		tries := r.tries.at(k)
		if len(*tries) == maxTriesPerKey {
			*tries = slices.Delete(*tries, 0, 1)
			r.dropped++
		}
		*tries = append(*tries, try)
	}
}

// clearTries notes that a client that failed before got an answer to the same hello: it need not have fallen back.
func (r *Recent) clearTries(s *session.Session) {
	var suites []uint16 // read only if there are tries to compare with
	for _, k := range keysOf(s) {
		tries, ok := r.tries.get(k)
		if !ok {
			continue
		}
		if suites == nil {
			suites = fallbackSuites(s)
		}
		for i := range *tries {
			t := &(*tries)[i]
			if t.Start.Before(s.Start) && t.OfferedMax.Rank() <= s.TLS.OfferedMax.Rank() && t.pid == pidOf(s) &&
				slices.Equal(t.ciphers, suites) &&
				(t.cleared.IsZero() || s.Start.Before(t.cleared)) {
				t.cleared = s.Start
			}
		}
	}
}

// FailedTries implements History. Two tries are the same client's if they come from the same container or address, from the same
// process (or both from unknown ones), and if the later one's suites are those of the earlier one without some.
func (r *Recent) FailedTries(s *session.Session, within time.Duration) []Try {
	if s.TLS == nil || s.Start.IsZero() {
		return nil
	}
	var found []Try
	var suites []uint16
	for _, k := range keysOf(s) {
		tries, ok := r.tries.get(k)
		if !ok {
			continue
		}
		if suites == nil {
			suites = fallbackSuites(s)
		}
		for i := range *tries {
			t := &(*tries)[i]
			if k.name == "" && t.name != "" && asked(s) != "" {
				continue // both bear names: they are compared under the key of the name
			}
			age := s.Start.Sub(t.Start)
			switch {
			case age <= 0 || age > within:
			case t.Outcome == "silence" && age < silentFor:
			case t.pid != pidOf(s):
			case !t.cleared.IsZero() && t.cleared.Before(s.Start):
			case !fallsBackFrom(suites, t.ciphers):
			default:
				found = append(found, t.Try)
			}
		}
	}
	slices.SortStableFunc(found, func(a, b Try) int { return a.Start.Compare(b.Start) })
	return found
}

func (r *Recent) addToPair(s *session.Session) {
	v := s.TLS.Version
	k := pairKey{pairClientOf(s), programOf(s), endpointOf(s)}
	if v.Rank() == 0 || k.program == "" {
		return
	}
	p := r.pairs.at(k)
	for rank := 1; rank <= maxRank; rank++ {
		switch {
		case rank <= v.Rank():
			p.count[rank]++
			if s.Start.After(p.last[rank]) {
				p.last[rank] = s.Start
			}
			if rank == v.Rank() {
				p.version[rank] = v
			}
		case p.count[rank] < baselineSessions:
			p.count[rank] = 0
		}
	}
}

// Baseline implements History.
func (r *Recent) Baseline(s *session.Session) (Baseline, bool) {
	if s.TLS == nil || s.Start.IsZero() {
		return Baseline{}, false
	}
	k := pairKey{pairClientOf(s), programOf(s), endpointOf(s)}
	if k.program == "" {
		return Baseline{}, false
	}
	p, ok := r.pairs.get(k)
	if !ok {
		return Baseline{}, false
	}
	for rank := maxRank; rank > 0; rank-- {
		age := s.Start.Sub(p.last[rank])
		if p.count[rank] >= baselineSessions && p.version[rank] != 0 && age >= 0 && age <= r.BaselineAge {
			return Baseline{Version: p.version[rank], Sessions: p.count[rank], Last: p.last[rank]}, true
		}
	}
	return Baseline{}, false
}
