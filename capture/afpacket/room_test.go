package afpacket

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/capture/filter"
	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/testenv"
	"github.com/dynwatch/dynwatch/internal/testnet"
)

// maxInstructions is what Linux takes (BPF_MAXINSNS in include/uapi/linux/bpf_common.h).
const maxInstructions = 4096

// limitFilters sets how many bytes the filters of a socket of this network namespace may take.
func limitFilters(t *testing.T, bytes int) {
	t.Helper()
	// Kernels before 6.7 have it for the whole host, and not in a namespace.
	if err := os.WriteFile("/proc/sys/net/core/optmem_max", []byte(strconv.Itoa(bytes)), 0); err != nil {
		testenv.Lacks(t, "no limit of this namespace: %v", err)
	}
}

// scattered are addresses of which no two make one prefix.
func scattered(n int) (out []netip.Prefix) {
	for i := range n {
		out = append(out, netip.PrefixFrom(netip.AddrFrom4([4]byte{198, byte(18 + i>>12), byte(i >> 4), byte(i<<4) | 2}), 32))
	}
	return out
}

// warned reports whether exactly one warning was given, with these words.
func warned(s *Source, words string) bool {
	w := s.Stats().Warnings
	return len(w) == 1 && strings.Contains(w[0], words)
}

// What the kernel takes before Linux 6.7, and what since: published prefixes, then as many addresses as DNS answers may add.
func TestFilterThatGrowsBeyondTheKernelsRoom(t *testing.T) {
	for _, limit := range []int{20480, 131072} {
		for _, name := range []string{"near", Any} {
			t.Run(strconv.Itoa(limit)+" "+name, func(t *testing.T) {
				n := testnet.Pair(t)
				n.Do(func() { listen(t, "192.0.2.2:4711") })
				limitFilters(t, limit)
				list := published()
				s := open(t, Options{Interfaces: []string{name}, Prefixes: list})
				if w := s.Stats().Warnings; len(w) != 0 {
					t.Errorf("with the published prefixes: %q", w)
				}
				more, step, grown := scattered(1024), limit/2048, 0
				for i := 0; i < len(more); i += step {
					list = append(list, more[i:i+step]...)
					if err := s.SetPrefixes(list); err != nil {
						t.Fatalf("with %d addresses more: %v", i+step, err)
					}
					if len(s.Stats().Warnings) == 0 {
						grown = i + step
					}
				}
				t.Logf("room for %d addresses more", grown)
				if !warned(s, "all TCP is looked at") {
					t.Errorf("warnings %q", s.Stats().Warnings)
				}
				talk(t, "192.0.2.2:4711", "seen")
				if got := stream(collect(t, s, ended), 4711); string(got) != "seen" {
					t.Errorf("of a port that nobody named came %q", got)
				}
			})
		}
	}
}

func TestFilterOfAlmostAllInstructionsIsTaken(t *testing.T) {
	testnet.Enter(t)
	limitFilters(t, 1<<20)
	all := scattered(4000)
	length := func(n int) int {
		f, err := filter.Compile(choose(&Options{Ports: DefaultPorts, Prefixes: all[:n]}).kernel, filter.Options{Link: filter.LinkRaw})
		if err != nil {
			return maxInstructions + 1
		}
		return len(f.Program())
	}
	low, high := 1, len(all)
	for high-low > 1 {
		if mid := (low + high) / 2; length(mid) > maxInstructions {
			high = mid
		} else {
			low = mid
		}
	}
	for n := low - 6; n <= low+1; n++ {
		s := open(t, Options{Prefixes: all[:n]})
		if fits := length(n)+len(withoutEcho(nil)) <= maxInstructions; fits == warned(s, "all TCP is looked at") {
			t.Errorf("%d addresses, %d instructions: warnings %q", n, length(n), s.Stats().Warnings)
		}
		s.Close()
		s.Close()
	}
}

func TestFilterThatTheKernelDoesNotTakeIsEvaluatedHere(t *testing.T) {
	const long = "tcp port 4711 and not (host 198.51.100.9 or host 198.51.100.11 or host 198.51.100.13)"
	for _, c := range []struct{ iface, expr string }{{"near", ""}, {Any, ""}, {"near", long}, {Any, long}} {
		t.Run(c.iface+" "+c.expr, func(t *testing.T) {
			n := testnet.Pair(t)
			limitFilters(t, 300)
			o := Options{Interfaces: []string{c.iface}, Ports: []uint16{4711}}
			if c.expr != "" {
				var err error
				if o.Filter, err = filter.Compile(c.expr, filter.Options{Link: filter.LinkEthernet}); err != nil {
					t.Fatal(err)
				}
			}
			s := open(t, o)
			if !warned(s, "every packet is copied") {
				t.Errorf("warnings %q", s.Stats().Warnings)
			}
			send(t, n, udpFrame(99, 98))
			if c.expr != "" {
				send(t, n, synFrame(4712))
			}
			send(t, n, synFrame(4711, 7))
			all := collect(t, s, func(all []flow.Segment) bool { return len(all) > 0 })
			if len(all) != 1 || all[0].DstPort != 4711 {
				t.Errorf("%+v", all)
			}
			if want := uint64(1); s.Stats().Filtered < want {
				t.Errorf("%+v", s.Stats())
			}
		})
	}
}

// A capture has to come to its end by a filter, too.
func TestShortProgramFollowsOneThatLeavesNoRoom(t *testing.T) {
	testnet.Enter(t)
	limitFilters(t, 4096)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	n := 1
	for fitsAlone(fd, n+1) {
		n++
	}
	fitsAlone(fd, n)
	if err := attach(fd, nothing); !errors.Is(err, unix.ENOMEM) {
		t.Fatalf("beside %d instructions: %v", n, err)
	}
	if err := attachShort(fd, nothing); err != nil {
		t.Error(err)
	}
}

// fitsAlone replaces what there is by n instructions, if these fit.
func fitsAlone(fd, n int) bool {
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
	return attach(fd, slices.Repeat(nothing, n)) == nil
}
