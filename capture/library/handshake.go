package library

import (
	"bytes"
	"hash/maphash"
	"time"

	"github.com/dynwatch/dynwatch/bpf"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// Bounds of what is remembered, each of two generations: when the newer is full, the older is forgotten.
const (
	maxPending      = 4096
	maxHandshakes   = 2048
	maxChain        = 16 // certificates of one
	maxCertificates = 256
	// maxChainBytes bounds the certificates that are no other's copies, in bytes: a server may show each client a chain of its own.
	maxChainBytes = 4 << 20
)

const (
	// chainAge is how long certificates wait for the handshake that they belong to: it comes right after them.
	chainAge = 10 * time.Second
	// inspectedFor is how long before it a handshake may have been made that an inspection is about.
	inspectedFor = 10 * time.Second
	// handshakeFor is how long a handshake may take, from the server's chain to what the program asks after it.
	handshakeFor = time.Minute
)

// strand is a thread or goroutine.
type strand struct {
	pid uint32
	id  uint64
}

// pendingChain are certificates whose handshake is not known yet.
type pendingChain struct {
	certificates [][]byte
	begun, time  uint64 // of the first and of the last of them
	broken       bool   // one is missing
}

// handshake is what was told of one so far.
type handshake struct {
	flow.Library
	time uint64 // CLOCK_MONOTONIC
	// OpenSSL's mode of verification, if modeKnown; callback: the program judges, or nobody knows.
	modeKnown, callback bool
	mode                int64
	// verified: libcrypto judged the chain. asked: the program wanted to know what came out, which was answer. inspected: it, or another thread
	// of its process, looked at a certificate by itself.
	verified, asked, inspected bool
	answer                     int64
	// unheard: the program may have asked without that being told. forNothing: there is no code in it that asks and means it.
	unheard, forNothing bool
	// golang: the library is Go's crypto/tls, and mode is InsecureSkipVerify.
	golang bool
	// by got the certificate, and what it does with it beyond what is told is known; doubtful: something may have been missed.
	by       caller
	doubtful bool
	// gnuTLS: the library is GnuTLS, and mode is 1 if it verifies by itself.
	gnuTLS bool
	// s2n: the library is s2n, and mode is 1 if it verifies.
	s2n bool
	// nodeOff: the program is Node.js, whose environment switches verification off.
	nodeOff bool
}

// isOpenSSL: the library is OpenSSL, or one that has its functions.
func (h *handshake) isOpenSSL() bool { return !h.golang && !h.gnuTLS && !h.s2n }

// verifyPeer is SSL_VERIFY_PEER.
const verifyPeer = 1

// judge says whether the client verifies. It is careful: a program that lets libssl pass everything may judge by itself, and whatever looks
// like that makes the answer unknown. absent: the answer is that something was not done, which hangs on nothing having been missed.
func (h *handshake) judge() (v flow.Verification, by string, absent bool) {
	v, by, absent = h.judgeTold()
	if absent && h.doubtful {
		return flow.VerificationUnknown, "", false
	}
	return v, by, absent
}

// judgeTold is judge by what was told, as if that were all.
func (h *handshake) judgeTold() (v flow.Verification, by string, absent bool) {
	switch {
	case h.gnuTLS:
		return h.judgeGnuTLS()
	case h.s2n && (!h.modeKnown || h.callback || h.mode == 0 && h.inspected):
		return flow.VerificationUnknown, "", false
	case h.s2n && h.mode == 0:
		return flow.VerificationOff, "s2n_config_disable_x509_verification", true
	case h.s2n:
		return flow.VerificationOn, "s2n's configuration", false
	case h.golang && (!h.modeKnown || h.callback && h.mode != 0):
		return flow.VerificationUnknown, "", false
	case h.golang && h.mode != 0:
		return flow.VerificationOff, "InsecureSkipVerify", false
	case h.golang:
		return flow.VerificationOn, "InsecureSkipVerify is false", false
	case h.nodeOff:
		return flow.VerificationOff, "NODE_TLS_REJECT_UNAUTHORIZED=0 in the environment", false
	case h.modeKnown && !h.callback && h.mode&verifyPeer != 0 && !h.verified: // the program judges instead (SSL_CTX_set_cert_verify_callback)
		return flow.VerificationUnknown, "", false
	case h.modeKnown && !h.callback && h.mode&verifyPeer != 0:
		return flow.VerificationOn, "SSL_VERIFY_PEER", false
	case h.asked && h.answer != 0 && !h.inspected:
		return flow.VerificationOff, "it went on over X509_V_ERR_" + verifyError(h.answer), true
	case !h.modeKnown || h.callback:
		return flow.VerificationUnknown, "", false
	case !h.verified || h.inspected || h.asked || h.unheard:
		return flow.VerificationUnknown, "", false
	}
	return flow.VerificationOff, "SSL_VERIFY_NONE", true
}

// doubt takes back, of handshakes of the last seconds, what hangs on nothing having been missed, and gives those out again.
func (hs *handshakes) doubt(now uint64, yield func(*flow.Library)) {
	for _, generation := range [...]map[[32]byte]*handshake{hs.byRandom.newer, hs.byRandom.older} {
		for _, h := range generation {
			if h.doubtful || now > h.time && now-h.time > uint64(inspectedFor) {
				continue
			}
			_, _, absent := h.judge()
			if h.doubtful = true; absent {
				yield(h.told())
			}
		}
	}
}

// generations is a map that forgets: when the newer generation is full or has grown old, the older one goes. What was put in stays for age at least,
// if there is room.
type generations[K comparable, V any] struct {
	newer, older map[K]V
	max          int
	age          time.Duration // 0 is without end
	begun        time.Time     // the newer one, unless age is 0
}

func newGenerations[K comparable, V any](n int, age time.Duration) generations[K, V] {
	return generations[K, V]{newer: make(map[K]V), older: make(map[K]V), max: n, age: age, begun: time.Now()}
}

func (g *generations[K, V]) get(k K) (V, bool) {
	v, ok := g.newer[k]
	if !ok {
		if v, ok = g.older[k]; ok {
			g.put(k, v)
		}
	}
	return v, ok
}

func (g *generations[K, V]) put(k K, v V) {
	if len(g.newer) >= g.max || g.age > 0 && time.Since(g.begun) >= g.age {
		g.next()
	}
	g.newer[k] = v
}

// next begins a generation.
func (g *generations[K, V]) next() {
	g.newer, g.older = g.older, g.newer
	clear(g.newer)
	if g.age > 0 {
		g.begun = time.Now()
	}
}

func (g *generations[K, V]) delete(k K) {
	delete(g.newer, k)
	delete(g.older, k)
}

// handshakes makes handshakes of events.
type handshakes struct {
	pending  generations[strand, *pendingChain]
	byRandom generations[[32]byte, *handshake]
	// certificates has one copy of each, by its hash, for all who were shown it; those of pending and byRandom that are in no other chain are of ownBytes.
	certificates generations[uint64, []byte]
	seed         maphash.Seed
	ownBytes     int
	// describe completes a new handshake with what is known of its process.
	describe func(*handshake)
	wall     func(mono uint64) int64
	// caller tells whose code of a process is at an address.
	caller func(pid int, address uint64) caller
	// missed tells whether events may have been missed between two times (CLOCK_MONOTONIC) of which the second is that of the event in hand: a
	// chain with a hole would be judged as one that leads nowhere.
	missed func(from, to uint64) bool
}

// newHandshakes knows no handshake; the caller sets the functions.
func newHandshakes() handshakes {
	return handshakes{
		pending: newGenerations[strand, *pendingChain](maxPending, chainAge), byRandom: newGenerations[[32]byte, *handshake](maxHandshakes, handshakeFor),
		certificates: newGenerations[uint64, []byte](maxCertificates, 0), seed: maphash.MakeSeed(),
	}
}

// add takes an event, and yields the handshakes that it is about, if they are known.
func (hs *handshakes) add(e *bpf.LibraryEvent, yield func(*handshake)) {
	switch e.Kind {
	case bpf.LibraryCertificate:
		hs.certificate(e)
		return
	case bpf.LibraryHandshake:
		yield(hs.begin(e))
		return
	}
	h, ok := hs.byRandom.get(e.Random)
	if !ok || h.PID != int(e.PID) {
		return
	}
	switch e.Kind {
	case bpf.LibraryVerified:
		h.verified = true
		if h.gnuTLS { // the last one counts, and none that could not judge
			h.answer = 0
			if e.Flags&bpf.LibraryValueKnown != 0 {
				h.answer = e.Value
			}
		}
	case bpf.LibraryHost:
		h.HostChecked, h.Host = true, string(e.Data)
	case bpf.LibraryAsked:
		if h.forNothing {
			return
		}
		// Without the answer it is not known what the program knows.
		h.asked = true
		if e.Flags&bpf.LibraryValueKnown != 0 {
			h.answer = e.Value
		}
	case bpf.LibraryInspected:
		if e.Flags&bpf.LibrarySession == 0 {
			hs.inspected(e, yield)
			return
		}
		by := callerUnknown
		if e.Code != 0 {
			by = hs.caller(h.PID, e.Code)
		}
		switch {
		case by == callerItself:
		case e.Flags&bpf.LibraryChain != 0 && by != callerCurl: // Node.js and Python hand it to the program, in more forms than are seen
			h.inspected = true
		case by != callerUnknown && (h.by == callerUnknown || h.by == by):
			h.by = by
		default:
			h.inspected = true
		}
	}
	yield(h)
}

func (hs *handshakes) certificate(e *bpf.LibraryEvent) {
	k := strand{e.PID, e.Strand}
	p, ok := hs.pending.get(k)
	if first := e.Flags&bpf.LibraryFirst != 0; !ok || first || e.Time-p.time > uint64(chainAge) {
		p = &pendingChain{begun: e.Time, broken: !first}
		hs.pending.put(k, p)
	}
	p.time = e.Time
	if len(p.certificates) >= maxChain || len(e.Data) < e.Length {
		p.broken = true
		return
	}
	p.certificates = append(p.certificates, hs.kept(e.Data))
}

// kept is a copy of a certificate, which clients of one server share.
func (hs *handshakes) kept(der []byte) []byte {
	hash := maphash.Bytes(hs.seed, der)
	if c, ok := hs.certificates.get(hash); ok && bytes.Equal(c, der) {
		return c
	}
	if hs.ownBytes += len(der); hs.ownBytes > maxChainBytes {
		hs.ownBytes = 0
		hs.pending.next()
		hs.byRandom.next()
	}
	c := bytes.Clone(der)
	hs.certificates.put(hash, c)
	return c
}

func (hs *handshakes) begin(e *bpf.LibraryEvent) *handshake {
	h := &handshake{time: e.Time, s2n: e.Flags&bpf.LibraryS2N != 0}
	h.Random, h.PID, h.TID, h.Time = e.Random, int(e.PID), int(e.TID), hs.wall(e.Time)
	k := strand{e.PID, e.Strand}
	if p, ok := hs.pending.get(k); ok {
		if !p.broken && e.Time-p.time <= uint64(chainAge) && (!h.s2n || len(p.certificates) == e.Length) && !hs.missed(p.begun, e.Time) {
			h.Chain = p.certificates
		}
		hs.pending.delete(k)
	}
	if old, ok := hs.byRandom.get(e.Random); ok && h.Chain == nil && old.PID == h.PID { // told twice: the chain came with the first
		h.Chain = old.Chain
	}
	h.modeKnown, h.mode = e.Flags&bpf.LibraryValueKnown != 0, e.Value
	h.callback = e.Flags&bpf.LibraryCallback != 0
	h.ServerName = string(e.Data)
	if h.golang = e.Flags&bpf.LibraryGo != 0; h.golang {
		h.HostChecked = h.modeKnown && h.mode == 0
		if h.HostChecked {
			h.Host = h.ServerName
		}
	}
	h.gnuTLS = e.Flags&bpf.LibraryGnuTLS != 0
	if h.NameApart = !h.golang && !h.gnuTLS; h.NameApart && !isName(h.ServerName) {
		h.ServerName = "" // OpenSSL keeps something else there
	}
	hs.describe(h)
	harmless := callerPython
	if h.gnuTLS {
		harmless = callerCurl
	}
	if h.callback && e.Code != 0 && hs.caller(h.PID, e.Code) == harmless {
		h.callback = false
	}
	hs.byRandom.put(e.Random, h)
	return h
}

// isName reports whether a text may be the name of a host.
func isName(s string) bool {
	for _, c := range []byte(s) {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return true
}

// inspected: the program looks at a certificate. Which one is not known, so it may be that of any handshake that its process made shortly before.
func (hs *handshakes) inspected(e *bpf.LibraryEvent, yield func(*handshake)) {
	for _, generation := range [...]map[[32]byte]*handshake{hs.byRandom.newer, hs.byRandom.older} {
		for _, h := range generation {
			if h.PID == int(e.PID) && e.Time-h.time <= uint64(inspectedFor) {
				h.inspected = true
				yield(h)
			}
		}
	}
}

// told is what is given out of a handshake.
func (h *handshake) told() *flow.Library {
	l := h.Library
	l.Verification, l.VerificationBy, _ = h.judge()
	return &l
}
