package capture

import (
	"errors"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// Source yields the segments of a capture. One goroutine calls Next; Close may be called by another, twice, and makes Next return.
type Source interface {
	// Next fills seg with the next TCP segment or DNS datagram. io.EOF is a regular end: the files are read, or the source was closed. A
	// live source returns ErrIdle when nothing came for a while, so that the caller can do what time demands.
	Next(seg *flow.Segment) error
	Close() error
	// Stats may be called at any time, by any goroutine for live sources.
	Stats() Stats
}

// Frame is a packet as a capture file holds it: what stands before a segment's payload, and the payload.
type Frame struct {
	// Link says what Head begins with (LINKTYPE_ values), Interface where the packet was seen.
	Link      uint32
	Interface string
	// Head is everything up to the payload, or the whole packet if the segment has none, and Payload what was captured of the rest. Both
	// are valid until the source is asked for the next segment.
	Head, Payload []byte
	// Length is the packet's length on the wire in bytes.
	Length int
}

// Framer is a source that can tell the packet of the segment that it gave out last.
type Framer interface {
	// Frame fills f. It returns false if there is no such packet: the segment was put together from IP fragments.
	Frame(seg *flow.Segment, f *Frame) bool
}

// Stats are a source's counters.
type Stats struct {
	// Packets and Bytes were delivered by the source, Filtered of them did not match the filter.
	Packets, Bytes, Filtered uint64
	// Loss counts, by stage and reason, what did not reach the analysis.
	Loss map[string]uint64
	// Warnings are for a person to read.
	Warnings []string
}

// ErrIdle: a live source has nothing at the moment. It is no failure.
var ErrIdle = errors.New("nothing to read at the moment")
