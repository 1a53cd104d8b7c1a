package pcapfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
)

// source is one file being read: its blocks, its decoder, and its place in the merge.
type source struct {
	index int
	in    *input
	stream
	rep  *report
	ng   bool
	pcap pcap
	png  pcapng

	// head is the packet that was read ahead for the merge; key is the last known time, math.MinInt64 before there is one.
	head Packet
	key  int64
}

// openInput opens a name without reading from it. A pipe by name is waited for until somebody writes to it.
func openInput(name string, o *Options, window uint64, total *atomic.Int64) (*input, error) {
	in := &input{window: window, total: total}
	if name == "-" {
		in.raw = o.Stdin
		if in.raw == nil {
			in.raw = os.Stdin
		}
		return in, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, withoutPath(err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, withoutPath(err)
	}
	if info.IsDir() {
		f.Close()
		return nil, fmt.Errorf("%w: it is a directory", ErrFormat)
	}
	in.raw, in.file, in.regular, in.size = f, f, info.Mode().IsRegular(), info.Size()
	return in, nil
}

// isRegular reports whether name is a regular file, and its size, without opening it: opening a pipe would wait for its writer.
func isRegular(name string) (bool, int64, error) {
	if name == "-" {
		return false, 0, nil
	}
	info, err := os.Stat(name)
	if err != nil {
		return false, 0, withoutPath(err)
	}
	if info.IsDir() {
		return false, 0, fmt.Errorf("%w: it is a directory", ErrFormat)
	}
	return info.Mode().IsRegular(), info.Size(), nil
}

// withoutPath drops the path from an error that will be printed after it.
func withoutPath(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("%s: %w", e.Op, e.Err)
	}
	return err
}

func newSource(index int, in *input, b *blocks, rep *report, o *Options) *source {
	s := &source{index: index, in: in, rep: rep, key: noTime}
	s.stream.src = b
	s.pcap = pcap{stream: &s.stream, rep: rep}
	s.png = pcapng{stream: &s.stream, rep: rep, secrets: o.Secrets}
	return s
}

// begin finds out the format and reads pcap's file header.
func (s *source) begin() error {
	enough := s.need(4)
	s.rep.Compression = s.in.compression
	if !enough {
		if s.err != io.EOF || beginsMagic(s.win) {
			return s.cut("a file header", pcapHeader)
		}
		return s.foreign()
	}
	known, ng := isMagic(s.win)
	if !known {
		return s.foreign()
	}
	if ng {
		s.ng = true
		s.rep.Format = "pcapng"
		return nil
	}
	return s.pcap.header()
}

// foreign is the error for a file that is no capture.
func (s *source) foreign() error {
	s.need(sniffLen) // or what there is
	return fmt.Errorf("%w: %s", ErrFormat, describe(s.win[:min(len(s.win), sniffLen)], s.rep.Compression))
}

// next reads the next packet. Its data is valid until the next call.
func (s *source) next(p *Packet) error {
	if s.ng {
		return s.png.next(p)
	}
	return s.pcap.next(p)
}

// startTime is the time of the first packet, noTime if the file has none or cannot say. Only a file that cannot be read at all
// gives an error.
func (s *source) startTime() (int64, error) {
	if err := s.begin(); err != nil {
		return 0, err
	}
	var p Packet
	if s.next(&p) != nil || !p.TimeKnown {
		return noTime, nil // whatever is wrong is found again, and reported, when the file's turn comes
	}
	return p.Time, nil
}
