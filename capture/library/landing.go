package library

import (
	"debug/elf"
	"iter"

	"golang.org/x/arch/x86/x86asm"

	"github.com/dynwatch/dynwatch/bpf"
)

// The kernel puts a trap where a probe is. What was there it then does itself, if it is one of a few instructions (push, jump, call, nop:
// arch/x86/kernel/uprobes.c, branch_setup_xol_ops and push_setup_xol_ops, since Linux 4.16); all others the processor runs aside, one
// step, which is a second trap. On a virtual machine that one leaves the guest: 0.5 µs against 2 to 20. So a probe goes to the first
// instruction of the former kind that a function reaches in any case, with its arguments still in their registers.
const (
	maxLanding = 48        // bytes from the function's beginning
	maxCode    = 256 << 10 // bytes of a function's code that are looked at for jumps
)

// registers is a set, by the number that the processor has for each.
type registers uint32

const (
	rax registers = 1 << iota
	rcx
	rdx
	rbx
	rsp
	_
	rsi
	rdi
	r8
	r9
	r14 registers = 1 << 14
)

// arguments are the registers that a C function has its arguments in.
const arguments = rdi | rsi | rdx | rcx | r8 | r9

// keeps are the registers that must be as they were at the function's beginning: what the program reads, and for a probe on the return and one that
// looks at who calls the stack's, where the address is that the function returns to. ok is false for programs that nobody looked at.
func keeps(p bpf.Probe) (keep registers, ok bool) {
	switch p {
	case bpf.OpenSSLCertificate, bpf.BoringSSLCertificate, bpf.OpenSSLHost, bpf.OpenSSLAsked,
		bpf.GnuTLSName, bpf.GnuTLSVerifies, bpf.GnuTLSHook, bpf.GnuTLSEnd, bpf.GnuTLSHandshake, bpf.GnuTLSVerify, bpf.GnuTLSHost:
		return arguments, true
	case bpf.OpenSSLVerified, bpf.GnuTLSVerified:
		return rsp, true
	case bpf.OpenSSLPeer, bpf.OpenSSLChain:
		return rdi | rsp, true
	case bpf.GnuTLSPeers, bpf.GnuTLSCertificates:
		return arguments | rsp, true
	case bpf.S2NCertificates, bpf.S2NPeer:
		return arguments, true
	case bpf.OpenSSLHandshake:
		return rdx, true
	case bpf.OpenSSLInspected, bpf.GnuTLSCompared:
		return 0, true
	case bpf.GoHandshake, bpf.GoCertificates:
		return rax | rbx | rcx | r14, true
	}
	return 0, false
}

// landingOf is the landing of a probe in a function.
func landingOf(p bpf.Probe, code []byte) uint64 {
	keep, ok := keeps(p)
	if !ok {
		return 0
	}
	return landing(machine, code, keep)
}

// landing is how far behind its beginning a function's probe costs least. It is 0 where that is not plain.
func landing(m elf.Machine, code []byte, keep registers) uint64 {
	if m != elf.EM_X86_64 {
		return 0 // stepping costs less there, and other instructions are done by the kernel
	}
	for end, in := range instructions(code) {
		at := end - in.Len
		switch {
		case at >= maxLanding:
			return 0
		case emulated(code[at:]):
			if at > 0 && !reachedOnce(code, at) {
				return 0
			}
			return uint64(at)
		case written(in)&keep != 0:
			return 0
		}
	}
	return 0
}

// emulated reports whether the kernel does an instruction itself.
func emulated(code []byte) bool {
	b := [2]byte{}
	copy(b[:], code)
	isPush := func(c byte) bool { return c&^7 == 0x50 }
	switch {
	case isPush(b[0]), b[0] == 0x41 && isPush(b[1]): // push, also of r8 to r15
		return true
	case b[0] == 0xe8, b[0] == 0xe9, b[0] == 0xeb, b[0] == 0x90: // call, jmp, nop
		return true
	case b[0]&0xf0 == 0x70, b[0] == 0x0f && b[1]&0xf0 == 0x80: // jumps on conditions
		return true
	}
	return false
}

func isEndbr(code []byte) bool {
	return len(code) >= 4 && code[0] == 0xf3 && code[1] == 0x0f && code[2] == 0x1e && code[3] == 0xfa // endbr64
}

// instructions yields those of amd64's code from its beginning on, each with where it ends, as far as they can be read. endbr64, which the disassembler
// does not know, is the NOP that it is to all but jumps.
func instructions(code []byte) iter.Seq2[int, x86asm.Inst] {
	return func(yield func(int, x86asm.Inst) bool) {
		for at := 0; at < len(code); {
			in, err := x86asm.Decode(code[at:], 64)
			if isEndbr(code[at:]) {
				in, err = x86asm.Inst{Op: x86asm.NOP, Len: 4}, nil
			}
			if err != nil || in.Len == 0 {
				return
			}
			if at += in.Len; !yield(at, in) {
				return
			}
		}
	}
}

// everything: what an instruction writes is not known here.
const everything registers = 1<<32 - 1

// written are the registers that an instruction changes, for those that functions begin with.
func written(in x86asm.Inst) registers {
	switch in.Op {
	case x86asm.TEST, x86asm.CMP, x86asm.NOP:
		return 0
	case x86asm.PUSH: // with a prefix, by which it is made longer
		return rsp
	case x86asm.MOV, x86asm.MOVZX, x86asm.MOVSX, x86asm.MOVSXD, x86asm.LEA, x86asm.XOR, x86asm.ADD, x86asm.SUB, x86asm.AND, x86asm.OR:
	default:
		return everything
	}
	switch to := in.Args[0].(type) {
	case x86asm.Mem:
		return 0
	case x86asm.Reg:
		return registerOf(to)
	}
	return everything
}

// registerOf is the register that a name means a part of.
func registerOf(r x86asm.Reg) registers {
	switch {
	case r >= x86asm.RAX && r <= x86asm.R15:
		return 1 << (r - x86asm.RAX)
	case r >= x86asm.EAX && r <= x86asm.R15L:
		return 1 << (r - x86asm.EAX)
	case r >= x86asm.AX && r <= x86asm.R15W:
		return 1 << (r - x86asm.AX)
	}
	return everything // parts of eight bits are rare
}

// reachedOnce reports whether no jump of a function leads behind its beginning and up to at: such a place would be passed again.
func reachedOnce(code []byte, at int) bool {
	read := 0
	for end, in := range instructions(code) {
		read = end
		for _, a := range in.Args {
			if rel, ok := a.(x86asm.Rel); ok {
				if to := end + int(rel); to > 0 && to <= at {
					return false
				}
			}
		}
	}
	return read == len(code)
}
