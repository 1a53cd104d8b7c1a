package pcapfile

import (
	"slices"
	"strings"
	"unicode"
)

// Limits of what is remembered per file, so that no file makes its report grow. What goes beyond is counted, not listed.
const (
	maxFileErrors = 4  // errors that skip one block; the one that ends a file comes on top
	maxWarnings   = 16 // different warnings
	maxLinkTypes  = 16 // different link types
	maxIfaceStats = 64 // different interfaces (name and link type)
	maxNameBytes  = 64 // bytes of an interface name
	noCount       = ^uint64(0)
)

// Stats say what was read, and what was not.
type Stats struct {
	// Packets and Bytes count what Next delivered; Bytes are captured bytes.
	Packets, Bytes uint64
	// Files has an element for each name given to Open.
	Files []FileStats
}

// FileStats are one file's part.
type FileStats struct {
	// Name is as given to Open.
	Name string
	// Format is "pcap", "pcap (nanoseconds)", "pcap (modified)", "pcap (IXIA)" or "pcapng"; empty as long as it is not known.
	Format string
	// Compression is "gzip", "zstd" or empty.
	Compression string
	// LinkTypes are those of its interfaces, in the order of appearance, at most 16.
	LinkTypes []LinkType
	// SnapLen is the largest snap length in bytes that an interface or the file header states; 0 is unlimited or not stated.
	SnapLen int
	// Packets and Bytes count what Next delivered from this file. Cut counts the packets with fewer bytes than on the wire.
	Packets, Bytes, Cut uint64
	// Skipped counts the bytes of the file (as stored) that were not read because of an error. It is known for regular files
	// only.
	Skipped int64
	// BadBlocks counts the pcapng blocks that were left out because their content makes no sense; Errs lists the first few.
	BadBlocks uint64
	// PacketDrops is the sum of the drop counts that stand with packets (epb_dropcount and the obsolete packet block's field).
	PacketDrops uint64
	// Interfaces has what pcapng says of each interface, at most 64. An interface that comes again in a later section with the
	// same name and link type is the same.
	Interfaces []InterfaceStats
	// Warnings are things that a reader of the report should know and that did not keep the file from being read.
	Warnings []string
}

// InterfaceStats are the counters of pcapng's interface statistics blocks (draft-ietf-opsawg-pcapng, Section 4.6), the last of
// each section, summed over the sections. Packets counted in Dropped and OSDropped are missing from the file.
type InterfaceStats struct {
	// Name is if_name, made printable and cut to 64 bytes; empty if the file has none.
	Name string
	Link LinkType
	// Received is isb_ifrecv, Dropped isb_ifdrop, OSDropped isb_osdrop. All three count packets; 0 also if the file does not say.
	Received, Dropped, OSDropped uint64
}

// Lost sums all that the file says was lost between the wire and the file.
func (f *FileStats) Lost() uint64 {
	var n uint64
	for i := range f.Interfaces {
		n += f.Interfaces[i].Dropped + f.Interfaces[i].OSDropped
	}
	// The counts with packets are usually the same losses told a second time.
	return max(n, f.PacketDrops)
}

// report collects what is known of one file. Only the goroutine that calls Next writes to it.
type report struct {
	FileStats
	errs []*FileError
}

func (r *report) warn(msg string) {
	if len(r.Warnings) < maxWarnings && !slices.Contains(r.Warnings, msg) {
		r.Warnings = append(r.Warnings, msg)
	}
}

func (r *report) fail(offset int64, err error) {
	r.errs = append(r.errs, &FileError{File: r.Name, Offset: offset, Compression: r.Compression, Err: err})
}

// bad notes a block that is skipped.
func (r *report) bad(offset int64, err error) {
	r.BadBlocks++
	if r.BadBlocks <= maxFileErrors {
		r.fail(offset, err)
	}
}

func (r *report) link(t LinkType, snapLen uint32) {
	if len(r.LinkTypes) < maxLinkTypes && !slices.Contains(r.LinkTypes, t) {
		r.LinkTypes = append(r.LinkTypes, t)
	}
	r.SnapLen = max(r.SnapLen, int(snapLen))
}

// iface finds or adds the statistics of an interface and returns its index, or -1 if there are too many.
func (r *report) iface(name string, t LinkType) int {
	for i := range r.Interfaces {
		if r.Interfaces[i].Link == t && r.Interfaces[i].Name == name {
			return i
		}
	}
	if len(r.Interfaces) >= maxIfaceStats {
		r.warn("more than 64 interfaces: the loss counters of the further ones are not shown")
		return -1
	}
	r.Interfaces = append(r.Interfaces, InterfaceStats{Name: name, Link: t})
	return len(r.Interfaces) - 1
}

func (r *report) clone() FileStats {
	f := r.FileStats
	f.LinkTypes = slices.Clone(f.LinkTypes)
	f.Interfaces = slices.Clone(f.Interfaces)
	f.Warnings = slices.Clone(f.Warnings)
	return f
}

// printable makes a name out of a file fit for a terminal and for the writer: at most 64 bytes of valid UTF-8 without control
// characters.
func printable(b []byte) string {
	s := strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return '?'
		}
		return c
	}, strings.ToValidUTF8(string(b[:min(len(b), maxNameBytes)]), "?"))
	return cutUTF8(s, maxNameBytes)
}
