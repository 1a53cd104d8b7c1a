package pcapfile

import (
	"encoding/binary"
	"errors"
	"reflect"
	"testing"
)

// brief is what the format tests compare of a packet.
type brief struct {
	Time   int64
	Known  bool
	Link   LinkType
	Data   string
	Length int
	Iface  int
}

func briefs(packets []Packet) []brief {
	var out []brief
	for _, p := range packets {
		out = append(out, brief{p.Time, p.TimeKnown, p.Link, string(p.Data), p.Length, p.Interface})
	}
	return out
}

// fileTest is a file and what must come out of it. It is read in blocks of several sizes.
type fileTest struct {
	name   string
	file   []byte
	want   []brief
	format string
	warns  []string
	err    error // of Errs, at offset
	offset int64
}

func (c *fileTest) run(t *testing.T) {
	t.Helper()
	for _, size := range []int{0, 4096, 100, 16} {
		if size > 0 && size < 4096 && len(c.file) > 1<<20 {
			continue // would take long and show nothing more
		}
		g := readBytes(t, c.file, Options{block: size})
		same(t, g, readBytes(t, c.file, Options{block: size, Passed: func(func()) {}}))
		if d := briefs(g.packets); !reflect.DeepEqual(d, c.want) {
			t.Fatalf("blocks of %d: packets\n%+v\nwant\n%+v", size, d, c.want)
		}
		if c.err == nil && len(g.errs) > 0 {
			t.Fatalf("blocks of %d: %v", size, g.errs)
		}
		if c.err != nil && (len(g.errs) != 1 || !errors.Is(g.errs[0], c.err) || g.errs[0].Offset != c.offset || g.errs[0].File != "-") {
			t.Fatalf("blocks of %d: errors %v, want %v at offset %d", size, g.errs, c.err, c.offset)
		}
		s := g.stats.Files[0]
		if c.format != "" && s.Format != c.format {
			t.Errorf("format %q, want %q", s.Format, c.format)
		}
		if !reflect.DeepEqual(s.Warnings, c.warns) {
			t.Errorf("warnings %q, want %q", s.Warnings, c.warns)
		}
	}
}

func TestPcap(t *testing.T) {
	a, b := payload(60, 1), payload(61, 2)
	for name, o := range orders {
		head := pcapHead(o, magicMicro, 65535, 1)
		two := []brief{{1_000_000_002_000, true, 1, string(a), 60, 0}, {1_001_999_999_000, true, 1, string(b), 1500, 0}}
		cases := []fileTest{
			{name: "microseconds", format: "pcap", want: two,
				file: cat(head, pcapRec(o, 1000, 2, 60, a), pcapRec(o, 1001, 999999, 1500, b))},
			{name: "nanoseconds", format: "pcap (nanoseconds)",
				want: []brief{{1_000_000_000_002, true, 1, string(a), 60, 0}},
				file: cat(pcapHead(o, magicNano, 0, 1), pcapRec(o, 1000, 2, 60, a))},
			{name: "modified, with long record headers", format: "pcap (modified)", want: two,
				file: cat(pcapHead(o, magicKuznetzov, 65535, 1),
					pcapRec(o, 1000, 2, 60, a, 1, 2, 3, 4, 5, 6, 7, 8), pcapRec(o, 1001, 999999, 1500, b, 1, 2, 3, 4, 5, 6, 7, 8))},
			{name: "IXIA hardware", format: "pcap (IXIA)", want: two,
				file: cat(pcapHead(o, magicIxiaHW, 65535, 1), []byte{9, 9, 9, 9}, pcapRec(o, 1000, 2, 60, a), pcapRec(o, 1001, 999999, 1500, b))},
			{name: "IXIA software", format: "pcap (IXIA)", want: two[:1],
				file: cat(pcapHead(o, magicIxiaSW, 65535, 1), []byte{9, 9, 9, 9}, pcapRec(o, 1000, 2, 60, a))},
			{name: "no packets", format: "pcap", file: head},
			{name: "empty packet", want: []brief{{5e9, true, 1, "", 0, 0}, {6e9, true, 1, "", 7, 0}},
				file: cat(head, pcapRec(o, 5, 0, 0, nil), pcapRec(o, 6, 0, 7, nil))},
			{name: "a time beyond 2038", want: []brief{{4_294_967_295_000_001_000, true, 1, string(a), 60, 0}},
				file: cat(head, pcapRec(o, 0xffffffff, 1, 60, a))},
			{name: "a fraction of more than a second is added",
				want:  []brief{{1_002_000_005_000, true, 1, string(a), 60, 0}},
				warns: []string{"the fraction of a packet time is a second or more; it was added to the seconds"},
				file:  cat(head, pcapRec(o, 1000, 2000005, 60, a))},
			{name: "a nanosecond fraction of more than a second is added, warned of once",
				want:  []brief{{1_004_294_967_295, true, 1, string(a), 60, 0}, {1_001_000_000_000, true, 1, string(a), 60, 0}},
				warns: []string{"the fraction of a packet time is a second or more; it was added to the seconds"},
				file:  cat(pcapHead(o, magicNano, 0, 1), pcapRec(o, 1000, 0xffffffff, 60, a), pcapRec(o, 1000, 1e9, 60, a))},
			{name: "a wire length below the captured one is corrected", want: []brief{{1e9, true, 1, string(a), 60, 0}},
				file: cat(head, pcapRec(o, 1, 0, 10, a))},
			{name: "frame check sequence bits in the link type", want: []brief{{1e9, true, 101, string(a), 60, 0}},
				file: cat(pcapHead(o, magicMicro, 65535, 101|0x04000000|2<<28), pcapRec(o, 1, 0, 60, a))},
			{name: "DLT_RAW of some systems", want: []brief{{1e9, true, 101, string(a), 60, 0}},
				file: cat(pcapHead(o, magicMicro, 65535, 12), pcapRec(o, 1, 0, 60, a))},
			{name: "a snap length that is not true", want: []brief{{1e9, true, 1, string(a), 60, 0}},
				file: cat(pcapHead(o, magicMicro, 20, 1), pcapRec(o, 1, 0, 60, a))},
			{name: "the longest usual record", want: []brief{{1e9, true, 1, string(payload(usualRecord, 3)), usualRecord, 0}},
				file: cat(head, pcapRec(o, 1, 0, usualRecord, payload(usualRecord, 3)))},
			{name: "a longer record", want: two[:1], err: ErrCorrupt, offset: 24 + 76,
				file: cat(head, pcapRec(o, 1000, 2, 60, a), pcapRec(o, 1, 0, usualRecord+1, payload(usualRecord+1, 3)))},
			{name: "a longer record where the snap length allows it", want: []brief{{1e9, true, 1, string(payload(usualRecord+1, 3)), usualRecord + 1, 0}},
				file: cat(pcapHead(o, magicMicro, 300000, 1), pcapRec(o, 1, 0, usualRecord+1, payload(usualRecord+1, 3)))},
			{name: "a record beyond every limit", err: ErrCorrupt, offset: 24,
				file: cat(pcapHead(o, magicMicro, 0xffffffff, 1), o.AppendUint32(make([]byte, 8), maxRecord+1), make([]byte, 100))},
			{name: "lengths swapped before version 2.3", want: []brief{{1e9, true, 1, string(a), 90, 0}},
				file: swapped(o, 2, a)},
			{name: "lengths perhaps swapped in version 2.3", want: []brief{{1e9, true, 1, string(a), 90, 0}},
				file: swapped(o, 3, a)},
			{name: "a later minor version", want: []brief{{1e9, true, 1, string(a), 90, 0}},
				warns: []string{"pcap version 2.9 is unknown; it is read as 2.4"}, file: swapped(o, 9, a)},
			{name: "two files joined", want: append(two[:1:1], brief{5, true, 113, string(b), 61, 0}),
				warns: []string{"several pcap files are joined in this one"},
				file:  cat(head, pcapRec(o, 1000, 2, 60, a), pcapHead(binary.BigEndian, magicNano, 99, 113), pcapRec(binary.BigEndian, 0, 5, 61, b))},
			{name: "two files joined, the second cut in its header", want: two[:1], err: ErrTruncated, offset: 100,
				file: cat(head, pcapRec(o, 1000, 2, 60, a), head[:23])},
		}
		for _, c := range cases {
			t.Run(name+"/"+c.name, c.run)
		}
	}
}

// swapped is a file of version 2.minor whose record has the lengths in the order of that version.
func swapped(o order, minor uint16, data []byte) []byte {
	h := pcapHead(o, magicMicro, 65535, 1)
	o.PutUint16(h[6:], minor)
	r := pcapRec(o, 1, 0, 90, data)
	if minor < 4 {
		o.PutUint32(r[8:], 90)
		o.PutUint32(r[12:], uint32(len(data)))
	}
	return cat(h, r)
}

func TestUnknownPcapVersionIsRefused(t *testing.T) {
	h := pcapHead(binary.LittleEndian, magicMicro, 65535, 1)
	h[4] = 3
	_, err := Open([]string{writeFile(t, "a.pcap", h)}, Options{})
	if !errors.Is(err, ErrFormat) {
		t.Errorf("%v", err)
	}
}
