package filter

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/net/bpf"
)

// Dump is the program as "tcpdump -d" prints it, one instruction a line.
func (f *Filter) Dump() string {
	var b strings.Builder
	for i, in := range f.program {
		name, operand := mnemonic(in)
		line := fmt.Sprintf("(%03d) %-8s %s", i, name, operand)
		if in.Op&7 == classJMP && in.Op != classJMP|jumpAlways {
			line = fmt.Sprintf("(%03d) %-8s %-16s jt %d\tjf %d", i, name, operand, i+1+int(in.Jt), i+1+int(in.Jf))
		} else if in.Op == classJMP|jumpAlways {
			line = fmt.Sprintf("(%03d) %-8s %d", i, name, i+1+int(in.K))
		}
		b.WriteString(strings.TrimRight(line, " "))
		b.WriteByte('\n')
	}
	return b.String()
}

// DumpDecimal is the program as "tcpdump -ddd" prints it: the number of instructions, then code, jt, jf and k of each.
func (f *Filter) DumpDecimal() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d\n", len(f.program))
	for _, in := range f.program {
		fmt.Fprintf(&b, "%d %d %d %d\n", in.Op, in.Jt, in.Jf, in.K)
	}
	return b.String()
}

var aluNames = map[aluOp]string{aluAdd: "add", aluSub: "sub", aluMul: "mul", aluDiv: "div", aluOr: "or", aluAnd: "and",
	aluLsh: "lsh", aluRsh: "rsh", aluMod: "mod", aluXor: "xor"}

var jumpNames = map[testOp]string{testEQ: "jeq", testGT: "jgt", testGE: "jge", testSet: "jset"}

// mnemonic covers the instructions that the assembler makes.
func mnemonic(in bpf.RawInstruction) (name, operand string) {
	source := fmt.Sprintf("#%#x", in.K)
	if in.Op&sourceX != 0 {
		source = "x"
	}
	switch in.Op & 7 {
	case classALU:
		op := aluOp(in.Op & 0xf0)
		if in.Op&sourceX == 0 && op != aluAnd && op != aluOr && op != aluXor {
			source = "#" + strconv.FormatUint(uint64(in.K), 10)
		}
		return aluNames[op], source
	case classJMP:
		if in.Op == classJMP|jumpAlways {
			return "ja", ""
		}
		return jumpNames[testOp(in.Op&0xf0)], source
	case classRET:
		return "ret", "#" + strconv.FormatUint(uint64(in.K), 10)
	case classST:
		return "st", fmt.Sprintf("M[%d]", in.K)
	case classLDX:
		return "ldxb", fmt.Sprintf("4*([%d]&0xf)", in.K)
	case classMISC:
		if in.Op == classMISC|miscTXA {
			return "txa", ""
		}
		return "tax", ""
	}
	name = map[uint16]string{sizeW: "ld", sizeH: "ldh", sizeB: "ldb"}[in.Op&0x18]
	switch in.Op & 0xe0 {
	case modeABS:
		operand = fmt.Sprintf("[%d]", in.K)
	case modeIND:
		operand = fmt.Sprintf("[x + %d]", in.K)
	case modeLEN:
		operand = "#pktlen"
	case modeMEM:
		operand = fmt.Sprintf("M[%d]", in.K)
	default:
		operand = fmt.Sprintf("#%#x", in.K)
	}
	return name, operand
}
