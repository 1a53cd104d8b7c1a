package ebpf

import "github.com/dynwatch/dynwatch/capture"

// Stats says what was delivered and what was lost, in the kernel and on the way.
func (s *Source) Stats() capture.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.last
	if !s.released {
		var err error
		if k, err = s.kernel.Counters(); err != nil {
			k = s.last
		}
		s.last = k
	}
	return capture.Stats{
		Packets:  s.packets.Load(),
		Bytes:    s.bytes.Load(),
		Warnings: s.warnings,
		Loss: map[string]uint64{
			"ebpf.ring_full":                     k.RingFull,
			"ebpf.ring_full_bytes":               k.RingBytes,
			"ebpf.no_socket_storage":             k.NoStorage,
			"ebpf.unreadable_packets":            k.Unreadable,
			"ebpf.not_copied":                    k.NotCopied,
			"ebpf.connections_over_budget":       k.OverBudget,
			"ebpf.connections_over_budget_bytes": k.OverBudgetBytes,
			"ebpf.multipath_tcp":                 k.Multipath,
			"ebpf.dns_cut":                       k.DNSCut,
			"ebpf.malformed_events":              s.bad.Load(),
			"ebpf.skipped_events":                s.gaps.Load(),
		},
	}
}
