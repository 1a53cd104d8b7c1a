package pcapfile

import (
	"fmt"
	"math"
	"math/bits"
)

// Option codes (draft-ietf-opsawg-pcapng, Sections 3.5, 4.1, 4.2, 4.3, 4.6).
const (
	optEnd         = 0
	optComment     = 1
	optHardware    = 2 // shb_hardware
	optOS          = 3 // shb_os
	optApplication = 4 // shb_userappl
	optIfName      = 2 // if_name
	optIfTSResol   = 9 // if_tsresol
	optIfTSOffset  = 14
	optDropCount   = 4 // epb_dropcount
	optIfRecv      = 4 // isb_ifrecv
	optIfDrop      = 5 // isb_ifdrop
	optOSDrop      = 7 // isb_osdrop
)

// iface is what a section says of one interface. An interface whose description block could not be read has clock zero: no times.
type iface struct {
	link    LinkType
	snapLen uint32
	clock   clock
	name    string
	// stat is its index in FileStats.Interfaces, or -1. The counters are those already added there.
	stat                     int
	recv, dropped, osDropped uint64
}

// iface decodes an interface description block (Section 4.2): link type u16, reserved u16, snap length u32, options.
//
// It always adds an interface, for the later ones are counted from it.
func (g *pcapng) iface(b []byte) error {
	g.ifaces = append(g.ifaces, iface{stat: -1})
	f := &g.ifaces[len(g.ifaces)-1]
	if len(b) < 8 {
		return fmt.Errorf("an interface description block of %d bytes", len(b)+blockFrame)
	}
	f.link, f.snapLen = fileLinkType(uint32(g.u16(b))), g.u32(b[4:])
	resol, offset := byte(6), int64(0)
	for o := (options{g: g, b: b[8:]}); o.next(); {
		switch {
		case o.code == optIfName:
			f.name = printable(o.value)
		case o.code == optIfTSResol && len(o.value) >= 1:
			resol = o.value[0]
		case o.code == optIfTSOffset && len(o.value) >= 8:
			offset = int64(g.u64(o.value))
		}
	}
	f.clock = newClock(resol, offset)
	f.stat = g.rep.iface(f.name, f.link)
	g.rep.link(f.link, f.snapLen)
	return nil
}

// statistics decodes an interface statistics block (Section 4.6): interface u32, time u32 u32, options. Its counters run from the
// begin of the capture, so a later block of the same interface replaces an earlier one.
func (g *pcapng) statistics(b []byte) error {
	if len(b) < 12 {
		return fmt.Errorf("an interface statistics block of %d bytes", len(b)+blockFrame)
	}
	id := g.u32(b)
	if int64(id) >= int64(len(g.ifaces)) {
		return fmt.Errorf("statistics of interface %d, but the section has %d", id, len(g.ifaces))
	}
	f := &g.ifaces[id]
	if f.stat < 0 {
		return nil
	}
	s := &g.rep.Interfaces[f.stat]
	for o := (options{g: g, b: b[12:]}); o.next(); {
		if len(o.value) < 8 {
			continue
		}
		v := g.u64(o.value)
		switch o.code {
		case optIfRecv:
			s.Received, f.recv = replace(s.Received, f.recv, v)
		case optIfDrop:
			s.Dropped, f.dropped = replace(s.Dropped, f.dropped, v)
		case optOSDrop:
			s.OSDropped, f.osDropped = replace(s.OSDropped, f.osDropped, v)
		}
	}
	return nil
}

// replace puts a new value v of one section's counter into a sum that holds the old one. All ones means unknown to some writers.
func replace(sum, old, v uint64) (newSum, now uint64) {
	if v == noCount || v < old {
		return sum, old
	}
	return sum + v - old, v
}

// packetOptions looks for what an enhanced packet block says about loss.
func (g *pcapng) packetOptions(b []byte) {
	for o := (options{g: g, b: b}); o.next(); {
		if o.code == optDropCount && len(o.value) >= 8 {
			if v := g.u64(o.value); v != noCount {
				g.rep.PacketDrops += v
			}
		}
	}
}

// options is a cursor over a block's options (Section 3.5): code u16, length u16, value, padded to four bytes, up to code 0 or
// the end.
type options struct {
	g     *pcapng
	b     []byte
	code  uint16
	value []byte
}

func (o *options) next() bool {
	if len(o.b) < 4 {
		if len(o.b) > 0 {
			o.bad()
		}
		return false
	}
	n := int(o.g.u16(o.b[2:]))
	o.code = o.g.u16(o.b)
	if o.code == optEnd {
		return false
	}
	o.b = o.b[4:]
	if n > len(o.b) {
		o.bad()
		return false
	}
	o.value = o.b[:n:n]
	o.b = o.b[min(len(o.b), (n+3)&^3):]
	return true
}

func (o *options) bad() {
	o.b = nil
	o.g.rep.warn("a block's options run past its end; the rest of them was ignored")
}

// clock turns an interface's time stamps into nanoseconds since the Unix epoch. The zero clock knows no time.
type clock struct {
	mul uint64 // nanoseconds in a unit, if it is a power of ten of at least one nanosecond
	div uint64 // units in a nanosecond, if that is a power of ten
	pow uint8  // if neither: a unit is 2^-pow seconds
	on  bool
	// offset is if_tsoffset in seconds.
	offset int64
}

// newClock takes if_tsresol, the negative power of ten, or of two if the upper bit is set, that a unit is of a second; and
// if_tsoffset.
func newClock(resol byte, offset int64) clock {
	c := clock{offset: offset, on: true}
	n := resol & 0x7f
	switch {
	case resol&0x80 != 0:
		c.pow = n
	case n <= 9:
		c.mul = pow10(9 - n)
	case n <= 9+19:
		c.div = pow10(n - 9)
	default:
		c.div = math.MaxUint64 // 2^64 such units are less than a nanosecond
	}
	return c
}

func pow10(n uint8) uint64 {
	v := uint64(1)
	for range n {
		v *= 10
	}
	return v
}

// time is ts in nanoseconds since the Unix epoch. It reports false if that does not fit into 64 bits.
func (c *clock) time(ts uint64) (int64, bool) {
	var hi, ns uint64
	switch {
	case c.mul != 0:
		hi, ns = bits.Mul64(ts, c.mul)
	case c.div != 0:
		ns = ts / c.div
	case c.on:
		// ts * 10^9 / 2^pow, in 128 bits.
		hi, ns = bits.Mul64(ts, 1e9)
		if c.pow >= 64 {
			hi, ns = 0, hi>>(c.pow-64)
		} else {
			hi, ns = hi>>c.pow, hi<<(64-c.pow)|ns>>c.pow
		}
	default:
		return 0, false
	}
	if c.offset != 0 {
		return c.shift(hi, ns)
	}
	if hi != 0 || ns > math.MaxInt64 {
		return 0, false
	}
	return int64(ns), true
}

// shift adds the offset to a time of 128 bits: a time that does not fit may do so once the offset has been subtracted.
func (c *clock) shift(hi, ns uint64) (int64, bool) {
	neg := c.offset < 0
	size := uint64(c.offset)
	if neg {
		size = -size
	}
	offHi, offLo := bits.Mul64(size, 1e9)
	if neg {
		lo, borrow := bits.Sub64(ns, offLo, 0)
		top, _ := bits.Sub64(hi, offHi, borrow)
		hi, ns = top, lo
	} else {
		lo, carry := bits.Add64(ns, offLo, 0)
		top, _ := bits.Add64(hi, offHi, carry)
		hi, ns = top, lo
	}
	// In range if the upper half is nothing but the sign of the lower one.
	v := int64(ns)
	if int64(hi) != v>>63 {
		return 0, false
	}
	return v, true
}
