package bpf

import (
	"bufio"
	"fmt"
	"os"
	"reflect"
	"testing"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

// The functions under probes do not look at the stack's limit: where Go's scheduler wants the processor, those that do begin again.
//
//go:noinline
//go:nosplit
func underProbe() { calls++ }

//go:noinline
//go:nosplit
func underProbeToo() { calls++ }

var calls int

// fileOffset is where in this program's file a function is.
func fileOffset(t testing.TB, f func()) uint64 {
	t.Helper()
	at := uint64(reflect.ValueOf(f).Pointer())
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	defer maps.Close()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		var start, end, offset uint64
		var mode string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s %x", &start, &end, &mode, &offset); err == nil && start <= at && at < end {
			return at - start + offset
		}
	}
	t.Fatalf("%x is not mapped", at)
	return 0
}

// probesOf loads the library probes, for links of many uprobes or of one each.
func probesOf(t *testing.T, multi bool) *Library {
	t.Helper()
	l, err := loadLibraryWith(multi)
	skipWithoutRights(t, err)
	if err != nil && confidential() {
		testenv.Lacks(t, "under this lockdown there are no library probes")
	}
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestAttachmentsEndWhenClosed attaches both ways, and counts by what the program counts of processes that are passed over.
func TestAttachmentsEndWhenClosed(t *testing.T) {
	places := []uint64{fileOffset(t, underProbe), fileOffset(t, underProbeToo)}
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	for _, multi := range []bool{false, true} {
		t.Run(fmt.Sprintf("one link for all places %v", multi), func(t *testing.T) {
			if multi && !haveMulti() {
				testenv.Lacks(t, "before Linux 6.6 there are no such links")
			}
			l := probesOf(t, multi)
			defer l.Close()
			if err := l.Ignore(os.Getpid(), true); err != nil {
				t.Fatal(err)
			}
			hits := func() uint64 {
				t.Helper()
				before, err := l.Counters()
				if err != nil {
					t.Fatal(err)
				}
				for range 10 {
					underProbe()
					underProbeToo()
				}
				after, err := l.Counters()
				if err != nil {
					t.Fatal(err)
				}
				return after.PassedOver - before.PassedOver
			}
			at, err := l.Attach(self, OpenSSLHandshake, places, SSLOffsets{ClientRandom: 64})
			if err != nil {
				t.Fatal(err)
			}
			second, err := l.Attach(self, OpenSSLHandshake, places[:1], SSLOffsets{ClientRandom: 72})
			if err != nil {
				t.Fatal(err)
			}
			if n := hits(); n != 30 {
				t.Errorf("%d hits of 20 calls with a probe and 10 of them with a second one", n)
			}
			if len(l.loaded.byOffset) != 3 {
				t.Errorf("%d variants of the programs for two kinds of libraries and none", len(l.loaded.byOffset))
			}
			for range 2 { // a second time does nothing
				if err := second.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if n := hits(); n != 20 {
				t.Errorf("%d hits of 20 calls with a probe", n)
			}
			if err := at.Close(); err != nil {
				t.Fatal(err)
			}
			if n := hits(); n != 0 {
				t.Errorf("%d hits without probes", n)
			}
			if len(l.loaded.byOffset) != 1 {
				t.Errorf("%d variants are left of the programs when nothing is attached", len(l.loaded.byOffset))
			}
			if _, err := l.Attach(self, OpenSSLHandshake, []uint64{1 << 60}, SSLOffsets{ClientRandom: 64}); err == nil {
				t.Error("a probe beyond the end of the file was taken")
			}
			if len(l.loaded.byOffset) != 1 {
				t.Error("what could not be attached is still loaded")
			}
		})
	}
}

// TestProgramsForS2NComeWithTheFirstFile: a kernel that refuses them has all others, for they are loaded apart.
func TestProgramsForS2NComeWithTheFirstFile(t *testing.T) {
	l := probesOf(t, false)
	defer l.Close()
	of := SSLOffsets{S2N: S2NOffsets{11, 12, 13, 14, 15, 16}}
	if _, err := l.program(S2NCertificates, of); err != nil {
		t.Fatal(err)
	}
	defer l.loaded.release(of)
	for _, p := range probes {
		isS2N := p == S2NCertificates || p == S2NPeer
		if first, later := l.loaded.byOffset[SSLOffsets{}].Programs[p.Program], l.loaded.byOffset[of].Programs[p.Program]; (first == nil) != isS2N || (later != nil) != isS2N {
			t.Errorf("%s: loaded at first %t, with the file %t", p.Program, first != nil, later != nil)
		}
	}
}
