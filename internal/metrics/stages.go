package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dynwatch/dynwatch/analyze"
	"github.com/dynwatch/dynwatch/capture"
	"github.com/dynwatch/dynwatch/internal/history"
	"github.com/dynwatch/dynwatch/internal/host"
)

// Progress is how far the stages of one run have come. Its counters are those of the source and the analyzer that run now; both begin anew
// when a source is opened again, and Update notices that.
type Progress struct {
	// Source is the word for the source: ebpf or packet.
	Source  string
	Capture capture.Stats
	Analyze analyze.Stats
	Host    host.Stats
}

// lost says which metric a counter of capture.Stats.Loss or analyze.Stats is told by.
type lost struct {
	name          string // as in the summary's loss
	stage, reason string
	bytes         bool
}

// losses are all that can be lost on the way to a verdict. packet.queue_freezes is not among them: it tells how often packet.ring_full began.
var losses = []lost{
	{"ebpf.ring_full", "ebpf", "ring_full", false},
	{"ebpf.ring_full_bytes", "ebpf", "ring_full", true},
	{"ebpf.no_socket_storage", "ebpf", "no_socket_storage", false},
	{"ebpf.unreadable_packets", "ebpf", "unreadable_packets", false},
	{"ebpf.not_copied", "ebpf", "not_copied", false},
	{"ebpf.connections_over_budget", "ebpf", "connections_over_budget", false},
	{"ebpf.connections_over_budget_bytes", "ebpf", "connections_over_budget", true},
	{"ebpf.multipath_tcp", "ebpf", "multipath_tcp", false},
	{"ebpf.dns_cut", "ebpf", "dns_cut", false},
	{"ebpf.malformed_events", "ebpf", "malformed_events", false},
	{"ebpf.skipped_events", "ebpf", "skipped_events", false},
	{"packet.ring_full", "packet", "ring_full", false},
	{"packet.cut_by_snap_length", "packet", "cut_by_snap_length", false},
	{"decode.truncated", "decode", "truncated", false},
	{"decode.malformed", "decode", "unreadable", false},
	{"decode.too_deep", "decode", "unreadable", false},
	{"decode.unsupported_link", "decode", "unreadable", false},
	{"decode.unknown_ethertypes", "decode", "unreadable", false},
	{"decode.fragments_lost", "decode", "fragments", false},
	{"decode.fragments_conflicting", "decode", "fragments", false},
}

// lostInAnalysis is the analysis's part: what it could not follow.
var lostInAnalysis = []struct {
	reason string
	bytes  bool
	count  func(*analyze.Stats) uint64
}{
	{"evicted_opening", false, func(a *analyze.Stats) uint64 { return a.EvictedOpening }},
	{"evicted_active", false, func(a *analyze.Stats) uint64 { return a.EvictedActive }},
	{"holes_forced", false, func(a *analyze.Stats) uint64 { return a.HolesForced }},
	{"out_of_window", false, func(a *analyze.Stats) uint64 { return a.OutOfWindow }},
	{"truncated_packets", false, func(a *analyze.Stats) uint64 { return a.TruncatedPackets }},
	{"http_not_followed", false, func(a *analyze.Stats) uint64 { return a.HTTPUnfollowed }},
	{"gap", true, func(a *analyze.Stats) uint64 { return a.GapBytes }},
	{"conflict", true, func(a *analyze.Stats) uint64 { return a.ConflictBytes }},
}

// The memories that are bounded.
const (
	cacheFlows       = "flows"
	cacheResumptions = "resumptions"
	cacheResolved    = "resolved"
	cacheHost        = "host"
	cacheAddresses   = "addresses" // that DNS answers gave, which the source follows
	cacheInventory   = "inventory"
	cacheFindings    = "findings"
)

// stages registers what Update and Hold fill.
func (s *Set) stages(source Label) {
	s.packets = s.counter("capture_packets_total", "Packets, or events, that the source delivered.", source)
	s.bytes = s.counter("capture_bytes_total", "Bytes that the source delivered.", source)
	s.flows = s.counter("flows_total", "Flows that carried payload or a SYN, of whatever service.")
	s.halfOpen = s.counter("flows_half_open_total", "Flows that ended without a byte of payload.")

	loss := func(name, help string, bytes bool) *prometheus.CounterVec {
		var stages, reasons []string
		add := func(list *[]string, word string) {
			if among(*list, word, "") == "" {
				*list = append(*list, word)
			}
		}
		pairs := map[[2]string]bool{}
		eachLoss(func(stage, reason string, b bool) {
			if b == bytes {
				add(&stages, stage)
				add(&reasons, reason)
				pairs[[2]string{stage, reason}] = true
			}
		})
		v := s.lateCounter(name, help, len(pairs), Label{"stage", stages}, Label{"reason", reasons})
		for p := range pairs {
			v.WithLabelValues(p[0], p[1])
		}
		return v
	}
	s.eventsLost = loss("events_lost_total", "Packets, events or flows that were lost or cut on the way to a verdict, by stage.", false)
	s.bytesLost = loss("bytes_lost_total", "Bytes that were lost on the way to a verdict, by stage.", true)
	s.parseErrors = s.counter("parse_errors_total", "Streams and answers that could not be read to their end, by what they began as.", Label{"layer", []string{"tls", "http", "dns"}})
	s.evictions = s.counter("cache_evictions_total", "Entries that made room for others.",
		Label{"cache", []string{cacheFlows, cacheResumptions, cacheResolved, cacheHost, cacheInventory, cacheFindings}})
	s.cacheEntries = s.gauge("cache_entries", "Entries of a bounded memory.", Label{"cache", []string{cacheFlows, cacheAddresses, cacheInventory, cacheFindings}})
	s.cacheCapacity = s.gauge("cache_capacity", "The most entries that a bounded memory holds.", Label{"cache", []string{cacheFlows, cacheAddresses, cacheInventory, cacheFindings}})
	s.historyErrors = s.counter("history_write_errors_total", "Writes of the inventory and the findings to disk that failed; they are tried again.")
	s.historyBytes = s.gauge("history_file_bytes", "Size of the file with the inventory and the findings.")
	s.lookups = s.counter("process_lookups_total", "Look-ups of a connection's process, by how they went; gone is a process that had ended.", Label{"result", lookups})
	s.reading = s.gauge("flows_reading", "Flows that are being read now: the rest of the table waits, is over, or is none of DynamoDB's.")
	s.memory = s.gauge("flows_memory_bytes", "What the flows take that are being read, about.")
	s.memoryLimit = s.gauge("flows_memory_limit_bytes", "What they may take: then the heaviest gives way.")
	s.buffered = s.gauge("reassembly_buffer_bytes", "Bytes that wait behind holes of their streams.")
}

// eachLoss calls f for everything that can be lost.
func eachLoss(f func(stage, reason string, bytes bool)) {
	for _, l := range losses {
		f(l.stage, l.reason, l.bytes)
	}
	for _, l := range lostByLibraries {
		f(l.stage, l.reason, l.bytes)
	}
	for _, l := range lostInAnalysis {
		f("analyze", l.reason, l.bytes)
	}
}

// Update adds what the stages have counted since the last call. A counter that went down began anew.
func (s *Set) Update(p Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.last
	s.last = p
	if last.Source != p.Source {
		last.Capture.Packets, last.Capture.Bytes = 0, 0
	}
	if among(sources, p.Source, "") != "" {
		s.packets.WithLabelValues(p.Source).Add(grown(p.Capture.Packets, last.Capture.Packets))
		s.bytes.WithLabelValues(p.Source).Add(grown(p.Capture.Bytes, last.Capture.Bytes))
	}
	lose := func(stage, reason string, bytes bool, n float64) {
		if bytes {
			s.bytesLost.WithLabelValues(stage, reason).Add(n)
		} else {
			s.eventsLost.WithLabelValues(stage, reason).Add(n)
		}
	}
	for _, l := range losses {
		lose(l.stage, l.reason, l.bytes, grown(p.Capture.Loss[l.name], last.Capture.Loss[l.name]))
	}
	for _, l := range lostInAnalysis {
		lose("analyze", l.reason, l.bytes, grown(l.count(&p.Analyze), l.count(&last.Analyze)))
	}
	a, was := &p.Analyze, &last.Analyze
	s.flows.WithLabelValues().Add(grown(a.Flows, was.Flows))
	s.halfOpen.WithLabelValues().Add(grown(a.HalfOpen, was.HalfOpen))
	s.parseErrors.WithLabelValues("tls").Add(grown(a.ProtocolErrors, was.ProtocolErrors))
	s.parseErrors.WithLabelValues("http").Add(grown(a.Unreadable, was.Unreadable))
	s.parseErrors.WithLabelValues("dns").Add(grown(a.DNSMalformed, was.DNSMalformed))
	s.evictions.WithLabelValues(cacheFlows).Add(grown(
		a.EvictedOpening+a.EvictedActive+a.EvictedFinished, was.EvictedOpening+was.EvictedActive+was.EvictedFinished))
	s.evictions.WithLabelValues(cacheResumptions).Add(grown(a.ResumptionsEvicted, was.ResumptionsEvicted))
	s.evictions.WithLabelValues(cacheResolved).Add(grown(a.ResolvedEvicted, was.ResolvedEvicted))
	h, had := &p.Host, &last.Host
	s.evictions.WithLabelValues(cacheHost).Add(grown(h.Evicted, had.Evicted))
	s.lookups.WithLabelValues("ok").Add(grown(lookedUp(h), lookedUp(had)))
	s.lookups.WithLabelValues("gone").Add(grown(h.Gone, had.Gone))
	s.lookups.WithLabelValues("reused").Add(grown(h.Reused, had.Reused))
	s.lookups.WithLabelValues("slow").Add(grown(h.Slow, had.Slow))
	s.lookups.WithLabelValues("unreadable").Add(grown(h.Unreadable, had.Unreadable))
}

// lookedUp counts the look-ups that told something.
func lookedUp(h *host.Stats) uint64 {
	return h.Lookups - min(h.Lookups, h.Gone+h.Reused+h.Slow+h.Unreadable)
}

// grown is by how much a counter grew.
func grown(now, before uint64) float64 {
	if now < before {
		return float64(now)
	}
	return float64(now - before)
}

// Held is what is held in bounded memories, and their bounds.
type Held struct {
	analyze.Usage
	MaxFlows, MaxMemory int
	// Addresses are those from DNS answers that the source follows.
	Addresses, MaxAddresses int
}

// Hold shows what is held at the moment.
func (s *Set) Hold(h Held) {
	s.cacheEntries.WithLabelValues(cacheFlows).Set(float64(h.Flows))
	s.cacheCapacity.WithLabelValues(cacheFlows).Set(float64(h.MaxFlows))
	s.cacheEntries.WithLabelValues(cacheAddresses).Set(float64(h.Addresses))
	s.cacheCapacity.WithLabelValues(cacheAddresses).Set(float64(h.MaxAddresses))
	s.reading.WithLabelValues().Set(float64(h.Reading))
	s.memory.WithLabelValues().Set(float64(h.Memory))
	s.memoryLimit.WithLabelValues().Set(float64(h.MaxMemory))
	s.buffered.WithLabelValues().Set(float64(h.Buffered))
}

// History shows how the inventory and the findings are kept.
func (s *Set) History(h history.Stats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.history
	s.history = h
	s.cacheEntries.WithLabelValues(cacheInventory).Set(float64(h.Entries))
	s.cacheCapacity.WithLabelValues(cacheInventory).Set(float64(h.MaxEntries))
	s.cacheEntries.WithLabelValues(cacheFindings).Set(float64(h.Findings))
	s.cacheCapacity.WithLabelValues(cacheFindings).Set(float64(h.MaxFindings))
	s.evictions.WithLabelValues(cacheInventory).Add(grown(h.EvictedEntries, was.EvictedEntries))
	s.evictions.WithLabelValues(cacheFindings).Add(grown(h.EvictedFindings+h.DroppedFindings, was.EvictedFindings+was.DroppedFindings))
	s.historyErrors.WithLabelValues().Add(grown(h.WriteErrors, was.WriteErrors))
	s.historyBytes.WithLabelValues().Set(float64(h.FileBytes))
}
