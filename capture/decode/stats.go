package decode

// Result says what became of one frame. The zero value is no result.
type Result uint8

// The results of Decode.
const (
	// Segment: a TCP segment or a DNS datagram; the segment was filled.
	Segment Result = 1 + iota
	// Fragment: a part of an IP datagram that is not complete yet. The bytes come out with the fragment that completes it, or never.
	Fragment
	// NotIP: ARP, spanning tree, an EtherType that is not known.
	NotIP
	// OtherProtocol: IP, but neither TCP nor DNS over UDP, nor a tunnel that is understood.
	OtherProtocol
	// Truncated: the snap length cut the frame before the end of the headers.
	Truncated
	// Malformed: the headers contradict themselves or each other, or the frame as sent is too short for them.
	Malformed
	// TooDeep: more headers within headers than are followed.
	TooDeep
	// UnsupportedLink: the link type is not known; see Supported.
	UnsupportedLink

	// NumResults is the length of an array indexed by Result.
	NumResults
)

var resultNames = [NumResults]string{
	Segment: "segment", Fragment: "fragment", NotIP: "not-ip", OtherProtocol: "other-protocol", Truncated: "truncated",
	Malformed: "malformed", TooDeep: "too-deep", UnsupportedLink: "unsupported-link",
}

// String is the result's name in lower case, fit for a metric's label.
func (r Result) String() string {
	if r < NumResults && resultNames[r] != "" {
		return resultNames[r]
	}
	return "unknown"
}

// Stats counts what a Decoder saw. All fields only grow.
type Stats struct {
	// Frames counts the frames by result. Of these, Truncated, Malformed, TooDeep and UnsupportedLink may have hidden TCP from us.
	Frames [NumResults]uint64

	// CutPayloads counts segments whose payload the snap length cut short; their Length exceeds len(Payload).
	CutPayloads uint64
	// CutOptions counts TCP segments whose options were cut; they are Segments, without payload bytes.
	CutOptions uint64
	// LongLengths counts IP headers that announce more bytes than the frame had on the wire. The receiver drops such packets;
	// we take the announced length and so see a gap.
	LongLengths uint64
	// UnknownEtherTypes counts frames (a part of NotIP) whose EtherType is neither IP nor known to carry no IP.
	UnknownEtherTypes uint64

	// FragmentsHeld counts IP fragments that were stored to wait for the rest of their datagram.
	FragmentsHeld uint64
	// FragmentsDuplicate counts fragments that brought only bytes already there.
	FragmentsDuplicate uint64
	// FragmentsConflicting counts fragments that disagreed with earlier ones: other bytes at the same place, another end of the datagram.
	// The bytes that came first were kept.
	FragmentsConflicting uint64
	// DatagramsReassembled counts datagrams completed from fragments.
	DatagramsReassembled uint64
	// DatagramsExpired counts datagrams given up because the rest did not come in time.
	DatagramsExpired uint64
	// DatagramsEvicted counts datagrams given up to keep within the bounds of Options, or for too many pieces.
	DatagramsEvicted uint64
}
