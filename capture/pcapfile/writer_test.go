package pcapfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

// wrote is a file made by the Writer.
func wrote(t testing.TB, o WriterOptions, write func(w *Writer)) []byte {
	t.Helper()
	var out bytes.Buffer
	w := NewWriter(&out, o)
	write(w)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWriterMakesTheBytesOfTheFormat(t *testing.T) {
	o := binary.LittleEndian
	a, b := payload(61, 1), payload(4, 2)
	got := wrote(t, WriterOptions{OS: "Linux", Application: "dynwatch 1.0"}, func(w *Writer) {
		must(t, w.WritePacket(&Packet{Link: 1, Time: 5_000_000_001, TimeKnown: true, Data: a, Length: 1500}, "eth0"))
		must(t, w.WritePacket(&Packet{Link: 113, Time: 6, TimeKnown: true, Data: b, Length: 0}, "any", "first", "", "second one"))
		must(t, w.WritePacket(&Packet{Link: 1, Time: 7, TimeKnown: false, Length: 9}, "eth0"))
		must(t, w.WritePacket(&Packet{Link: 1, Time: -1, TimeKnown: true}, ""))
		must(t, w.WriteStatistics(113, "any", 9, 100, 3))
	})
	end := make([]byte, 4)
	nano := cat(ngOption(o, optIfTSResol, []byte{9}), end)
	want := cat(
		ngSection(o, cat(ngOption(o, optOS, []byte("Linux")), ngOption(o, optApplication, []byte("dynwatch 1.0")), end)...),
		ngIface(o, 1, 0, cat(ngOption(o, optIfName, []byte("eth0")), nano)...),
		ngEnhanced(o, 0, 5_000_000_001, 1500, a),
		ngIface(o, 113, 0, cat(ngOption(o, optIfName, []byte("any")), nano)...),
		ngEnhanced(o, 1, 6, 4, b, cat(ngOption(o, optComment, []byte("first")), ngOption(o, optComment, []byte("second one")), end)...),
		ngEnhanced(o, 0, 0, 9, nil),
		ngIface(o, 1, 0, nano...),
		ngEnhanced(o, 2, 0, 0, nil),
		func() []byte {
			s := ngStatistics(o, 1, cat(ngOption(o, optIfRecv, o.AppendUint64(nil, 100)), ngOption(o, optIfDrop, o.AppendUint64(nil, 3)), end)...)
			o.PutUint32(s[16:], 9)
			return s
		}())
	if !bytes.Equal(got, want) {
		t.Errorf("wrote\n%x\nwant\n%x", got, want)
	}
	if f := readBytes(t, got, Options{}).stats.Files[0]; f.Lost() != 3 || f.Interfaces[1].Received != 100 {
		t.Errorf("%+v", f)
	}
}

func TestAFileWithoutPacketsIsComplete(t *testing.T) {
	g := readBytes(t, wrote(t, WriterOptions{}, func(*Writer) {}), Options{})
	if len(g.packets) != 0 || len(g.errs) != 0 {
		t.Errorf("%v", g)
	}
}

// comments are those of a file's enhanced packets, read without the package.
func comments(t testing.TB, file []byte) (all []string) {
	t.Helper()
	for len(file) > 0 {
		n := binary.LittleEndian.Uint32(file[4:])
		b := file[8 : n-4]
		if binary.LittleEndian.Uint32(file) == blockEnhanced {
			b = b[20+(binary.LittleEndian.Uint32(b[12:])+3)&^3:]
			for len(b) > 0 {
				code, size := binary.LittleEndian.Uint16(b), int(binary.LittleEndian.Uint16(b[2:]))
				if code == optComment {
					all = append(all, string(b[4:4+size]))
				}
				b = b[4+(size+3)&^3:]
			}
		}
		file = file[n:]
	}
	return all
}

func TestCommentsAreCutToUTF8(t *testing.T) {
	long := strings.Repeat("x", maxOption)
	for _, c := range []struct{ in, want string }{
		{"plain", "plain"},
		{long, long},
		{long + "y", long},
		{long[:maxOption-1] + "ä", long[:maxOption-1]},
		{long[:maxOption-2] + "ä", long[:maxOption-2] + "ä"},
		{"a\xffb", "a\uFFFDb"},
		{long[:maxOption-1] + "\xff", long[:maxOption-1]},
		{strings.Repeat("\xffz", maxOption), strings.Repeat("\uFFFDz", maxOption)[:maxOption/4*4+3]},
	} {
		got := comments(t, wrote(t, WriterOptions{}, func(w *Writer) { must(t, w.WritePacket(&Packet{Link: 1}, "", c.in)) }))
		if !reflect.DeepEqual(got, []string{c.want}) || !utf8.ValidString(got[0]) {
			t.Errorf("%.20q of %d bytes: %d comments, %.20q of %d bytes, want %d", c.in, len(c.in), len(got), got[0], len(got[0]), len(c.want))
		}
	}
}

func TestWhatNoReaderTakesIsRefused(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out, WriterOptions{})
	for name, p := range map[string]*Packet{"link type": {Link: 65536}, "size": {Link: 1, Data: make([]byte, maxBlock-32)}} {
		if err := w.WritePacket(p, ""); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := w.WritePacket(&Packet{Link: 1}, "", make([]string, 300)...); err != nil {
		t.Errorf("empty comments: %v", err)
	}
	many := make([]string, 300)
	for i := range many {
		many[i] = strings.Repeat("x", maxOption)
	}
	if err := w.WritePacket(&Packet{Link: 1}, "", many...); err == nil {
		t.Error("20 MB of comments accepted")
	}
	must(t, w.WritePacket(&Packet{Link: 1, Data: make([]byte, maxBlock-100), Length: math.MaxInt}, ""))
	must(t, w.Flush())
	g := readBytes(t, out.Bytes(), Options{})
	if len(g.packets) != 2 || len(g.errs) > 0 || g.packets[1].Length != math.MaxUint32 {
		t.Errorf("%d packets, %v", len(g.packets), g.errs)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestAWriteErrorStays(t *testing.T) {
	full := errors.New("disk full")
	w := NewWriter(failing{full}, WriterOptions{})
	must(t, w.WritePacket(&Packet{Link: 1, Data: make([]byte, 100)}, ""))
	for range 2 {
		if err := w.Flush(); !errors.Is(err, full) {
			t.Errorf("Flush: %v", err)
		}
		if err := w.WritePacket(&Packet{Link: 1}, ""); !errors.Is(err, full) {
			t.Errorf("WritePacket: %v", err)
		}
		if err := w.WriteStatistics(1, "", 0, 0, 0); !errors.Is(err, full) {
			t.Errorf("WriteStatistics: %v", err)
		}
	}
}

func TestTsharkReadsWhatTheWriterWrote(t *testing.T) {
	file := wrote(t, WriterOptions{Hardware: "x86_64", OS: "Linux", Application: "dynwatch 1.0"}, func(w *Writer) {
		must(t, w.WritePacket(&Packet{Link: 1, Time: 1_700_000_000_123_456_789, TimeKnown: true, Data: payload(60, 1), Length: 1500}, "eth0", "plaintext [critical] Grüße"))
		must(t, w.WritePacket(&Packet{Link: 101, Time: 1_700_000_001_000_000_000, TimeKnown: true, Data: payload(41, 1), Length: 41}, "tun0"))
		must(t, w.WriteStatistics(1, "eth0", 1_700_000_002_000_000_000, 10, 2))
	})
	cmd := testenv.Command(t, "tshark", "-n", "-r", writeFile(t, "a.pcapng", file), "-T", "fields", "-E", "separator=;",
		"-e", "frame.number", "-e", "frame.time_epoch", "-e", "frame.cap_len", "-e", "frame.len", "-e", "frame.interface_name", "-e", "frame.comment")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	const want = "1;1700000000.123456789;60;1500;eth0;plaintext [critical] Grüße\n2;1700000001.000000000;41;41;tun0;\n"
	if string(out) != want {
		t.Errorf("tshark says\n%swant\n%s", out, want)
	}
}

func TestWritingAllocatesNothing(t *testing.T) {
	w := NewWriter(failing{nil}, WriterOptions{})
	w.w = discard{}
	p := Packet{Link: 1, Data: payload(200, 0), TimeKnown: true}
	for range 2000 {
		must(t, w.WritePacket(&p, "eth0", "a comment"))
	}
	if n := testing.AllocsPerRun(2000, func() { w.WritePacket(&p, "eth0", "a comment") }); n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func BenchmarkWriter(b *testing.B) {
	w := NewWriter(discard{}, WriterOptions{})
	p := Packet{Link: 1, Data: payload(200, 0), TimeKnown: true, Length: 1500}
	b.ReportAllocs()
	for b.Loop() {
		if err := w.WritePacket(&p, "eth0"); err != nil {
			b.Fatal(err)
		}
	}
}
