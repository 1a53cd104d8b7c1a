package filter

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/net/bpf"
)

// The machine runs programs that this package made. It knows just their instructions, so decode is not a general BPF loader.

type opcode uint8

const (
	opReturn opcode = iota
	opLoadB
	opLoadH
	opLoadW
	opLoadAtB
	opLoadAtH
	opLoadAtW
	opHeaderLen
	opConst
	opLength
	opStore
	opRecall
	opTAX
	opTXA
	opALUConst
	opALUX
	opJump
	opEQ
	opGT
	opGE
	opSet
	opEQX
	opGTX
	opGEX
	opSetX
	// A load of bytes at a constant offset and the comparison behind it, in one: most of every program.
	opLoadBEQ
	opLoadHEQ
	opLoadWEQ
)

// instruction is a decoded one. onTrue and onFalse are indices into the program.
type instruction struct {
	op      opcode
	alu     aluOp
	onTrue  uint16
	onFalse uint16
	k       uint32
	off     uint32 // of the joined loads
}

var decodings = map[uint16]opcode{
	classRET:                   opReturn,
	classLD | sizeB | modeABS:  opLoadB,
	classLD | sizeH | modeABS:  opLoadH,
	classLD | sizeW | modeABS:  opLoadW,
	classLD | sizeB | modeIND:  opLoadAtB,
	classLD | sizeH | modeIND:  opLoadAtH,
	classLD | sizeW | modeIND:  opLoadAtW,
	classLDX | sizeB | modeMSH: opHeaderLen,
	classLD | modeIMM:          opConst,
	classLD | modeLEN:          opLength,
	classST:                    opStore,
	classLD | modeMEM:          opRecall,
	classMISC | miscTAX:        opTAX,
	classMISC | miscTXA:        opTXA,
	classJMP | jumpAlways:      opJump,
	classJMP | uint16(testEQ):  opEQ,
	classJMP | uint16(testGT):  opGT,
	classJMP | uint16(testGE):  opGE,
	classJMP | uint16(testSet): opSet,
	classJMP | 0x10 | sourceX:  opEQX,
	classJMP | 0x20 | sourceX:  opGTX,
	classJMP | 0x30 | sourceX:  opGEX,
	classJMP | 0x40 | sourceX:  opSetX,
}

// decode resolves jumps and joins loads with comparisons. Instructions that were joined stay in place behind, so that indices hold.
// An instruction that the assembler does not make is an error.
func decode(program []bpf.RawInstruction) ([]instruction, error) {
	code := make([]instruction, len(program))
	for i, raw := range program {
		in := &code[i]
		in.k = raw.K
		if raw.Op&7 == classALU {
			in.op, in.alu = opALUConst, aluOp(raw.Op&0xf0)
			if raw.Op&sourceX != 0 {
				in.op = opALUX
			}
			continue
		}
		var ok bool
		if in.op, ok = decodings[raw.Op]; !ok {
			return nil, fmt.Errorf("filter program: instruction %d has the unknown code %#x", i, raw.Op)
		}
		switch {
		case in.op == opJump:
			in.onTrue = uint16(i + 1 + int(raw.K))
		case raw.Op&7 == classJMP:
			in.onTrue, in.onFalse = uint16(i+1+int(raw.Jt)), uint16(i+1+int(raw.Jf))
		}
	}
	for i := 0; i+1 < len(code); i++ {
		load, jump := &code[i], code[i+1]
		if opLoadB <= load.op && load.op <= opLoadW && jump.op == opEQ {
			off := load.k
			*load = jump
			load.op, load.off = opLoadBEQ+(decodings[program[i].Op]-opLoadB), off
		}
	}
	return code, nil
}

// run returns what the program returns: 0 for no match. wireLen is what the program sees as the packet's length.
func run(code []instruction, p []byte, wireLen uint32) uint32 {
	var (
		a, x   uint32
		memory [scratchWords]uint32
	)
	// Every jump of a program goes forward and its last instruction returns: the loop ends.
	for pc := 0; pc < len(code); {
		in := &code[pc]
		pc++
		switch in.op {
		case opLoadBEQ:
			if uint64(in.off) >= uint64(len(p)) {
				return 0
			}
			a = uint32(p[in.off])
			pc = in.branch(a == in.k)
		case opLoadHEQ:
			if uint64(in.off)+2 > uint64(len(p)) {
				return 0
			}
			a = uint32(binary.BigEndian.Uint16(p[in.off:]))
			pc = in.branch(a == in.k)
		case opLoadWEQ:
			if uint64(in.off)+4 > uint64(len(p)) {
				return 0
			}
			a = binary.BigEndian.Uint32(p[in.off:])
			pc = in.branch(a == in.k)
		case opEQ:
			pc = in.branch(a == in.k)
		case opSet:
			pc = in.branch(a&in.k != 0)
		case opGT:
			pc = in.branch(a > in.k)
		case opGE:
			pc = in.branch(a >= in.k)
		case opLoadB:
			if uint64(in.k) >= uint64(len(p)) {
				return 0
			}
			a = uint32(p[in.k])
		case opLoadH:
			if uint64(in.k)+2 > uint64(len(p)) {
				return 0
			}
			a = uint32(binary.BigEndian.Uint16(p[in.k:]))
		case opLoadW:
			if uint64(in.k)+4 > uint64(len(p)) {
				return 0
			}
			a = binary.BigEndian.Uint32(p[in.k:])
		case opHeaderLen:
			if uint64(in.k) >= uint64(len(p)) {
				return 0
			}
			x = uint32(p[in.k]&0xf) * 4
		case opLoadAtB:
			off := uint64(in.k) + uint64(x)
			if off >= uint64(len(p)) {
				return 0
			}
			a = uint32(p[off])
		case opLoadAtH:
			off := uint64(in.k) + uint64(x)
			if off+2 > uint64(len(p)) {
				return 0
			}
			a = uint32(binary.BigEndian.Uint16(p[off:]))
		case opLoadAtW:
			off := uint64(in.k) + uint64(x)
			if off+4 > uint64(len(p)) {
				return 0
			}
			a = binary.BigEndian.Uint32(p[off:])
		case opReturn:
			return in.k
		case opJump:
			pc = int(in.onTrue)
		case opEQX:
			pc = in.branch(a == x)
		case opGTX:
			pc = in.branch(a > x)
		case opGEX:
			pc = in.branch(a >= x)
		case opSetX:
			pc = in.branch(a&x != 0)
		case opALUConst, opALUX:
			operand := in.k
			if in.op == opALUX {
				operand = x
			}
			var ok bool
			if a, ok = alu(in.alu, a, operand); !ok {
				return 0
			}
		case opConst:
			a = in.k
		case opLength:
			a = wireLen
		case opStore:
			memory[in.k%scratchWords] = a
		case opRecall:
			a = memory[in.k%scratchWords]
		case opTAX:
			x = a
		case opTXA:
			a = x
		}
	}
	return 0
}

func (in *instruction) branch(yes bool) int {
	if yes {
		return int(in.onTrue)
	}
	return int(in.onFalse)
}
