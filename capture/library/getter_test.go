package library

import (
	"debug/elf"
	"encoding/hex"
	"strings"
	"testing"
)

// code reads machine code as disassemblers print it.
func code(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "\n", "", "\t", "").Replace(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFieldIsWhatTheGetterReads(t *testing.T) {
	for _, c := range []struct {
		name    string
		machine elf.Machine
		code    string
		want    uint32
	}{
		{"OpenSSL 3.0: mov 0x968(%rdi),%eax; xor %edi,%edi; ret", elf.EM_X86_64, "8b8768090000 31ff c3", 0x968},
		{"a pointer: mov 0x970(%rdi),%rax; ret", elf.EM_X86_64, "488b8770090000 c3", 0x970},
		{"a short displacement: mov 0x38(%rdi),%eax; ret", elf.EM_X86_64, "8b4738 c3", 0x38},
		{"behind endbr64", elf.EM_X86_64, "f30f1efa 8b8768090000 c3", 0x968},
		{"OpenSSL 3.2 looks at the type first: test %rdi,%rdi; je; mov (%rdi),%eax; test %eax,%eax; jne; mov 0x9a8(%rdi),%eax; ret",
			elf.EM_X86_64, "4885ff 740e 8b07 85c0 7508 8b87a8090000 c3", 0x9a8},
		{"two fields: nobody knows which", elf.EM_X86_64, "8b8768090000 8b8770090000 c3", 0},
		{"none", elf.EM_X86_64, "31c0 c3", 0},
		{"an address is no field", elf.EM_X86_64, "488d8768090000 c3", 0},
		{"too far: mov 0x20000(%rdi),%eax", elf.EM_X86_64, "8b8700000200 c3", 0},
		{"no code", elf.EM_X86_64, "", 0},
		{"not code", elf.EM_X86_64, "ffffffffffffffff", 0},
		{"arm64: ldr w0,[x0,#2408]; ret", elf.EM_AARCH64, "006849b9 c0035fd6", 2408},
		{"arm64: ldr x0,[x0,#2416]; ret", elf.EM_AARCH64, "00b844f9 c0035fd6", 2416},
		{"arm64: another register", elf.EM_AARCH64, "206849b9 c0035fd6", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := field(c.machine, code(t, c.code)); got != c.want {
				t.Errorf("%#x, want %#x", got, c.want)
			}
		})
	}
}

func TestRandomIsWhereTheGetterCopiesFrom(t *testing.T) {
	for _, c := range []struct {
		name       string
		machine    elf.Machine
		code       string
		offset, in uint32
	}{
		{"OpenSSL 3.0 of Debian 12", elf.EM_X86_64, `4889f1 b820000000 4885d2 7457 4839c2 488db760010000 480f46c2 89c2 83f808 7265
			488b9760010000 4c8d4108 c3`, 0x160, 0},
		{"GnuTLS: lea 0x50(%rdi),%rax … add $0x70,%rdi", elf.EM_X86_64, `4885f6 740e 488d4750 c7460820000000 488906 4885d2 740e 4883c770
			c7420820000000 48893a c3`, 0x50, 0},
		{"OpenSSL 1.1.1: mov 0xa8(%rdi),%rax; lea 0xb8(%rax),%rsi", elf.EM_X86_64, "488b87a8000000 488db0b8000000 c3", 0xb8, 0xa8},
		{"OpenSSL 1.1.1 of Debian 11 and Node.js 16, into the same register: mov 0xa8(%rdi),%rdi; lea 0xb8(%rdi),%rcx; mov 0xb8(%rdi),%rdx",
			elf.EM_X86_64, `b820000000 4885d2 7465 4883fa20 488bbfa8000000 480f46c2 488d8fb8000000 89c2 83f808 724b 488b97b8000000 4c8d4608 c3`,
			0xb8, 0xa8},
		{"OpenSSL 3.5 of Debian 13: test %al; je; call; mov %rax,%rdi; … lea 0x188(%rdi),%rcx; mov 0x188(%rdi),%rdx", elf.EM_X86_64, `f30f1efa 4885ff
			55 4889f5 53 4889d3 4883ec08 8b07 85c0 7419 a880 4889c7 4885c0 b820000000 4885db 745e 4839c3 488d8f88010000 480f46c3
			89c2 83f808 7279 488b9788010000 c3`, 0x188, 0},
		{"a copy in registers: movdqu 0x160(%rdi),%xmm0; movdqu 0x170(%rdi),%xmm1", elf.EM_X86_64, "f30f6f8760010000 f30f6f8f70010000 c3", 0x160, 0},
		{"two things that are far apart", elf.EM_X86_64, "488d8760010000 488d8760020000 c3", 0, 0},
		{"nothing", elf.EM_X86_64, "31c0 c3", 0, 0},
		{"arm64: add x1,x0,#352; ret", elf.EM_AARCH64, "01800591 c0035fd6", 352, 0},
		{"arm64: ldr x1,[x0,#168]; add x1,x1,#184", elf.EM_AARCH64, "015440f9 21e00291 c0035fd6", 184, 168},
		{"arm64: ldr x0,[x0,#168]; add x1,x0,#184", elf.EM_AARCH64, "005440f9 01e00291 c0035fd6", 184, 168},
		{"arm64: OpenSSL 3.0 of Debian 12: mov x3,x0; … mov x0,x1; … add x1,x3,#352; … bl", elf.EM_AARCH64, `fd7bbea9 fd030091 f30b00f9 130480d2
			220100b4 e30300aa 5f8000f1 e00301aa 010480d2 5390819a 61800591 e20313aa 9099ff97 e00313aa f30b40f9 fd7bc2a8 c0035fd6`, 352, 0},
		{"arm64: what the register got instead: mov x0,x1; add x1,x0,#352", elf.EM_AARCH64, "e00301aa 01800591 c0035fd6", 0, 0},
		{"arm64: after a call, of another register: mov x3,x0; bl; add x1,x3,#352", elf.EM_AARCH64, "e30300aa 00000094 61800591 c0035fd6", 0, 0},
		{"arm64: of a register that calls keep: mov x19,x0; bl; mov x0,#0; add x1,x19,#352", elf.EM_AARCH64,
			"f30300aa 00000094 000080d2 61820591 c0035fd6", 352, 0},
		{"arm64: beside another way: cbz x2; mov x0,x1; ret; add x1,x0,#352", elf.EM_AARCH64, "620000b4 e00301aa c0035fd6 01800591 c0035fd6", 352, 0},
		{"arm64: where ways meet: cbz x2; mov x0,x1; add x1,x0,#352", elf.EM_AARCH64, "420000b4 e00301aa 01800591 c0035fd6", 0, 0},
		{"arm64: where nothing comes: ret; add x1,x0,#352", elf.EM_AARCH64, "c0035fd6 01800591 c0035fd6", 0, 0},
		{"arm64: ldp x19,x0,[sp]; add x1,x0,#352", elf.EM_AARCH64, "f30340a9 01800591 c0035fd6", 0, 0},
		{"arm64: ldp q0,q1,[x0,#352]", elf.EM_AARCH64, "00044bad c0035fd6", 352, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			offset, in := randomField(c.machine, code(t, c.code))
			if offset != c.offset || in != c.in {
				t.Errorf("%#x in %#x, want %#x in %#x", offset, in, c.offset, c.in)
			}
		})
	}
}

func TestNameIsWhatTheGetterReturns(t *testing.T) {
	// SSL_get_servername of OpenSSL 3.0.19 (Debian 12), from push %rbx to the last ret.
	const openssl30 = `53 48837f3000 4889fb 7465 8b4738 85f6 0f851a010000 85c0 745e 8b97d0040000 85d2 7434 488b4708 488b90c0000000 f6426008 0f85d7000000
		8b00 3d00000100 0f84ca000000 3d03030000 0f8ebf000000 0f1f8000000000 488b83580a0000 5b 31d2 31f6 31ff c3 660f1f840000000000
		85f6 0f85b8000000 4889df e8a38ffeff 85c0 754c 488b4308 488b90c0000000 f6426008 7510 8b00 3d00000100 7407 3d03030000 7fb3
		8b83d0040000 85c0 74a9 488b8318090000 488b8030030000 4885c0 7496 5b 31d2 31f6 31ff c3 660f1f440000
		488b83580a0000 4885c0 7583 488b9318090000 4885d2 0f8473ffffff 813a04030000 0f8467ffffff 488b8230030000 5b 31d2 31f6 31ff c3`
	for _, c := range []struct {
		name    string
		machine elf.Machine
		code    string
		want    uint32
	}{
		{"OpenSSL 3.0", elf.EM_X86_64, openssl30, 0xa58},
		{"BoringSSL: test %esi,%esi; je; xor %eax,%eax; ret; mov 0x90(%rdi),%rax; test; je; ret; mov 0x30(%rdi),%rax; mov 0x1f0(%rax),%rax; ret",
			elf.EM_X86_64, "85f6 7403 31c0 c3 488b8790000000 4885c0 7401 c3 488b4730 488b80f0010000 c3", 0x90},
		{"through another register: mov %rdi,%rbx; mov 0x90(%rbx),%rax; ret", elf.EM_X86_64, "4889fb 488b8390000000 c3", 0x90},
		{"the register got something else: mov %rdi,%rbx; pop %rbx; mov 0x90(%rbx),%rax; ret", elf.EM_X86_64, "4889fb 5b 488b8390000000 c3", 0},
		{"of what the object points to: mov 0x30(%rdi),%rdx; mov 0x90(%rdx),%rax; ret", elf.EM_X86_64, "488b5730 488b8290000000 c3", 0},
		{"changed before it is returned: mov 0x90(%rdi),%rax; add $8,%rax; ret", elf.EM_X86_64, "488b8790000000 4883c008 c3", 0},
		{"a call between: mov 0x90(%rdi),%rax; call; ret", elf.EM_X86_64, "488b8790000000 e800000000 c3", 0},
		{"after a call the argument is gone: call; mov 0x90(%rdi),%rax; ret", elf.EM_X86_64, "e800000000 488b8790000000 c3", 0},
		{"half of it: mov 0x90(%rdi),%eax; ret", elf.EM_X86_64, "8b8790000000 c3", 0},
		{"two: nobody knows which", elf.EM_X86_64, "488b8790000000 c3 488b8798000000 c3", 0},
		{"an instruction that is not known: xchg %rax,%rdi", elf.EM_X86_64, "4897 488b8790000000 c3", 0},
		{"a copy of half: mov %edi,%ebx", elf.EM_X86_64, "89fb 488b8390000000 c3", 0},
		{"no ret", elf.EM_X86_64, "488b8790000000", 0},
		{"no code", elf.EM_X86_64, "", 0},
		{"arm64", elf.EM_AARCH64, "004840f9 c0035fd6", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := returnedField(c.machine, code(t, c.code)); got != c.want {
				t.Errorf("%#x, want %#x", got, c.want)
			}
		})
	}
}

func FuzzGetter(f *testing.F) {
	f.Add([]byte{0x8b, 0x87, 0x68, 9, 0, 0, 0xc3})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, m := range []elf.Machine{elf.EM_X86_64, elf.EM_AARCH64} {
			if at := field(m, b); at != 0 && (at < minField || at >= maxField) {
				t.Errorf("%#x", at)
			}
			if at, in := pointedField(m, b); (at == 0) != (in == 0) || at != 0 && at < minField || at >= maxField || in >= maxField {
				t.Errorf("%#x behind %#x", at, in)
			}
			if at, in := randomField(m, b); at == 0 && in != 0 || at >= maxField || in >= maxField {
				t.Errorf("%#x in %#x", at, in)
			}
		}
	})
}
