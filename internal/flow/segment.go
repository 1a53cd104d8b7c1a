package flow

// TCPFlags are the flag bits of a TCP header, as in byte 13 of it (RFC 9293, Section 3.1).
type TCPFlags uint8

// The flags that matter to an observer.
const (
	FIN TCPFlags = 1 << iota
	SYN
	RST
	PSH
	ACK
)

// Has reports whether all bits of f are set.
func (t TCPFlags) Has(f TCPFlags) bool { return t&f == f }

// Segment is the transport part of one packet, decoded in place: one TCP segment or one UDP datagram.
//
// Payload aliases the source's buffer and is valid until the source is asked for the next one; who keeps bytes copies them.
// Addresses are of the innermost IP header where the packet was tunnelled.
type Segment struct {
	FiveTuple

	// Time is when the packet was captured, in nanoseconds since the Unix epoch (wall clock). Zero where the file holds none.
	Time int64
	// Packet counts the packets of the capture from 1, all of them, as Wireshark numbers frames.
	Packet uint64
	// Cookie is the kernel's socket cookie, or 0 where the source does not know it. Flows are told apart by it when it is set.
	Cookie uint64

	// Seq and Ack are the header's numbers, relative to nothing; only for TCP. Ack holds only when Flags has ACK.
	Seq, Ack uint32
	// Flags are TCP's; 0 for UDP.
	Flags TCPFlags

	// Final: the source gives no more payload of this direction from here on, by design, because all that matters was seen: what is missing
	// later is no loss. Only the direction's FIN or RST still comes.
	Final bool

	// Hash is what the analysis finds the flow by, where the source had it computed ahead; 0 if not.
	Hash uint32

	// Opening is what a live source knows of how the connection was opened; nil from files, and where nobody could tell. It is shared by all
	// segments of the connection and never changed once given out; a source that learns more gives out a new one.
	Opening *Opening

	// Payload is what was captured of the payload.
	Payload []byte
	// Length is the payload's length on the wire in bytes: more than len(Payload) when a snap length cut the packet.
	Length int
}
