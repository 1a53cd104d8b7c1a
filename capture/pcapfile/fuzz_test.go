package pcapfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"reflect"
	"runtime"
	"testing"
	"testing/iotest"
)

// FuzzReader: reading never panics, delivers consistent packets (readAll checks), and says the same however the bytes arrive, in
// whatever blocks, from disk or a pipe; errors are of the three kinds and lie within the file; and memory is bounded by the input.
func FuzzReader(f *testing.F) {
	for _, file := range samples() {
		f.Add(file, uint8(0))
		f.Add(gz(file), uint8(3))
		f.Add(zst(file), uint8(40))
		f.Add(file[:len(file)-3], uint8(1))
	}
	o := binary.LittleEndian
	f.Add(cat(ngSection(o), ngIface(o, 1, 20), o.AppendUint32(o.AppendUint32(nil, 6), 1<<24-4)), uint8(9))
	f.Add(cat(pcapHead(o, magicMicro, math.MaxUint32, 1), o.AppendUint32(make([]byte, 8), maxRecord)), uint8(9))
	f.Fuzz(func(t *testing.T, file []byte, chunk uint8) {
		if len(file) > 1<<16 {
			return
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		want := readBytes(t, file, Options{})
		runtime.ReadMemStats(&after)
		// A compressed file may hold a thousand times its length, and its window be allocated at once.
		if n := after.TotalAlloc - before.TotalAlloc; compression(file) == "" && n > 8<<20+300*uint64(len(file)) {
			t.Errorf("%d bytes allocated for a file of %d", n, len(file))
		}
		for i, in := range []io.Reader{
			iotest.OneByteReader(bytes.NewReader(file)),
			iotest.DataErrReader(bytes.NewReader(file)),
			iotest.HalfReader(bytes.NewReader(file)),
		} {
			o := Options{Stdin: in, block: 16 + i*int(chunk)}
			if chunk&1 == 1 {
				o.Passed = func(func()) {}
			}
			same(t, want, readAll(t, []string{"-"}, o))
		}
		for _, e := range want.errs {
			if !errors.Is(e, ErrTruncated) && !errors.Is(e, ErrCorrupt) && !errors.Is(e, ErrFormat) {
				t.Errorf("%v is of no kind", e)
			}
			if e.Offset < 0 || e.Compression == "" && e.Offset > int64(len(file)) {
				t.Errorf("%v lies beyond %d bytes", e, len(file))
			}
		}
		s := want.stats.Files
		if len(s) == 1 && (s[0].Packets != uint64(len(want.packets)) || len(s[0].Warnings) > maxWarnings || len(want.errs) > maxFileErrors+1) {
			t.Errorf("%+v with %d packets, %d errors", s, len(want.packets), len(want.errs))
		}
	})
}

func same(t *testing.T, want, g got) {
	t.Helper()
	if !reflect.DeepEqual(g.packets, want.packets) {
		t.Fatalf("packets\n%v\nwant\n%v", g.packets, want.packets)
	}
	if !reflect.DeepEqual(g.secrets, want.secrets) || !reflect.DeepEqual(g.stats, want.stats) {
		t.Fatalf("%v %+v\nwant %v %+v", g.secrets, g.stats, want.secrets, want.stats)
	}
	if len(g.errs) != len(want.errs) {
		t.Fatalf("%v, want %v", g.errs, want.errs)
	}
	for i := range g.errs {
		if g.errs[i].Error() != want.errs[i].Error() {
			t.Fatalf("%v, want %v", g.errs[i], want.errs[i])
		}
	}
}

// FuzzMerge: of two files every packet comes out, each file's in its own order, and in the order of time if both are.
func FuzzMerge(f *testing.F) {
	f.Add([]byte{1, 2, 3}, []byte{2, 2, 4})
	f.Add([]byte{9, 2, 255}, []byte{255, 1})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var names []string
		sorted := true
		want := [2][]int64{}
		for i, in := range [][]byte{a, b} {
			if len(in) == 0 || len(in) > 100 {
				return
			}
			var seconds []int
			for j, v := range in {
				seconds = append(seconds, int(int8(v)))
				sorted = sorted && int8(v) >= 0 && (j == 0 || v >= in[j-1])
				want[i] = append(want[i], max(0, int64(int8(v))*1e9))
			}
			names = append(names, writeFile(t, "f", timed(seconds...)))
		}
		g := readAll(t, names, Options{block: 16})
		var got [2][]int64
		for i, p := range g.packets {
			got[p.File] = append(got[p.File], p.Time)
			if sorted && i > 0 && (p.Time < g.packets[i-1].Time || p.Time == g.packets[i-1].Time && p.File < g.packets[i-1].File) {
				t.Errorf("out of order: %s", arrivals(g.packets))
			}
		}
		if !reflect.DeepEqual(got, want) || len(g.errs) > 0 {
			t.Errorf("%v, want %v; %v", got, want, g.errs)
		}
	})
}

// FuzzWriteRead: what was written is read, comments included, and the same calls write the same bytes.
func FuzzWriteRead(f *testing.F) {
	f.Add([]byte("data"), int64(1_700_000_000_123_456_789), uint32(1500), uint16(1), "eth0", "a comment", uint8(3))
	f.Add([]byte{}, int64(0), uint32(0), uint16(276), "", "\xff", uint8(0))
	f.Fuzz(func(t *testing.T, data []byte, at int64, length uint32, link uint16, name, comment string, count uint8) {
		if len(data) > 1<<16 || at < 0 {
			return
		}
		p := Packet{Link: LinkType(link), Time: at, TimeKnown: true, Data: data, Length: int(length)}
		write := func() []byte {
			return wrote(t, WriterOptions{Application: name}, func(w *Writer) {
				for i := range int(count%5) + 1 {
					must(t, w.WritePacket(&p, name[:len(name)*i/5], comment))
				}
			})
		}
		file := write()
		if !bytes.Equal(file, write()) {
			t.Error("the same calls write different bytes")
		}
		g := readBytes(t, file, Options{})
		if len(g.errs) > 0 || len(g.packets) != int(count%5)+1 || len(g.stats.Files[0].Warnings) > 0 {
			t.Fatalf("%d packets, %v", len(g.packets), g.errs)
		}
		for _, q := range g.packets {
			if q.Time != at || !q.TimeKnown || !bytes.Equal(q.Data, data) || q.Length != max(int(length), len(data)) || q.Link != fileLinkType(uint32(link)) {
				t.Errorf("%+v, want %+v", q, p)
			}
		}
		for _, c := range comments(t, file) {
			if c != cutUTF8(comment, maxOption) {
				t.Errorf("comment %q of %q", c, comment)
			}
		}
	})
}
