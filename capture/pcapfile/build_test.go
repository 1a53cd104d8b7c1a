package pcapfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// order is a byte order with both ways to use it.
type order interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

var orders = map[string]order{"little-endian": binary.LittleEndian, "big-endian": binary.BigEndian}

// pcapHead is a pcap file header.
func pcapHead(o order, magic, snapLen, link uint32) []byte {
	b := o.AppendUint32(nil, magic)
	b = o.AppendUint16(b, 2)
	b = o.AppendUint16(b, 4)
	b = o.AppendUint32(b, 0)
	b = o.AppendUint32(b, 0)
	b = o.AppendUint32(b, snapLen)
	return o.AppendUint32(b, link)
}

// pcapRec is a pcap record; extra stands between the usual header and the data.
func pcapRec(o order, sec, frac uint32, wire int, data []byte, extra ...byte) []byte {
	b := o.AppendUint32(nil, sec)
	b = o.AppendUint32(b, frac)
	b = o.AppendUint32(b, uint32(len(data)))
	b = o.AppendUint32(b, uint32(wire))
	b = append(b, extra...)
	return append(b, data...)
}

// block is a pcapng block with a body that is padded to four bytes.
func ngBlock(o order, kind uint32, body []byte) []byte {
	body = append(bytes.Clone(body), make([]byte, -len(body)&3)...)
	n := uint32(blockFrame + len(body))
	b := o.AppendUint32(nil, kind)
	b = o.AppendUint32(b, n)
	b = append(b, body...)
	return o.AppendUint32(b, n)
}

func ngOption(o order, code uint16, value []byte) []byte {
	b := o.AppendUint16(nil, code)
	b = o.AppendUint16(b, uint16(len(value)))
	b = append(b, value...)
	return append(b, make([]byte, -len(value)&3)...)
}

func ngSection(o order, options ...byte) []byte {
	b := o.AppendUint32(nil, byteOrderMagic)
	b = o.AppendUint16(b, 1)
	b = o.AppendUint16(b, 0)
	b = o.AppendUint64(b, ^uint64(0))
	return ngBlock(o, blockSection, append(b, options...))
}

func ngIface(o order, link uint16, snapLen uint32, options ...byte) []byte {
	b := o.AppendUint16(nil, link)
	b = o.AppendUint16(b, 0)
	b = o.AppendUint32(b, snapLen)
	return ngBlock(o, blockInterface, append(b, options...))
}

// ngPadded is data padded to four bytes, as it stands before options.
func ngPadded(data []byte) []byte {
	return append(bytes.Clone(data), make([]byte, -len(data)&3)...)
}

func ngEnhanced(o order, id uint32, ts uint64, wire int, data []byte, options ...byte) []byte {
	b := o.AppendUint32(nil, id)
	b = o.AppendUint32(b, uint32(ts>>32))
	b = o.AppendUint32(b, uint32(ts))
	b = o.AppendUint32(b, uint32(len(data)))
	b = o.AppendUint32(b, uint32(wire))
	return ngBlock(o, blockEnhanced, append(append(b, ngPadded(data)...), options...))
}

func ngObsolete(o order, id, drops uint16, ts uint64, wire int, data []byte) []byte {
	b := o.AppendUint16(nil, id)
	b = o.AppendUint16(b, drops)
	b = o.AppendUint32(b, uint32(ts>>32))
	b = o.AppendUint32(b, uint32(ts))
	b = o.AppendUint32(b, uint32(len(data)))
	b = o.AppendUint32(b, uint32(wire))
	return ngBlock(o, blockPacket, append(b, data...))
}

func ngSimple(o order, wire int, data []byte) []byte {
	return ngBlock(o, blockSimple, append(o.AppendUint32(nil, uint32(wire)), data...))
}

func ngStatistics(o order, id uint32, options ...byte) []byte {
	b := o.AppendUint32(nil, id)
	return ngBlock(o, blockStatistics, append(o.AppendUint64(b, 0), options...))
}

func ngSecrets(o order, kind uint32, data string) []byte {
	b := o.AppendUint32(nil, kind)
	b = o.AppendUint32(b, uint32(len(data)))
	return ngBlock(o, blockSecrets, append(b, data...))
}

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// payload is n bytes that tell packets apart.
func payload(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = seed + byte(i)
	}
	return b
}

// writeFile puts content into a new file and returns its name.
func writeFile(t testing.TB, name string, content []byte) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// got is everything that reading gave, with the data copied.
type got struct {
	packets []Packet
	errs    []*FileError
	stats   Stats
	secrets []string
}

// readAll reads files to the end, and checks what must hold for any input.
func readAll(t testing.TB, names []string, o Options) got {
	t.Helper()
	var g got
	o.Secrets = func(kind uint32, data []byte) { g.secrets = append(g.secrets, string(data)) }
	// Where blocks are not given back at once, packets are looked at as late as that allows.
	kept, late := 0, o.Passed != nil
	keep := func(n int) {
		for i := range g.packets[kept:n] {
			p := &g.packets[kept+i]
			if p.Data = bytes.Clone(p.Data); p.Data == nil {
				p.Data = []byte{}
			}
		}
		kept = n
	}
	if late {
		before, release := 0, func() {}
		o.Passed = func(giveBack func()) {
			keep(before)
			release()
			before, release = len(g.packets), giveBack
		}
	}
	r, err := Open(names, o)
	if err != nil {
		var e *FileError
		if !errors.As(err, &e) {
			t.Fatalf("Open: %v is no FileError", err)
		}
		g.errs = []*FileError{e}
		return g
	}
	defer r.Close()
	var p Packet
	for {
		err := r.Next(&p)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("Next: %v", err)
		}
		if p.Length < len(p.Data) || cap(p.Data) != len(p.Data) || p.Number != uint64(len(g.packets)+1) || !p.TimeKnown && p.Time != 0 {
			t.Fatalf("inconsistent packet: number %d of %d, %d bytes (capacity %d) of %d, time %d %v",
				p.Number, len(g.packets)+1, len(p.Data), cap(p.Data), p.Length, p.Time, p.TimeKnown)
		}
		q := p
		if q.Passing {
			q.Passing, q.Data = false, bytes.Clone(q.Data)
		}
		if g.packets = append(g.packets, q); !late {
			keep(len(g.packets))
		}
	}
	keep(len(g.packets))
	if err := r.Next(&p); err != io.EOF {
		t.Fatalf("Next after the end: %v", err)
	}
	g.errs, g.stats = r.Errs(), r.Stats()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	return g
}

// readBytes reads content as one file from standard input.
func readBytes(t testing.TB, content []byte, o Options) got {
	t.Helper()
	o.Stdin = bytes.NewReader(content)
	return readAll(t, []string{"-"}, o)
}
