package tlswire

// resync looks for a record header at the beginning of b, the data of one Feed.
func (c *Conn) resync(h *half, b []byte) []byte {
	// A header split over Feeds is followed only while it stays plausible.
	k := copy(h.hdr[h.hdrN:recordHeader], b)
	hdr := h.hdr[:int(h.hdrN)+k]
	if !plausibleHeader(hdr) {
		if h.hdrN > 0 { // a false beginning; this Feed may have the true one
			h.pos += int64(h.hdrN)
			h.hdrN = 0
			return b
		}
		h.pos += int64(len(b))
		if h.tries++; h.tries >= resyncTries {
			h.mode, h.gaveUp = modeDead, true
			c.dirty = true
		}
		return nil
	}
	if len(hdr) < recordHeader {
		h.hdrN = uint8(len(hdr))
		return nil
	}
	if !h.recognised {
		c.recognise(h)
		h.midstream = true
	}
	h.hdrN = 0
	h.mode = modeTLS
	c.header(h, hdr)
	return b[k:]
}

// plausibleHeader reports whether b is a record header or the beginning of one.
func plausibleHeader(b []byte) bool {
	if b[0] < recordChangeCipherSpec || b[0] > recordApplicationData || len(b) > 1 && b[1] != 3 || len(b) > 2 && b[2] > 4 {
		return false
	}
	if len(b) < recordHeader {
		return true
	}
	switch n := int(be16(b[3:])); b[0] {
	case recordChangeCipherSpec:
		return n == 1
	case recordAlert:
		return n >= 2 && n <= 256
	default:
		return n > 0 && n <= maxResync
	}
}

// gap steps over n missing bytes, or over an unknown number of them if n is negative.
func (c *Conn) gap(h *half, n int) {
	if h.over() || n == 0 {
		return
	}
	if !h.settled {
		h.gap = true
		if !h.ccs && h.app == 0 {
			h.gapEarly = true
		}
	}
	c.dirty = true
	switch h.mode {
	case modeSSL2:
		h.msgs.hole = true
		c.endSSL2(h, false)
		c.desync(h, n)
	case modeTLS:
		if n > 0 && h.left > 0 {
			k := min(n, h.left)
			h.left -= k
			h.pos += int64(k)
			n -= k
			switch h.route {
			case routeHandshake:
				h.msgs.gap(c, h.side, k)
			case routeProbe:
				// What stands before the hole is too little to tell; the rest of the record is without a beginning.
				if h.route = routeSkip; h.encrypted {
					c.encryptedHandshake(h)
				} else {
					h.msgs.lost = true
				}
			case routeAlert:
				h.alertN = 0
				h.route = routeSkip
			case routeSecret:
				h.dec.broken = true
				if h.left == 0 {
					h.dec.end()
					c.decrypt()
				}
			}
			if n == 0 {
				return
			}
		}
		c.desync(h, n)
	default:
		c.desync(h, n)
	}
}

// desync gives up the record boundary; the stream goes on n bytes later.
func (c *Conn) desync(h *half, n int) {
	if h.over() {
		return
	}
	h.pos += int64(h.hdrN)
	if n > 0 {
		h.pos += int64(n)
	} else {
		if !h.posLost {
			h.appExact = h.app
		}
		h.posLost = true
	}
	h.mode = modeResync
	h.hdrN, h.left, h.alertN = 0, 0, 0
	h.msgs.abort(c, h.side)
	if h.dec != nil {
		h.dec.lose()
		c.decrypt()
	}
}
