package filter

// A condition is a tree of tests joined by and, or, not: what an expression means for one link type. Evaluation is left to right
// and stops as soon as the result is known; that order is part of the meaning, since a test that reads beyond the captured bytes
// ends the program.

// testOp has the numbers of classic BPF's jump instructions.
type testOp uint8

const (
	testEQ  testOp = 0x10
	testGT  testOp = 0x20
	testGE  testOp = 0x30
	testSet testOp = 0x40 // any common bit
)

// test compares value with k, or with the value x where x is not noValue. It is comparable: the optimizer uses it as a key.
type test struct {
	op    testOp
	k     uint32
	value valueID
	x     valueID
}

type condition interface{}

type (
	conditionTest  struct{ test }
	conditionConst bool
	conditionNot   struct{ of condition }
	conditionBoth  struct {
		or          bool
		left, right condition
	}
)

func and(a, b condition) condition {
	switch {
	case a == nil, a == conditionConst(true):
		return b
	case b == nil, b == conditionConst(true):
		return a
	case a == conditionConst(false):
		return a
	}
	return &conditionBoth{false, a, b}
}

func or(a, b condition) condition {
	switch {
	case a == conditionConst(false):
		return b
	case b == conditionConst(false):
		return a
	case a == conditionConst(true):
		return a
	}
	return &conditionBoth{true, a, b}
}

func not(a condition) condition {
	switch a := a.(type) {
	case conditionConst:
		return !a
	case *conditionNot:
		return a.of
	}
	return &conditionNot{a}
}

// compare makes a test against a constant, or the constant that it comes to.
func (t *valueTable) compare(op testOp, v valueID, k uint32) condition {
	if n, ok := t.isConst(v); ok {
		return conditionConst(holds(op, n, k))
	}
	if w := t.values[v]; op == testEQ && w.op == valueALU && w.alu == aluAnd {
		// (a & mask) == 0, or == mask for a mask of one bit, is one jset.
		if mask, ok := t.isConst(w.b); ok {
			switch {
			case k == 0:
				return not(t.compare(testSet, w.a, mask))
			case k == mask && mask&(mask-1) == 0:
				return t.compare(testSet, w.a, mask)
			case k&^mask != 0:
				// Never equal; the load stays, as it may end the program.
				return &conditionTest{test{op, k, v, noValue}}
			}
		}
	}
	return &conditionTest{test{op, k, v, noValue}}
}

// holds is the machine's comparison.
func holds(op testOp, a, b uint32) bool {
	switch op {
	case testEQ:
		return a == b
	case testGT:
		return a > b
	case testGE:
		return a >= b
	}
	return a&b != 0
}
