package pcapfile

import (
	"encoding/binary"
	"math"
	"math/big"
	"math/rand/v2"
	"reflect"
	"testing"
)

func TestPcapng(t *testing.T) {
	a, b := payload(60, 1), payload(61, 2)
	for name, o := range orders {
		var other order = binary.BigEndian
		if o == other {
			other = binary.LittleEndian
		}
		head := cat(ngSection(o), ngIface(o, 1, 0))
		n := int64(len(head))
		one := ngEnhanced(o, 0, 1_000_002, 60, a)
		first := brief{1_000_002_000, true, 1, string(a), 60, 0}
		resol := func(v byte) []byte { return ngOption(o, optIfTSResol, []byte{v}) }
		offset := func(v int64) []byte { return ngOption(o, optIfTSOffset, o.AppendUint64(nil, uint64(v))) }
		cases := []fileTest{
			{name: "no packets", file: head, format: "pcapng"},
			{name: "no interface", file: ngSection(o), format: "pcapng"},
			{name: "enhanced packets of two interfaces", want: []brief{first, {7_000_000_001, true, 113, string(b), 1500, 1}},
				file: cat(head, ngIface(o, 113, 0, resol(9)...), one, ngEnhanced(o, 1, 7_000_000_001, 1500, b))},
			{name: "padding and options after a packet", want: []brief{first, {0, true, 1, string(b), 61, 0}},
				file: cat(head, one, ngEnhanced(o, 0, 0, 61, b, cat(ngOption(o, optComment, []byte("one")), ngOption(o, optComment, nil), make([]byte, 4))...))},
			{name: "sections of either byte order, ids begin again", want: []brief{first, {1_000, true, 101, string(b), 61, 0}, {2_000_000_000, true, 1, string(a), 60, 0}},
				file: cat(head, one, ngSection(other), ngIface(other, 101, 0), ngEnhanced(other, 0, 1, 61, b),
					ngSection(o), ngIface(o, 1, 0, resol(0)...), ngEnhanced(o, 0, 2, 60, a))},
			{name: "an id of an earlier section is unknown", want: []brief{first}, err: ErrCorrupt, offset: n + int64(len(one)+len(ngSection(o))),
				file: cat(head, one, ngSection(o), one)},
			{name: "simple packets", want: []brief{{0, false, 1, string(a[:20]), 60, 0}, {0, false, 1, string(a[:7]), 7, 0}},
				file: cat(ngSection(o), ngIface(o, 1, 20), ngSimple(o, 60, a[:20]), ngSimple(o, 7, a[:7]))},
			{name: "simple packets without snap length", want: []brief{{0, false, 1, string(b), 61, 0}},
				file: cat(head, ngSimple(o, 61, b))},
			{name: "a simple packet longer than its block", err: ErrCorrupt, offset: n, want: []brief{first},
				file: cat(head, ngSimple(o, 600, b), one)},
			{name: "obsolete packet block", want: []brief{{1_000, true, 1, string(b), 99, 0}},
				file: cat(head, ngObsolete(o, 0, 3, 1, 99, b))},
			{name: "unknown blocks are skipped", want: []brief{first, first},
				file: cat(ngSection(o, ngOption(o, optHardware, []byte("x"))...), ngBlock(o, 0xbad, nil), ngIface(o, 1, 0), one,
					ngBlock(o, 0x80000001, payload(70000, 9)), ngBlock(o, 4, payload(30, 9)), one)},
			{name: "a length on the wire below the captured one", want: []brief{{1000, true, 1, string(a), 60, 0}},
				file: cat(head, ngEnhanced(o, 0, 1, 10, a))},
			{name: "milliseconds with offset", want: []brief{{105_250_000_000, true, 1, string(a), 60, 0}},
				file: cat(ngSection(o), ngIface(o, 1, 0, cat(resol(3), offset(100))...), ngEnhanced(o, 0, 5250, 60, a))},
			{name: "powers of two with negative offset", want: []brief{{-94_500_000_000, true, 1, string(a), 60, 0}},
				file: cat(ngSection(o), ngIface(o, 1, 0, cat(resol(0x8a), offset(-100))...), ngEnhanced(o, 0, 5*1024+512, 60, a))},
			{name: "picoseconds are cut", want: []brief{{5_123_456_789, true, 1, string(a), 60, 0}},
				file: cat(ngSection(o), ngIface(o, 1, 0, resol(12)...), ngEnhanced(o, 0, 5_123_456_789_999, 60, a))},
			{name: "a time that does not fit", want: []brief{{0, false, 1, string(a), 60, 0}}, warns: []string{"packet times outside of the years 1677 to 2262 were taken as unknown"},
				file: cat(head, ngEnhanced(o, 0, math.MaxUint64, 60, a))},
			{name: "options that run past the block", want: []brief{first}, warns: []string{"a block's options run past its end; the rest of them was ignored"},
				file: cat(head, ngEnhanced(o, 0, 1_000_002, 60, a, o.AppendUint16(o.AppendUint16(nil, 1), 5)...))},
			{name: "a bad block between good ones", want: []brief{first, first}, err: ErrCorrupt, offset: n + int64(len(one)),
				file: cat(head, one, ngEnhanced(o, 1, 0, 60, a), one)},
			{name: "more bytes of packet than of block", want: []brief{first}, err: ErrCorrupt, offset: n,
				file: cat(head, ngBlock(o, blockEnhanced, o.AppendUint32(o.AppendUint32(make([]byte, 12), 5), 5)), one)},
			{name: "a short enhanced packet block", want: []brief{first}, err: ErrCorrupt, offset: n,
				file: cat(head, ngBlock(o, blockEnhanced, make([]byte, 16)), one)},
			{name: "lengths in front and at the end differ", want: []brief{first}, err: ErrCorrupt, offset: n + int64(len(one)),
				file: cat(head, one, one[:len(one)-4], o.AppendUint32(nil, 44), one)},
			{name: "lengths of an unknown block differ", want: []brief{first}, err: ErrCorrupt, offset: n + int64(len(one)),
				file: cat(head, one, o.AppendUint32(o.AppendUint32(o.AppendUint32(nil, 77), 12), 16), one)},
			{name: "a length that is no multiple of four", want: []brief{first}, err: ErrCorrupt, offset: n + int64(len(one)),
				file: cat(head, one, o.AppendUint32(o.AppendUint32(nil, 6), 93), one)},
			{name: "a length below the least", want: []brief{first}, err: ErrCorrupt, offset: n + int64(len(one)),
				file: cat(head, one, o.AppendUint32(o.AppendUint32(nil, 6), 8), one)},
			{name: "an endless unknown block", want: []brief{first}, err: ErrTruncated, offset: n + int64(len(one)),
				file: cat(head, one, o.AppendUint32(o.AppendUint32(nil, 99), 0xfffffffc), one)},
			{name: "an endless packet block", want: []brief{first}, err: ErrTruncated, offset: n + int64(len(one)),
				file: cat(head, one, o.AppendUint32(o.AppendUint32(nil, 6), 0xfffffffc), one)},
			{name: "a packet block beyond the limit is skipped", want: []brief{first, first}, err: ErrCorrupt, offset: n + int64(len(one)),
				file: cat(head, one, ngBlock(o, blockEnhanced, make([]byte, maxBlock)), one)},
			{name: "a later section header without magic", want: []brief{first}, err: ErrCorrupt, offset: n + int64(len(one)),
				file: cat(head, one, ngBlock(o, blockSection, make([]byte, 16)))},
			{name: "a later section of an unknown version", want: []brief{first}, err: ErrFormat, offset: n + int64(len(one)),
				file: cat(head, one, func() []byte { s := ngSection(o); o.PutUint16(s[12:], 2); return s }())},
			{name: "a short interface block keeps its number", want: []brief{{1000, true, 113, string(a), 60, 2}}, err: ErrCorrupt, offset: n,
				file: cat(head, ngBlock(o, blockInterface, make([]byte, 4)), ngIface(o, 113, 0), ngEnhanced(o, 2, 1, 60, a))},
		}
		for _, c := range cases {
			t.Run(name+"/"+c.name, c.run)
		}
	}
}

func TestPcapngCountsWhatTheFileSaysWasLost(t *testing.T) {
	o := binary.LittleEndian
	u64 := func(v uint64) []byte { return o.AppendUint64(nil, v) }
	name := ngOption(o, optIfName, []byte("eth\x1b0"))
	counts := func(recv, drop, osdrop uint64) []byte {
		return cat(ngOption(o, optIfRecv, u64(recv)), ngOption(o, optIfDrop, u64(drop)), ngOption(o, optOSDrop, u64(osdrop)), make([]byte, 4))
	}
	file := cat(ngSection(o), ngIface(o, 1, 300, name...), ngIface(o, 113, 200),
		ngStatistics(o, 0, counts(100, 5, 1)...), ngStatistics(o, 0, counts(200, 7, 2)...), // replaces the one before
		ngStatistics(o, 1, counts(10, math.MaxUint64, 0)...),
		ngEnhanced(o, 0, 1, 60, payload(60, 0), cat(ngOption(o, optDropCount, u64(4)), make([]byte, 4))...),
		ngObsolete(o, 0, 3, 1, 60, payload(50, 0)), ngObsolete(o, 0, math.MaxUint16, 1, 60, payload(60, 0)),
		ngSection(o), ngIface(o, 1, 0, name...), ngStatistics(o, 0, counts(50, 1, 0)...))
	g := readBytes(t, file, Options{})
	if len(g.errs) > 0 {
		t.Fatal(g.errs)
	}
	want := FileStats{Name: "-", Format: "pcapng", LinkTypes: []LinkType{1, 113}, SnapLen: 300, Packets: 3, Bytes: 170, Cut: 1, PacketDrops: 7,
		Interfaces: []InterfaceStats{{"eth?0", 1, 250, 8, 2}, {"", 113, 10, 0, 0}}}
	if !reflect.DeepEqual(g.stats.Files[0], want) {
		t.Errorf("%+v\nwant\n%+v", g.stats.Files[0], want)
	}
	if n := g.stats.Files[0].Lost(); n != 10 {
		t.Errorf("Lost() = %d", n)
	}
}

func TestSecretsComeWhereTheyStand(t *testing.T) {
	o := binary.BigEndian
	file := cat(ngSection(o), ngIface(o, 1, 0), ngSecrets(o, SecretsTLSKeyLog, "first"), ngEnhanced(o, 0, 1, 60, payload(60, 0)),
		ngSecrets(o, SecretsTLSKeyLog, "second"), ngEnhanced(o, 0, 2, 60, payload(60, 0)), ngSecrets(o, 1, ""))
	var seen []string
	r, err := Open([]string{writeFile(t, "a", file), writeFile(t, "b", file)}, Options{Secrets: func(kind uint32, data []byte) {
		seen = append(seen, string(data))
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if len(seen) != 0 {
		t.Errorf("Open gave %q", seen)
	}
	var p Packet
	for r.Next(&p) == nil {
		seen = append(seen, string('0'+rune(p.Time/1000)))
	}
	want := []string{"first", "first", "1", "second", "1", "second", "2", "", "2", ""}
	if !reflect.DeepEqual(seen, want) {
		t.Errorf("%q, want %q", seen, want)
	}
	if e := r.Errs(); len(e) > 0 {
		t.Error(e)
	}
}

// TestClock compares with exact arithmetic.
func TestClock(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 100000 {
		resol, offset, ts := byte(rnd.UintN(256)), int64(0), rnd.Uint64()>>rnd.UintN(64)
		if rnd.UintN(2) == 0 {
			offset = int64(rnd.Uint64()) >> rnd.UintN(64)
		}
		base := big.NewInt(10)
		if resol&0x80 != 0 {
			base = big.NewInt(2)
		}
		want := new(big.Int).Mul(new(big.Int).SetUint64(ts), big.NewInt(1e9))
		want.Div(want, new(big.Int).Exp(base, big.NewInt(int64(resol&0x7f)), nil))
		want.Add(want, new(big.Int).Mul(big.NewInt(offset), big.NewInt(1e9)))
		c := newClock(resol, offset)
		got, ok := c.time(ts)
		if ok != want.IsInt64() || ok && got != want.Int64() || !ok && got != 0 {
			t.Fatalf("resolution %#x, offset %d, %d: %d %v, want %v", resol, offset, ts, got, ok, want)
		}
	}
}
