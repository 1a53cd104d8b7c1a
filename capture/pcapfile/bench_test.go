package pcapfile

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"os"
	"testing"
)

// benchFile writes a pcap file of about size bytes with packets of 64 to 1500 bytes.
func benchFile(tb testing.TB, size int) string {
	tb.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	b := pcapHead(binary.LittleEndian, magicMicro, 262144, 1)
	data := make([]byte, 1500)
	for i := uint32(0); len(b) < size; i++ {
		b = append(b, pcapRec(binary.LittleEndian, i/1000, i%1000, 1500, data[:64+rnd.IntN(1437)])...)
	}
	return writeFile(tb, "bench.pcap", b)
}

func benchmarkRead(b *testing.B, name string) {
	info, err := os.Stat(name)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(info.Size())
	b.ReportAllocs()
	var packets uint64
	for b.Loop() {
		r, err := Open([]string{name}, Options{})
		if err != nil {
			b.Fatal(err)
		}
		var p Packet
		for err = r.Next(&p); err == nil; err = r.Next(&p) {
		}
		if err != io.EOF {
			b.Fatal(err)
		}
		packets = r.Stats().Packets
		r.Close()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(packets), "ns/packet")
}

func BenchmarkPcap(b *testing.B) { benchmarkRead(b, benchFile(b, 256<<20)) }

func BenchmarkPcapng(b *testing.B) {
	data := make([]byte, 1500)
	rnd := rand.New(rand.NewPCG(1, 2))
	out := cat(ngSection(binary.LittleEndian), ngIface(binary.LittleEndian, 1, 0))
	for i := uint64(0); len(out) < 64<<20; i++ {
		out = append(out, ngEnhanced(binary.LittleEndian, 0, i, 1500, data[:64+rnd.IntN(1437)])...)
	}
	benchmarkRead(b, writeFile(b, "bench.pcapng", out))
}

// BenchmarkNext is the cost of Next alone, with all bytes at hand.
func BenchmarkNext(b *testing.B) {
	r, bytes := loop(b)
	var p Packet
	b.ReportAllocs()
	for b.Loop() {
		if len(r.cur.win) == 0 {
			r.cur.win = bytes
		}
		if err := r.Next(&p); err != nil {
			b.Fatal(err)
		}
	}
}

// loop is a Reader that stands on a file of small packets, and the bytes of its records, to be read over and over.
func loop(tb testing.TB) (*Reader, []byte) {
	rec := pcapRec(binary.LittleEndian, 1, 2, 60, payload(60, 0))
	b := pcapHead(binary.LittleEndian, magicMicro, 262144, 1)
	for len(b) < largeBlock/2 {
		b = append(b, rec...)
	}
	r, err := Open([]string{writeFile(tb, "loop.pcap", b)}, Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { r.Close() })
	var p Packet
	if err := r.Next(&p); err != nil {
		tb.Fatal(err)
	}
	return r, r.cur.win
}

func TestNextAllocatesNothing(t *testing.T) {
	for name, file := range map[string][]byte{
		"pcap": cat(pcapHead(binary.LittleEndian, magicMicro, 262144, 1),
			bytes.Repeat(pcapRec(binary.LittleEndian, 1, 2, 60, payload(60, 0)), 20000)),
		"pcapng": cat(ngSection(binary.BigEndian), ngIface(binary.BigEndian, 1, 0),
			bytes.Repeat(ngEnhanced(binary.BigEndian, 0, 5, 60, payload(60, 0), ngOption(binary.BigEndian, optComment, []byte("hello"))...), 20000)),
	} {
		t.Run(name, func(t *testing.T) {
			// Larger than a block, so that records lie across blocks and a goroutine reads ahead.
			r, err := Open([]string{writeFile(t, "a", file)}, Options{block: 64 << 10})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			var p Packet
			for range 2000 { // until both buffers exist
				if err := r.Next(&p); err != nil {
					t.Fatal(err)
				}
			}
			if n := testing.AllocsPerRun(15000, func() {
				if err := r.Next(&p); err != nil {
					t.Fatal(err)
				}
			}); n != 0 {
				t.Errorf("%v allocations per packet", n)
			}
		})
	}
}
