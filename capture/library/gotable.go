package library

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// pieceLen is how much of a file is read at a time: what a large program has of names and functions would take tens of megabytes.
const pieceLen = 64 << 10

// goTable is the table of functions of a Go program (.gopclntab; runtime/symtab.go, debug/gosym), as it is since Go 1.18. It is read piece by
// piece, and not trusted.
type goTable struct {
	from  io.ReaderAt
	size  uint64
	order binary.ByteOrder
	// functions is how many there are; start is the address of Go's code, 0 where the loader fills it in or the table has none.
	functions, start uint64
	// names begin and end there; at functab begins the list of functions. From the beginning of the table, in bytes.
	names, namesEnd, functab uint64
}

const (
	goTableMagic118 = 0xfffffff0
	goTableMagic120 = 0xfffffff1 // the same but for what is not read here
	goTableHeader   = 8 + 8*8
	functabField    = 4
)

var errGoTable = errors.New("no table of functions as Go has it since 1.18")

// newGoTable reads the header of a table of so many bytes.
func newGoTable(from io.ReaderAt, size uint64, order binary.ByteOrder) (*goTable, error) {
	h := make([]byte, goTableHeader)
	if from == nil || size < goTableHeader || size > math.MaxInt64 {
		return nil, errGoTable
	}
	if _, err := from.ReadAt(h, 0); err != nil {
		return nil, fmt.Errorf("read Go's table of functions: %w", err)
	}
	if magic := order.Uint32(h); magic != goTableMagic118 && magic != goTableMagic120 || h[4] != 0 || h[5] != 0 || h[7] != 8 {
		return nil, errGoTable
	}
	word := func(i int) uint64 { return order.Uint64(h[8+8*i:]) }
	t := &goTable{from: from, size: size, order: order, functions: word(0), start: word(2), names: word(3), namesEnd: word(4), functab: word(7)}
	if t.names > t.namesEnd || t.namesEnd > size || t.functab > size || t.functions > (size-t.functab)/(2*functabField) {
		return nil, errGoTable
	}
	return t, nil
}

// goRange is a function's code: offsets from the beginning of Go's code.
type goRange struct{ begin, end uint64 }

// find looks for functions by name; those that are not there are not in the answer.
func (t *goTable) find(names []string) (map[string]goRange, error) {
	at, err := t.nameOffsets(names)
	if err != nil || len(at) == 0 {
		return nil, err
	}
	found := make(map[string]goRange)
	list, infos := t.pieces(), t.pieces()
	for i := uint64(0); i < t.functions && len(found) < len(at); i++ {
		entry, err := list.at(t.functab+i*2*functabField, 3*functabField) // with the next one's beginning
		if err != nil {
			return nil, err
		}
		r := goRange{uint64(t.order.Uint32(entry)), uint64(t.order.Uint32(entry[8:]))}
		info, err := infos.at(t.functab+uint64(t.order.Uint32(entry[4:])), 8)
		if err != nil {
			return nil, err
		}
		if name, ok := at[t.order.Uint32(info[4:])]; ok && r.begin < r.end {
			found[name] = r
		}
	}
	return found, nil
}

// nameOffsets finds names among all names but the first, which is none that anybody asks for (go:buildid).
func (t *goTable) nameOffsets(names []string) (map[uint32]string, error) {
	at := make(map[uint32]string)
	for _, name := range names {
		where, ok, err := search(t.from, t.names, t.namesEnd, []byte("\x00"+name+"\x00"))
		if err != nil {
			return nil, fmt.Errorf("read the names in Go's table of functions: %w", err)
		}
		if offset := where + 1 - t.names; ok && offset <= math.MaxUint32 {
			at[uint32(offset)] = name
		}
	}
	return at, nil
}

// begins are where some functions begin, at most n of them, from all over the program.
func (t *goTable) begins(n uint64) ([]uint64, error) {
	var list []uint64
	p := t.pieces()
	p.left += int(2 * n) // they lie far apart
	for i := uint64(0); i < t.functions; i += max(1, t.functions/n) {
		entry, err := p.at(t.functab+i*2*functabField, functabField)
		if err != nil {
			return nil, err
		}
		list = append(list, uint64(t.order.Uint32(entry)))
	}
	return list, nil
}

// pieces reads the table from its beginning to its end. Who goes to and fro soon meets the limit on reads.
func (t *goTable) pieces() *pieces {
	return &pieces{from: t.from, left: int(2*t.size/pieceLen) + 16}
}

// pieces reads a file by and by: what lies close behind the last read costs none.
type pieces struct {
	from  io.ReaderAt
	left  int // reads
	begin uint64
	buf   []byte
	held  []byte
}

var errToAndFro = errors.New("the table of Go's functions is in no order")

// at gives n bytes, fewer than pieceLen; they are valid until the next call.
func (p *pieces) at(offset uint64, n int) ([]byte, error) {
	if offset < p.begin || offset-p.begin > uint64(len(p.held)) || uint64(len(p.held))-(offset-p.begin) < uint64(n) {
		if p.left--; p.left < 0 {
			return nil, errToAndFro
		}
		if p.buf == nil {
			p.buf = make([]byte, pieceLen)
		}
		got, err := p.from.ReadAt(p.buf, int64(min(offset, math.MaxInt64)))
		if got < n {
			p.held = nil
			return nil, fmt.Errorf("read Go's table of functions: %w", err)
		}
		p.begin, p.held = offset, p.buf[:got]
	}
	return p.held[offset-p.begin:][:n], nil
}

// search finds bytes, fewer than pieceLen, in a file between two offsets.
func search(from io.ReaderAt, begin, end uint64, what []byte) (at uint64, ok bool, err error) {
	buf := make([]byte, pieceLen)
	for begin < end {
		n, err := from.ReadAt(buf[:min(pieceLen, end-begin)], int64(begin))
		if i := bytes.Index(buf[:n], what); i >= 0 {
			return begin + uint64(i), true, nil
		}
		if begin+uint64(n) >= end {
			return 0, false, nil
		}
		if err != nil {
			return 0, false, err
		}
		begin += uint64(n - len(what) + 1)
	}
	return 0, false, nil
}

// symbolValue is the address of a symbol, 0 if the file is stripped or has none of that name.
func symbolValue(file *elf.File, name string) uint64 {
	table := file.SectionByType(elf.SHT_SYMTAB)
	if table == nil || table.ReaderAt == nil || int(table.Link) >= len(file.Sections) {
		return 0
	}
	strings := file.Sections[table.Link]
	if strings.ReaderAt == nil || strings.Size > maxFile || table.Size > maxFile {
		return 0
	}
	where, ok, err := search(strings, 0, strings.Size, []byte("\x00"+name+"\x00"))
	if !ok || err != nil {
		return 0
	}
	p := pieces{from: table, left: int(2*table.Size/pieceLen) + 16}
	for at := uint64(0); at+elf.Sym64Size <= table.Size; at += elf.Sym64Size {
		s, err := p.at(at, elf.Sym64Size)
		if err != nil {
			return 0
		}
		if uint64(file.ByteOrder.Uint32(s)) == where+1 {
			return file.ByteOrder.Uint64(s[8:])
		}
	}
	return 0
}
