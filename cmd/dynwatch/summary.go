package main

import (
	"slices"

	"github.com/dynwatch/dynwatch/analyze"
	"github.com/dynwatch/dynwatch/analyze/tlswire"
	"github.com/dynwatch/dynwatch/capture"
	"github.com/dynwatch/dynwatch/internal/output"
)

// fillSummary adds the counters of every stage: what was read, and all that was lost on the way.
func fillSummary(s *output.Summary, src capture.Stats, a analyze.Stats, keys *tlswire.KeyLog, errs []error) {
	s.Packets, s.Bytes, s.Filtered, s.Flows = src.Packets, src.Bytes, src.Filtered, a.Flows
	s.Loss = src.Loss
	s.Warnings = slices.Clone(src.Warnings)
	for _, e := range errs {
		s.Warnings = append(s.Warnings, e.Error())
	}
	s.Loss["file.errors"] = uint64(len(errs))
	for name, n := range map[string]uint64{
		"analyze.flows_half_open":       a.HalfOpen,
		"analyze.evicted_opening":       a.EvictedOpening,
		"analyze.evicted_active":        a.EvictedActive,
		"analyze.evicted_finished":      a.EvictedFinished,
		"analyze.gap_bytes":             a.GapBytes,
		"analyze.conflict_bytes":        a.ConflictBytes,
		"analyze.holes_forced":          a.HolesForced,
		"analyze.out_of_window":         a.OutOfWindow,
		"analyze.truncated_packets":     a.TruncatedPackets,
		"analyze.tls_protocol_errors":   a.ProtocolErrors,
		"analyze.http_unreadable":       a.Unreadable,
		"analyze.http_not_followed":     a.HTTPUnfollowed,
		"analyze.dns_malformed":         a.DNSMalformed,
		"analyze.sessions_out_of_order": a.Late,
		"analyze.resumptions_evicted":   a.ResumptionsEvicted,
		"analyze.resolved_evicted":      a.ResolvedEvicted,
		"analyze.secrets_missing":       a.SecretsMissing,
		"analyze.secrets_late":          a.SecretsLate,
	} {
		s.Loss[name] = n
	}
	k := keys.Stats()
	s.Loss["keylog.malformed_lines"] = uint64(k.Malformed)
	s.Loss["keylog.evicted"] = uint64(k.Evicted)
}
