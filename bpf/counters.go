package bpf

import "fmt"

// Counters are the kernel's own counts, over all CPUs since the programs were loaded.
type Counters struct {
	// Events that found no room in the ring buffer, and their payload bytes.
	RingFull, RingBytes uint64
	// Connections that got no socket storage, for lack of memory.
	NoStorage uint64
	// Packets of followed connections whose headers could not be read; events whose payload could not be copied.
	Unreadable, NotCopied uint64
	// Connections whose budget was used up before their handshake was over, and the payload bytes of them that were not copied.
	OverBudget, OverBudgetBytes uint64
	// Connections to a followed address over Multipath TCP.
	Multipath uint64
	// DNS answers that were cut.
	DNSCut uint64
	// Looked counts the connections to other addresses whose first bytes were looked at, Doubted those of them that were copied because
	// that did not tell. They are no losses.
	Looked, Doubted uint64
}

// Counters reads the counters. It may be called by any goroutine until Close.
func (s *Socket) Counters() (Counters, error) {
	var c Counters
	for _, w := range []struct {
		which packetCounter
		to    *uint64
	}{
		{packetCounterLOST_RING_FULL, &c.RingFull},
		{packetCounterLOST_RING_BYTES, &c.RingBytes},
		{packetCounterLOST_STORAGE, &c.NoStorage},
		{packetCounterLOST_UNREADABLE, &c.Unreadable},
		{packetCounterLOST_COPY, &c.NotCopied},
		{packetCounterLOST_BUDGET, &c.OverBudget},
		{packetCounterLOST_BUDGET_BYTES, &c.OverBudgetBytes},
		{packetCounterLOST_MPTCP, &c.Multipath},
		{packetCounterLOST_DNS_CUT, &c.DNSCut},
		{packetCounterCOUNT_LOOKED, &c.Looked},
		{packetCounterCOUNT_DOUBT, &c.Doubted},
	} {
		var perCPU []uint64
		if err := s.packet.Counters.Lookup(uint32(w.which), &perCPU); err != nil {
			return Counters{}, fmt.Errorf("counter %d: %w", w.which, err)
		}
		for _, n := range perCPU {
			*w.to += n
		}
	}
	return c, nil
}
