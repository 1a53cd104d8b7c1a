package capture

import (
	"fmt"
	"io"

	"github.com/dynwatch/dynwatch/capture/decode"
	"github.com/dynwatch/dynwatch/capture/filter"
	"github.com/dynwatch/dynwatch/capture/pcapfile"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// FileOptions say what to read.
type FileOptions struct {
	// Names of capture files; "-" is Stdin. Several are merged in the order of packet times.
	Names []string
	Stdin io.Reader
	// Filter is an expression in pcap-filter syntax; "" takes everything.
	Filter string
	// Count ends the reading after so many packets that match Filter; 0 reads all.
	Count uint64
	// Secrets is given pcapng's decryption secrets blocks as they come; it must copy what it keeps.
	Secrets func(kind uint32, data []byte)
	// Prepare is called with each segment before it is given out; with Ahead, by the goroutine that reads.
	Prepare func(seg *flow.Segment)
	// Progress is told now and then how many bytes of how many were read; total is 0 when nobody knows.
	Progress func(read, total int64)

	// passed is pcapfile.Options.Passed.
	passed func(giveBack func())
}

// File reads capture files. It is not safe for concurrent use.
type File struct {
	reader *pcapfile.Reader
	dec    *decode.Decoder
	filter *filter.Filter
	count  uint64
	// prepare is FileOptions.Prepare, or nil.
	prepare func(*flow.Segment)

	packet   pcapfile.Packet
	match    *filter.Filter
	matchFor pcapfile.LinkType
	matched  uint64
	filtered uint64
	// badLinks are link types that cannot be read, each told once in Errs.
	badLinks map[pcapfile.LinkType]error
	errs     []error
}

// OpenFile opens capture files. Files that cannot be opened or are no captures are told by Errs at the end, when others could be read;
// the error is for what makes the whole call pointless: a filter that cannot be compiled, or no file at all that can be read.
func OpenFile(o FileOptions) (*File, error) {
	f := &File{dec: decode.New(decode.Options{}), count: o.Count, prepare: o.Prepare, badLinks: make(map[pcapfile.LinkType]error)}
	if o.Filter != "" {
		var err error
		if f.filter, err = filter.Compile(o.Filter, filter.Options{Link: uint32(decode.LinkEthernet)}); err != nil {
			return nil, fmt.Errorf("filter expression: %w", err)
		}
	}
	r, err := pcapfile.Open(o.Names, pcapfile.Options{Stdin: o.Stdin, Secrets: o.Secrets, Progress: o.Progress, Passed: o.passed})
	if err != nil {
		return nil, err
	}
	f.reader = r
	return f, nil
}

// Next fills seg with the next TCP segment or DNS datagram. Its payload is valid until the next call. io.EOF is the end of all files.
func (f *File) Next(seg *flow.Segment) error {
	for {
		if err := f.take(); err != nil {
			return err
		}
		if f.decode(seg) {
			return nil
		}
	}
}

// take reads the next packet that is wanted.
func (f *File) take() error {
	p := &f.packet
	for {
		if f.count > 0 && f.matched >= f.count {
			return io.EOF
		}
		if err := f.reader.Next(p); err != nil {
			return err
		}
		if f.filter == nil || f.matches(p) {
			f.matched++
			return nil
		}
		f.filtered++
	}
}

// decode fills seg with what the packet holds, and reports false if that is no segment.
func (f *File) decode(seg *flow.Segment) bool {
	p := &f.packet
	switch f.dec.Decode(uint32(p.Link), p.Data, p.Length, p.Time, seg) {
	case decode.Segment:
		seg.Packet = p.Number
		seg.Cookie = 0
		if f.prepare != nil {
			f.prepare(seg)
		}
		return true
	case decode.UnsupportedLink:
		f.badLink(p.Link)
	}
	return false
}

func (f *File) matches(p *pcapfile.Packet) bool {
	if f.match == nil || f.matchFor != p.Link {
		m, err := f.filter.For(uint32(p.Link))
		if err != nil {
			f.badLink(p.Link)
			return false
		}
		f.match, f.matchFor = m, p.Link
	}
	return f.match.Match(p.Data, p.Length)
}

// badLink notes a link type that cannot be read.
func (f *File) badLink(link pcapfile.LinkType) {
	if _, told := f.badLinks[link]; told || len(f.badLinks) >= 64 {
		return
	}
	err := decode.Supported(uint32(link))
	if err == nil {
		_, err = f.filter.For(uint32(link))
	}
	f.badLinks[link] = err
	f.errs = append(f.errs, err)
}

// InterfaceName is the name of the interface that the last segment was captured on, "" if the file does not say.
func (f *File) InterfaceName() string { return f.reader.InterfaceName(&f.packet) }

// Packet is the packet that the last segment came in.
func (f *File) Packet() *pcapfile.Packet { return &f.packet }

// Close releases the files. It may be called twice.
func (f *File) Close() error { return f.reader.Close() }

// Errs are what kept parts of the capture from being read: truncated or corrupt files, link types that are not supported.
// They are complete once Next has returned io.EOF.
func (f *File) Errs() []error {
	errs := append([]error(nil), f.errs...)
	for _, e := range f.reader.Errs() {
		errs = append(errs, e)
	}
	return errs
}

// Stats says what was read.
func (f *File) Stats() Stats {
	s := Stats{Filtered: f.filtered, Loss: make(map[string]uint64)}
	files := f.reader.Stats()
	s.Packets, s.Bytes = files.Packets, files.Bytes
	for i := range files.Files {
		s.Loss["file.dropped_before_the_file"] += files.Files[i].Lost()
		s.Loss["file.bytes_not_read"] += uint64(max(files.Files[i].Skipped, 0))
		s.Loss["file.bad_blocks"] += files.Files[i].BadBlocks
		for _, w := range files.Files[i].Warnings {
			s.Warnings = append(s.Warnings, files.Files[i].Name+": "+w)
		}
	}
	d := &f.dec.Stats
	s.Loss["decode.truncated"] = d.Frames[decode.Truncated]
	s.Loss["decode.malformed"] = d.Frames[decode.Malformed]
	s.Loss["decode.too_deep"] = d.Frames[decode.TooDeep]
	s.Loss["decode.unsupported_link"] = d.Frames[decode.UnsupportedLink]
	s.Loss["decode.unknown_ethertypes"] = d.UnknownEtherTypes
	s.Loss["decode.fragments_lost"] = d.DatagramsExpired + d.DatagramsEvicted + uint64(f.dec.PendingDatagrams())
	s.Loss["decode.fragments_conflicting"] = d.FragmentsConflicting
	return s
}
