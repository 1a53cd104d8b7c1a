package rules

import (
	"slices"
	"strings"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// Authority is who stands behind certificates that an endpoint showed: not the intermediate that signed the leaf, which its owner may change
// any day, but whoever the chain's signatures lead to.
type Authority struct {
	// Name is "Amazon Trust Services" for any of Amazon's roots, the organisation of another root (its whole name if it has none), or, where
	// a name or a key alone was allowed, the issuer.
	Name string `json:"name"`
	// First and Last are when the first and the latest session with it began, Sessions how many there were.
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
	Sessions int       `json:"sessions"`
	// Replaced names who had certified the endpoint long enough to count as the usual when this one first did; "" if nobody had.
	Replaced string `json:"replaced,omitempty"`
}

// amazonAuthority is one for all roots of Amazon's: it moves its endpoints between them, and between the intermediates below, as it likes.
const amazonAuthority = "Amazon Trust Services"

// authorityOf names who the session's chain leads to by valid signatures; "" where it leads to nobody that the operator or the public
// set of roots vouches for: such names prove nothing.
func authorityOf(s *session.Session) string {
	if !onThisWire(s) || s.Start.IsZero() {
		return ""
	}
	switch c := s.Chain; {
	case c.LeadsToAmazon:
		return amazonAuthority
	case !c.LeadsToAllowed && !c.LeadsToPublic:
		return ""
	case c.Root == "":
		return clip(organisation(s.Certificate.Issuer))
	default:
		return clip(organisation(c.Root))
	}
}

// organisation is the O of a distinguished name in RFC 2253 form, or the whole name if it has none.
func organisation(dn string) string {
	for rest := dn; rest != ""; {
		end, escaped := len(rest), false
		for i := range len(rest) {
			switch {
			case escaped:
				escaped = false
			case rest[i] == '\\':
				escaped = true
			case rest[i] == ',' || rest[i] == '+':
				end = i
			}
			if end < len(rest) {
				break
			}
		}
		if o, ok := strings.CutPrefix(rest[:end], "O="); ok && o != "" {
			return o
		}
		rest = rest[min(end+1, len(rest)):]
	}
	return dn
}

// usual reports whether an authority was seen often enough, and not too long before now, to be who certifies an endpoint.
func (a *Authority) usual(now time.Time, age time.Duration) bool {
	return a.Sessions >= baselineSessions && now.Sub(a.Last) <= age
}

func (r *Recent) addAuthority(s *session.Session) {
	name := authorityOf(s)
	if name == "" {
		return
	}
	list := r.endpoints.at(endpointOf(s))
	if i := slices.IndexFunc(*list, func(a Authority) bool { return a.Name == name }); i >= 0 {
		a := &(*list)[i]
		a.Sessions++
		if s.Start.After(a.Last) {
			a.Last = s.Start
		}
		return
	}
	added := Authority{Name: name, First: s.Start, Last: s.Start, Sessions: 1}
	var latest time.Time
	for i := range *list {
		if a := &(*list)[i]; a.usual(s.Start, r.BaselineAge) && a.Last.After(latest) {
			added.Replaced, latest = a.Name, a.Last
		}
	}
	if len(*list) == maxAuthorities {
		oldest := 0
		for i := range *list {
			if (*list)[i].Last.Before((*list)[oldest].Last) {
				oldest = i
			}
		}
		*list = slices.Delete(*list, oldest, oldest+1)
		r.dropped++
	}
	*list = append(*list, added)
}

// Authorities implements History.
func (r *Recent) Authorities(s *session.Session) []Authority {
	if s.TLS == nil || s.Start.IsZero() {
		return nil
	}
	list, ok := r.endpoints.get(endpointOf(s))
	if !ok {
		return nil
	}
	var fresh []Authority
	for _, a := range *list {
		if age := s.Start.Sub(a.Last); age <= r.BaselineAge {
			fresh = append(fresh, a)
		}
	}
	return fresh
}
