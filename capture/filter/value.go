package filter

// A value is a 32-bit number that a program computes from a packet. Values are kept once each in a table (hash-consed), so that two
// equal computations have the same id: the optimizer compares ids, and a packet never changes under a running program, so that
// equal ids mean equal results.

type valueID int32

const noValue valueID = -1

type valueOp uint8

const (
	valueConst     valueOp = iota // k
	valueLen                      // the packet's length on the wire
	valueLoad                     // size bytes at offset k, big-endian
	valueLoadAt                   // size bytes at offset k + a
	valueHeaderLen                // 4 * (low four bits of the byte at k): the length of the IPv4 header that begins at k
	valueALU                      // a alu b
)

// aluOp has the numbers of classic BPF's BPF_OP field.
type aluOp uint8

const (
	aluAdd aluOp = 0x00
	aluSub aluOp = 0x10
	aluMul aluOp = 0x20
	aluDiv aluOp = 0x30
	aluOr  aluOp = 0x40
	aluAnd aluOp = 0x50
	aluLsh aluOp = 0x60
	aluRsh aluOp = 0x70
	aluMod aluOp = 0x90
	aluXor aluOp = 0xa0
)

type value struct {
	op   valueOp
	alu  aluOp
	size uint8
	k    uint32
	a, b valueID
}

// maxOffset is the largest constant offset that is ever put into an instruction. Offsets from 0xffe00000 on are not packet bytes
// to Linux but special data (SKF_LL_OFF and its neighbours); an offset this large fails on any packet, which is what is meant.
const maxOffset = 0x7fffffff

type valueTable struct {
	values []value
	ids    map[value]valueID
}

func newValueTable() *valueTable { return &valueTable{ids: make(map[value]valueID)} }

func (t *valueTable) intern(v value) valueID {
	if id, ok := t.ids[v]; ok {
		return id
	}
	id := valueID(len(t.values))
	t.values = append(t.values, v)
	t.ids[v] = id
	return id
}

func (t *valueTable) constant(k uint32) valueID { return t.intern(value{op: valueConst, k: k}) }

func (t *valueTable) length() valueID { return t.intern(value{op: valueLen}) }

func (t *valueTable) load(off int, size uint8) valueID {
	return t.intern(value{op: valueLoad, size: size, k: uint32(min(off, maxOffset))})
}

func (t *valueTable) loadAt(base valueID, off int, size uint8) valueID {
	return t.intern(value{op: valueLoadAt, size: size, k: uint32(min(off, maxOffset)), a: base})
}

func (t *valueTable) headerLen(off int) valueID {
	return t.intern(value{op: valueHeaderLen, k: uint32(min(off, maxOffset))})
}

// isConst returns the number that id is, if it does not depend on the packet.
func (t *valueTable) isConst(id valueID) (uint32, bool) {
	v := t.values[id]
	return v.k, v.op == valueConst
}

// binary computes a op b, at once where both are constants. The caller has refused constant division by zero and shifts by 32 or
// more, which Linux would not load.
func (t *valueTable) binary(op aluOp, a, b valueID) valueID {
	ka, constA := t.isConst(a)
	kb, constB := t.isConst(b)
	switch {
	case constA && constB:
		if n, ok := alu(op, ka, kb); ok {
			return t.constant(n)
		}
	case op == aluAnd && (constA && ka == 0 || constB && kb == 0):
		return t.constant(0) // as libpcap's optimizer has it: "net 0.0.0.0/0" reads no address
	}
	return t.intern(value{op: valueALU, alu: op, a: a, b: b})
}

// alu is the machine's arithmetic; ok is false for a division by zero, which ends a program. Shifts by 32 and more give 0.
func alu(op aluOp, a, b uint32) (n uint32, ok bool) {
	switch op {
	case aluAdd:
		return a + b, true
	case aluSub:
		return a - b, true
	case aluMul:
		return a * b, true
	case aluOr:
		return a | b, true
	case aluAnd:
		return a & b, true
	case aluXor:
		return a ^ b, true
	case aluLsh:
		return a << b, true
	case aluRsh:
		return a >> b, true
	case aluDiv:
		if b != 0 {
			return a / b, true
		}
	case aluMod:
		if b != 0 {
			return a % b, true
		}
	}
	return 0, false
}
