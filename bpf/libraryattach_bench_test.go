package bpf

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

// withFrame begins with a comparison of four bytes, and a jump on its outcome.
//
//go:noinline
func withFrame() {
	underProbe()
	underProbeToo()
}

// BenchmarkProbe is what a hit costs whose process is passed over: a probe on an instruction that the kernel does itself, and on one that the
// processor is to step over.
func BenchmarkProbe(b *testing.B) {
	if runtime.GOARCH != "amd64" {
		b.Fatal("the offsets below are those of amd64")
	}
	testenv.Root(b)
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		b.Fatal(err)
	}
	defer self.Close()
	entry := fileOffset(b, withFrame)
	for _, c := range []struct {
		name string
		at   uint64
	}{{"done by the kernel", entry + 4}, {"stepped over", entry}} {
		b.Run(c.name, func(b *testing.B) {
			l, err := LoadLibrary()
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			if err := l.Ignore(os.Getpid(), true); err != nil {
				b.Fatal(err)
			}
			attached, err := l.Attach(self, OpenSSLHandshake, []uint64{c.at}, SSLOffsets{ClientRandom: 64})
			if err != nil {
				b.Fatal(err)
			}
			defer attached.Close()
			before, err := l.Counters()
			if err != nil {
				b.Fatal(err)
			}
			calls := 0
			for b.Loop() {
				withFrame()
				calls++
			}
			after, err := l.Counters()
			// Where Go's scheduler wants the processor it has a function begin again.
			if err != nil || after.PassedOver-before.PassedOver < uint64(calls) {
				b.Fatalf("%d hits of %d calls: %v", after.PassedOver-before.PassedOver, calls, err)
			}
		})
	}
}

// BenchmarkMap is what it costs to map a file's code, and to unmap it: for each page with probes the kernel then makes a copy of it, whether they are
// ever hit or not.
func BenchmarkMap(b *testing.B) {
	testenv.Root(b)
	const nop = 0x90
	page := os.Getpagesize()
	for _, pages := range []int{0, 1, 8, 16} {
		b.Run(fmt.Sprintf("pages=%d", pages), func(b *testing.B) {
			name := filepath.Join(b.TempDir(), "code")
			if err := os.WriteFile(name, bytes.Repeat([]byte{nop}, 32*page), 0o600); err != nil {
				b.Fatal(err)
			}
			f, err := os.Open(name)
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			l, err := LoadLibrary()
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			if pages > 0 {
				var at []uint64
				for i := range pages {
					at = append(at, uint64((2*i+1)*page))
				}
				attached, err := l.Attach(f, OpenSSLInspected, at, SSLOffsets{})
				if err != nil {
					b.Fatal(err)
				}
				defer attached.Close()
			}
			for b.Loop() {
				m, err := unix.Mmap(int(f.Fd()), 0, 32*page, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
				if err != nil {
					b.Fatal(err)
				}
				trapped := 0
				for i := range 16 {
					if m[(2*i+1)*page] != nop {
						trapped++
					}
				}
				if err := unix.Munmap(m); err != nil {
					b.Fatal(err)
				}
				if runtime.GOARCH == "amd64" && trapped != pages {
					b.Fatalf("%d of %d pages have a trap", trapped, pages)
				}
			}
		})
	}
}
