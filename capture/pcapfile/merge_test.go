package pcapfile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// timed is a pcap file whose packets have the given times in seconds; a negative time makes a pcapng file's packet without time.
func timed(seconds ...int) []byte {
	o := binary.LittleEndian
	if slices.Min(seconds) >= 0 {
		b := pcapHead(o, magicMicro, 0, 1)
		for _, s := range seconds {
			b = append(b, pcapRec(o, uint32(s), 0, 4, payload(4, byte(s)))...)
		}
		return b
	}
	b := cat(ngSection(o), ngIface(o, 1, 0))
	for _, s := range seconds {
		if s < 0 {
			b = append(b, ngSimple(o, 4, payload(4, 0))...)
		} else {
			b = append(b, ngEnhanced(o, 0, uint64(s)*1e6, 4, payload(4, byte(s)))...)
		}
	}
	return b
}

// arrivals lists the packets as file:second.
func arrivals(packets []Packet) string {
	var out []string
	for _, p := range packets {
		s := fmt.Sprintf("%c%d", 'a'+rune(p.File), p.Time/1e9)
		if !p.TimeKnown {
			s = fmt.Sprintf("%c-", 'a'+rune(p.File))
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func TestMerge(t *testing.T) {
	for _, c := range []struct {
		name  string
		files [][]byte
		want  string
	}{
		{"rotated, in order", [][]byte{timed(1, 2), timed(3, 4), timed(5)}, "a1 a2 b3 b4 c5"},
		{"rotated, in any order", [][]byte{timed(5), timed(1, 2), timed(3, 4)}, "b1 b2 c3 c4 a5"},
		{"captures of several interfaces", [][]byte{timed(1, 4, 7), timed(2, 5, 8), timed(3, 6, 9)}, "a1 b2 c3 a4 b5 c6 a7 b8 c9"},
		{"equal times in the order of names", [][]byte{timed(1, 2, 2, 3), timed(2, 2), timed(2)}, "a1 a2 a2 b2 b2 c2 a3"},
		{"equal times, the later name first", [][]byte{timed(2, 3), timed(1, 2, 3)}, "b1 a2 b2 a3 b3"},
		{"a file that goes back in time keeps its order", [][]byte{timed(10, 5, 6, 20), timed(7, 12)}, "b7 a10 a5 a6 b12 a20"},
		{"no packets", [][]byte{timed(2), pcapHead(binary.LittleEndian, magicMicro, 0, 1), timed(1)}, "c1 a2"},
		{"packets without time follow the one before", [][]byte{timed(1, 5), timed(3, -1, -1, 4)}, "a1 b3 b- b- b4 a5"},
		{"packets without time in front come first", [][]byte{timed(1, 5), timed(-1, 4)}, "b- a1 b4 a5"},
		{"no times at all", [][]byte{timed(1), timed(-1, -1), timed(-1)}, "b- b- c- a1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var names []string
			for i, f := range c.files {
				names = append(names, writeFile(t, fmt.Sprint(i), f))
			}
			for _, o := range []Options{{}, {block: 16}, {block: 16, Passed: func(func()) {}}} {
				g := readAll(t, names, o)
				if d := arrivals(g.packets); d != c.want || len(g.errs) > 0 {
					t.Errorf("%s\nwant %s\n%v", d, c.want, g.errs)
				}
			}
			// The same with the last one through a pipe, which cannot be looked into beforehand.
			names[len(names)-1] = "-"
			g := readAll(t, names, Options{Stdin: bytes.NewReader(c.files[len(c.files)-1])})
			if d := arrivals(g.packets); d != c.want || len(g.errs) > 0 {
				t.Errorf("through a pipe: %s\nwant %s\n%v", d, c.want, g.errs)
			}
		})
	}
}

func TestDataOfAMergedPacketStaysTillTheNext(t *testing.T) {
	// Two interleaved files in the smallest blocks: reading one ahead must not overwrite the packet of the other.
	var a, b []int
	for i := range 200 {
		a, b = append(a, 2*i), append(b, 2*i+1)
	}
	names := []string{writeFile(t, "a", timed(a...)), writeFile(t, "b", gz(timed(b...)))}
	for _, o := range []Options{{block: 16}, {block: 16, Passed: func(func()) {}}} {
		interleaved(t, readAll(t, names, o))
	}
}

// interleaved checks packets 0 to 399 of two files.
func interleaved(t *testing.T, g got) {
	t.Helper()
	if len(g.packets) != 400 {
		t.Fatalf("%d packets", len(g.packets))
	}
	for i, p := range g.packets {
		if p.Time != int64(i)*1e9 || !reflect.DeepEqual(p.Data, payload(4, byte(i))) {
			t.Fatalf("packet %d: time %d, data %x", i, p.Time, p.Data)
		}
	}
}

func TestAThousandRotatedFilesAreOpenOneByOne(t *testing.T) {
	dir := t.TempDir()
	var names []string
	for i := range 1000 {
		names = append(names, fmt.Sprintf("%s/%d", dir, i))
		if err := os.WriteFile(names[i], timed(1000-i, 1000-i), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Open(names, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var p Packet
	last, most, n := int64(0), 0, 0
	for ; r.Next(&p) == nil; n++ {
		if p.Time < last {
			t.Fatal("out of order")
		}
		last = p.Time
		most = max(most, len(r.open))
	}
	if n != 2000 || most > 2 || len(r.open) != 0 {
		t.Errorf("%d packets, %d files open at the same time, %d at the end", n, most, len(r.open))
	}
}

func TestMoreOverlappingFilesThanMayBeOpenAreAllRead(t *testing.T) {
	dir := t.TempDir()
	var names []string
	for i := range maxOpen + 50 {
		names = append(names, fmt.Sprintf("%s/%d", dir, i))
		if err := os.WriteFile(names[i], timed(1+i, 5000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Open(names, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var p Packet
	n, most, warned := 0, 0, 0
	for ; r.Next(&p) == nil; n++ {
		most = max(most, len(r.open))
	}
	for _, f := range r.Stats().Files {
		warned += len(f.Warnings)
	}
	if n != 2*len(names) || most > maxOpen || warned != 50 {
		t.Errorf("%d packets, %d files open, %d warnings", n, most, warned)
	}
}

func TestProgressEndsAtTheTotal(t *testing.T) {
	names := []string{writeFile(t, "a", timed(1, 2)), writeFile(t, "b", gz(timed(3)))}
	var read, total int64
	readAll(t, names, Options{Progress: func(r, n int64) {
		if r < read || r > n {
			t.Errorf("progress from %d to %d of %d", read, r, n)
		}
		read, total = r, n
	}})
	if total != int64(len(timed(1, 2))+len(gz(timed(3)))) || read != total {
		t.Errorf("%d of %d", read, total)
	}
	readAll(t, []string{names[0], "-"}, Options{Stdin: bytes.NewReader(timed(1)), Progress: func(r, n int64) {
		if n != 0 {
			t.Errorf("total %d with a pipe", n)
		}
	}})
}

func TestInterfaceNames(t *testing.T) {
	o := binary.LittleEndian
	name := func(s string) []byte { return ngOption(o, optIfName, []byte(s)) }
	a := cat(ngSection(o), ngIface(o, 1, 0, name("eth0")...), ngIface(o, 1, 0, name("eth1")...), ngEnhanced(o, 1, 1e6, 4, payload(4, 0)), ngEnhanced(o, 0, 3e6, 4, payload(4, 0)))
	names := []string{writeFile(t, "a", a), writeFile(t, "b", timed(2))}
	r, err := Open(names, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got []string
	var p Packet
	for r.Next(&p) == nil {
		got = append(got, r.InterfaceName(&p))
	}
	if want := []string{"eth1", "", "eth0"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
