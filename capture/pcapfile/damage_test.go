package pcapfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

// samples are small files of each format.
func samples() map[string][]byte {
	le, be := binary.LittleEndian, binary.BigEndian
	return map[string][]byte{
		"pcap": cat(pcapHead(le, magicMicro, 65535, 1), pcapRec(le, 1, 2, 60, payload(60, 1)), pcapRec(le, 2, 2, 0, nil), pcapRec(le, 3, 2, 99, payload(33, 2))),
		"pcap modified": cat(pcapHead(be, magicKuznetzov, 65535, 1), pcapRec(be, 1, 2, 5, payload(5, 1), make([]byte, 8)...),
			pcapRec(be, 1, 2, 5, payload(5, 1), make([]byte, 8)...)),
		"pcap IXIA":   cat(pcapHead(le, magicIxiaHW, 65535, 1), make([]byte, 4), pcapRec(le, 1, 2, 5, payload(5, 1))),
		"pcap joined": cat(pcapHead(be, magicNano, 65535, 1), pcapRec(be, 1, 2, 5, payload(5, 1)), pcapHead(le, magicMicro, 65535, 1), pcapRec(le, 1, 2, 5, payload(5, 1))),
		"pcapng":      cat(ngSection(le), ngIface(le, 1, 0), ngEnhanced(le, 0, 7, 60, payload(60, 1)), ngSimple(le, 5, payload(5, 3)), ngBlock(le, 99, payload(50, 0)), ngEnhanced(le, 0, 8, 90, payload(33, 2))),
		"pcapng, two sections": cat(ngSection(be), ngIface(be, 1, 0), ngEnhanced(be, 0, 7, 60, payload(60, 1)), ngSecrets(be, SecretsTLSKeyLog, "secret"),
			ngSection(le), ngIface(le, 113, 0), ngObsolete(le, 0, 0, 8, 90, payload(33, 2))),
	}
}

// boundaries are the offsets in a sample at which a record, block or header ends, by the sample's own lengths.
func boundaries(file []byte) map[int]bool {
	at := map[int]bool{}
	var o binary.ByteOrder = binary.LittleEndian
	ng := binary.LittleEndian.Uint32(file) == magicSection
	for i := 0; i < len(file); {
		rest := file[i:]
		if known, _ := isMagic(rest); known && !ng {
			o = binary.LittleEndian
			if rest[0] == 0xa1 {
				o = binary.BigEndian
			}
			i += pcapHeader
			if o.Uint32(rest) == magicIxiaHW {
				i += ixiaExtra
			}
		} else if ng {
			if known {
				o = binary.LittleEndian
				if rest[8] == 0x1a {
					o = binary.BigEndian
				}
			}
			i += int(o.Uint32(rest[4:]))
		} else {
			i += pcapRecord + int(o.Uint32(rest[8:]))
			if binary.BigEndian.Uint32(file) == magicKuznetzov {
				i += 8
			}
		}
		at[i] = true
	}
	return at
}

func TestEveryPrefixGivesAPrefixOfThePackets(t *testing.T) {
	for name, file := range samples() {
		t.Run(name, func(t *testing.T) {
			whole := readBytes(t, file, Options{})
			if len(whole.errs) > 0 {
				t.Fatal(whole.errs)
			}
			ends := boundaries(file)
			last := 0
			for n := range len(file) + 1 {
				if ends[n] {
					last = n
				}
				for _, size := range []int{0, 16} {
					g := readBytes(t, file[:n], Options{block: size})
					if len(g.packets) > len(whole.packets) || len(g.packets) > 0 && !reflect.DeepEqual(g.packets, whole.packets[:len(g.packets)]) {
						t.Fatalf("%d bytes: %v is no prefix of %v", n, g.packets, whole.packets)
					}
					switch {
					case n == 0:
						if len(g.errs) != 1 || !errors.Is(g.errs[0], ErrFormat) {
							t.Fatalf("empty: %v", g.errs)
						}
					case ends[n]:
						if len(g.errs) != 0 {
							t.Fatalf("%d bytes, complete: %v", n, g.errs)
						}
					default:
						if len(g.errs) != 1 || !errors.Is(g.errs[0], ErrTruncated) || g.errs[0].Offset != int64(last) {
							t.Fatalf("%d bytes: %v, want truncation at %d", n, g.errs, last)
						}
					}
				}
			}
		})
	}
}

func TestWhatIsNoCaptureIsNamed(t *testing.T) {
	pcap := samples()["pcap"]
	for _, c := range []struct {
		name string
		file []byte
		want string
	}{
		{"empty file", nil, "it is empty"},
		{"empty gzip", gz(nil), "the gzip data is empty"},
		{"empty zstd", zst(nil), "the zstd data is empty"},
		{"text", []byte("10:00:00.1 IP 10.0.0.1 > 10.0.0.2\n"), `it looks like text, "10:00:00.1 IP 10"`},
		{"text of two bytes", []byte("hi"), `it looks like text, "hi"`},
		{"text in UTF-8, cut inside a rune", []byte("Verkehr-abc-123ä"), `it looks like text`},
		{"key log", []byte("CLIENT_RANDOM 0123"), "it looks like a TLS key log"},
		{"gzip inside gzip", gz(gz(pcap)), "gzip inside gzip is not read; unpack it once"},
		{"zstd inside gzip", gz(zst(pcap)), "zstd inside gzip is not read; unpack it once"},
		{"snoop", []byte("snoop\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x04"), "it is a snoop file"},
		{"ERF", []byte("\x00\x00\x00\x80\x00\x00\x00\x60\x02\x04\x00\x50\x00\x00\x00\x3c"), "it looks like an ERF file"},
		{"xz", []byte("\xfd7zXZ\x00\x00\x04"), "it is compressed by xz"},
		{"program", []byte("\x7fELF\x02\x01\x01\x00"), "it is a program (ELF)"},
		{"noise", []byte{0, 1, 2, 0xff}, "it begins with 00 01 02 ff"},
		{"pcapng without byte order", cat([]byte("\n\r\r\n"), make([]byte, 40)), "without a byte-order magic"},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := writeFile(t, "a.pcap", c.file)
			g := readAll(t, []string{name}, Options{})
			for _, g := range []got{g, readBytes(t, c.file, Options{})} {
				if len(g.errs) != 1 || !errors.Is(g.errs[0], ErrFormat) || !strings.Contains(g.errs[0].Error(), c.want) {
					t.Errorf("%v, want %q", g.errs, c.want)
				}
			}
		})
	}
}

func TestOneUnreadableFileDoesNotKeepTheOthersFromBeingRead(t *testing.T) {
	good := writeFile(t, "good.pcap", samples()["pcap"])
	text := writeFile(t, "text.pcap", []byte("no capture at all"))
	cut := writeFile(t, "cut.pcap", samples()["pcap"][:24+76+5])
	dir := t.TempDir()
	g := readAll(t, []string{text, good, "/nonexistent/a.pcap", cut, dir}, Options{})
	if len(g.packets) != 4 {
		t.Errorf("%d packets", len(g.packets))
	}
	if len(g.errs) != 4 || !errors.Is(g.errs[0], ErrFormat) || !errors.Is(g.errs[1], fs.ErrNotExist) || !errors.Is(g.errs[2], ErrTruncated) || !errors.Is(g.errs[3], ErrFormat) {
		t.Errorf("errors %v", g.errs)
	}
	for i, want := range []string{
		text + `: not a readable capture file: it looks like text, "no capture at al"`,
		"/nonexistent/a.pcap: stat: no such file or directory",
		cut + ": offset 100: truncated: a record header of 16 bytes begins here, but the file has only 5 more",
		dir + ": not a readable capture file: it is a directory",
	} {
		if got := g.errs[i].Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if s := g.stats.Files; s[0].Skipped != 17 || s[1].Skipped != 0 || s[3].Skipped != 5 {
		t.Errorf("skipped %d %d %d", s[0].Skipped, s[1].Skipped, s[3].Skipped)
	}
}

func TestNothingReadableIsAnErrorOfOpen(t *testing.T) {
	text := writeFile(t, "text.pcap", []byte("no capture at all"))
	for name, names := range map[string][]string{"no name": nil, "one": {text}, "two": {text, "/nonexistent"}, "standard input twice": {"-", "-"}} {
		if r, err := Open(names, Options{}); err == nil || r != nil {
			t.Errorf("%s: %v %v", name, r, err)
		}
	}
}

func TestAReadErrorKeepsItsCause(t *testing.T) {
	file := samples()["pcap"]
	broken := errors.New("broken disk")
	for _, in := range []io.Reader{
		io.MultiReader(bytes.NewReader(file[:110]), iotest.ErrReader(broken)),
		io.MultiReader(bytes.NewReader(gz(file)), iotest.ErrReader(broken)),
		io.MultiReader(bytes.NewReader(zst(file)), iotest.ErrReader(broken)),
	} {
		g := readAll(t, []string{"-"}, Options{Stdin: in})
		if len(g.packets) == 0 || len(g.errs) != 1 || !errors.Is(g.errs[0], broken) || errors.Is(g.errs[0], ErrTruncated) {
			t.Errorf("%d packets, %v", len(g.packets), g.errs)
		}
	}
}

func TestTheReportOfABadFileStaysSmall(t *testing.T) {
	o := binary.LittleEndian
	file := ngSection(o)
	for i := range 2000 {
		file = append(file, ngIface(o, uint16(i), 0, ngOption(o, optIfName, payload(200, byte(i)))...)...)
		file = append(file, ngEnhanced(o, 99999, 0, 0, nil)...)
	}
	g := readBytes(t, file, Options{})
	s := g.stats.Files[0]
	if len(g.errs) != maxFileErrors || s.BadBlocks != 2000 || len(s.Interfaces) != maxIfaceStats || len(s.LinkTypes) != maxLinkTypes || len(s.Warnings) != 1 {
		t.Errorf("%d errors, %d bad blocks, %d interfaces, %d link types, warnings %q", len(g.errs), s.BadBlocks, len(s.Interfaces), len(s.LinkTypes), s.Warnings)
	}
	for _, i := range s.Interfaces {
		if len(i.Name) > maxNameBytes {
			t.Errorf("name of %d bytes", len(i.Name))
		}
	}
}

func TestTooManyInterfacesEndTheFile(t *testing.T) {
	o := binary.LittleEndian
	file := cat(ngSection(o), bytes.Repeat(ngIface(o, 1, 0), maxInterfaces+1))
	g := readBytes(t, file, Options{})
	if len(g.errs) != 1 || !errors.Is(g.errs[0], ErrCorrupt) {
		t.Errorf("%v", g.errs)
	}
}

func TestAFileThatVanishesBeforeItsTurnIsNoted(t *testing.T) {
	a, b := writeFile(t, "a", samples()["pcap"]), writeFile(t, "b", samples()["pcap"])
	r, err := Open([]string{a, b}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := os.Remove(b); err != nil {
		t.Fatal(err)
	}
	var p Packet
	n := 0
	for err = r.Next(&p); err == nil; err = r.Next(&p) {
		n++
	}
	if err != io.EOF || n != 3 || len(r.Errs()) != 1 || !errors.Is(r.Errs()[0], fs.ErrNotExist) {
		t.Errorf("%d packets, %v, %v", n, err, r.Errs())
	}
}
