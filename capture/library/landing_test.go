package library

import (
	"debug/elf"
	"testing"

	"github.com/dynwatch/dynwatch/bpf"
)

// kept are the registers of a probe that may land behind a function's beginning.
func kept(p bpf.Probe) registers {
	keep, ok := keeps(p)
	if !ok {
		return everything
	}
	return keep
}

func TestLandingIsTheFirstInstructionThatTheKernelDoesItself(t *testing.T) {
	for _, c := range []struct {
		name string
		code string
		keep registers
		want uint64
	}{
		{"push %rbp", "55 4889e5 5d c3", arguments, 0},
		{"push %r12", "4154 4989d4 415c c3", arguments, 0},
		{"endbr64; push %r12 (Ubuntu)", "f30f1efa 4154 4989d4 415c c3", arguments, 4},
		{"X509_check_host of OpenSSL 3.0: test %rsi,%rsi; je", "4885f6 7404 4157 415f c3", arguments, 3},
		{"X509_STORE_CTX_set_ex_data of OpenSSL 3.0: add $0xe0,%rdi; jmp, where only the third argument is wanted",
			"4881c7e0000000 e914feffff", kept(bpf.OpenSSLHandshake), 7},
		{"the same, where the first is wanted", "4881c7e0000000 e914feffff", arguments, 0},
		{"SSL_get_verify_result of OpenSSL 3.0: mov 0x9b8(%rdi),%rax; xor %edi,%edi; ret", "488b87b8090000 31ff c3", arguments, 0},
		{"sub $8,%rsp; call", "4883ec08 e800000000 4883c408 c3", arguments, 4},
		{"sub $8,%rsp moves the return address", "4883ec08 e800000000 4883c408 c3", kept(bpf.OpenSSLVerified), 0},
		{"gnutls_deinit of GnuTLS 3.7: test %rdi,%rdi; je; push %r13", "4885ff 0f8407030000 4155 c3", kept(bpf.GnuTLSEnd), 3},
		{"gnutls_session_set_verify_cert of GnuTLS 3.7: xor %eax,%eax; test %rsi,%rsi; je", "31c0 4885f6 742e c3", kept(bpf.GnuTLSVerifies), 5},
		{"gnutls_handshake_set_hook_function of GnuTLS 3.7: stores, and ret", "48898f38060000 89b740060000 c3", kept(bpf.GnuTLSHook), 0},
		{"endbr64; push, of one that looks at who calls", "f30f1efa 55 4889f5 5d c3", kept(bpf.GnuTLSPeers), 4},
		{"sub $8,%rsp; call, of one that looks at who calls", "4883ec08 e800000000 4883c408 c3", kept(bpf.GnuTLSCertificates), 0},
		{"mov %rsi,%rdi changes an argument", "4889f7 55 5d c3", arguments, 0},
		{"mov %esi,%edi changes half of one", "89f7 55 5d c3", arguments, 0},
		{"mov %sil,%dil changes an eighth of one", "4088f7 55 5d c3", arguments, 0},
		{"mov %rdi,0x10(%rsi) is none that arguments are in", "48897e10 55 5d c3", arguments, 4},
		{"mov %rdi,%rax; push", "4889f8 55 5d c3", arguments, 3},
		{"xchg %rax,%rdi is not known", "4897 55 5d c3", arguments, 0},
		{"a loop leads back to the place: mov (%rdi),%al … jne", "488b07 55 4885c0 75fa c3", arguments, 0},
		{"a loop leads to the beginning, as Go's when it has made the stack larger", "493b6610 7604 9090 c3 90 ebf4", kept(bpf.GoHandshake), 4},
		{"a large frame of Go's: lea -0x18(%rsp),%r12; cmp 0x10(%r14),%r12; jbe", "4c8d6424e8 4d3b6610 0f8604000000 90909090 c3", kept(bpf.GoCertificates), 9},
		{"code that cannot be read after the place", "4885f6 7404 0f0b ffffffff", arguments, 0},
		{"code that ends", "4885f6", arguments, 0},
		{"no code", "", arguments, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := landing(elf.EM_X86_64, code(t, c.code), c.keep); got != c.want {
				t.Errorf("%d, want %d", got, c.want)
			}
			if got := landing(elf.EM_AARCH64, code(t, c.code), c.keep); got != 0 {
				t.Errorf("arm64: %d", got)
			}
		})
	}
}

func TestProbesThatNobodyLookedAtStayAtTheBeginning(t *testing.T) {
	endbrPush := code(t, "f30f1efa 55 5d c3")
	if got := landingOf(bpf.Probe{Program: "another"}, endbrPush); got != 0 {
		t.Errorf("a probe that nobody looked at lands at %d", got)
	}
	if got := landingOf(bpf.OpenSSLCertificate, endbrPush); machine == elf.EM_X86_64 && got != 4 {
		t.Errorf("one that wants arguments only lands at %d", got)
	}
}

// TestEveryProbeMayLand finds a probe that was forgotten in keeps.
func TestEveryProbeMayLand(t *testing.T) {
	var all []wanted
	for _, list := range [][]wanted{wantedCrypto, wantedSSL, wantedGnuTLS, wantedBoringCrypto} {
		all = append(all, list...)
	}
	for _, w := range all {
		if _, ok := keeps(w.probe); !ok {
			t.Errorf("%s has its probe at its beginning, whatever that costs", w.function)
		}
	}
}
