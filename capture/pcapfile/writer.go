package pcapfile

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"
)

const (
	// maxOption is the length in bytes of the longest option value, for its length is a u16.
	maxOption = math.MaxUint16
	// writeBlock is how many bytes the Writer collects before it writes them.
	writeBlock = 64 << 10
)

// WriterOptions are the options of the section header; empty ones are left out.
type WriterOptions struct {
	// Hardware, OS and Application are shb_hardware, shb_os and shb_userappl: where and by what the file was written, in UTF-8.
	Hardware, OS, Application string
	// Comment is opt_comment: what a reader should know of the whole file.
	Comment string
}

// Writer writes a pcapng file: one section, little-endian, with an interface for each pair of link type and name in the order of
// their first packets, and nanosecond times. The same calls give the same bytes.
//
// It belongs to one goroutine. After an error from the underlying writer every method returns that error.
type Writer struct {
	w   io.Writer
	buf []byte
	err error

	ids  map[ifaceKey]uint32
	last ifaceKey // the interface of the last packet, which is mostly the next one's too
	id   uint32
}

type ifaceKey struct {
	link LinkType
	name string
}

// NewWriter begins a file. Nothing reaches w before 64 KiB are collected or Flush is called.
func NewWriter(w io.Writer, o WriterOptions) *Writer {
	n := &Writer{w: w, buf: make([]byte, 0, 2*writeBlock), ids: make(map[ifaceKey]uint32)}
	at := n.begin(blockSection)
	n.u32(byteOrderMagic)
	n.u16(1)
	n.u16(0)
	n.u64(math.MaxUint64) // the section's length is not stated
	options := false
	for _, opt := range [...]struct {
		code  uint16
		value string
	}{{optComment, o.Comment}, {optHardware, o.Hardware}, {optOS, o.OS}, {optApplication, o.Application}} {
		if opt.value != "" {
			n.option(opt.code, cutUTF8(opt.value, maxOption))
			options = true
		}
	}
	if options {
		n.u32(optEnd)
	}
	n.end(at)
	return n
}

// WritePacket adds a packet of the named interface ("" is an interface without name) with comments, each of which any program
// shows as one.
//
// Comments are made valid UTF-8 and cut to 65535 bytes; empty ones are left out. A Length below len(Data) is written as
// len(Data). pcapng has no word for a time that is unknown or before 1970: it is written as 0. Number, File and Interface of p
// are not used. A packet that no reader would take (a link type above 65535, data and comments of more than 16 MiB) is refused,
// without harm to the file.
func (w *Writer) WritePacket(p *Packet, name string, comments ...string) error {
	if w.err != nil {
		return w.err
	}
	size := blockFrame + 20 + len(p.Data) + 3
	for _, c := range comments {
		size += 4 + min(3*len(c), maxOption) + 3 // a byte that is no UTF-8 becomes three
	}
	if size+4 > maxBlock {
		return fmt.Errorf("write packet: %d bytes of data and comments (limit %d)", size, maxBlock)
	}
	id, err := w.iface(p.Link, name)
	if err != nil {
		return err
	}
	at := w.begin(blockEnhanced)
	w.u32(id)
	w.time(p.Time, p.TimeKnown)
	w.u32(uint32(len(p.Data)))
	w.u32(uint32(min(max(p.Length, len(p.Data)), math.MaxUint32)))
	w.buf = append(w.buf, p.Data...)
	w.pad(len(p.Data))
	options := false
	for _, c := range comments {
		if c = cutUTF8(c, maxOption); c != "" {
			w.option(optComment, c)
			options = true
		}
	}
	if options {
		w.u32(optEnd)
	}
	w.end(at)
	return w.spill()
}

// WriteStatistics adds an interface statistics block: how many packets an interface received and lost up to time (nanoseconds
// since the Unix epoch), counted from the begin of the capture.
func (w *Writer) WriteStatistics(link LinkType, name string, time int64, received, dropped uint64) error {
	if w.err != nil {
		return w.err
	}
	id, err := w.iface(link, name)
	if err != nil {
		return err
	}
	at := w.begin(blockStatistics)
	w.u32(id)
	w.time(time, true)
	for _, c := range [...]struct {
		code  uint16
		value uint64
	}{{optIfRecv, received}, {optIfDrop, dropped}} {
		w.u16(c.code)
		w.u16(8)
		w.u64(c.value)
	}
	w.u32(optEnd)
	w.end(at)
	return w.spill()
}

// Flush writes what was collected. The file is complete after it; there is no trailer.
func (w *Writer) Flush() error {
	if w.err != nil || len(w.buf) == 0 {
		return w.err
	}
	n, err := w.w.Write(w.buf)
	if err == nil && n < len(w.buf) {
		err = io.ErrShortWrite
	}
	if err != nil {
		w.err = fmt.Errorf("write capture: %w", err)
	}
	w.buf = w.buf[:0]
	return w.err
}

// spill flushes if enough is collected.
func (w *Writer) spill() error {
	if len(w.buf) < writeBlock {
		return nil
	}
	return w.Flush()
}

// iface gives the id of an interface, and describes it if it is new.
func (w *Writer) iface(link LinkType, name string) (uint32, error) {
	key := ifaceKey{link, name}
	if key == w.last && len(w.ids) > 0 {
		return w.id, nil
	}
	id, ok := w.ids[key]
	if !ok {
		if link > math.MaxUint16 {
			return 0, fmt.Errorf("write packet: link type %d does not fit into pcapng", link)
		}
		if len(w.ids) == maxInterfaces {
			return 0, fmt.Errorf("write packet: more than %d interfaces", maxInterfaces)
		}
		id = uint32(len(w.ids))
		key.name = strings.Clone(name)
		w.ids[key] = id
		at := w.begin(blockInterface)
		w.u16(uint16(link))
		w.u16(0)
		w.u32(0) // no snap length: each packet says how much is missing
		if name = cutUTF8(name, maxOption); name != "" {
			w.option(optIfName, name)
		}
		w.option(optIfTSResol, "\x09")
		w.u32(optEnd)
		w.end(at)
	}
	w.last, w.id = key, id
	return id, nil
}

// begin starts a block and returns where; end completes it with its length, in front and at the end.
func (w *Writer) begin(kind uint32) int {
	at := len(w.buf)
	w.u32(kind)
	w.u32(0)
	return at
}

func (w *Writer) end(at int) {
	n := uint32(len(w.buf) - at + 4)
	binary.LittleEndian.PutUint32(w.buf[at+4:], n)
	w.u32(n)
}

func (w *Writer) u16(v uint16) { w.buf = binary.LittleEndian.AppendUint16(w.buf, v) }
func (w *Writer) u32(v uint32) { w.buf = binary.LittleEndian.AppendUint32(w.buf, v) }
func (w *Writer) u64(v uint64) { w.buf = binary.LittleEndian.AppendUint64(w.buf, v) }

// time writes a time as pcapng has it, upper half first.
func (w *Writer) time(ns int64, known bool) {
	if ns < 0 || !known {
		ns = 0
	}
	w.u32(uint32(ns >> 32))
	w.u32(uint32(ns))
}

// option writes a value of at most maxOption bytes.
func (w *Writer) option(code uint16, value string) {
	w.u16(code)
	w.u16(uint16(len(value)))
	w.buf = append(w.buf, value...)
	w.pad(len(value))
}

// pad completes n bytes to a multiple of four.
func (w *Writer) pad(n int) {
	const zeros = "\x00\x00\x00"
	w.buf = append(w.buf, zeros[:-n&3]...)
}

// cutUTF8 is s as valid UTF-8 of at most n bytes, without a rune cut in half.
func cutUTF8(s string, n int) string {
	s = strings.ToValidUTF8(s[:min(len(s), n+utf8.UTFMax)], "\uFFFD")
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
