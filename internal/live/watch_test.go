package live

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/dynwatch/dynwatch/analyze/endpoint"
	"github.com/dynwatch/dynwatch/capture/afpacket"
)

// told is a source that keeps the prefixes that it was told.
type told struct {
	Source
	prefixes []netip.Prefix
	times    int
	err      error // it takes none
}

func (s *told) SetPrefixes(p []netip.Prefix) error {
	if s.err != nil {
		return s.err
	}
	s.prefixes = p
	s.times++
	return nil
}

func TestFollowTellsTheSourceOnlyWhatIsNew(t *testing.T) {
	set, err := endpoint.NewSet(endpoint.Embedded(), []string{"192.0.2.0/24", "ddb.example.com:8000"})
	if err != nil {
		t.Fatal(err)
	}
	prefixes, names, _ := places(set)
	if len(names) != 1 || names[0] != "ddb.example.com" || len(prefixes) < 10 {
		t.Fatalf("%d prefixes, names %v", len(prefixes), names)
	}
	src := &told{}
	w := &Watch{Source: src, Kind: EBPF, prefixes: prefixes, learned: make(map[netip.Addr]bool)}
	follow := func(addrs ...string) {
		t.Helper()
		var list []netip.Addr
		for _, a := range addrs {
			list = append(list, netip.MustParseAddr(a))
		}
		if err := w.Follow(list); err != nil {
			t.Fatal(err)
		}
	}
	follow("192.0.2.7", "52.94.5.7") // the operator's prefix, and one of AWS's
	if src.times != 0 {
		t.Error("addresses that are known were told")
	}
	follow("203.0.113.5", "2001:db8::5")
	follow("203.0.113.5")
	if src.times != 1 || len(src.prefixes) != len(prefixes)+2 || w.Learned() != 2 {
		t.Errorf("told %d times, %d prefixes in the end, learned %d", src.times, len(src.prefixes), w.Learned())
	}
	addr := netip.MustParseAddr("198.18.0.0")
	for range 2 * MaxLearned {
		addr = addr.Next()
		if err := w.Follow([]netip.Addr{addr}); err != nil {
			t.Fatal(err)
		}
	}
	if w.Learned() != MaxLearned || len(src.prefixes) != len(prefixes)+MaxLearned {
		t.Errorf("learned %d, told %d", w.Learned(), len(src.prefixes)-len(prefixes))
	}
}

func TestFollowTriesAgainWhatTheSourceDidNotTake(t *testing.T) {
	src := &told{err: errors.New("cannot allocate memory")}
	w := &Watch{Source: src, Kind: EBPF}
	addrs := []netip.Addr{netip.MustParseAddr("203.0.113.5"), netip.MustParseAddr("2001:db8::5")}
	if err := w.Follow(addrs); !errors.Is(err, src.err) || w.Learned() != 0 {
		t.Fatalf("error %v, learned %d", err, w.Learned())
	}
	src.err = nil
	if err := w.Follow(addrs); err != nil || len(src.prefixes) != 2 || w.Learned() != 2 {
		t.Errorf("error %v, told %v, learned %d", err, src.prefixes, w.Learned())
	}
}

func TestRetargetKeepsThePlacesThatTheSourceStillFollows(t *testing.T) {
	set, err := endpoint.NewSet(endpoint.Embedded(), []string{"203.0.113.0/24"})
	if err != nil {
		t.Fatal(err)
	}
	src := &told{err: errors.New("cannot allocate memory")}
	w := &Watch{Source: src, Kind: EBPF}
	if err := w.Retarget(set); !errors.Is(err, src.err) {
		t.Fatal(err)
	}
	src.err = nil
	if err := w.Follow([]netip.Addr{netip.MustParseAddr("203.0.113.5")}); err != nil || w.Learned() != 1 {
		t.Errorf("error %v, learned %d: an address is taken for one of a place that is not followed", err, w.Learned())
	}
}

// toldPorts is a source that keeps the ports that it was told, too.
type toldPorts struct {
	told
	ports []uint16
}

func (s *toldPorts) SetPorts(p []uint16) error {
	s.ports = p
	return nil
}

func TestPacketsAreLookedAtByThePortsOfEndpoints(t *testing.T) {
	set := func(endpoints ...string) *endpoint.Set {
		s, err := endpoint.NewSet(endpoint.Embedded(), endpoints)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	w := &Watch{Kind: Packet}
	src := &toldPorts{}
	w.Source = src
	w.prefixes, w.names, w.ports = places(set("ddb.example.com:8443", "*.ddb.example.com:9443", "other.example.com:443", "192.0.2.0/24", "name.example.com"))
	if want := append(slices.Clone(afpacket.DefaultPorts), 8443, 9443); !slices.Equal(w.ports, want) {
		t.Errorf("ports %v, want %v", w.ports, want)
	}
	if err := w.Retarget(set("ddb.example.com:8444")); err != nil {
		t.Fatal(err)
	}
	if want := append(slices.Clone(afpacket.DefaultPorts), 8444); !slices.Equal(src.ports, want) {
		t.Errorf("told %v, want %v", src.ports, want)
	}
}

func TestHowSaysWhatIsLookedAt(t *testing.T) {
	prefixes := make([]netip.Prefix, 3)
	for want, w := range map[string]*Watch{
		"by its packets: 3 prefixes, and ports 80, 443, 8443 of all addresses": {Kind: Packet, prefixes: prefixes, ports: []uint16{443, 80, 8443}},
		"by its packets: every TCP connection":                                 {Kind: Packet, prefixes: prefixes, all: true},
		"by its packets: those that match the filter":                          {Kind: Packet, prefixes: prefixes, filtered: true},
		"by eBPF: every connection":                                            {Kind: EBPF, prefixes: prefixes, all: true},
		"by eBPF: 3 prefixes, and the first bytes of all other connections":    {Kind: EBPF, prefixes: prefixes},
	} {
		if got := w.How(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
