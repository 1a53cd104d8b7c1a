package filter

import (
	"fmt"

	"golang.org/x/net/bpf"
)

// maxInstructions is what Linux loads at most (BPF_MAXINSNS in include/uapi/linux/bpf_common.h).
const maxInstructions = 4096

// scratchWords is the size of the machine's memory (BPF_MEMWORDS).
const scratchWords = 16

// Classic BPF's instruction classes and modes, as in <linux/bpf_common.h>.
const (
	classLD, classLDX, classST, classALU, classJMP, classRET, classMISC = 0x00, 0x01, 0x02, 0x04, 0x05, 0x06, 0x07

	sizeW, sizeH, sizeB                                  = 0x00, 0x08, 0x10
	modeIMM, modeABS, modeIND, modeMEM, modeLEN, modeMSH = 0x00, 0x20, 0x40, 0x60, 0x80, 0xa0

	sourceK, sourceX = 0x00, 0x08
	miscTAX, miscTXA = 0x00, 0x80
	jumpAlways       = 0x00
)

func sizeMode(size uint8) uint16 {
	switch size {
	case 1:
		return sizeB
	case 2:
		return sizeH
	}
	return sizeW
}

// assembler turns a graph into instructions, in two steps: the straight code of every block, from the root on, so that what a
// register already holds is not loaded again; then the jumps, from the end on, so that their distances are known.
type assembler struct {
	*graph
	expr  string
	order []blockID // topological, the root first
	code  [][]bpf.RawInstruction
	// before says what the registers hold when a block begins, on every way that leads there.
	before []registers

	// While the code of one block is made:
	now     []bpf.RawInstruction
	have    registers
	scratch int
	deep    bool
}

// registers are the values in A and X, or noValue for what is not known.
type registers struct {
	a, x valueID
	seen bool
}

func (g *graph) assemble(expr string, snapLen uint32) ([]bpf.RawInstruction, error) {
	s := &assembler{graph: g, expr: expr, code: make([][]bpf.RawInstruction, len(g.blocks)), before: make([]registers, len(g.blocks))}
	s.sort()
	for _, id := range s.order {
		if s.straight(id); s.deep {
			return nil, &SyntaxError{Expr: expr, Msg: fmt.Sprintf("arithmetic needs more than %d intermediate results", scratchWords)}
		}
	}
	program := s.link(snapLen)
	if len(program) > maxInstructions {
		return nil, &SyntaxError{Expr: expr,
			Msg: fmt.Sprintf("the expression needs %d instructions, %d are allowed", len(program), maxInstructions)}
	}
	return program, nil
}

// sort orders blocks so that the block of a true branch follows its test where it can: most expressions are chains of "and".
func (s *assembler) sort() {
	if s.root < firstBlock {
		return
	}
	visited := make([]bool, len(s.blocks))
	var visit func(id blockID)
	visit = func(id blockID) {
		if id < firstBlock || visited[id] {
			return
		}
		visited[id] = true
		visit(s.blocks[id].onFalse)
		visit(s.blocks[id].onTrue)
		s.order = append(s.order, id)
	}
	visit(s.root)
	for i, j := 0, len(s.order)-1; i < j; i, j = i+1, j-1 {
		s.order[i], s.order[j] = s.order[j], s.order[i]
	}
}

// straight makes a block's code without its jump.
func (s *assembler) straight(id blockID) {
	b := &s.blocks[id]
	s.have, s.now = registers{noValue, noValue, true}, nil
	if in := s.before[id]; in.seen {
		s.have = in
	}
	if b.x == noValue {
		s.toA(b.value)
	} else {
		s.both(b.value, b.x)
	}
	s.code[id] = s.now
	for _, to := range []blockID{b.onTrue, b.onFalse} {
		in := &s.before[to]
		if !in.seen {
			*in = s.have
			continue
		}
		if in.a != s.have.a {
			in.a = noValue
		}
		if in.x != s.have.x {
			in.x = noValue
		}
	}
}

func (s *assembler) emit(op uint16, k uint32) {
	s.now = append(s.now, bpf.RawInstruction{Op: op, K: k})
}

// toA computes a value into register A.
func (s *assembler) toA(id valueID) {
	if s.have.a == id {
		return
	}
	v := s.values.values[id]
	switch v.op {
	case valueConst:
		s.emit(classLD|modeIMM, v.k)
	case valueLen:
		s.emit(classLD|modeLEN, 0)
	case valueLoad:
		s.emit(classLD|sizeMode(v.size)|modeABS, v.k)
	case valueLoadAt:
		s.toX(v.a)
		s.emit(classLD|sizeMode(v.size)|modeIND, v.k)
	case valueHeaderLen:
		s.toX(id)
		s.emit(classMISC|miscTXA, 0)
	case valueALU:
		if k, ok := s.values.isConst(v.b); ok {
			s.toA(v.a)
			s.emit(classALU|uint16(v.alu)|sourceK, k)
			break
		}
		s.both(v.a, v.b)
		s.emit(classALU|uint16(v.alu)|sourceX, 0)
	}
	s.have.a = id
}

// toX computes a value into register X. It may change A.
func (s *assembler) toX(id valueID) {
	if s.have.x == id {
		return
	}
	if v := s.values.values[id]; v.op == valueHeaderLen {
		s.emit(classLDX|sizeB|modeMSH, v.k)
	} else {
		s.toA(id)
		s.emit(classMISC|miscTAX, 0)
	}
	s.have.x = id
}

// both computes a into A and x into X, a first.
func (s *assembler) both(a, x valueID) {
	s.toA(a)
	if s.have.x == x || s.values.values[x].op == valueHeaderLen {
		s.toX(x)
		return
	}
	if s.scratch == scratchWords {
		s.deep = true
		return
	}
	slot := uint32(s.scratch)
	s.scratch++
	s.emit(classST, slot)
	s.toX(x)
	s.emit(classLD|modeMEM, slot)
	s.have.a = a
	s.scratch--
}

// link joins the blocks. It builds the program backwards: position counts instructions from the end.
func (s *assembler) link(snapLen uint32) []bpf.RawInstruction {
	var back []bpf.RawInstruction
	position := make([]int, len(s.blocks)) // of a block's first instruction
	place := func(in bpf.RawInstruction) int {
		back = append(back, in)
		return len(back) - 1
	}
	needs := [2]bool{reject: s.root == reject, accept: s.root == accept}
	for _, id := range s.order {
		for _, to := range []blockID{s.blocks[id].onTrue, s.blocks[id].onFalse} {
			if to < firstBlock {
				needs[to] = true
			}
		}
	}
	if needs[reject] {
		position[reject] = place(bpf.RawInstruction{Op: classRET, K: 0})
	}
	if needs[accept] {
		position[accept] = place(bpf.RawInstruction{Op: classRET, K: snapLen})
	}

	// A conditional jump has eight bits for its distance. Where they do not do, it goes to a long jump behind it; one that was placed
	// for the same target before and is still near serves again.
	const far = 255
	long := make(map[int]int)
	near := func(target, spare int) int {
		if len(back)-target-1 <= far-spare {
			return target
		}
		if at, ok := long[target]; ok && len(back)-at-1 <= far-spare {
			return at
		}
		long[target] = place(bpf.RawInstruction{Op: classJMP | jumpAlways, K: uint32(len(back) - target - 1)})
		return long[target]
	}
	for i := len(s.order) - 1; i >= 0; i-- {
		id := s.order[i]
		b := &s.blocks[id]
		onFalse := near(position[b.onFalse], 1) // with room for one more long jump between
		onTrue := near(position[b.onTrue], 0)
		jump := bpf.RawInstruction{Op: classJMP | uint16(b.op) | sourceK, K: b.k}
		if b.x != noValue {
			jump.Op, jump.K = classJMP|uint16(b.op)|sourceX, 0
		}
		jump.Jt, jump.Jf = uint8(len(back)-onTrue-1), uint8(len(back)-onFalse-1)
		place(jump)
		for j := len(s.code[id]) - 1; j >= 0; j-- {
			place(s.code[id][j])
		}
		position[id] = len(back) - 1
	}
	for i, j := 0, len(back)-1; i < j; i, j = i+1, j-1 {
		back[i], back[j] = back[j], back[i]
	}
	return back
}
