package endpoint

import (
	"container/list"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// Limits of Resolved.
const (
	// DefaultResolved is how many addresses are kept where the caller has no better number: about 1 MB when full, 10 MB at the very worst
	// (eight names of full length for each).
	DefaultResolved = 4096
	// maxNamesPerAddr bounds the names of one address; account-based names of several accounts share addresses.
	maxNamesPerAddr = 8
	// minLife is how long an answer is believed at least: DynamoDB's answers live for seconds, but connection pools and caching resolvers
	// open connections to the address long after. maxLife bounds what a hostile TTL can do.
	minLife = 10 * time.Minute
	maxLife = 24 * time.Hour
)

// Resolved remembers which addresses DNS answers gave for DynamoDB's names, so that a connection without a name can be told by its address.
// Time is the packets' (nanoseconds since the Unix epoch), so a file replays the same for ever. It holds a fixed number of addresses and
// forgets the one that was not used for longest. One goroutine owns it.
type Resolved struct {
	set     *Set
	max     int
	byAddr  map[flow.IP]*list.Element // of *resolvedAddr
	recent  *list.List                // the last used in front
	evicted uint64
}

type resolvedAddr struct {
	ip    flow.IP
	names []resolvedName // in order of learning
}

type resolvedName struct {
	name    string
	expires int64
}

// NewResolved makes a table of at most max addresses, DefaultResolved if max is not positive. Names are judged by set; a nil set means
// AWS's names alone.
func NewResolved(set *Set, max int) *Resolved {
	if max <= 0 {
		max = DefaultResolved
	}
	return &Resolved{set: set, max: max, byAddr: make(map[flow.IP]*list.Element), recent: list.New()}
}

// Use has names judged by another set from now on; what was learned stays.
func (r *Resolved) Use(set *Set) { r.set = set }

// Learn notes that name has these addresses: for ttl, but at least ten minutes and at most a day from at. It reports whether name is
// DynamoDB's, by AWS's naming or the operator's list (whatever its port); other names are not kept. For an answer with CNAMEs call it with the
// question's name and with each target. name is copied.
func (r *Resolved) Learn(name string, addrs []netip.Addr, ttl time.Duration, at int64) bool {
	name, _, ok := splitHost(name)
	if !ok || !r.accepts(name) {
		return false
	}
	life := min(max(ttl, minLife), maxLife)
	expires := at + int64(life)
	if expires < at {
		expires = math.MaxInt64
	}
	name = strings.Clone(lowerASCII(name))
	for _, a := range addrs {
		if a.IsValid() {
			r.learn(flow.IPFrom(a), resolvedName{name, expires}, at)
		}
	}
	return true
}

func (r *Resolved) accepts(name string) bool {
	if r.set != nil {
		return r.set.knows(name)
	}
	_, ok := ParseName(name)
	return ok
}

func (r *Resolved) learn(ip flow.IP, n resolvedName, at int64) {
	e := r.byAddr[ip]
	if e == nil {
		if len(r.byAddr) >= r.max {
			oldest := r.recent.Remove(r.recent.Back()).(*resolvedAddr)
			delete(r.byAddr, oldest.ip)
			if slices.ContainsFunc(oldest.names, func(x resolvedName) bool { return x.expires >= at }) {
				r.evicted++
			}
		}
		e = r.recent.PushFront(&resolvedAddr{ip: ip})
		r.byAddr[ip] = e
	}
	r.recent.MoveToFront(e)
	a := e.Value.(*resolvedAddr)
	for i := range a.names {
		if a.names[i].name == n.name {
			a.names[i].expires = max(a.names[i].expires, n.expires)
			return
		}
	}
	a.names = slices.DeleteFunc(a.names, func(x resolvedName) bool { return x.expires < at })
	if len(a.names) == maxNamesPerAddr {
		a.names = slices.Delete(a.names, 0, 1)
		r.evicted++
	}
	a.names = append(a.names, n)
}

// Lookup returns the names that ip had at the given time, in the order they were learnt, lower case and without trailing dot; nil if none.
func (r *Resolved) Lookup(ip flow.IP, at int64) []string {
	e := r.byAddr[ip]
	if e == nil {
		return nil
	}
	var names []string
	for _, n := range e.Value.(*resolvedAddr).names {
		if n.expires >= at {
			names = append(names, n.name)
		}
	}
	if names != nil {
		r.recent.MoveToFront(e)
	}
	return names
}

// Len is how many addresses the table holds, expired ones included.
func (r *Resolved) Len() int { return len(r.byAddr) }

// Evicted counts what a full table had to forget: addresses, and names of one address beyond eight. What expired is not counted.
func (r *Resolved) Evicted() uint64 { return r.evicted }
