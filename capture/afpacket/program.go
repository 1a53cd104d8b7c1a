package afpacket

import (
	"errors"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// What the kernel's filter machine tells beside the packet: loads at these offsets (linux/filter.h, SKF_AD_OFF and what is below it).
const (
	adOff     = -0x1000
	adPktType = adOff + 4
	adHAType  = adOff + 28
)

const (
	loadWord   = 0x20 // BPF_LD | BPF_W | BPF_ABS
	jumpEqual  = 0x15 // BPF_JMP | BPF_JEQ | BPF_K
	returnWord = 0x06 // BPF_RET | BPF_K
)

// withoutEcho puts before a program that packets on their way out through a loopback device are left out: they come in again at once.
func withoutEcho(program []bpf.RawInstruction) []bpf.RawInstruction {
	at := func(off int32) uint32 { return uint32(off) }
	head := []bpf.RawInstruction{
		{Op: loadWord, K: at(adHAType)},
		{Op: jumpEqual, K: unix.ARPHRD_LOOPBACK, Jf: 3},
		{Op: loadWord, K: at(adPktType)},
		{Op: jumpEqual, K: unix.PACKET_OUTGOING, Jf: 1},
		{Op: returnWord, K: 0},
	}
	return append(head, program...)
}

// nothing lets no packet through.
var nothing = []bpf.RawInstruction{{Op: returnWord, K: 0}}

// everything lets every packet through.
func everything(snapLen int) []bpf.RawInstruction {
	return []bpf.RawInstruction{{Op: returnWord, K: uint32(snapLen)}}
}

// attach gives a program to the kernel. It replaces the one before without a gap.
//
// Linux takes 4096 instructions (EINVAL). What it makes of them, several for each, counts against net.core.optmem_max, together with the program
// that is replaced (ENOMEM): 20480 bytes before Linux 6.7, 131072 since.
func attach(fd int, program []bpf.RawInstruction) error {
	raw := make([]unix.SockFilter, len(program))
	for i, in := range program {
		raw[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(raw)), Filter: &raw[0]})
}

// tooLong tells that attach failed for the length of the program.
func tooLong(err error) bool { return errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.EINVAL) }

// attachShort is attach for a program of a few instructions, for which there is room: at the worst once the one before is gone, in whose place every packet comes
// through for a moment.
func attachShort(fd int, program []bpf.RawInstruction) error {
	err := attach(fd, program)
	if errors.Is(err, unix.ENOMEM) && unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) == nil {
		err = attach(fd, program)
	}
	return err
}
