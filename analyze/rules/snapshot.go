package rules

import (
	"cmp"
	"slices"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// Snapshot is what a Recent knows that is worth more than a restart: what pairs used to negotiate, and who certified endpoints. Failed tries
// are not in it, since they count for seconds.
type Snapshot struct {
	Pairs     []PairMemory     `json:"pairs"`
	Endpoints []EndpointMemory `json:"endpoints"`
}

// PairMemory is one client program with one endpoint.
type PairMemory struct {
	Client     string       `json:"client"`
	Program    string       `json:"program"`
	Endpoint   string       `json:"endpoint"`
	Negotiated []Negotiated `json:"negotiated"`
}

// Negotiated counts the sessions of a pair that negotiated a version or a higher one, without a lower one in between until they were enough.
type Negotiated struct {
	Version  session.Version `json:"version"`
	Sessions int             `json:"sessions"`
	Last     time.Time       `json:"last"`
}

// EndpointMemory is who certified one endpoint.
type EndpointMemory struct {
	Endpoint    string      `json:"endpoint"`
	Authorities []Authority `json:"authorities"`
}

// Snapshot copies what is known, of pairs and of endpoints at most limit each: those that were used last, the latest first.
func (r *Recent) Snapshot(limit int) Snapshot {
	var snap Snapshot
	for e := r.pairs.order.Front(); e != nil && len(snap.Pairs) < limit; e = e.Next() {
		entry := e.Value.(*lruEntry[pairKey, pair])
		m := PairMemory{Client: entry.key.client, Program: entry.key.program, Endpoint: entry.key.endpoint}
		for rank := 1; rank <= maxRank; rank++ {
			if p := &entry.value; p.version[rank] != 0 && p.count[rank] > 0 {
				m.Negotiated = append(m.Negotiated, Negotiated{p.version[rank], p.count[rank], p.last[rank]})
			}
		}
		if len(m.Negotiated) > 0 {
			snap.Pairs = append(snap.Pairs, m)
		}
	}
	for e := r.endpoints.order.Front(); e != nil && len(snap.Endpoints) < limit; e = e.Next() {
		entry := e.Value.(*lruEntry[string, []Authority])
		snap.Endpoints = append(snap.Endpoints, EndpointMemory{entry.key, slices.Clone(entry.value)})
	}
	return snap
}

// Restore adds a snapshot to an empty Recent. What no Recent could have written is left out: the snapshot may come from a damaged file.
func (r *Recent) Restore(snap Snapshot) {
	for _, m := range slices.Backward(snap.Pairs) {
		if m.Client == "" || m.Program == "" || m.Endpoint == "" {
			continue
		}
		p := r.pairs.at(pairKey{clip(m.Client), clip(m.Program), clip(m.Endpoint)})
		for _, n := range m.Negotiated {
			rank := n.Version.Rank()
			if rank == 0 || n.Sessions <= 0 || n.Last.IsZero() {
				continue
			}
			p.version[rank], p.count[rank], p.last[rank] = n.Version, n.Sessions, n.Last
		}
		// Versions that were never the negotiated one are counted with the next higher one that was.
		for rank := maxRank - 1; rank > 0; rank-- {
			if p.count[rank] < p.count[rank+1] {
				p.count[rank], p.last[rank] = p.count[rank+1], later(p.last[rank], p.last[rank+1])
			}
		}
	}
	for _, m := range slices.Backward(snap.Endpoints) {
		if m.Endpoint == "" {
			continue
		}
		var list []Authority
		for _, a := range m.Authorities[:min(len(m.Authorities), maxAuthorities)] {
			if a.Name != "" && a.Sessions > 0 && !a.First.IsZero() && !a.Last.Before(a.First) {
				a.Name, a.Replaced = clip(a.Name), clip(a.Replaced)
				list = append(list, a)
			}
		}
		slices.SortStableFunc(list, func(a, b Authority) int { return cmp.Or(a.First.Compare(b.First), cmp.Compare(a.Name, b.Name)) })
		*r.endpoints.at(clip(m.Endpoint)) = list
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
