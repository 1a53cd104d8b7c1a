package library

import (
	"debug/elf"
	"encoding/binary"

	"golang.org/x/arch/x86/x86asm"
)

// access is an instruction that reads from, or makes the address of, a place at an offset from the function's first argument.
type access struct {
	offset  int64
	address bool // its address is made; else it is read
	wide    bool // a pointer's size
	to      int  // register that gets it, as accessesThrough takes it
	after   int  // where in the code the next instruction is
}

// none is no register that an object can be in.
const none = -1

// minField is the least offset that is taken for a field's: libraries put a type or a vtable before all else, and look at that first.
const minField = 0x10

// accesses lists what a function's code does to the object of its first argument. The code is read straight through: what it jumps over
// it mostly does to the same object. It ends where the argument's register gets what the object has at some place, or that place's address; where
// it gets the result of a call (OpenSSL 3.2 looks up which object it is), that is again such an object.
func accesses(machine elf.Machine, code []byte) []access {
	return accessesThrough(machine, code, firstArgument(machine))
}

func firstArgument(m elf.Machine) int {
	if m == elf.EM_AARCH64 {
		return 0 // X0
	}
	return int(x86asm.RDI)
}

func accessesThrough(machine elf.Machine, code []byte, base int) []access {
	if machine == elf.EM_AARCH64 {
		return accessesARM64(code, base)
	}
	return accessesAMD64(code, x86asm.Reg(base))
}

func accessesAMD64(code []byte, base x86asm.Reg) []access {
	var list []access
	for at, in := range instructions(code) {
		switch in.Op {
		case x86asm.MOV, x86asm.MOVZX, x86asm.MOVSXD, x86asm.LEA:
			to, isReg := in.Args[0].(x86asm.Reg)
			m, isMem := in.Args[1].(x86asm.Mem)
			if isReg && isMem && m.Base == base && m.Index == 0 {
				list = append(list, access{m.Disp, in.Op == x86asm.LEA, in.MemBytes == 8, int(to), at})
			}
		case x86asm.MOVUPS, x86asm.MOVDQU, x86asm.MOVUPD: // how a copy of 32 bytes is compiled
			if m, isMem := in.Args[1].(x86asm.Mem); isMem && m.Base == base && m.Index == 0 {
				list = append(list, access{m.Disp, true, false, none, at})
			}
		case x86asm.ADD:
			to, isReg := in.Args[0].(x86asm.Reg)
			n, isImm := in.Args[1].(x86asm.Imm)
			if isReg && isImm && to == base {
				list = append(list, access{int64(n), true, false, int(to), at})
			}
		}
		if n := len(list); n > 0 && list[n-1].after == at && list[n-1].to == int(base) {
			return list
		}
	}
	return list
}

// accessesARM64 knows the few instructions that read at a constant offset (Arm Architecture Reference Manual, C4.1.94), which need no disassembler:
// their base register is in bits 5 to 9, what they fill in bits 0 to 4. The object is followed into other registers, for the argument's own is often
// made free for a call; forward jumps take along which registers have it, so that one way through the function takes nothing from another.
func accessesARM64(code []byte, base int) []access {
	var list []access
	held, reached := uint32(1)<<base, true // registers with the object, where the code is come to
	jumped := map[int]uint32{}             // held, by where jumps go on
	for at := 4; at <= len(code); at += 4 {
		in := binary.LittleEndian.Uint32(code[at-4:])
		switch had, ok := jumped[at-4]; {
		case ok && reached:
			held &= had
		case ok:
			held, reached = had, true
		case !reached:
			continue
		}
		to, from, scaled := int(in&31), in>>5&31, int64(in>>10&0xfff)
		if held>>from&1 != 0 {
			switch in & 0xffc00000 {
			case 0xb9400000, 0xb9800000: // LDR of 32 bits, LDRSW
				list = append(list, access{scaled * 4, false, false, to, at})
			case 0xf9400000: // LDR of 64 bits
				list = append(list, access{scaled * 8, false, true, to, at})
			case 0x39400000: // LDRB
				list = append(list, access{scaled, false, false, to, at})
			case 0x3dc00000: // LDR of 128 bits: a copy
				list = append(list, access{scaled * 16, true, false, none, at})
			case 0xad400000: // LDP of 2 times 128 bits: a copy
				list = append(list, access{int64(int32(in<<10)>>25) * 16, true, false, none, at})
			case 0xa9400000: // LDP of 2 times 64 bits: a copy
				list = append(list, access{int64(int32(in<<10)>>25) * 8, true, false, to, at})
			case 0x91000000: // ADD
				list = append(list, access{scaled, true, false, to, at})
			}
		}
		has := in&0xffe0ffe0 == 0xaa0003e0 && held>>(in>>16&31)&1 != 0 // MOV from such a register
		held &^= writtenARM64(in)
		if has {
			held |= 1 << to
		}
		if bl, blr := in&0xfc000000 == 0x94000000, in&0xfffffc1f == 0xd63f0000; bl || blr {
			held = held&^0x4003ffff | 1 // what a call may change (AAPCS64); its result may be such an object
		}
		by, always := jumpARM64(in)
		if by > 0 {
			to := at - 4 + by
			if had, ok := jumped[to]; ok {
				jumped[to] = had & held
			} else {
				jumped[to] = held
			}
		}
		reached = !always
	}
	return list
}

// writtenARM64 are the registers that an instruction other than a call changes.
func writtenARM64(in uint32) uint32 {
	to, second := uint32(1)<<(in&31), uint32(1)<<(in>>10&31)
	switch {
	case in>>25&7 == 5 && in&0x1fe00000 == 0x1a400000: // CCMP, CCMN: flags
		return 0
	case in>>26&7 == 4, in>>25&7 == 5: // computes
		return to
	case in>>25&5 != 4, in>>26&1 == 1: // neither loads nor stores; those of SIMD
		return 0
	case in>>27&7 == 3, in>>27&7 == 7 && (in>>22&3 != 0 || in&0x200c00 == 0x200000): // loads one; changes one in memory
		return to
	case in>>27&7 == 5 && in>>22&1 == 1: // loads two
		return to | second
	case in>>27&7 == 1: // exclusive and ordered
		return to | second | 1<<(in>>16&31)
	}
	return 0
}

// jumpARM64 is by how much a jump changes the program's counter, 0 for none or one that is not known, and whether it is always taken.
func jumpARM64(in uint32) (by int, always bool) {
	switch {
	case in&0xfc000000 == 0x14000000: // B
		return int(int32(in<<6)>>6) * 4, true
	case in&0xff000010 == 0x54000000, in&0x7e000000 == 0x34000000: // B.cond, CBZ, CBNZ
		return int(int32(in<<8)>>13) * 4, false
	case in&0x7e000000 == 0x36000000: // TBZ, TBNZ
		return int(int32(in<<13)>>18) * 4, false
	case in&0xff9ffc1f == 0xd61f0000 && in>>21&3 != 1: // BR, RET
		return 0, true
	}
	return 0, false
}

// field is the one offset that a getter reads; 0 if it is not plain which.
func field(machine elf.Machine, code []byte) uint32 {
	var found int64
	for _, a := range accesses(machine, code) {
		if a.address || a.offset < minField {
			continue
		}
		if found != 0 && found != a.offset {
			return 0
		}
		found = a.offset
	}
	return plausible(found)
}

// returnedField is the one offset of a pointer in the object that a function returns as it is; 0 if it is not plain which. The function may return other
// things too: SSL_get_servername returns the session's name in some cases. Of arm64's code it is not known.
func returnedField(machine elf.Machine, code []byte) uint32 {
	if machine != elf.EM_X86_64 {
		return 0
	}
	objects := rdi // registers that have the object
	var found, inRAX int64
	for at, in := range instructions(code) {
		switch in.Op {
		case x86asm.RET:
			if inRAX != 0 && found != 0 && found != inRAX {
				return 0
			}
			if inRAX != 0 {
				found = inRAX
			}
			inRAX = 0
			continue
		case x86asm.JMP:
			inRAX = 0
			continue
		case x86asm.CALL:
			objects &^= rax | arguments
			inRAX = 0
			continue
		case x86asm.PUSH, x86asm.LEAVE:
			continue // they change none of the registers that matter
		}
		if emulated(code[at-in.Len:]) || in.Op == x86asm.NOP {
			continue // a jump on a condition
		}
		to := written(in)
		if in.Op == x86asm.POP {
			if r, ok := in.Args[0].(x86asm.Reg); ok {
				to = registerOf(r)
			}
		}
		var has bool // the object comes to be in that register
		var field int64
		if in.Op == x86asm.MOV {
			switch from := in.Args[1].(type) {
			case x86asm.Reg:
				has = in.DataSize == 64 && registerOf(from)&objects != 0
			case x86asm.Mem:
				if in.MemBytes == 8 && from.Index == 0 && registerOf(from.Base)&objects != 0 && registerOf(from.Base) != everything {
					field = from.Disp
				}
			}
		}
		objects &^= to
		if has {
			objects |= to
		}
		if to&rax != 0 {
			inRAX = 0
			if to == rax {
				inRAX = field
			}
		}
	}
	return plausible(found)
}

// maxField bounds offsets that are believed: connection objects have a few thousand bytes.
const maxField = 1 << 16

func plausible(offset int64) uint32 {
	if offset < minField || offset >= maxField {
		return 0
	}
	return uint32(offset)
}

// randomField is the offset of the 32 bytes that a getter copies: in the object itself, or in what the object points to at in. Both are 0 if
// it is not plain which.
func randomField(machine elf.Machine, code []byte) (offset, in uint32) {
	var made, read []access
	for _, a := range accesses(machine, code) {
		switch {
		case a.offset < minField:
		case a.address:
			made = append(made, a)
		default:
			read = append(read, a)
		}
	}
	if at := least(made); at != 0 {
		// GnuTLS gives two fields, the client's before the server's.
		for _, a := range made {
			if a.offset != at && a.offset != at+16 && a.offset != at+32 {
				return 0, 0
			}
		}
		return plausible(at), 0
	}
	// OpenSSL 1.1.1 has it behind a pointer.
	for _, p := range read {
		if !p.wide || p.offset != read[0].offset {
			return 0, 0
		}
		if at := least(accessesThrough(machine, code[p.after:], p.to)); at >= minField {
			return plausible(at), plausible(p.offset)
		}
	}
	return 0, 0
}

func least(list []access) int64 {
	var at int64
	for _, a := range list {
		if at == 0 || a.offset < at {
			at = a.offset
		}
	}
	return at
}
