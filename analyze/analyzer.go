package analyze

import (
	"time"

	"github.com/dynwatch/dynwatch/analyze/endpoint"
	"github.com/dynwatch/dynwatch/analyze/httpwire"
	"github.com/dynwatch/dynwatch/analyze/rules"
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/analyze/tlswire"
	"github.com/dynwatch/dynwatch/analyze/trust"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// Options are what an Analyzer works with. Endpoints, Trust, Policy and Emit are required.
type Options struct {
	// Source is the word for where segments come from: file, ebpf or packet.
	Source string
	// All reports every TLS session, not only DynamoDB's.
	All bool
	// Tables asks for table names in cleartext requests.
	Tables bool

	Endpoints *endpoint.Set
	Trust     *trust.Store
	Policy    *rules.Policy
	// History is the rules' memory over sessions; nil gives a bounded one of this run alone.
	History rules.History
	// Secrets decrypts TLS 1.3 handshakes; nil if there are none.
	Secrets tlswire.Secrets

	// Emit takes every finished session, in the order of first packets.
	Emit func(*session.Session)
	// EmitDNS takes every DNS answer about a DynamoDB name; may be nil.
	EmitDNS func(*session.DNS)

	// Live puts a session out as soon as nothing that follows can change its verdict for the better or worse, instead of at the flow's end
	// and in the order of starts; what shows later, a refusal after the handshake for example, goes to EmitFinding.
	//
	// The time by which live flows grow old is what Advance is told, not that of packets: a clock that is set, or a host that wakes up, must
	// not make every flow look silent, or none.
	Live        bool
	EmitFinding func(*session.Session, session.Finding)

	// MaxFlows bounds the flow table; 0 means DefaultMaxFlows.
	MaxFlows int
	// MaxBuffered bounds the bytes held behind holes over all flows; 0 means DefaultMaxBuffered.
	MaxBuffered int
	// MaxMemory bounds the bytes that all flows together take that are being read, MaxBuffered included; 0 means DefaultMaxMemory.
	MaxMemory int
}

// Defaults of the bounds, and how long flows live, in packet time, live in Advance's.
const (
	DefaultMaxFlows    = 1 << 20
	DefaultMaxBuffered = 32 << 20
	DefaultMaxMemory   = 512 << 20

	// idleOpening, in seconds: a SYN without an answer or payload; Linux gives up after about two minutes (tcp_syn_retries). An ended
	// flow is forgotten as fast.
	idleOpening = 75
	// idleFinished, in seconds: a flow that was judged or is none of ours. After it, a packet in its middle is looked at anew. One that was
	// answered and has not carried payload may wait as long: clients open connections in advance. So may one that one side has ended: the kernel
	// tells a live source no more of a socket that is closed and waits for the other side's FIN.
	idleFinished = 300
	// idleActive, in seconds: a flow that is being read, or a reported one that stays open.
	idleActive = 3600
	// lingering, in nanoseconds: how long an ended flow is still read, because captures reorder; maxLingering how many of them, for captures
	// whose time stands still.
	lingering    = int64(time.Second)
	maxLingering = 4096

	// clockStep, in nanoseconds, and clockPackets: a step of the packets' time by more than that is believed when so many packets in a
	// row agree, so that one wrong time stamp does not make every other flow look idle.
	clockStep    = int64(time.Minute)
	clockPackets = 8
)

// Stats counts what went through an Analyzer and what did not.
type Stats struct {
	Segments, Datagrams uint64
	PayloadBytes        uint64
	// Flows that carried payload or a SYN; Sessions put out; Reported by verdict is the output's to count.
	Flows, Sessions uint64
	// HalfOpen flows ended without a byte of payload.
	HalfOpen uint64
	// Evicted flows were dropped from a full table, by what they were: those that had ended, with payload or without, were finished. Active ones
	// also to keep to MaxMemory.
	EvictedOpening, EvictedActive, EvictedFinished uint64
	// GapBytes are missing bytes inside what had to be read; ConflictBytes came twice with different content.
	GapBytes, ConflictBytes uint64
	// HolesForced are flows whose holes were given up early because MaxBuffered was reached.
	HolesForced uint64
	// OutOfWindow are segments that lay so far from the rest of their stream that they cannot belong to it.
	OutOfWindow uint64
	// ProtocolErrors are streams that began as TLS and broke off from it; Unreadable are cleartext HTTP streams given up.
	ProtocolErrors, Unreadable uint64
	// HTTPUnfollowed are cleartext HTTP flows that were dropped after a request that was not DynamoDB's, because many were open.
	HTTPUnfollowed uint64
	// DNSAnswers about DynamoDB names; DNSMalformed ones, as far as the name could be read.
	DNSAnswers, DNSMalformed uint64
	// Late sessions were put out after one that began later.
	Late uint64
	// ResumptionsEvicted and ResolvedEvicted are entries that bounded memories dropped.
	ResumptionsEvicted, ResolvedEvicted uint64
	// SecretsMissing are TLS 1.3 sessions that were put out without their secrets, though some were given; of SecretsLate live ones the
	// secrets came after that, and what they showed could only be told as findings.
	SecretsMissing, SecretsLate uint64
	// TruncatedPackets had payload cut off inside what had to be read.
	TruncatedPackets uint64
}

// Analyzer reads the segments of one capture. Its methods must be called by one goroutine at a time.
type Analyzer struct {
	o        Options
	seed     seed // of table
	table    *flowTable
	conns    []*conn
	free     []int32
	ended    []lingerer // conns that saw a FIN or RST, by rising deadline
	now      int64      // latest time of a packet; live, what Advance was told last
	nowSec   uint32     // now in seconds, at most 2^32-1
	steps    int        // packets in a row whose time lies more than clockStep after now
	buffered int        // what is held behind holes, in bytes
	memory   int        // what the conns in use take, in bytes, about
	hand     int        // where the next search among conns begins
	stats    Stats
	order    orderer
	idleTLS  []*tlswire.Conn
	idleHTTP []*httpwire.Conn
	spare    [][]byte // buffers for stream.kept
	// openings are what live sources told of flows without payload so far.
	openings map[flowKey]*flow.Opening
	// following counts the cleartext HTTP flows that are read.
	following int
	resolved  *endpoint.Resolved
	concern   func(name []byte) bool // mayConcern
	resumed   resumptions
	touched   int64 // keeps Segments from being optimised
	libraries libraries

	// tap takes all bytes and gaps in place of recognition; for tests of reassembly.
	tap func(dir uint8, data []byte, gap int)
}

type lingerer struct {
	conn     *conn
	serial   uint32 // of the conn when it was queued: conns are reused
	deadline int64
}

// New returns an Analyzer. It panics if a required option is missing: that is an error of the program, not of input.
func New(o Options) *Analyzer {
	if o.Endpoints == nil || o.Trust == nil || o.Policy == nil || o.Emit == nil {
		panic("analyze: Endpoints, Trust, Policy and Emit are required")
	}
	if o.MaxFlows <= 0 {
		o.MaxFlows = DefaultMaxFlows
	}
	if o.MaxBuffered <= 0 {
		o.MaxBuffered = DefaultMaxBuffered
	}
	if o.MaxMemory <= 0 {
		o.MaxMemory = DefaultMaxMemory
	}
	if o.History == nil {
		o.History = rules.NewRecent()
	}
	a := &Analyzer{o: o, seed: newSeed(), resolved: endpoint.NewResolved(o.Endpoints, 0)}
	a.table = newFlowTable(a.seed)
	if o.Live {
		a.setNow(1) // 0 stands for never
	}
	a.concern = a.mayConcern
	a.order.emit = func(s *session.Session, k *kin) {
		if !o.Live {
			a.judge(s, k)
		}
		a.stats.Sessions++
		if a.o.Secrets != nil && s.Visibility == session.VisibilityEncrypted {
			a.stats.SecretsMissing++
		}
		o.Emit(s)
	}
	return a
}

// UseSecrets has the handshakes of flows that begin from now on decrypted, where s holds their secrets.
func (a *Analyzer) UseSecrets(s tlswire.Secrets) { a.o.Secrets = s }

// Stats returns the counters so far.
func (a *Analyzer) Stats() Stats {
	s := a.stats
	s.Late = a.order.late
	s.ResumptionsEvicted = a.resumed.evicted
	s.ResolvedEvicted = a.resolved.Evicted()
	return s
}

// lookAhead is how many segments' slots are asked for at once. Each lies in a cache line of its own, in a table larger than the caches; the
// processor fetches several at a time if it knows them early enough.
const lookAhead = 16

// Prepare computes by what Segments will find a segment's flow. Another goroutine may do this ahead: it changes nothing but the segment.
func (a *Analyzer) Prepare(seg *flow.Segment) {
	var k flowKey
	k.set(&seg.FiveTuple, seg.Cookie)
	seg.Hash = a.seed.hash(&k)
}

// Segments takes the transport parts of the next packets, and prepares those that are not. Nothing of them is kept by reference.
func (a *Analyzer) Segments(segs []flow.Segment) {
	for len(segs) > 0 {
		n := min(len(segs), lookAhead)
		var sum int64
		for i := range segs[:n] {
			if segs[i].Hash == 0 {
				a.Prepare(&segs[i])
			}
			sum += a.table.home(segs[i].Hash).start
		}
		a.touched = sum
		for i := range segs[:n] {
			a.segment(&segs[i])
		}
		segs = segs[n:]
	}
}

// Segment takes the next packet's transport part. Nothing of it is kept by reference.
func (a *Analyzer) Segment(seg *flow.Segment) {
	a.Prepare(seg)
	a.segment(seg)
}

func (a *Analyzer) segment(seg *flow.Segment) {
	switch {
	case a.o.Live:
	case seg.Time > a.now:
		a.advance(seg.Time)
	default:
		a.steps = 0
	}
	if seg.Proto != flow.TCP {
		if seg.Proto == flow.UDP {
			a.stats.Datagrams++
			a.datagram(seg)
		}
		return
	}
	a.stats.Segments++
	a.stats.PayloadBytes += uint64(len(seg.Payload))
	var key flowKey
	dir := key.set(&seg.FiveTuple, seg.Cookie)
	k := &key
	s := a.table.findAt(seg.Hash, k)
	if s != nil && a.nowSec >= s.last+idleOpening && a.idle(s) {
		// Sweeping finds idle slots sooner or later, in an order that hangs on the table's seed; what is put out must not.
		a.table.remove(k)
		s = nil
	}
	if s == nil {
		if seg.Length == 0 && !seg.Flags.Has(flow.SYN) || maybePadding(seg) && !seg.Flags.Has(flow.SYN) {
			if seg.Opening != nil && seg.Opening.Earlier {
				s = a.admit(k, seg)
				s.last = a.nowSec
				a.existing(s, dir, seg.Opening, seg.Cookie)
			}
			return // nothing to learn from an acknowledgement of a flow that we do not know
		}
		s = a.admit(k, seg)
	}
	if s.last = a.nowSec; a.steps > 0 {
		s.last = seconds(seg.Time) // the step may turn out to be true
	}
	switch s.state {
	case slotOpening, slotClosed:
		a.opening(s, dir, seg)
	case slotActive:
		a.active(s, dir, seg)
	default:
		a.over(s, dir, seg)
	}
}

// advance moves the time to that of a packet of a file.
func (a *Analyzer) advance(t int64) {
	if t-a.now > clockStep && a.now != 0 {
		if a.steps++; a.steps < clockPackets {
			return
		}
	}
	a.steps = 0
	a.setNow(t)
	if len(a.ended) > 0 && a.ended[0].deadline < a.now {
		a.settle(a.now)
	}
}

func (a *Analyzer) setNow(t int64) { a.now, a.nowSec = t, seconds(t) }

// seconds is a packet's time in seconds, as slots have it; what they cannot hold is the latest time.
func seconds(t int64) uint32 { return uint32(min(uint64(max(t, 0))/1e9, 1<<32-1)) }

// Advance tells the time of a live source, several times a second, whether packets come or not: nanoseconds of a clock that only goes forward
// and does not jump, such as a monotonic one, from any beginning. Times of packets are of no concern to it.
func (a *Analyzer) Advance(now int64) {
	if now > a.now {
		a.setNow(now)
	}
	a.settle(a.now)
	a.reportQuiet()
	a.table.sweep(a.table.size/64, a.idle)
}

// Flush ends every flow, as the capture does, and puts out what is left.
func (a *Analyzer) Flush() {
	a.settle(1<<63 - 1)
	for _, c := range a.conns {
		if c.inUse {
			a.finish(c)
		}
	}
	for s := range a.table.all {
		if s.state == slotOpening || s.state == slotClosed {
			a.stats.HalfOpen++
		}
	}
	a.table = newFlowTable(a.seed)
	clear(a.openings)
	a.order.release()
}
