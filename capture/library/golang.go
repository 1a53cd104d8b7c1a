package library

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"maps"
	"regexp"
	"slices"

	"github.com/dynwatch/dynwatch/bpf"
)

// goFunctions have probes. All are there since Go 1.12; the layout that the probes read since 1.21.
var goFunctions = map[string]bpf.Probe{
	"crypto/tls.(*clientHandshakeState).doFullHandshake":            bpf.GoHandshake,
	"crypto/tls.(*clientHandshakeStateTLS13).readServerCertificate": bpf.GoHandshake,
	"crypto/tls.(*Conn).verifyServerCertificate":                    bpf.GoCertificates,
}

// goVersion is how a program names the Go that built it: "go1.26.8".
var goVersion = regexp.MustCompile(`go(1\.(\d+)[0-9a-z.]*)`)

// golang looks for Go's crypto/tls. Programs keep their table of functions also when they are stripped.
func (c *contents) golang(file *elf.File) error {
	info := file.Section(".go.buildinfo")
	if info == nil {
		return nil
	}
	table := file.Section(".gopclntab")
	if table == nil {
		table = file.Section(".data.rel.ro.gopclntab") // PIE
	}
	text := file.Section(".text")
	if table == nil || text == nil {
		return nil
	}
	functions, err := newGoTable(table.ReaderAt, table.Size, file.ByteOrder)
	if errors.Is(err, errGoTable) && !speaksTLS(table) {
		return nil
	}
	if err != nil {
		return err
	}
	places, err := goPlaces(file, functions, text.Addr)
	if err != nil || len(places) == 0 {
		return err
	}
	head := make([]byte, min(info.Size, 4096))
	if _, err := info.ReadAt(head, 0); err != nil {
		return fmt.Errorf("read Go's version: %w", err)
	}
	m := goVersion.FindSubmatch(head)
	if m == nil {
		return errors.New("built by a Go before 1.18")
	}
	if len(m[2]) == 1 || len(m[2]) == 2 && string(m[2]) < "21" {
		return fmt.Errorf("built by Go %s: how its crypto/tls keeps things is known from 1.21 on", m[1])
	}
	c.others, c.name = append(c.others, places...), "Go "+string(m[1])
	return nil
}

// speaksTLS reports whether a table of functions of whatever layout has the name of a client's.
func speaksTLS(table *elf.Section) bool {
	if table.ReaderAt == nil {
		return false
	}
	_, ok, err := search(table, 0, table.Size, []byte("\x00crypto/tls.(*Conn).verifyServerCertificate\x00"))
	return ok || err != nil
}

// How far behind the beginning of its section Go's code may begin, in bytes: C's start-up code lies in front of it (hundreds of bytes where
// there is little C). The linker aligns it.
const (
	maxLead   = 64 << 10
	leadAlign = 16
)

// goPlaces finds the functions in Go's table; none if crypto/tls or its client is not there.
func goPlaces(file *elf.File, table *goTable, text uint64) ([]place, error) {
	found, err := table.find(slices.Collect(maps.Keys(goFunctions)))
	if err != nil || len(found) < len(goFunctions) {
		return nil, err
	}
	// The table counts from the beginning of Go's code, which in a program with C code is not that of the section. Until Go 1.25 the table
	// says where that is, unless the loader fills it in (PIE); a symbol does if the program is not stripped. Else it is where functions begin as
	// Go's do.
	begins, err := table.begins(sampled)
	if err != nil {
		return nil, err
	}
	for start := range goStarts(file, table, text) {
		if places := placesAt(file, found, start); places != nil && mostBeginAsGo(file, begins, start) {
			return places, nil
		}
	}
	return nil, errors.New("where Go's code begins is not plain: its functions do not begin as Go's do")
}

// goStarts are addresses where Go's code may begin, the likelier first.
func goStarts(file *elf.File, table *goTable, text uint64) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		if !yield(text) || table.start != 0 && !yield(table.start) {
			return
		}
		if s := symbolValue(file, "runtime.text"); s != 0 && !yield(s) {
			return
		}
		for lead := uint64(leadAlign); lead <= maxLead; lead += leadAlign {
			if !yield(text + lead) {
				return
			}
		}
	}
}

// sampled is how many functions are looked at to see whether Go's code begins at an address.
const sampled = 300

// placesAt are the wanted functions if Go's code begins at start; nil if one does not begin as Go's do.
func placesAt(file *elf.File, found map[string]goRange, start uint64) (places []place) {
	for name, f := range found {
		at, ok := offsetOf(file, start+f.begin)
		if !ok || !goPrologue(codeAt(file, start+f.begin, 16)) {
			return nil
		}
		code := codeAt(file, start+f.begin, int(min(f.end-f.begin, maxCode)))
		places = append(places, place{goFunctions[name], at + landingOf(goFunctions[name], code)})
	}
	return places
}

// mostBeginAsGo looks at some hundred functions: most look at the stack's limit first, and of places that are none hardly any does. A few
// functions alone prove little, as all begin alike.
func mostBeginAsGo(file *elf.File, begins []uint64, start uint64) bool {
	plain := 0
	for _, at := range begins {
		if goPrologue(codeAt(file, start+at, 16)) {
			plain++
		}
	}
	return plain*2 > len(begins)
}

// goPrologue reports whether code begins as every Go function with a frame does, by looking at the stack's limit in the goroutine. A probe in the
// middle of an instruction would break the program.
func goPrologue(code []byte) bool {
	if machine == elf.EM_AARCH64 {
		return len(code) >= 4 && binary.LittleEndian.Uint32(code) == 0xf9400b90 // MOVD 16(g), R16
	}
	if len(code) < 12 {
		return false
	}
	compare := func(b []byte) bool {
		return (b[0] == 0x49 || b[0] == 0x4d) && b[1] == 0x3b && b[2] == 0x66 && b[3] == 0x10
	} // CMPQ SP or R12, 16(R14)
	lea := code[0] == 0x4c && code[1] == 0x8d && code[3] == 0x24 // LEAQ -x(SP), R12
	return compare(code) || lea && code[2] == 0x64 && compare(code[5:]) || lea && code[2] == 0xa4 && compare(code[8:])
}

// codeAt reads machine code at a virtual address.
func codeAt(file *elf.File, address uint64, n int) []byte {
	for _, p := range file.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 && address >= p.Vaddr && address-p.Vaddr+uint64(n) <= p.Filesz {
			b := make([]byte, n)
			if _, err := p.ReadAt(b, int64(address-p.Vaddr)); err == nil {
				return b
			}
		}
	}
	return nil
}
