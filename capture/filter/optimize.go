package filter

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
