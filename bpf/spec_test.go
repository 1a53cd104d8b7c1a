package bpf

import (
	"maps"
	"reflect"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
)

func TestObjectsHoldWhatTheLoaderExpects(t *testing.T) {
	type program struct {
		kind ebpf.ProgramType
		at   ebpf.AttachType
	}
	for name, test := range map[string]struct {
		load     func() (*ebpf.CollectionSpec, error)
		programs map[string]program
		maps     map[string]ebpf.MapType
	}{
		"connect": {loadConnect, map[string]program{
			"dynwatch_connect4": {ebpf.CGroupSockAddr, ebpf.AttachCGroupInet4Connect},
			"dynwatch_connect6": {ebpf.CGroupSockAddr, ebpf.AttachCGroupInet6Connect},
		}, map[string]ebpf.MapType{
			"conns": ebpf.SkStorage, "events": ebpf.RingBuf, "counters": ebpf.PerCPUArray, "prefixes": ebpf.ArrayOfMaps, ".rodata": ebpf.Array, ".data.ports": ebpf.Array,
			"openers": ebpf.Array, "displaced": ebpf.LRUHash,
		}},
		"packet": {loadPacket, map[string]program{
			"dynwatch_egress":  {ebpf.CGroupSKB, ebpf.AttachCGroupInetEgress},
			"dynwatch_ingress": {ebpf.CGroupSKB, ebpf.AttachCGroupInetIngress},
		}, map[string]ebpf.MapType{
			"conns": ebpf.SkStorage, "events": ebpf.RingBuf, "counters": ebpf.PerCPUArray, "prefixes": ebpf.ArrayOfMaps, ".rodata": ebpf.Array, ".data.ports": ebpf.Array,
			"openers": ebpf.Array, "displaced": ebpf.LRUHash,
			"names": ebpf.Hash, "verdicts": ebpf.LRUHash, "questions": ebpf.LRUHash,
		}},
		"earlier": {loadEarlier, map[string]program{
			"dynwatch_earlier": {ebpf.Tracing, ebpf.AttachTraceIter},
		}, map[string]ebpf.MapType{
			"conns": ebpf.SkStorage, "events": ebpf.RingBuf, "counters": ebpf.PerCPUArray, "prefixes": ebpf.ArrayOfMaps, ".rodata": ebpf.Array, ".data.ports": ebpf.Array,
			"openers": ebpf.Array, "displaced": ebpf.LRUHash,
		}},
	} {
		spec, err := test.load()
		if err != nil {
			t.Fatal(err)
		}
		programs, kinds := map[string]program{}, map[string]ebpf.MapType{}
		for n, p := range spec.Programs {
			programs[n] = program{p.Type, p.AttachType}
			if p.License != "GPL" {
				t.Errorf("%s: licence %q", n, p.License)
			}
		}
		for n, m := range spec.Maps {
			kinds[n] = m.Type
		}
		if !maps.Equal(programs, test.programs) {
			t.Errorf("%s: programs %v", name, programs)
		}
		if !maps.Equal(kinds, test.maps) {
			t.Errorf("%s: maps %v", name, kinds)
		}
		if inner := spec.Maps["prefixes"].InnerMap; inner == nil || inner.Type != ebpf.LPMTrie || inner.KeySize != 20 {
			t.Errorf("%s: inner map %+v", name, inner)
		}
	}
}

func TestGoReadsEventsAsTheKernelWritesThem(t *testing.T) {
	if eventSize != 184 {
		t.Errorf("event of %d bytes", eventSize)
	}
	words := make([]uint64, (eventSize+512)/8)
	b := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), eventSize+512)
	r := (*packetEvent)(unsafe.Pointer(&words[0]))
	r.Opener.Cookie, r.Opener.Tgid, r.Opener.Proto, r.Opener.Flags = 7, 42, 6, wasOpen
	copy((*(*[16]byte)(unsafe.Pointer(&r.Opener.Comm)))[:], "python3")
	r.Opener.Dport = *(*uint16)(unsafe.Pointer(&[2]byte{0x01, 0xbb}))
	r.Captured, r.Length, r.Number, r.TcpFlags, r.Direction = 3, 9, 5, 0x18, packetDirectionFROM_SERVER
	copy(b[eventSize:], "abc")
	var e Event
	if err := e.decode(b); err != nil {
		t.Fatal(err)
	}
	if o := e.Opener; o.Cookie != 7 || o.PID != 42 || o.CommString() != "python3" || o.DstPort != 443 || !o.Earlier {
		t.Errorf("opener %+v", o)
	}
	copy((*(*[16]byte)(unsafe.Pointer(&r.Opener.Comm)))[:], "a\xff\x1b of any bytes")
	if err := e.decode(b); err != nil || e.Opener.CommString() != "a?? of any bytes" {
		t.Errorf("a name that is not UTF-8: %q, %v", e.Opener.CommString(), err)
	}
	if string(e.Payload) != "abc" || e.Length != 9 || e.Number != 5 || !e.FromServer {
		t.Errorf("event %+v", e)
	}
	for name, short := range map[string][]byte{"shorter than the header": b[:eventSize-1], "shorter than it says": b[:eventSize+2]} {
		if err := e.decode(short); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestCountersAreAllRead(t *testing.T) {
	if got := reflect.TypeFor[Counters]().NumField(); got != int(packetCounterMAX_COUNTERS) {
		t.Errorf("%d fields for %d counters", got, packetCounterMAX_COUNTERS)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for name, c := range map[string]Config{
		"too many ports": {Ports: make([]uint16, MaxPorts+1)},
		"port 0":         {Ports: []uint16{0}},
		"too many names": {Names: make([]string, MaxNames+1)},
	} {
		connect, err := loadConnect()
		if err != nil {
			t.Fatal(err)
		}
		packet, err := loadPacket()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.apply(&Socket{}, connect, packet); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestLibraryObjectsHoldWhatTheLoaderExpects(t *testing.T) {
	for _, name := range []string{"library_x86_bpfel.o", "library_arm64_bpfel.o"} {
		spec, err := ebpf.LoadCollectionSpec(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range probes {
			prog := spec.Programs[p.Program]
			if prog == nil || prog.Type != ebpf.Kprobe {
				t.Fatalf("%s: program %s: %+v", name, p.Program, prog)
			}
		}
		if exec := spec.Programs["dynwatch_exec"]; exec == nil || exec.Type != ebpf.RawTracepoint || len(spec.Programs) != len(probes)+1 {
			t.Errorf("%s: %d programs, dynwatch_exec is %+v", name, len(spec.Programs), exec)
		}
		if err := (SSLOffsets{1, 2, 3, 4, 5, 6, 7, 8, GnuTLSOffsets{9, 10, 11}, S2NOffsets{12, 13, 14, 15, 16, 17}}).apply(spec); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestGoReadsLibraryEventsAsTheKernelWritesThem(t *testing.T) {
	words := make([]uint64, (libraryEventSize+64)/8)
	b := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), libraryEventSize+64)
	r := (*libraryLibraryEvent)(unsafe.Pointer(&words[0]))
	r.Tgid, r.Tid, r.Strand, r.Value, r.Code, r.Kind, r.Flags = 7, 8, 9, -1, 10, libraryLibraryKindLIBRARY_ASKED, uint16(LibraryValueKnown|LibraryCallback|LibraryS2N)
	r.Captured, r.Length, r.Random[31] = 3, 5, 0xff
	copy(b[libraryEventSize:], "abc")
	var e LibraryEvent
	if err := e.decode(b); err != nil {
		t.Fatal(err)
	}
	want := LibraryEvent{Strand: 9, PID: 7, TID: 8, Kind: LibraryAsked, Flags: LibraryValueKnown | LibraryCallback | LibraryS2N, Value: -1, Code: 10, Length: 5, Data: []byte("abc")}
	want.Random[31] = 0xff
	if !reflect.DeepEqual(e, want) {
		t.Errorf("%+v", e)
	}
	for name, short := range map[string][]byte{"shorter than the header": b[:libraryEventSize-1], "shorter than it says": b[:libraryEventSize+2]} {
		if err := e.decode(short); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
