package library

import (
	"bytes"
	"debug/elf"
	"debug/gosym"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"testing"
)

// own is the table of functions of the program that runs the tests, and its text's address.
func own(t testing.TB) (table *elf.Section, text uint64, file *elf.File) {
	t.Helper()
	file, err := elf.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	for _, name := range []string{".gopclntab", ".data.rel.ro.gopclntab"} {
		if table = file.Section(name); table != nil {
			return table, file.Section(".text").Addr, file
		}
	}
	t.Fatal("no table of functions")
	return nil, 0, nil
}

// TestGoTableIsReadAsTheStandardLibraryReadsIt looks for functions from all over the test's own program.
func TestGoTableIsReadAsTheStandardLibraryReadsIt(t *testing.T) {
	section, text, file := own(t)
	data, err := section.Data()
	if err != nil {
		t.Fatal(err)
	}
	want, err := gosym.NewTable(nil, gosym.NewLineTable(data, text))
	if err != nil {
		t.Fatal(err)
	}
	table, err := newGoTable(section, section.Size, file.ByteOrder)
	if err != nil {
		t.Fatal(err)
	}
	if table.functions != uint64(len(want.Funcs)) {
		t.Errorf("%d functions, want %d", table.functions, len(want.Funcs))
	}
	names := []string{"no/such.function", want.Funcs[1].Name, want.Funcs[len(want.Funcs)-1].Name}
	for i := 1; i < len(want.Funcs); i += len(want.Funcs) / 50 {
		if f := want.Funcs[i]; f.Entry < f.End { // a second name of a function in C, as the race detector has, has no code
			names = append(names, f.Name)
		}
	}
	for name := range goFunctions {
		names = append(names, name)
	}
	found, err := table.find(names)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		f := want.LookupFunc(name)
		got, ok := found[name]
		if ok != (f != nil) || ok && (text+got.begin != f.Entry || text+got.end != f.End) {
			t.Errorf("%s: %t, %x; want %+v", name, ok, got, f)
		}
	}
	begins, err := table.begins(sampled)
	if err != nil || len(begins) < sampled || len(begins) > 2*sampled || text+begins[0] != want.Funcs[0].Entry {
		t.Errorf("%d functions from all over, %v", len(begins), err)
	}
}

func TestSymbolsAreReadAsTheStandardLibraryReadsThem(t *testing.T) {
	file, err := elf.NewFile(emptyGoProgram(t)) // the test's own is stripped, as go test does
	if err != nil {
		t.Fatal(err)
	}
	list, err := file.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(list); i += len(list) / 50 {
		first := list[i]
		for _, s := range list {
			if s.Name == first.Name {
				first = s
				break
			}
		}
		if got := symbolValue(file, first.Name); got != first.Value {
			t.Errorf("%s: %x, want %x", first.Name, got, first.Value)
		}
	}
	if got := symbolValue(file, "no.such.symbol"); got != 0 {
		t.Errorf("%x", got)
	}
}

// goTableOf makes a table of functions that are called as given, in 16 bytes of code each.
func goTableOf(names ...string) []byte {
	var text []byte
	var at []int
	text = append(text, 0)
	for _, n := range names {
		at = append(at, len(text))
		text = append(append(text, n...), 0)
	}
	le := binary.LittleEndian
	b := le.AppendUint32(nil, goTableMagic120)
	b = append(b, 0, 0, 1, 8)
	functab := goTableHeader + len(text)
	for _, v := range []int{len(names), 0, 0, goTableHeader, functab, functab, functab, functab} {
		b = le.AppendUint64(b, uint64(v))
	}
	b = append(b, text...)
	infos := len(names)*2*functabField + functabField
	for i := range names {
		b = le.AppendUint32(b, uint32(16*i))
		b = le.AppendUint32(b, uint32(infos+8*i))
	}
	b = le.AppendUint32(b, uint32(16*len(names)))
	for i := range names {
		b = le.AppendUint32(b, uint32(16*i))
		b = le.AppendUint32(b, uint32(at[i]))
	}
	return b
}

// TestGoTableInNoOrderIsGivenUp has infos that lie before and behind by turns, which would be read again and again.
func TestGoTableInNoOrderIsGivenUp(t *testing.T) {
	names := make([]string, 20000)
	for i := range names {
		names[i] = fmt.Sprintf("f%05d", i)
	}
	b := goTableOf(append(names, "wanted")...)
	table, err := newGoTable(bytes.NewReader(b), uint64(len(b)), binary.LittleEndian)
	if err != nil {
		t.Fatal(err)
	}
	if found, err := table.find([]string{"wanted"}); err != nil || len(found) != 1 {
		t.Fatalf("in order: %v, %v", found, err)
	}
	for i := range uint64(len(names)) {
		if i%2 == 1 {
			binary.LittleEndian.PutUint32(b[table.functab+i*8+4:], uint32(uint64(len(b))-table.functab-8))
		}
	}
	counted := &reads{from: bytes.NewReader(b)}
	table.from = counted
	if _, err := table.find([]string{"f00007", "wanted"}); err != errToAndFro || counted.bytes > 10*len(b)+64*pieceLen {
		t.Errorf("%v after reading %d bytes of a table of %d", err, counted.bytes, len(b))
	}
}

// reads counts what is read.
type reads struct {
	from  io.ReaderAt
	bytes int
}

func (r *reads) ReadAt(b []byte, at int64) (int, error) {
	r.bytes += len(b)
	return r.from.ReadAt(b, at)
}

// FuzzGoTable: no table makes the reader fail, or read without end, and what it finds is among what was asked for.
func FuzzGoTable(f *testing.F) {
	f.Add(goTableOf("main.main", "crypto/tls.(*Conn).verifyServerCertificate"))
	f.Add(goTableOf())
	f.Fuzz(func(t *testing.T, b []byte) {
		counted := &reads{from: bytes.NewReader(b)}
		table, err := newGoTable(counted, uint64(len(b)), binary.LittleEndian)
		if err != nil {
			return
		}
		found, err := table.find([]string{"main.main"})
		if err == nil {
			for name, r := range found {
				if name != "main.main" || r.begin >= r.end {
					t.Errorf("%s: %+v", name, r)
				}
			}
		}
		table.begins(sampled)
		if counted.bytes > 10*len(b)+(64+4*sampled)*pieceLen {
			t.Errorf("%d bytes were read of a table of %d", counted.bytes, len(b))
		}
	})
}

// BenchmarkExamine reads the program of these tests; what it allocates is what an agent needs for it.
func BenchmarkExamine(b *testing.B) {
	path, err := os.Readlink("/proc/self/exe")
	if err != nil {
		b.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := examine(f, ""); err != nil {
			b.Fatal(err)
		}
	}
}

// TestOtherTablesMatterOnlyWithTLS: what an old Go built is missing from the probes only if it has a client.
func TestOtherTablesMatterOnlyWithTLS(t *testing.T) {
	for name, want := range map[string]bool{"crypto/tls.(*Conn).verifyServerCertificate": true, "main.main": false} {
		b := goTableOf("go:buildid", name)
		b[0] = 0xfa // Go 1.16's
		table := &elf.Section{SectionHeader: elf.SectionHeader{Size: uint64(len(b))}, ReaderAt: bytes.NewReader(b)}
		if _, err := newGoTable(table, table.Size, binary.LittleEndian); err != errGoTable {
			t.Errorf("%s: %v", name, err)
		}
		if got := speaksTLS(table); got != want {
			t.Errorf("%s: %t", name, got)
		}
	}
	if speaksTLS(&elf.Section{}) {
		t.Error("a table that cannot be read")
	}
}
