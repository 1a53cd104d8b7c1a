package analyze

import "testing"

// A capture in which flows come evenly and fall silent: those that are to be dropped stand in front of the sweeping hand, and must not fill
// the table there. The distance of a slot from its home is what a look-up walks.
func TestSweepingLeavesNoLongRuns(t *testing.T) {
	const idleAfter = 100_000 // flows
	table := newFlowTable(newSeed())
	var start int64
	drop := func(s *slot) bool { return start-s.start > idleAfter }
	worst := 0
	for n := range uint32(400_000) {
		start++
		if n%sweepEvery == 0 {
			table.sweep(sweepStep*sweepEvery, drop)
		}
		table.insert(spreadKey(n)).start = start
		if n%8192 != 0 {
			continue
		}
		walk, _ := table.walks()
		worst = max(worst, walk/table.used)
	}
	if worst > 8 {
		t.Errorf("a look-up walks over %d slots on average", worst)
	}
}

// spreadKey is a client's n-th connection to one of a thousand servers.
func spreadKey(n uint32) *flowKey {
	k := &flowKey{pa: uint16(32768 + n%28_000), pb: 443}
	k.a[12], k.a[14], k.a[15] = 10, byte(n/28_000), byte(n%13)
	k.b[12], k.b[14], k.b[15] = 198, byte(n%4), byte(n%251)
	return k
}
