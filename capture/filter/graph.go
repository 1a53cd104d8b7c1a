package filter

// A graph is a condition as blocks of one test each. A block's branches lead to blocks with smaller numbers, or to one of the two
// results; so the numbers are a topological order, and a graph has no loops.

type blockID int32

const (
	reject     blockID = 0
	accept     blockID = 1
	firstBlock blockID = 2
)

type block struct {
	test
	onTrue, onFalse blockID
}

func (b *block) branch(result bool) blockID {
	if result {
		return b.onTrue
	}
	return b.onFalse
}

type graph struct {
	values *valueTable
	blocks []block // the first two are place holders for the results
	root   blockID
	ids    map[block]blockID
}

func newGraph(values *valueTable, c condition) *graph {
	g := &graph{values: values, blocks: make([]block, firstBlock), ids: make(map[block]blockID)}
	g.root = g.build(c, accept, reject)
	return g
}

// build makes the blocks of c, from the last to the first. Every part of a condition is built once, so that a graph has at most as
// many blocks as the condition has tests.
func (g *graph) build(c condition, yes, no blockID) blockID {
	switch c := c.(type) {
	case nil:
		return yes
	case conditionConst:
		if c {
			return yes
		}
		return no
	case *conditionTest:
		return g.intern(block{c.test, yes, no})
	case *conditionNot:
		return g.build(c.of, no, yes)
	}
	both := c.(*conditionBoth)
	right := g.build(both.right, yes, no)
	if both.or {
		return g.build(both.left, yes, right)
	}
	return g.build(both.left, right, no)
}

func (g *graph) intern(b block) blockID {
	if id, ok := g.ids[b]; ok {
		return id
	}
	id := blockID(len(g.blocks))
	g.blocks = append(g.blocks, b)
	g.ids[b] = id
	return id
}

// rebuild keeps the blocks that the root reaches and merges those that became equal.
func (g *graph) rebuild() {
	reached := make([]bool, len(g.blocks))
	reached[g.root] = true
	for id := blockID(len(g.blocks)) - 1; id >= firstBlock; id-- {
		if reached[id] {
			reached[g.blocks[id].onTrue], reached[g.blocks[id].onFalse] = true, true
		}
	}
	old, to := g.blocks, make([]blockID, len(g.blocks))
	to[accept] = accept
	g.blocks, g.ids = make([]block, firstBlock, len(old)), make(map[block]blockID)
	for id := firstBlock; int(id) < len(old); id++ {
		if reached[id] {
			b := old[id]
			b.onTrue, b.onFalse = to[b.onTrue], to[b.onFalse]
			to[id] = g.intern(b)
		}
	}
	g.root = to[g.root]
}
