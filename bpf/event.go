package bpf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"unsafe"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// Reason is why a connection is copied.
type Reason uint8

// The reasons, as in dynwatch.h.
const (
	ByRange = Reason(packetReasonBY_RANGE) // its address is in the set of prefixes
	ByPort  = Reason(packetReasonBY_PORT)  // its port is in the set of ports
	ByName  = Reason(packetReasonBY_NAME)  // its first bytes bear a name of DynamoDB's or the operator's
	ByDoubt = Reason(packetReasonBY_DOUBT) // its first bytes did not tell: Decide
	ByDNS   = Reason(packetReasonBY_DNS)   // it carries DNS
)

// Opener is who opened a connection and where to, as connect saw it. Times are CLOCK_MONOTONIC nanoseconds.
type Opener struct {
	Cookie uint64
	// CgroupID is the inode of the cgroup2 directory of the process; NetNS that of the socket's namespace, 0 if unknown.
	CgroupID, NetNS uint64
	Connected       uint64
	// Started is when the process started, by CLOCK_BOOTTIME; 0 if unknown.
	Started       uint64
	PID, TID, UID uint32
	Comm          [16]byte
	Dst           flow.IP
	DstPort       uint16
	Proto         flow.Proto
	Reason        Reason
	// SYN and SYNACK hold if their times are not 0. The packets of a connection that was looked at first are not events of their own.
	SYN, SYNACK         uint32
	SYNTime, SYNACKTime uint64
	Earlier             bool
}

// CommString is Comm up to its zero byte, made printable: a process names its tasks in any bytes it likes (prctl(2), PR_SET_NAME).
func (o *Opener) CommString() string {
	name, _, _ := bytes.Cut(o.Comm[:], []byte{0})
	return flow.Printable(string(name))
}

// Event is a packet, or a piece of one.
type Event struct {
	Opener Opener
	// Tuple is the packet's own addressing: behind a redirect its far end is not Opener.Dst.
	Tuple flow.FiveTuple
	// Time is CLOCK_MONOTONIC nanoseconds.
	Time     uint64
	Seq, Ack uint32
	Flags    flow.TCPFlags
	// FromServer: received by the socket that called connect.
	FromServer bool
	// Final: nothing more of this direction's payload will be copied, and nothing more of it matters.
	Final bool
	// Number counts the events of this connection and direction from 0: what is skipped was lost.
	Number uint32
	// Length is the payload's on the wire; Payload what was copied of it, valid until the next Read.
	Length  int
	Payload []byte
}

const eventSize = int(unsafe.Sizeof(packetEvent{}))

// decode reads a record of the ring buffer. b must be aligned to 8 bytes, as slices of that size from the allocator are.
func (e *Event) decode(b []byte) error {
	if len(b) < eventSize {
		return fmt.Errorf("%w: %d bytes, its header has %d", ErrMalformed, len(b), eventSize)
	}
	r := (*packetEvent)(unsafe.Pointer(unsafe.SliceData(b)))
	if int(r.Captured) > len(b)-eventSize {
		return fmt.Errorf("%w: %d captured bytes in %d", ErrMalformed, r.Captured, len(b)-eventSize)
	}
	o := &r.Opener
	e.Opener = Opener{
		Cookie: o.Cookie, CgroupID: o.CgroupId, NetNS: uint64(o.NetnsIno),
		Connected: o.ConnectNs, Started: o.StartNs, PID: o.Tgid, TID: o.Tid, UID: o.Uid,
		Comm: *(*[16]byte)(unsafe.Pointer(&o.Comm)),
		Dst:  o.Daddr, DstPort: bigEndian(o.Dport), Proto: flow.Proto(o.Proto), Reason: Reason(o.Reason),
		SYN: o.ClientIsn, SYNACK: o.ServerIsn, SYNTime: o.SynNs, SYNACKTime: o.SynackNs,
		Earlier: o.Flags&wasOpen != 0,
	}
	e.Tuple = flow.FiveTuple{SrcIP: r.Saddr, DstIP: r.Daddr, SrcPort: bigEndian(r.Sport), DstPort: bigEndian(r.Dport), Proto: flow.Proto(o.Proto)}
	e.Time, e.Seq, e.Ack = r.TsNs, r.Seq, r.Ack
	e.Flags = flow.TCPFlags(r.TcpFlags)
	e.FromServer = r.Direction == packetDirectionFROM_SERVER
	e.Final = r.Final != 0
	e.Number, e.Length = r.Number, int(r.Length)
	e.Payload = b[eventSize : eventSize+int(r.Captured)]
	return nil
}

// wasOpen is the bit WAS_OPEN of opener.flags.
const wasOpen = 1 << 2

// bigEndian is the value of a field that is big-endian in memory.
func bigEndian(v uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], v)
	return binary.BigEndian.Uint16(b[:])
}
