package analyze

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"unsafe"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// tupleOf is a five-tuple of TCP.
func tupleOf(src, dst string) flow.FiveTuple {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	return flow.FiveTuple{
		SrcIP: flow.IPFrom(s.Addr()), DstIP: flow.IPFrom(d.Addr()), SrcPort: s.Port(), DstPort: d.Port(), Proto: flow.TCP,
	}
}

func TestASlotIsOneCacheLine(t *testing.T) {
	if n := unsafe.Sizeof(slot{}); n != 64 {
		t.Errorf("%d bytes, want 64", n)
	}
}

// keyOf is flowKey.set for a new key.
func keyOf(t *flow.FiveTuple, cookie uint64) (k flowKey, dir uint8) {
	dir = k.set(t, cookie)
	return k, dir
}

func TestKeyIsTheSameForBothDirections(t *testing.T) {
	for _, pair := range [][2]string{
		{"10.0.0.1:40000", "52.94.0.1:443"},
		{"52.94.0.1:443", "10.0.0.1:40000"},
		{"10.0.0.1:40000", "10.0.0.1:443"},
		{"10.0.0.1:443", "10.0.0.1:443"},
		{"[2001:db8::1]:1", "[2001:db8::2]:2"},
		{"[2001:db9::1]:1", "[2001:db8::2]:2"},
	} {
		there := tupleOf(pair[0], pair[1])
		back := there.Reverse()
		k1, d1 := keyOf(&there, 7)
		k2, d2 := keyOf(&back, 7)
		if k1 != k2 {
			t.Errorf("%v: keys differ: %v and %v", pair, k1, k2)
		}
		if d1 == d2 && pair[0] != pair[1] {
			t.Errorf("%v: both directions are %d", pair, d1)
		}
		if d1 == 0 && k1.a != there.SrcIP || d1 == 1 && k1.b != there.SrcIP {
			t.Errorf("%v: direction %d, but the source is the other end", pair, d1)
		}
	}
}

func testKey(n uint32) *flowKey {
	k := &flowKey{pa: uint16(n), pb: 443}
	binary.BigEndian.PutUint32(k.a[12:], n/5)
	binary.BigEndian.PutUint32(k.b[12:], 0xffff0000|n%3)
	return k
}

// checkTable compares a table with what it should hold: the start of each key.
func checkTable(t *testing.T, table *flowTable, want map[flowKey]int64) {
	t.Helper()
	if table.used != len(want) {
		t.Fatalf("%d slots used, want %d", table.used, len(want))
	}
	for k, start := range want {
		if s := table.find(&k); s == nil || s.start != start || s.key != k {
			t.Fatalf("%v: found %+v, want start %d", k, s, start)
		}
	}
	n := 0
	for range table.all {
		n++
	}
	if n != len(want) {
		t.Fatalf("%d slots are not empty, want %d", n, len(want))
	}
	parts := make(map[*part]int) // how many entries of the directory lead there
	for _, p := range table.dir {
		parts[p]++
	}
	if table.size != len(parts)*partLen {
		t.Fatalf("%d slots in %d parts", table.size, len(parts))
	}
	for p, n := range parts {
		used := 0
		for i := range p.slots {
			if p.slots[i].state != slotEmpty {
				used++
			}
		}
		if p.used != used || used > maxUsed || n != 1<<(table.depth-p.depth) {
			t.Fatalf("part of depth %d in %d of %d entries, %d slots used, says %d", p.depth, n, len(table.dir), used, p.used)
		}
	}
}

// FuzzFlowTable runs operations, three bytes each, against a map. Each is for sixteen keys, so that the table grows.
func FuzzFlowTable(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{30, 3000} {
		seed := make([]byte, n)
		for i := range seed {
			seed[i] = byte(r.Uint32())
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, ops []byte) {
		ops = ops[:min(len(ops), 6000)]
		table := newFlowTable(newSeed())
		want := make(map[flowKey]int64)
		for i := 0; i+3 <= len(ops); i += 3 {
			if ops[i]%8 == 7 {
				table.sweep(16*int(ops[i]/8), func(s *slot) bool {
					if want[s.key] != s.start {
						t.Fatalf("sweep came upon %+v", s)
					}
					if s.start%3 == 0 {
						delete(want, s.key)
						return true
					}
					return false
				})
			}
			for j := range uint32(16) {
				k := testKey((uint32(ops[i+1])<<2|uint32(ops[i+2])&3)<<4 + j)
				switch _, known := want[*k]; {
				case ops[i]%8 < 5 && !known:
					want[*k] = int64(i + 1)
					table.insert(k).start = int64(i + 1)
				case ops[i]%8 >= 5 && ops[i]%8 < 7:
					delete(want, *k)
					table.remove(k) // unknown ones too
				}
			}
			if i%384 == 0 {
				checkTable(t, table, want)
			}
		}
		checkTable(t, table, want)
	})
}

func TestTheTableGrowsPartByPart(t *testing.T) {
	table := newFlowTable(newSeed())
	want := make(map[flowKey]int64)
	for n := range uint32(100_000) {
		k := spreadKey(n)
		want[*k] = int64(n)
		before := table.size
		if table.insert(k).start = int64(n); table.size-before > partLen {
			t.Fatalf("flow %d: %d slots, then %d", n, before, table.size)
		}
	}
	checkTable(t, table, want)
	if load := float64(table.used) / float64(table.size); load < 0.375 {
		t.Errorf("%.2f of the slots are used", load)
	}
}

// walks says how far slots lie from where they should be, which is what a look-up walks: in all, and at most.
func (t *flowTable) walks() (total, longest int) {
	for i := 0; i < len(t.dir); i = t.after(i) {
		for j := range t.dir[i].slots {
			if s := &t.dir[i].slots[j]; s.state != slotEmpty {
				away := int((uint32(j) - t.seed.hash(&s.key)) & partMask)
				total += away
				longest = max(longest, away)
			}
		}
	}
	return total, longest
}

func TestSweepComesUponEverySlotAndEveryRemovedOneOnce(t *testing.T) {
	table := newFlowTable(newSeed())
	want := make(map[flowKey]int)
	for n := range uint32(600) {
		table.insert(testKey(n)).start = int64(n)
		want[*testKey(n)] = 0
	}
	table.sweep(table.size+600, func(s *slot) bool {
		want[s.key]++
		return true
	})
	for k, n := range want {
		if n != 1 {
			t.Errorf("%v was dropped %d times", k, n)
		}
	}
	if table.used != 0 {
		t.Errorf("%d slots are left", table.used)
	}
}

// Traffic chooses its addresses and ports in patterns. None of them may make long runs.
func TestKeysInPatternsDoNotCluster(t *testing.T) {
	const n = 1 << 15
	patterns := map[string]func(i uint32) flowKey{
		"ports of one client": func(i uint32) flowKey {
			t := tupleOf("10.0.0.5:1", "52.94.0.1:443")
			t.SrcPort = uint16(i)
			k, _ := keyOf(&t, 0)
			return k
		},
		"clients of a network": func(i uint32) flowKey {
			t := tupleOf("10.0.0.5:40000", "52.94.0.1:443")
			binary.BigEndian.PutUint32(t.SrcIP[12:], 0x0a000000+i)
			k, _ := keyOf(&t, 0)
			return k
		},
		"servers of a network": func(i uint32) flowKey {
			t := tupleOf("10.0.0.5:40000", "52.94.0.1:443")
			binary.BigEndian.PutUint32(t.DstIP[12:], 0x34000000+i<<8)
			k, _ := keyOf(&t, 0)
			return k
		},
		"port and address together": func(i uint32) flowKey {
			t := tupleOf("10.0.0.5:40000", "52.94.0.1:443")
			binary.BigEndian.PutUint32(t.SrcIP[12:], 0x0a000000+i>>3)
			t.SrcPort = uint16(40000 + i)
			k, _ := keyOf(&t, 0)
			return k
		},
		"both ports": func(i uint32) flowKey {
			t := tupleOf("10.0.0.5:40000", "52.94.0.1:443")
			t.SrcPort, t.DstPort = uint16(i&0xff), uint16(i>>8)
			k, _ := keyOf(&t, 0)
			return k
		},
		"IPv6 interface ids": func(i uint32) flowKey {
			t := tupleOf("[2001:db8::1]:40000", "[2600:1f18::1]:443")
			binary.BigEndian.PutUint32(t.SrcIP[12:], i)
			k, _ := keyOf(&t, 0)
			return k
		},
		"IPv6 networks": func(i uint32) flowKey {
			t := tupleOf("[2001:db8::1]:40000", "[2600:1f18::1]:443")
			binary.BigEndian.PutUint32(t.SrcIP[4:], i)
			k, _ := keyOf(&t, 0)
			return k
		},
		"cookies": func(i uint32) flowKey {
			t := tupleOf("127.0.0.1:40000", "127.0.0.1:8000")
			k, _ := keyOf(&t, uint64(i))
			return k
		},
	}
	for name, pattern := range patterns {
		t.Run(name, func(t *testing.T) {
			table := newFlowTable(newSeed())
			for i := range uint32(n) {
				k := pattern(i)
				table.insert(&k)
			}
			total, longest := table.walks()
			// Linear probing at a load of one half: half a slot away on average, tens at most.
			if mean := float64(total) / n; mean > 0.7 || longest > 120 {
				t.Errorf("%.2f slots from home on average, %d at most", mean, longest)
			}
		})
	}
}

func TestLookingUpAllocatesNothing(t *testing.T) {
	table := newFlowTable(newSeed())
	for n := range uint32(500) {
		table.insert(testKey(n))
	}
	there, missing := testKey(77), testKey(7777)
	if n := testing.AllocsPerRun(100, func() {
		if table.find(there) == nil || table.find(missing) != nil {
			t.Fatal("wrong answer")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkFlowTableFind(b *testing.B) {
	for _, n := range []uint32{1000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			table := newFlowTable(newSeed())
			keys := make([]flowKey, n)
			for i := range keys {
				keys[i] = *testKey(uint32(i))
				table.insert(&keys[i])
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				table.find(&keys[uint32(i)*2654435761%n])
			}
		})
	}
}
