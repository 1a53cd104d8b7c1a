package pcapfile

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// Block types (draft-ietf-opsawg-pcapng, Section 11.1).
const (
	blockInterface  = 1
	blockPacket     = 2 // obsolete
	blockSimple     = 3
	blockStatistics = 5
	blockEnhanced   = 6
	blockSecrets    = 10
	blockSection    = magicSection
)

const (
	// byteOrderMagic stands at the begin of each section in the byte order of that section.
	byteOrderMagic = 0x1a2b3c4d

	// blockFrame is the length in bytes of what every block has: type and total length in front, the same length again at the
	// end.
	blockFrame = 12
	// maxBlock is the length in bytes up to which a block is held in memory. A longer one is passed over without being held.
	maxBlock = 16 << 20
	// maxInterfaces is how many interfaces a section may have.
	maxInterfaces = 1 << 16
)

// SecretsTLSKeyLog is the kind of secrets that are a TLS key log in NSS's text format (draft-ietf-opsawg-pcapng, Section 4.7).
const SecretsTLSKeyLog = 0x544c534b

// pcapng decodes the pcapng format: a sequence of blocks, each
//
//	type u32, total length u32 (a multiple of 4, at least 12), body, total length u32
//
// in sections that each have a byte order and a list of interfaces of their own.
type pcapng struct {
	*stream
	rep     *report
	secrets func(kind uint32, data []byte)

	big    bool // the section is big-endian
	ifaces []iface
}

func (g *pcapng) u16(b []byte) uint16 {
	if g.big {
		return binary.BigEndian.Uint16(b)
	}
	return binary.LittleEndian.Uint16(b)
}

func (g *pcapng) u32(b []byte) uint32 {
	if g.big {
		return binary.BigEndian.Uint32(b)
	}
	return binary.LittleEndian.Uint32(b)
}

// u64 reads a 64-bit number.
func (g *pcapng) u64(b []byte) uint64 {
	if g.big {
		return binary.BigEndian.Uint64(b)
	}
	return binary.LittleEndian.Uint64(b)
}

// next decodes blocks up to the next packet. The error is io.EOF at the end of the file, or says what ended it.
func (g *pcapng) next(p *Packet) error {
	for {
		if len(g.win) < blockFrame && !g.need(blockFrame) {
			return g.end("a block", blockFrame)
		}
		kind := g.u32(g.win)
		if kind == blockSection {
			if err := g.section(); err != nil {
				return err
			}
			continue
		}
		total := int(g.u32(g.win[4:]))
		if total < blockFrame || total%4 != 0 {
			return fmt.Errorf("%w: a block of type %#x has the length %d", ErrCorrupt, kind, total)
		}
		switch kind {
		case blockEnhanced, blockPacket, blockSimple, blockInterface, blockStatistics, blockSecrets:
		default:
			if err := g.pass(total); err != nil {
				return err
			}
			continue
		}
		if total > maxBlock {
			offset := g.off
			if err := g.pass(total); err != nil {
				return err
			}
			g.rep.bad(offset, fmt.Errorf("%w: a block of type %#x has %d bytes (limit %d)", ErrCorrupt, kind, total, maxBlock))
			if kind == blockInterface {
				// Its number must stay taken, or the later ones would be mixed up.
				g.ifaces = append(g.ifaces, iface{})
			}
			continue
		}
		if len(g.win) < total && !g.need(total) {
			return g.cut("a block", total)
		}
		w := g.win[:total]
		if again := int(g.u32(w[total-4:])); again != total {
			return fmt.Errorf("%w: a block of type %#x has the length %d in front and %d at its end", ErrCorrupt, kind, total, again)
		}
		found, err := false, error(nil)
		switch body := w[8 : total-4]; kind {
		case blockEnhanced:
			found, err = true, g.enhanced(body, p)
		case blockPacket:
			found, err = true, g.packet(body, p)
		case blockSimple:
			found, err = true, g.simple(body, p)
		case blockInterface:
			if len(g.ifaces) == maxInterfaces {
				return fmt.Errorf("%w: more than %d interfaces", ErrCorrupt, maxInterfaces)
			}
			err = g.iface(body)
		case blockStatistics:
			err = g.statistics(body)
		case blockSecrets:
			err = g.secret(body)
		}
		if err != nil {
			g.rep.bad(g.off, fmt.Errorf("%w: %v", ErrCorrupt, err))
			found = false
		}
		g.win = g.win[total:]
		g.off += int64(total)
		if found {
			return nil
		}
	}
}

// pass goes over a block of total bytes without holding it.
func (g *pcapng) pass(total int) error {
	offset := g.off
	if !g.skip(int64(total)-4) || !g.need(4) {
		left := g.off - offset + int64(len(g.win))
		g.off = offset // where the block begins
		if g.err != io.EOF {
			return g.err
		}
		return fmt.Errorf("%w: a block of %d bytes begins here, but the file has only %d more", ErrTruncated, total, left)
	}
	if again := int(g.u32(g.win)); again != total {
		g.off = offset
		return fmt.Errorf("%w: a block has the length %d in front and %d at its end", ErrCorrupt, total, again)
	}
	g.advance(4)
	return nil
}

// section begins a new section: its header says the byte order, and interfaces count from 0 again.
//
//	byte-order magic u32, version u16 u16, section length i64, options
func (g *pcapng) section() error {
	const fixed = blockFrame + 16
	if !g.need(fixed) {
		return g.cut("a section header", fixed)
	}
	switch {
	case binary.LittleEndian.Uint32(g.win[8:]) == byteOrderMagic:
		g.big = false
	case binary.BigEndian.Uint32(g.win[8:]) == byteOrderMagic:
		g.big = true
	default:
		if g.off == 0 {
			return fmt.Errorf("%w: it begins like pcapng, but without a byte-order magic", ErrFormat)
		}
		return fmt.Errorf("%w: a section header without byte-order magic", ErrCorrupt)
	}
	total, major, minor := int(g.u32(g.win[4:])), g.u16(g.win[12:]), g.u16(g.win[14:])
	if total < fixed || total%4 != 0 {
		return fmt.Errorf("%w: a section header has the length %d", ErrCorrupt, total)
	}
	if major != 1 {
		return fmt.Errorf("%w: pcapng version %d.%d is unknown", ErrFormat, major, minor)
	}
	if minor != 0 && minor != 2 { // 1.2 was written by mistake and is the same
		g.rep.warn(fmt.Sprintf("pcapng version 1.%d is unknown; it is read as 1.0", minor))
	}
	if err := g.pass(total); err != nil {
		return err
	}
	g.ifaces = g.ifaces[:0]
	return nil
}

// enhanced decodes an enhanced packet block (Section 4.3):
//
//	interface u32, time u32 (upper half) u32 (lower half), captured length u32, length on the wire u32, data, options
func (g *pcapng) enhanced(b []byte, p *Packet) error {
	const fixed = 20
	if len(b) < fixed {
		return fmt.Errorf("an enhanced packet block of %d bytes", len(b)+blockFrame)
	}
	id, captured := g.u32(b), int(g.u32(b[12:]))
	if captured > len(b)-fixed {
		return fmt.Errorf("an enhanced packet block of %d bytes with %d bytes of packet", len(b)+blockFrame, captured)
	}
	if int64(id) >= int64(len(g.ifaces)) {
		return fmt.Errorf("a packet of interface %d, but the section has %d", id, len(g.ifaces))
	}
	g.fill(p, int(id), b[fixed:fixed+captured:fixed+captured], g.u32(b[16:]))
	g.stamp(p, uint64(g.u32(b[4:]))<<32|uint64(g.u32(b[8:])))
	if end := fixed + (captured+3)&^3; end < len(b) {
		g.packetOptions(b[end:])
	}
	return nil
}

// packet decodes the obsolete packet block (Appendix A):
//
//	interface u16, drops u16, time u32 u32, captured length u32, length on the wire u32, data, options
func (g *pcapng) packet(b []byte, p *Packet) error {
	const fixed = 20
	if len(b) < fixed {
		return fmt.Errorf("a packet block of %d bytes", len(b)+blockFrame)
	}
	id, drops, captured := int(g.u16(b)), g.u16(b[2:]), int(g.u32(b[12:]))
	if captured > len(b)-fixed {
		return fmt.Errorf("a packet block of %d bytes with %d bytes of packet", len(b)+blockFrame, captured)
	}
	if id >= len(g.ifaces) {
		return fmt.Errorf("a packet of interface %d, but the section has %d", id, len(g.ifaces))
	}
	g.fill(p, id, b[fixed:fixed+captured:fixed+captured], g.u32(b[16:]))
	g.stamp(p, uint64(g.u32(b[4:]))<<32|uint64(g.u32(b[8:])))
	if drops != math.MaxUint16 { // that means unknown
		g.rep.PacketDrops += uint64(drops)
	}
	return nil
}

// simple decodes a simple packet block (Section 4.4): length on the wire u32, data. It belongs to interface 0, whose snap length
// tells how much of the block is data, and has no time.
func (g *pcapng) simple(b []byte, p *Packet) error {
	if len(b) < 4 {
		return fmt.Errorf("a simple packet block of %d bytes", len(b)+blockFrame)
	}
	if len(g.ifaces) == 0 {
		return fmt.Errorf("a simple packet block in a section without interface")
	}
	wire := g.u32(b)
	captured := wire
	if s := g.ifaces[0].snapLen; s > 0 {
		captured = min(captured, s)
	}
	n := int(captured)
	if n > len(b)-4 {
		return fmt.Errorf("a simple packet block of %d bytes with %d bytes of packet", len(b)+blockFrame, n)
	}
	g.fill(p, 0, b[4:4+n:4+n], wire)
	p.Time, p.TimeKnown = 0, false
	return nil
}

func (g *pcapng) fill(p *Packet, id int, data []byte, wire uint32) {
	p.Link = g.ifaces[id].link
	p.Interface = id
	p.Data = data
	p.Length = max(int(wire), len(data))
}

func (g *pcapng) stamp(p *Packet, ts uint64) {
	p.Time, p.TimeKnown = g.ifaces[p.Interface].clock.time(ts)
	if !p.TimeKnown {
		g.rep.warn("packet times outside of the years 1677 to 2262 were taken as unknown")
	}
}

// secret decodes a decryption secrets block (Section 4.7): kind u32, length u32, data, options.
func (g *pcapng) secret(b []byte) error {
	if len(b) < 8 {
		return fmt.Errorf("a decryption secrets block of %d bytes", len(b)+blockFrame)
	}
	n := int(g.u32(b[4:]))
	if n > len(b)-8 {
		return fmt.Errorf("a decryption secrets block of %d bytes with %d bytes of secrets", len(b)+blockFrame, n)
	}
	if g.secrets != nil {
		g.secrets(g.u32(b), b[8:8+n:8+n])
	}
	return nil
}

// interfaceName is if_name of interface id of the present section.
func (g *pcapng) interfaceName(id int) string {
	if id < 0 || id >= len(g.ifaces) {
		return ""
	}
	return g.ifaces[id].name
}
