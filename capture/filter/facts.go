package filter

import "slices"

// What the optimizer knows about a value at some branch: it comes from the tests on the way from the root to there.

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
