package library

import (
	"debug/elf"
	"os"
	"testing"

	"github.com/dynwatch/dynwatch/bpf"
	"github.com/dynwatch/dynwatch/internal/testenv"
)

func TestFieldBehindAPointer(t *testing.T) {
	for _, c := range []struct {
		name       string
		machine    elf.Machine
		code       string
		offset, in uint32
	}{
		{"the mode: mov 0x8(%rdi),%rax; test %rax,%rax; je; movzbl 0xe8(%rax),%eax; ret", elf.EM_X86_64, "488b4708 4885c0 7408 0fb680e8000000 c3 b8ffffffff c3", 0xe8, 8},
		{"the callback: mov 0x8(%rdi),%rax; test %rax,%rax; je; mov 0x28(%rax),%rax; ret", elf.EM_X86_64, "488b4708 4885c0 7405 488b4028 c3 31c0 c3", 0x28, 8},
		{"in the object itself", elf.EM_X86_64, "8b8768090000 c3", 0, 0},
		{"a pointer, and nothing of what it points to", elf.EM_X86_64, "488b4708 c3", 0, 0},
		{"two pointers", elf.EM_X86_64, "488b4708 488b4f10 8b80e8000000 c3", 0, 0},
		{"two fields", elf.EM_X86_64, "488b4708 8b80e8000000 8b80f8000000 c3", 0, 0},
		{"an address", elf.EM_X86_64, "488b4708 488d80e8000000 c3", 0, 0},
		{"too far", elf.EM_X86_64, "488b4708 8b8000000200 c3", 0, 0},
		{"not code", elf.EM_X86_64, "ffffffffffffffff", 0, 0},
		{"arm64: ldr x8,[x0,#8]; cbz x8; ldrb w0,[x8,#232]; ret", elf.EM_AARCH64, "080440f9 680000b4 00a14339 c0035fd6", 232, 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			if offset, in := pointedField(c.machine, code(t, c.code)); offset != c.offset || in != c.in {
				t.Errorf("%#x in %#x, want %#x in %#x", offset, in, c.offset, c.in)
			}
		})
	}
}

// TestBoringSSLIsNotTakenForOpenSSL looks at both halves of the one that Debian has for Android's tools.
func TestBoringSSLIsNotTakenForOpenSSL(t *testing.T) {
	if machine != elf.EM_X86_64 {
		testenv.Beyond(t, "this machine: the library is looked for in amd64's place")
	}
	const dir = "/usr/lib/x86_64-linux-gnu/android/"
	for _, name := range []string{"libssl.so.0", "libcrypto.so.0"} {
		path, err := testenv.Find(dir + name)
		if err != nil {
			testenv.Lacks(t, "android-libboringssl: %v", err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		c, err := examine(f, "")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !c.boring || c.name != "BoringSSL" {
			t.Errorf("%s is %q, %+v", name, c.name, c)
		}
		o := c.offsets
		switch name {
		case "libssl.so.0":
			if len(c.ssl) < 5 || o.ClientRandom == 0 || o.ClientRandomIn == 0 || o.VerifyMode == 0 || o.VerifyCallback == 0 || o.Config == 0 || o.Server == 0 {
				t.Errorf("%s: %+v", name, c)
			}
		default:
			if len(c.crypto) < 4 || c.crypto[len(c.crypto)-2].probe != bpf.BoringSSLCertificate || o != (bpf.SSLOffsets{}) {
				t.Errorf("%s: %+v", name, c)
			}
		}
	}
}
