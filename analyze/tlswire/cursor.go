package tlswire

// cursor reads big-endian fields from the front of a slice. A read that does not fit sets short, returns zero values and
// leaves the cursor empty, so that the reads of one structure can be checked once at its end.
//
// Slices keep the capacity of the message, which tells spanOf where they stand; what leaves the package is cut to its length.
type cursor struct {
	b     []byte
	short bool
}

func (c *cursor) take(n int) []byte {
	if n > len(c.b) {
		c.short, c.b = true, nil
		return nil
	}
	v := c.b[:n]
	c.b = c.b[n:]
	return v
}

func (c *cursor) u8() uint8 {
	if len(c.b) < 1 {
		c.short, c.b = true, nil
		return 0
	}
	v := c.b[0]
	c.b = c.b[1:]
	return v
}

func (c *cursor) u16() uint16 {
	if len(c.b) < 2 {
		c.short, c.b = true, nil
		return 0
	}
	v := uint16(c.b[0])<<8 | uint16(c.b[1])
	c.b = c.b[2:]
	return v
}

func (c *cursor) u24() int {
	if len(c.b) < 3 {
		c.short, c.b = true, nil
		return 0
	}
	v := int(c.b[0])<<16 | int(c.b[1])<<8 | int(c.b[2])
	c.b = c.b[3:]
	return v
}

func (c *cursor) u32() uint32 {
	hi := c.u16()
	return uint32(hi)<<16 | uint32(c.u16())
}

// vec8, vec16 and vec24 read a vector with a length prefix of that many bits (RFC 8446, Section 3.4).
func (c *cursor) vec8() []byte  { return c.take(int(c.u8())) }
func (c *cursor) vec16() []byte { return c.take(int(c.u16())) }
func (c *cursor) vec24() []byte { return c.take(c.u24()) }

// prefix16 is vec16 for a structure whose end may be missing: the bytes that are there, and whether they are all.
// It does not set short unless the length itself is missing.
func (c *cursor) prefix16() (v []byte, whole bool) { return c.upTo(int(c.u16())) }

// prefix8 is prefix16 with a length of one byte.
func (c *cursor) prefix8() (v []byte, whole bool) { return c.upTo(int(c.u8())) }

// upTo takes n bytes, or what is there of them; nothing if the read of n itself was short.
func (c *cursor) upTo(n int) (v []byte, whole bool) {
	if c.short {
		return nil, false
	}
	if n > len(c.b) {
		v, c.b = c.b, nil
		return v, false
	}
	return c.take(n), true
}

func be16(b []byte) uint16 { return uint16(b[0])<<8 | uint16(b[1]) }

func be24(b []byte) int { return int(b[0])<<16 | int(b[1])<<8 | int(b[2]) }
