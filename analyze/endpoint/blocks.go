package endpoint

import (
	"encoding/binary"
	"math/bits"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// u128 is an address as a number.
type u128 struct{ hi, lo uint64 }

func u128From(ip flow.IP) u128 {
	return u128{binary.BigEndian.Uint64(ip[:8]), binary.BigEndian.Uint64(ip[8:])}
}

func (a u128) less(b u128) bool { return a.hi < b.hi || a.hi == b.hi && a.lo < b.lo }

// next is a+1; ok is false where there is none.
func (a u128) next() (b u128, ok bool) {
	var carry uint64
	b.lo, carry = bits.Add64(a.lo, 1, 0)
	b.hi, carry = bits.Add64(a.hi, 0, carry)
	return b, carry == 0
}

// span is a run of addresses, both ends included.
type span struct{ lo, hi u128 }

// merge adds the span of a prefix to list, which is sorted and without overlap. Prefixes come sorted by address, wider ones first.
func merge(list []span, s span) []span {
	if n := len(list); n > 0 {
		last := &list[n-1]
		if after, ok := last.hi.next(); !ok || !after.less(s.lo) {
			if last.hi.less(s.hi) {
				last.hi = s.hi
			}
			return list
		}
	}
	return append(list, s)
}

// blocks answers "is this address in the set" without allocation: a few nanoseconds for IPv4, where most addresses are refused by
// their first byte.
type blocks struct {
	// v4 holds sorted runs that do not overlap; none crosses a /8 boundary. Those with first byte b are v4[first[b]:first[b+1]].
	v4    []span4
	first [257]uint32
	v6    []span
}

type span4 struct{ lo, hi uint32 }

// mapped is the first half, and the upper half of the second, of an IPv4 address in 16 bytes (RFC 4291, Section 2.5.5.2).
const mapped = 0xffff

// makeBlocks takes merged spans. Those of IPv4 lie in ::ffff:0:0/96 whole: no IPv6 prefix near it is ever let in (see checkPrefix).
func makeBlocks(merged []span) *blocks {
	b := new(blocks)
	isV4 := func(s span) bool { return s.lo.hi == 0 && s.lo.lo>>32 == mapped }
	count4 := 0
	for _, s := range merged {
		if isV4(s) {
			count4++
		}
	}
	b.v4 = make([]span4, 0, count4+count4/16) // some are cut in two
	b.v6 = make([]span, 0, len(merged)-count4)
	for _, s := range merged {
		if !isV4(s) {
			b.v6 = append(b.v6, s)
			continue
		}
		for lo, hi := uint32(s.lo.lo), uint32(s.hi.lo); ; {
			end := min(hi, lo|0x00ffffff)
			b.v4 = append(b.v4, span4{lo, end})
			if end == hi {
				break
			}
			lo = end + 1
		}
	}
	for _, s := range b.v4 {
		b.first[s.lo>>24+1]++
	}
	for i := 1; i < len(b.first); i++ {
		b.first[i] += b.first[i-1]
	}
	return b
}

func (b *blocks) contains(ip flow.IP) bool {
	if ip.Is4() {
		return b.contains4(binary.BigEndian.Uint32(ip[12:]))
	}
	a := u128From(ip)
	i, j := 0, len(b.v6)
	for i < j { // the first span that does not end before a
		if m := int(uint(i+j) >> 1); b.v6[m].hi.less(a) {
			i = m + 1
		} else {
			j = m
		}
	}
	return i < len(b.v6) && !a.less(b.v6[i].lo)
}

func (b *blocks) contains4(a uint32) bool {
	i, j := b.first[a>>24], b.first[a>>24+1]
	end := j
	for i < j {
		if m := (i + j) >> 1; b.v4[m].hi < a {
			i = m + 1
		} else {
			j = m
		}
	}
	return i < end && b.v4[i].lo <= a
}
