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
	// maxStops is how many earlier comparisons of the same value are looked at for one branch. What was compared longer ago, in a list
	// of a hundred hosts, seldom decides anything.
	maxStops = 64
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
	// nearest remembers what above found, so that the next block of a long chain need not go all the way again.
	nearest map[blockValue]stop
	steps   int
}

type blockValue struct {
	block blockID
	value valueID
}

// stop is a place above a block where something is known about a value: a branch of a block that compares it, or, if meet is set, a
// block where several such branches meet. The zero stop is none.
type stop struct {
	found bool
	meet  blockID
	way   branch
	// certain: way.result is what happened; else just way.from is known to have been passed.
	certain bool
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
	o.nearest = make(map[blockValue]stop)
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
		f := o.known(b.test, way)
		next := to
		switch {
		case f.decided:
			next = b.branch(f.result)
		case b.onTrue == b.onFalse && (f.compared || b.onTrue == reject):
			next = b.onTrue // a test that refuses either way refuses by missing bytes, too
		case f.among > 0:
			next = o.forAll(to, f.numbers[:f.among])
		}
		if next == to {
			break
		}
		to = next
	}
	return to
}

// forAll returns the block behind at that all numbers lead to, if the value that at tests is one of them; else at.
func (o *optimizer) forAll(at blockID, numbers []uint32) blockID {
	value := o.blocks[at].value
	end := reject
	for i, n := range numbers {
		to := at
		for b := &o.blocks[to]; to >= firstBlock && b.value == value && b.x == noValue; b = &o.blocks[to] {
			to = b.branch(holds(b.op, n, b.k))
		}
		if i > 0 && to != end {
			return at
		}
		end = to
	}
	return end
}

// facts are what is known about the value of a test when a branch was taken.
type facts struct {
	// decided: the test's result is known.
	decided, result bool
	// compared: the value was compared before on every way to here, so that reading it again cannot fail.
	compared bool
	// among is set where the value is known to be one of the first so many numbers.
	among   int
	numbers [maxOrigins]uint32
}

// known looks for what tests tell about t, from the branch at hand back towards the root.
func (o *optimizer) known(t test, way branch) (f facts) {
	var (
		excluded  [maxStops]uint32 // numbers that the value is known not to be
		nExcluded int
	)
	at := stop{found: true, way: way, certain: true}
	if o.blocks[way.from].value != t.value {
		at = o.above(way.from, t.value)
	}
	for range maxStops {
		switch {
		case !at.found:
			return f
		case at.meet != 0:
			in := &o.origins[at.meet]
			o.oneOf(in, excluded[:nExcluded], &f)
			if f.among > 0 {
				f.compared = f.compared || t.x == noValue
				return f
			}
			at = o.next(branch{from: in.dominator}, false, t.value)
			continue
		}
		s := &o.blocks[at.way.from].test
		if s.x == t.x {
			f.compared = true
			if at.certain {
				if f.result, f.decided = implies(*s, at.way.result, t); f.decided {
					return f
				}
				if s.op == testEQ && !at.way.result && s.x == noValue {
					excluded[nExcluded] = s.k
					nExcluded++
				}
			}
		}
		at = o.above(at.way.from, t.value)
	}
	return f
}

// next is the stop at the block that a way comes from, or above it.
func (o *optimizer) next(way branch, certain bool, value valueID) stop {
	if o.blocks[way.from].value == value {
		return stop{found: true, way: way, certain: certain}
	}
	return o.above(way.from, value)
}

// above is the nearest stop for a value above a block.
func (o *optimizer) above(block blockID, value valueID) (found stop) {
	at := block
	for {
		o.steps++
		if s, ok := o.nearest[blockValue{at, value}]; ok {
			found = s
			break
		}
		in := &o.origins[at]
		if in.dominator == noBlock {
			break
		}
		if in.count > 1 && o.allEqual(in, value) {
			found = stop{found: true, meet: at}
			break
		}
		way, certain := branch{from: in.dominator}, false
		if in.count == 1 {
			way, certain = in.branches[0], true
		}
		if o.blocks[way.from].value == value {
			found = stop{found: true, way: way, certain: certain}
			break
		}
		at = way.from
	}
	o.nearest[blockValue{block, value}] = found
	return found
}

// allEqual tells whether each of several branches that meet says that the value is one certain number, as behind "port": TCP, UDP or
// SCTP.
func (o *optimizer) allEqual(in *origin, value valueID) bool {
	if in.count > maxOrigins {
		return false
	}
	for _, way := range in.branches[:in.count] {
		s := &o.blocks[way.from].test
		if s.value != value || s.x != noValue || s.op != testEQ || !way.result {
			return false
		}
	}
	return true
}

// oneOf notes the numbers of branches for which allEqual holds. Those that were excluded since do not count.
func (o *optimizer) oneOf(in *origin, excluded []uint32, f *facts) {
	f.among = 0
	for _, way := range in.branches[:in.count] {
		if k := o.blocks[way.from].k; !slices.Contains(excluded, k) {
			f.numbers[f.among] = k
			f.among++
		}
	}
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
