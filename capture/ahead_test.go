package capture

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dynwatch/dynwatch/capture/pcapfile"
	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/synth"
)

var (
	near = netip.MustParseAddrPort("192.0.2.1:40000")
	far  = netip.MustParseAddrPort("198.51.100.1:443")
)

// pattern is n bytes that no other seed has.
func pattern(n, seed int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(seed + i*7 + i>>8)
	}
	return b
}

// capture makes a pcap file of n packets from start on, every step: segments of all lengths, some of them larger than a block's room and one larger
// than a block, datagrams in fragments, and what is no segment.
func captureFile(t *testing.T, n int, start, step time.Duration) []byte {
	t.Helper()
	file := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	file = append(file, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	file = binary.LittleEndian.AppendUint32(file, 1<<20)
	file = binary.LittleEndian.AppendUint32(file, 1)
	at := start
	record := func(frame []byte) {
		file = binary.LittleEndian.AppendUint32(file, uint32(at/time.Second))
		file = binary.LittleEndian.AppendUint32(file, uint32(at%time.Second/time.Microsecond))
		file = binary.LittleEndian.AppendUint32(file, uint32(len(frame)))
		file = binary.LittleEndian.AppendUint32(file, uint32(len(frame)))
		file = append(file, frame...)
		at += step
	}
	for i := range n {
		switch {
		case i%50 == 49: // no segment
			record(append(make([]byte, 12), 0x08, 0x06, 1, 2, 3))
		case i%50 == 25: // a segment in two fragments
			frame := synth.Frame(near, far, uint32(i), 0, 0x10, uint16(i), pattern(980, i))
			record(fragment(frame, 0, 500, true))
			record(fragment(frame, 500, 1000, false))
		case i == n/2:
			// Longer than a block with its room, in an IP packet whose length is 0, as segmentation offload leaves it.
			frame := synth.Frame(near, far, uint32(i), 0, 0x10, uint16(i), pattern(400<<10, i))
			frame[16], frame[17] = 0, 0
			record(frame)
		case i%500 == 7:
			record(synth.Frame(near, far, uint32(i), 0, 0x10, uint16(i), pattern(60000, i)))
		default:
			record(synth.Frame(near, far, uint32(i), 0, 0x10, uint16(i), pattern(i*13%1400, i)))
		}
	}
	return file
}

// fragment cuts the payload of an IPv4 packet, from a multiple of 4 bytes on rounded down to one of 8.
func fragment(frame []byte, from, to int, more bool) []byte {
	from, to = from&^7, min(to, len(frame)-34)
	if more {
		to &^= 7
	}
	out := append(bytes.Clone(frame[:34]), frame[34+from:34+to]...)
	binary.BigEndian.PutUint16(out[16:], uint16(20+to-from))
	offset := uint16(from / 8)
	if more {
		offset |= 0x2000
	}
	binary.BigEndian.PutUint16(out[20:], offset)
	return out
}

func write(t *testing.T, file []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "a.pcap")
	if err := os.WriteFile(name, file, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// read takes all segments one by one.
func read(t *testing.T, o FileOptions) ([]flow.Segment, Stats, []error) {
	t.Helper()
	src, err := OpenFile(o)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	var all []flow.Segment
	for {
		var seg flow.Segment
		if err := src.Next(&seg); errors.Is(err, io.EOF) {
			return all, src.Stats(), src.Errs()
		} else if err != nil {
			t.Fatal(err)
		}
		seg.Payload = bytes.Clone(seg.Payload)
		all = append(all, seg)
	}
}

// readAhead takes all segments in batches, each looked at as late as allowed.
func readAhead(t *testing.T, o FileOptions) ([]flow.Segment, Stats, []error) {
	t.Helper()
	src, err := OpenAhead(o)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	var all []flow.Segment
	for i := 0; ; i++ {
		segs, err := src.Next()
		if errors.Is(err, io.EOF) {
			return all, src.Stats(), src.Errs()
		} else if err != nil {
			t.Fatal(err)
		}
		if i%5 == 0 {
			time.Sleep(time.Millisecond) // the reading goroutine has all that it can have
		}
		for _, seg := range segs {
			seg.Payload = bytes.Clone(seg.Payload)
			all = append(all, seg)
		}
	}
}

func TestReadingAheadGivesTheSame(t *testing.T) {
	one := captureFile(t, 4000, time.Hour, time.Millisecond)
	other := captureFile(t, 3000, time.Hour+500*time.Microsecond, 2*time.Millisecond)
	short := captureFile(t, 20, time.Hour+time.Second, time.Second)
	var many []string
	for i := range 12 {
		many = append(many, write(t, captureFile(t, 700, time.Hour+time.Duration(i)*time.Microsecond, time.Millisecond)))
	}
	for name, o := range map[string]FileOptions{
		"one file":                   {Names: []string{write(t, one)}},
		"a short file":               {Names: []string{write(t, short)}},
		"files that overlap in time": {Names: []string{write(t, one), write(t, other), write(t, short)}},
		"many files":                 {Names: many},
		"a filter":                   {Names: []string{write(t, one)}, Filter: "greater 1000"},
		"a filter for nothing":       {Names: []string{write(t, one)}, Filter: "port 9"},
		"a count":                    {Names: []string{write(t, one)}, Count: 1234},
		"a truncated file":           {Names: []string{write(t, one[:len(one)-5])}},
	} {
		t.Run(name, func(t *testing.T) {
			o.Prepare = func(seg *flow.Segment) { seg.Hash = uint32(seg.Packet) ^ seg.Seq }
			want, wantStats, wantErrs := read(t, o)
			got, gotStats, gotErrs := readAhead(t, o)
			if len(got) != len(want) {
				t.Fatalf("%d segments, want %d", len(got), len(want))
			}
			for i := range got {
				if !reflect.DeepEqual(got[i], want[i]) {
					t.Fatalf("segment %d: %v, want %v", i, got[i].Packet, want[i].Packet)
				}
			}
			if !reflect.DeepEqual(gotStats, wantStats) || fmt.Sprint(gotErrs) != fmt.Sprint(wantErrs) {
				t.Errorf("%v %v\nwant %v %v", gotStats, gotErrs, wantStats, wantErrs)
			}
			if name == "one file" && (gotStats.Loss["decode.fragments_lost"] > 0 || len(got) < 3900) {
				t.Errorf("%d segments, %v", len(got), gotStats)
			}
		})
	}
}

// A key log must be known when the packets behind it are, and not before: this is what order means for callbacks.
func TestSecretsComeInTheirPlace(t *testing.T) {
	var file bytes.Buffer
	w := pcapfile.NewWriter(&file, pcapfile.WriterOptions{})
	packet := func(i int) {
		frame := synth.Frame(near, far, uint32(i), 0, 0x10, uint16(i), pattern(10, i))
		p := pcapfile.Packet{Time: int64(i) * 1e6, TimeKnown: true, Data: frame, Length: len(frame), Link: 1}
		if err := w.WritePacket(&p, ""); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 1000 {
		packet(i)
		if i%300 == 299 {
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
			body := binary.LittleEndian.AppendUint32(nil, 0x544c534b)
			body = binary.LittleEndian.AppendUint32(body, 4)
			body = append(body, fmt.Sprintf("%04d", i)...)
			block := binary.LittleEndian.AppendUint32(nil, 10)
			block = binary.LittleEndian.AppendUint32(block, uint32(12+len(body)))
			file.Write(binary.LittleEndian.AppendUint32(append(block, body...), uint32(12+len(body))))
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	var secrets []string
	progress := 0
	seen := 0
	src, err := OpenAhead(FileOptions{
		Names: []string{write(t, file.Bytes())},
		Secrets: func(kind uint32, data []byte) {
			secrets = append(secrets, string(data))
			if want := fmt.Sprintf("%04d", seen-1); kind != 0x544c534b || string(data) != want {
				t.Errorf("secrets %q of kind %x after %d segments", data, kind, seen)
			}
		},
		Progress: func(read, total int64) { progress++ },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	for {
		segs, err := src.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		seen += len(segs)
	}
	if len(secrets) != 3 || seen != 1000 || progress == 0 {
		t.Errorf("%d segments, secrets %q, %d times progress", seen, secrets, progress)
	}
}

func TestAPipeIsNotHeldBack(t *testing.T) {
	file := captureFile(t, 3, time.Hour, time.Millisecond)
	synctest.Test(t, func(t *testing.T) {
		in, out := io.Pipe()
		src, err := OpenAhead(FileOptions{Names: []string{"-"}, Stdin: in})
		if err != nil {
			t.Fatal(err)
		}
		go func() { out.Write(file[:24+16+54]) }() // the first packet, and the pipe stays open
		n := 0
		for n == 0 {
			segs, err := src.Next()
			if err != nil {
				t.Fatal(err)
			}
			n += len(segs)
		}
		if n != 1 {
			t.Errorf("%d segments", n)
		}
		src.Close()
		out.Close()
	})
}

// In each case synctest fails if a goroutine is left over.
func TestCloseKeepsWhatWasRead(t *testing.T) {
	name := write(t, captureFile(t, 20000, time.Hour, time.Millisecond))
	for what, before := range map[string]int{"before the first batch": 0, "in the middle": 3, "with all batches on the way": 1} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src, err := OpenAhead(FileOptions{Names: []string{name}, Prepare: func(*flow.Segment) {
					if before == 0 {
						t.Error("a segment is prepared, though none was asked for")
					}
				}})
				if err != nil {
					t.Fatal(err)
				}
				n := 0
				for range before {
					segs, err := src.Next()
					if err != nil {
						t.Fatal(err)
					}
					n += len(segs)
				}
				for range 2 {
					if err := src.Close(); err != nil {
						t.Error(err)
					}
				}
				packets := src.Stats().Packets
				for {
					segs, err := src.Next()
					if errors.Is(err, fs.ErrClosed) || err == io.EOF {
						break
					} else if err != nil {
						t.Fatal(err)
					}
					n += len(segs)
				}
				// Of 52 packets one is no segment, and two are one segment.
				if got, least := uint64(n), packets-packets*4/50-2; got > packets || got < least && packets > 0 {
					t.Errorf("%d segments of %d packets", got, packets)
				}
				if packets > 15000 {
					t.Errorf("Close did not end the reading: %d packets", packets)
				}
			})
		})
	}
}

func TestCloseFromAnotherGoroutine(t *testing.T) {
	in, out := io.Pipe()
	defer out.Close()
	src, err := OpenAhead(FileOptions{Names: []string{"-"}, Stdin: in})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer context.AfterFunc(ctx, func() { src.Close() })()
	go func() {
		out.Write(captureFile(t, 1, time.Hour, time.Millisecond))
		cancel()
	}()
	for err == nil {
		_, err = src.Next()
	}
	if !errors.Is(err, fs.ErrClosed) {
		t.Error(err)
	}
}
