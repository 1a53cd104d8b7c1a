package pcapfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

func gz(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

func zst(b []byte) []byte {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithZeroFrames(true), zstd.WithEncoderCRC(true))
	if err != nil {
		panic(err)
	}
	return w.EncodeAll(b, nil)
}

func TestCompressedFilesGiveTheSame(t *testing.T) {
	for name, file := range samples() {
		want := readBytes(t, file, Options{})
		half := len(file) / 2
		for kind, packed := range map[string][]byte{
			"gzip":                        gz(file),
			"gzip, two members":           cat(gz(file[:half]), gz(nil), gz(file[half:])),
			"zstd":                        zst(file),
			"zstd, two frames":            cat(zst(file[:half]), []byte{0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3}, zst(file[half:])),
			"zstd, skippable frame first": cat([]byte{0x5e, 0x2a, 0x4d, 0x18, 0, 0, 0, 0}, zst(file)),
		} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				onDisk := readAll(t, []string{writeFile(t, "name-says-nothing", packed)}, Options{})
				piped := readAll(t, []string{"-"}, Options{Stdin: iotest.OneByteReader(bytes.NewReader(packed))})
				for _, g := range []got{onDisk, piped} {
					if !reflect.DeepEqual(g.packets, want.packets) || len(g.errs) > 0 || !reflect.DeepEqual(g.secrets, want.secrets) {
						t.Errorf("%d packets of %d, errors %v", len(g.packets), len(want.packets), g.errs)
					}
					if c := g.stats.Files[0].Compression; c != kind[:4] {
						t.Errorf("compression %q", c)
					}
				}
			})
		}
	}
}

func TestACompressedFileCutShortGivesWhatWasThere(t *testing.T) {
	// Large enough for several blocks of either format, and not compressible.
	o := binary.LittleEndian
	file := pcapHead(o, magicMicro, 0, 1)
	data := make([]byte, 1000)
	x := uint32(1)
	for i := range uint32(600) {
		for j := range data {
			x = x*1664525 + 1013904223
			data[j] = byte(x >> 24)
		}
		file = append(file, pcapRec(o, i, 0, 1000, data)...)
	}
	for kind, packed := range map[string][]byte{"gzip": gz(file), "zstd": zst(file)} {
		t.Run(kind, func(t *testing.T) {
			before := 0
			for _, n := range []int{5, 20, len(packed) / 3, len(packed) / 2, len(packed) - 1} {
				g := readBytes(t, packed[:n], Options{})
				if len(g.errs) != 1 || !errors.Is(g.errs[0], ErrTruncated) {
					t.Fatalf("%d bytes: %v", n, g.errs)
				}
				if len(g.packets) < before {
					t.Errorf("%d bytes: %d packets, less than %d", n, len(g.packets), before)
				}
				before = len(g.packets)
				if want := int64(pcapHeader + before*1016); before > 0 && g.errs[0].Offset != want {
					t.Errorf("%d bytes: offset %d after %d packets", n, g.errs[0].Offset, before)
				}
				if n > 1000 && g.errs[0].Compression != kind {
					t.Errorf("compression %q", g.errs[0].Compression)
				}
			}
			if before < 400 {
				t.Errorf("only %d packets of all bytes but one", before)
			}
			bad := bytes.Clone(packed)
			for i := range 64 {
				bad[len(bad)/2+i] ^= 0x55
			}
			g := readBytes(t, bad, Options{})
			if len(g.errs) != 1 || !errors.Is(g.errs[0], ErrCorrupt) && !errors.Is(g.errs[0], ErrTruncated) {
				t.Errorf("damaged: %v", g.errs)
			}
		})
	}
}

func TestBytesAfterGzipDataAreAWarning(t *testing.T) {
	file := samples()["pcap"]
	for name, tail := range map[string][]byte{"zeros": make([]byte, 10240), "one byte": {1}, "text": []byte("-- end --")} {
		g := readBytes(t, cat(gz(file), tail), Options{})
		if len(g.packets) != 3 || len(g.errs) > 0 || len(g.stats.Files[0].Warnings) != 1 {
			t.Errorf("%s: %d packets, %v, warnings %q", name, len(g.packets), g.errs, g.stats.Files[0].Warnings)
		}
	}
	if g := readBytes(t, cat(gz(file), gz(file)[:7]), Options{}); len(g.packets) != 3 || len(g.errs) != 1 || !errors.Is(g.errs[0], ErrTruncated) {
		t.Errorf("cut header of a second member: %d packets, %v", len(g.packets), g.errs)
	}
}

func TestAZstdWindowBeyondTheLimitIsRefused(t *testing.T) {
	// A frame header with a window descriptor of 2^31 bytes, then an empty last block (RFC 8878, Section 3.1.1).
	frame := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, (31 - 10) << 3, 0x01, 0x00, 0x00}
	g := readBytes(t, frame, Options{})
	if len(g.errs) != 1 || !errors.Is(g.errs[0], ErrFormat) || !strings.Contains(g.errs[0].Error(), "window") {
		t.Errorf("%v", g.errs)
	}
}
