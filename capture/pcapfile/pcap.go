package pcapfile

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Limits of a record's captured length in bytes. libpcap never writes more than 262144 for links that carry IP; a file whose snap
// length says more may have more, up to what we are ready to hold.
const (
	usualRecord = 262144
	maxRecord   = 16 << 20
)

// pcap decodes the pcap format (draft-ietf-opsawg-pcap; https://www.tcpdump.org/manpages/pcap-savefile.5.html): a header
//
//	magic u32, version u16 u16, time zone i32, accuracy u32, snap length u32, link type u32
//
// and records
//
//	seconds u32, fraction u32, captured length u32, length on the wire u32, data
//
// in the byte order of the machine that wrote it.
type pcap struct {
	*stream
	rep *report

	big     bool // big-endian
	order   lengthOrder
	recHdr  int    // length of a record's header in bytes
	unit    int64  // nanoseconds in a unit of the fraction
	fracEnd uint32 // the first value of the fraction that makes a second or more
	limit   uint32 // largest captured length
	link    LinkType
}

const (
	pcapHeader    = 24
	pcapRecord    = 16
	pcapKuznetzov = 24 // interface index u32, protocol u16, packet type u8, padding u8 follow the usual 16
	ixiaExtra     = 4  // the file header is followed by the sum of the record lengths
)

// lengthOrder is how the two lengths of a record stand: before version 2.3 they were the other way round, and 2.3 was written in
// both ways (libpcap's sf-pcap.c).
type lengthOrder uint8

const (
	capturedFirst lengthOrder = iota
	smallerIsCaptured
	wireFirst
)

// header decodes the file header at the begin of win. It fails without having moved if this is none.
func (f *pcap) header() error {
	if !f.need(pcapHeader) {
		return f.cut("the file header", pcapHeader)
	}
	b := [pcapHeader]byte(f.win) // a copy: need moves win
	var o binary.ByteOrder = binary.LittleEndian
	big := b[0] == 0xa1 || b[0] == 0x1c
	if big {
		o = binary.BigEndian
	}
	major, minor := o.Uint16(b[4:6]), o.Uint16(b[6:8])
	order := capturedFirst
	switch {
	case major == 2 && minor < 3, major == 543 && minor == 0:
		order = wireFirst
	case major == 2 && minor == 3:
		order = smallerIsCaptured
	case major == 2 && minor == 4:
	case major == 2:
		f.rep.warn(fmt.Sprintf("pcap version 2.%d is unknown; it is read as 2.4", minor))
	default:
		return fmt.Errorf("%w: pcap version %d.%d is unknown", ErrFormat, major, minor)
	}
	format, unit, recHdr, hdr := "pcap", int64(1000), pcapRecord, pcapHeader
	switch o.Uint32(b[:4]) {
	case magicNano:
		format, unit = "pcap (nanoseconds)", 1
	case magicKuznetzov:
		format, recHdr = "pcap (modified)", pcapKuznetzov
	case magicIxiaHW, magicIxiaSW:
		format, hdr = "pcap (IXIA)", pcapHeader+ixiaExtra
		if !f.need(hdr) {
			return f.cut("the file header", hdr)
		}
	}
	snapLen, link := o.Uint32(b[16:20]), o.Uint32(b[20:])
	f.big, f.order, f.recHdr, f.unit = big, order, recHdr, unit
	f.fracEnd = uint32(1e9 / unit)
	f.limit = min(max(snapLen, usualRecord), maxRecord)
	// The upper bits say if, and how long, a frame check sequence ends each packet; it comes after everything that anybody
	// decodes.
	f.link = fileLinkType(link & 0x03ffffff)
	f.rep.Format = format
	f.rep.link(f.link, snapLen)
	f.advance(hdr)
	return nil
}

// next decodes one record. The error is io.EOF at the end of the file, or says what ended it.
func (f *pcap) next(p *Packet) error {
	for {
		if len(f.win) < f.recHdr && !f.need(f.recHdr) {
			return f.end("a record header", f.recHdr)
		}
		h := (*[pcapRecord]byte)(f.win) // one bounds check for all four fields
		sec, frac := binary.LittleEndian.Uint32(h[0:4]), binary.LittleEndian.Uint32(h[4:8])
		captured, wire := binary.LittleEndian.Uint32(h[8:12]), binary.LittleEndian.Uint32(h[12:16])
		if f.big {
			sec, frac = bits.ReverseBytes32(sec), bits.ReverseBytes32(frac)
			captured, wire = bits.ReverseBytes32(captured), bits.ReverseBytes32(wire)
		}
		if f.order != capturedFirst && (f.order == wireFirst || captured > wire) {
			captured, wire = wire, captured
		}
		if captured > f.limit {
			return fmt.Errorf("%w: a record of %d bytes (limit %d)", ErrCorrupt, captured, f.limit)
		}
		if captured == 0 && wire == 0 {
			if again, err := f.joined(); err != nil {
				return err
			} else if again {
				continue
			}
		}
		n := f.recHdr + int(captured)
		if len(f.win) < n && !f.need(n) {
			return f.cut("a record", n)
		}
		if frac >= f.fracEnd {
			f.rep.warn("the fraction of a packet time is a second or more; it was added to the seconds")
		}
		w := f.win
		p.Time = int64(sec)*1e9 + int64(frac)*f.unit // below 4.4e18: no overflow
		p.TimeKnown = true
		p.Link = f.link
		p.Interface = 0
		p.Data = w[f.recHdr:n:n]
		p.Length = max(int(wire), int(captured))
		f.win = w[n:]
		f.off += int64(n)
		return nil
	}
}

// joined looks whether what seems to be a record of no bytes is the header of a further file, as "zcat *.pcap.gz" and "cat
// *.pcap" make them: the captured length is then the time zone, which is 0 in practice, and the length on the wire the accuracy.
// It takes the header if so.
func (f *pcap) joined() (bool, error) {
	known, ng := isMagic(f.win)
	if !known || ng {
		return false, nil
	}
	if v := f.win[4:8]; string(v) != "\x02\x00\x04\x00" && string(v) != "\x00\x02\x00\x04" {
		return false, nil
	}
	if err := f.header(); err != nil {
		return false, err
	}
	f.rep.warn("several pcap files are joined in this one")
	return true, nil
}
