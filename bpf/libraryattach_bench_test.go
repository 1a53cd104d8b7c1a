package bpf

import (
	"os"
	"runtime"
	"testing"

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
