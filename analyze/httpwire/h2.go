package httpwire

import (
	"errors"
	"math"

	"github.com/dynwatch/dynwatch/analyze/session"
	"golang.org/x/net/http2/hpack"
)

// The client's connection preface, in the two parts in which a head reader sees it (RFC 9113, Section 3.4).
const (
	h2Preface    = "PRI * HTTP/2.0"
	h2PrefaceEnd = "SM\r\n\r\n"
)

// Limits of HTTP/2 reading.
const (
	// maxH2Requests is how many header blocks of a connection are read. What it is about is known from the first; operations come with some more.
	maxH2Requests = 256
	// maxHeaderList bounds the decoded size of one header block as RFC 9113, Section 6.5.2 counts it: name, value, 32 a field.
	maxHeaderList = 256 << 10
	// maxH2String is the longest single name or value.
	maxH2String = 32 << 10
	// maxDynamicTable is the largest HPACK dynamic table that a client may ask for; servers commonly allow 4 or 64 KiB.
	maxDynamicTable = 64 << 10
)

// Frame types and flags (RFC 9113, Section 6).
const (
	frameHeaders      = 0x1
	frameSettings     = 0x4
	frameContinuation = 0x9

	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

var errH2 = errors.New("HTTP/2 frame out of place")

// h2Reader reads the client's frames: HEADERS and CONTINUATION through HPACK, as the bytes come; everything else is stepped over.
type h2Reader struct {
	dec *hpack.Decoder // nil once nothing more is read

	head  [9]byte
	nhead int

	// The current frame, once its header is complete.
	frame   byte
	flags   byte
	left    int // payload bytes left
	pad     int // of these, padding at the end
	prepad  bool
	skip    int // priority bytes to step over
	started bool
	frames  bool // at least one frame was seen

	// The current header block.
	open      bool // a block's END_HEADERS has not come yet
	stream    uint32
	blockSize int
	listSize  int
	blocks    int
	err       error
	method    []byte
	path      []byte

	r    *Request
	prev *Request
	f    framing
}

func newH2Reader() *h2Reader {
	h := &h2Reader{}
	h.dec = hpack.NewDecoder(4096, h.field)
	h.dec.SetAllowedMaxDynamicTableSize(maxDynamicTable)
	h.dec.SetMaxStringLength(maxH2String)
	return h
}

// drop gives the decoder up: its table may hold secrets.
func (h *h2Reader) drop() {
	if h != nil {
		h.dec, h.method, h.path = nil, nil, nil
	}
}

// skippable is how many bytes of the current frame are of no interest.
func (h *h2Reader) skippable() int64 {
	if h.dec == nil {
		return math.MaxInt64
	}
	if h.started && !h.wanted() {
		return int64(h.left)
	}
	return 0
}

func (h *h2Reader) wanted() bool { return h.frame == frameHeaders || h.frame == frameContinuation }

// pass steps over n bytes that nobody saw, if they lie in a frame that does not matter.
func (h *h2Reader) pass(n int64) bool {
	if h.dec == nil {
		return true
	}
	if n > h.skippable() {
		return false
	}
	h.left -= int(n)
	h.started = h.left > 0
	return true
}

// feedPreface compares the rest of the preface.
func (c *Conn) feedPreface(data []byte) (int, Event) {
	s := &c.side[session.Client]
	for i, b := range data {
		if b != h2PrefaceEnd[len(h2PrefaceEnd)-int(s.need)] {
			c.h2 = nil
			return len(data), c.failNow(session.Client, ErrNotHTTP)
		}
		if s.need--; s.need == 0 {
			s.state = stateH2
			return i + 1, None
		}
	}
	return len(data), None
}

// feedH2 reads frames up to the next complete request head.
func (c *Conn) feedH2(data []byte) (n int, ev Event) {
	h := c.h2
	for n < len(data) {
		if !h.started {
			k := copy(h.head[h.nhead:], data[n:])
			n += k
			if h.nhead += k; h.nhead < len(h.head) {
				return n, None
			}
			h.nhead = 0
			if err := h.begin(c); err != nil {
				h.drop()
				return len(data), c.failNow(session.Client, err)
			}
		}
		k, err := h.payload(data[n:])
		n += k
		if err != nil {
			h.drop()
			return len(data), c.failNow(session.Client, err)
		}
		if h.left > 0 {
			return n, None
		}
		h.started = false
		if !h.wanted() || h.flags&flagEndHeaders == 0 {
			continue
		}
		complete, err := h.end()
		if err != nil {
			h.drop()
			return len(data), c.failNow(session.Client, err)
		}
		if h.blocks == maxH2Requests {
			h.drop()
			c.side[session.Client].state = stateDone
			n = len(data)
		}
		if complete {
			c.takeRequest(h.r)
			return n, RequestHead
		}
		if h.dec == nil {
			return n, None
		}
	}
	return n, None
}

// begin takes a complete frame header.
func (h *h2Reader) begin(c *Conn) error {
	h.left = int(h.head[0])<<16 | int(h.head[1])<<8 | int(h.head[2])
	h.frame, h.flags = h.head[3], h.head[4]
	stream := uint32(h.head[5]&0x7f)<<24 | uint32(h.head[6])<<16 | uint32(h.head[7])<<8 | uint32(h.head[8])
	if !h.frames && (h.frame != frameSettings || stream != 0) {
		return ErrNotHTTP // the preface ends with SETTINGS
	}
	h.frames, h.started = true, true
	h.pad, h.skip, h.prepad = 0, 0, false
	if h.open != (h.frame == frameContinuation) || h.open && stream != h.stream {
		return errH2 // nothing may stand inside a header block, and no CONTINUATION outside
	}
	if h.frame != frameHeaders {
		return nil
	}
	if stream == 0 {
		return errH2
	}
	h.prepad = h.flags&flagPadded != 0
	if h.flags&flagPriority != 0 {
		h.skip = 5
	}
	fixed := h.skip
	if h.prepad {
		fixed++
	}
	if fixed > h.left {
		return errH2
	}
	h.open, h.stream, h.blockSize, h.listSize = true, stream, 0, 0
	h.r, h.prev, h.f = c.spare, c.req, framing{}
	if h.prev == nil {
		h.prev = &noRequest
	}
	*h.r = Request{Major: 2, ContentLength: -1}
	h.method, h.path = h.method[:0], h.path[:0]
	return nil
}

// payload takes payload bytes of the current frame, as far as data goes.
func (h *h2Reader) payload(data []byte) (n int, err error) {
	if !h.wanted() {
		n = min(len(data), h.left)
		h.left -= n
		return n, nil
	}
	if h.prepad && h.left > 0 && len(data) > 0 {
		h.prepad = false
		h.pad = int(data[0])
		h.left--
		n++
		if h.pad+h.skip > h.left {
			return n, errH2
		}
	}
	if h.prepad {
		return n, nil
	}
	k := min(h.skip, len(data)-n)
	h.skip -= k
	h.left -= k
	n += k
	if k = min(h.left-h.pad, len(data)-n); k > 0 && h.skip == 0 {
		if h.blockSize += k; h.blockSize > maxHead {
			return n, ErrHeadTooLarge
		}
		if _, err := h.dec.Write(data[n : n+k]); err != nil {
			return n, err
		}
		if h.err != nil {
			return n, h.err
		}
		h.left -= k
		n += k
	}
	if h.left <= h.pad {
		k = min(h.left, len(data)-n)
		h.left -= k
		h.pad = min(h.pad, h.left)
		n += k
	}
	return n, nil
}

// end completes a header block. Trailers, which have no :method, are no request.
func (h *h2Reader) end() (complete bool, err error) {
	h.open = false
	h.blocks++
	if err := h.dec.Close(); err != nil {
		return false, err
	}
	if len(h.method) == 0 || len(h.path) == 0 && string(h.method) != "CONNECT" {
		return false, nil
	}
	r := h.r
	r.Method = keep(h.prev.Method, h.method, maxMethod)
	if string(h.method) == "CONNECT" {
		r.Form = AuthorityForm
	} else {
		authority := r.Authority
		r.setTarget(h.method, h.path, h.prev)
		r.Authority = authority
	}
	r.ContentLength = h.f.known()
	return true, nil
}

// field takes one decoded header field.
func (h *h2Reader) field(f hpack.HeaderField) {
	if h.listSize += len(f.Name) + len(f.Value) + 32; h.listSize > maxHeaderList {
		h.err = ErrHeadTooLarge
		return
	}
	switch f.Name {
	case ":method":
		h.method = append(h.method[:0], f.Value...)
	case ":path":
		h.path = append(h.path[:0], f.Value...)
	case ":authority":
		authority, had := dropUserInfo([]byte(f.Value))
		h.r.Authority = keep(h.prev.Authority, authority, maxHost)
		h.r.Credentials.UserInfo = h.r.Credentials.UserInfo || had
	default:
		h.r.field([]byte(f.Name), trimSpace([]byte(f.Value)), h.prev, &h.f)
	}
}
