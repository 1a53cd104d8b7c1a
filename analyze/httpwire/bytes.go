package httpwire

import "unsafe"

// h2Size is what a reader of HTTP/2 takes at most, about: the dynamic table and an incomplete string (RFC 7541, Sections 4 and 5.2).
const h2Size = maxDynamicTable + maxH2String

// Bytes estimates the memory that c holds, in bytes.
func (c *Conn) Bytes() int {
	n := int(unsafe.Sizeof(*c)) + cap(c.side[0].buf) + cap(c.side[1].buf)
	if c.h2 != nil && c.h2.dec != nil {
		n += h2Size
	}
	return n
}
