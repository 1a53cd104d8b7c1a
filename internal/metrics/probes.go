package metrics

import "github.com/dynwatch/dynwatch/internal/probe"

// Probes is what the agent's own probes of endpoints came to.
type Probes struct {
	// Run counts their beginnings so far: with another one, the counters of Stats began anew.
	Run   int
	Stats probe.KeeperStats
}

// Probes adds what was counted since the last call.
func (s *Set) Probes(p Probes) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.probed.Stats
	if s.probed.Run != p.Run {
		was = probe.KeeperStats{}
	}
	s.probed = p
	add := func(result string, now, before uint64) {
		s.endpointProbes.WithLabelValues(result).Add(grown(now, before))
	}
	add("answered", p.Stats.Probes-p.Stats.Failed, was.Probes-was.Failed)
	add("failed", p.Stats.Failed, was.Failed)
	add("dropped", p.Stats.Dropped, was.Dropped)
	add("evicted", p.Stats.Evicted, was.Evicted)
}
