package filter

import "slices"

// The optimizer leaves out tests whose result is known from tests before them, and merges equal ones. It leaves out a test only if
// the same value was compared earlier on every way that leads there: the value was then readable, and a packet is refused for
// missing bytes in exactly the cases in which the graph before would have refused it. (libpcap's optimizer is freer: see
// docs/filter.md.)
//
// Without it an expression such as "port 80 or 443" asks for the EtherType four times.

const (
	// maxPasses bounds how often the whole graph is looked over; most settle in three.
	maxPasses = 8
	// maxOptimizerSteps bounds the work of all passes. A graph that needs more stays as large as it is then, and correct.
	maxOptimizerSteps = 16 << 20
	// maxBlocksBack is how many earlier tests are looked at for one branch.
	maxBlocksBack = maxInstructions
)

// origin is how a block is reached.
type origin struct {
	// dominator is the nearest block that every way to this one passes; noBlock for the root and for what was not reached.
	dominator blockID
	// branches are the branches that lead here, as far as they fit; count is how many there are.
	branches [maxOrigins]branch
	count    int
}

// maxOrigins is enough for the three transport protocols that "port" looks into, and for the VLAN tags.
const maxOrigins = 4

// branch is one outcome of a block's test.
type branch struct {
	from   blockID
	result bool
}

const noBlock blockID = -1

type optimizer struct {
	*graph
	origins []origin
	steps   int
}

func (g *graph) optimize() {
	o := &optimizer{graph: g}
	for range maxPasses {
		changed := o.pass()
		g.rebuild()
		if !changed || o.steps > maxOptimizerSteps {
			return
		}
	}
}

// pass goes through all blocks from the root on. When it comes to a block, all branches that lead there are final.
func (o *optimizer) pass() (changed bool) {
	o.origins = make([]origin, len(o.blocks))
	for i := range o.origins {
		o.origins[i].dominator = noBlock
	}
	for id := blockID(len(o.blocks)) - 1; id >= firstBlock; id-- {
		if id != o.root && o.origins[id].count == 0 {
			continue // no longer reached
		}
		b := &o.blocks[id]
		onTrue, onFalse := o.follow(branch{id, true}), o.follow(branch{id, false})
		changed = changed || onTrue != b.onTrue || onFalse != b.onFalse
		b.onTrue, b.onFalse = onTrue, onFalse
		o.arrive(onTrue, branch{id, true})
		o.arrive(onFalse, branch{id, false})
	}
	return changed
}

// follow returns where a branch ends once every block with a known result is skipped.
func (o *optimizer) follow(way branch) blockID {
	to := o.blocks[way.from].branch(way.result)
	for to >= firstBlock && o.steps <= maxOptimizerSteps {
		b := &o.blocks[to]
		result, known, loaded := o.known(b.test, way)
		if !known && !(b.onTrue == b.onFalse && (loaded || b.onTrue == reject)) {
			break // a test that refuses either way refuses by missing bytes, too
		}
		to = b.branch(result)
	}
	return to
}

// known looks for tests that decide t, from the branch at hand back towards the root. loaded tells that what t compares was compared
// before on every way to here, whether t is decided or not.
func (o *optimizer) known(t test, way branch) (result, known, loaded bool) {
	var (
		excluded  [16]uint32 // numbers that the value is known not to be
		nExcluded int
		certain   = true // whether way.result is what happened; else just way.from is known to have been passed
	)
	for range maxBlocksBack {
		o.steps++
		s := o.blocks[way.from].test
		loaded = loaded || s.value == t.value && s.x == t.x
		if certain {
			if result, known = implies(s, way.result, t); known {
				return result, true, true
			}
			if s.value == t.value && s.x == noValue && s.op == testEQ && !way.result && nExcluded < len(excluded) {
				excluded[nExcluded] = s.k
				nExcluded++
			}
		}
		in := &o.origins[way.from]
		switch {
		case in.dominator == noBlock:
			return false, false, loaded
		case in.count == 1:
			way, certain = in.branches[0], true
			continue
		}
		if result, known = o.oneOf(in, t, excluded[:nExcluded]); known {
			return result, true, true
		}
		way, certain = branch{from: in.dominator}, false
	}
	return false, false, loaded
}

// oneOf decides t where each of several branches that meet says that the value is one certain number, as behind "port": TCP, UDP or
// SCTP. Numbers that were excluded since then do not count.
func (o *optimizer) oneOf(in *origin, t test, excluded []uint32) (result, known bool) {
	if in.count > maxOrigins || t.x != noValue {
		return false, false
	}
	for _, way := range in.branches[:in.count] {
		s := o.blocks[way.from].test
		if s.value != t.value || s.x != noValue || s.op != testEQ || !way.result {
			return false, false
		}
		if slices.Contains(excluded, s.k) {
			continue
		}
		r := holds(t.op, s.k, t.k)
		if known && r != result {
			return false, false
		}
		result, known = r, true
	}
	return result, known
}

// implies tells what t gives, if s, which gave result, decides that.
func implies(s test, result bool, t test) (decided, ok bool) {
	if s.value != t.value || s.x != t.x {
		return false, false
	}
	if s.op == t.op && s.k == t.k {
		return result, true
	}
	if s.x != noValue {
		return false, false
	}
	// What s leaves possible is low to high, both included.
	low, high := uint32(0), uint32(0xffffffff)
	switch {
	case s.op == testEQ && result:
		low, high = s.k, s.k
	case s.op == testGT && result:
		low = s.k + 1 // s.k is not the largest number, or the test would have failed
		if low == 0 {
			return false, false
		}
	case s.op == testGT:
		high = s.k
	case s.op == testGE && result:
		low = s.k
	case s.op == testGE:
		if s.k == 0 {
			return false, false
		}
		high = s.k - 1
	default:
		return false, false
	}
	switch t.op {
	case testEQ:
		switch {
		case low == high:
			return low == t.k, true
		case t.k < low || t.k > high:
			return false, true
		}
	case testGT:
		switch {
		case low > t.k:
			return true, true
		case high <= t.k:
			return false, true
		}
	case testGE:
		switch {
		case low >= t.k:
			return true, true
		case high < t.k:
			return false, true
		}
	case testSet:
		if low == high {
			return low&t.k != 0, true
		}
	}
	return false, false
}

// arrive notes that a branch leads to a block.
func (o *optimizer) arrive(to blockID, way branch) {
	if to < firstBlock {
		return
	}
	in := &o.origins[to]
	if in.count < maxOrigins {
		in.branches[in.count] = way
	}
	in.count++
	if in.count == 1 {
		in.dominator = way.from
		return
	}
	in.dominator = o.common(in.dominator, way.from)
}

// common is the nearest block that dominates both. Dominators have larger numbers than what they dominate.
func (o *optimizer) common(a, b blockID) blockID {
	for a != b {
		o.steps++
		if a < b {
			a = o.origins[a].dominator
		} else {
			b = o.origins[b].dominator
		}
	}
	return a
}
