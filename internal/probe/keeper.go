package probe

import (
	"container/list"
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// KeeperOptions say how often a Keeper may probe. Zero fields have the default that stands beside them.
type KeeperOptions struct {
	// Every is the least time between two probes of the same endpoint at the same address (1 h), Pause the least between any two (10 s).
	Every, Pause time.Duration
	// Jitter is the most that a probe waits before it begins (30 s), so that the hosts of a fleet do not connect all at once.
	Jitter time.Duration
	// MaxAge is how old an answer may be to be shown (2 h), at least Every.
	MaxAge time.Duration
	// MaxQueue bounds the endpoints that wait to be probed (64), MaxKept those that are remembered (512: more than are probed until the first is
	// too old).
	MaxQueue, MaxKept int
	// Result, if set, gets every probe once its answer is kept. It is called by Run's goroutine.
	Result func(*session.Probe)
}

// KeeperStats count a Keeper's work.
type KeeperStats struct {
	// Probes were made, Failed of these got no answer; Filled sessions were given a certificate.
	Probes, Failed, Filled uint64
	// Dropped wishes met a full queue; Evicted answers were forgotten for newer ones.
	Dropped, Evicted uint64
	// Kept answers are remembered, Waiting endpoints are to be probed.
	Kept, Waiting int
}

// Keeper probes the addresses of endpoints whose certificate nobody could see, now and then, and remembers what it saw.
//
// It is for a program that runs for long: Fill is asked about every session as it is put out, Run works beside. What is filled in tells which
// certificate a connection of our own was shown, and when. It changes no verdict, no trust and no finding: an interceptor in the path of the
// session's process need not be in ours. Fill does not wait and may be called from any goroutine, as may Use and Stats.
type Keeper struct {
	mu      sync.Mutex // guards what follows
	p       *Prober
	o       KeeperOptions
	entries map[keptKey]*list.Element
	order   *list.List // of *kept; the last used is in front
	stats   KeeperStats

	queue chan keptKey
}

type keptKey struct {
	server netip.AddrPort
	name   string
}

type kept struct {
	key    keptKey
	next   time.Time // not probed before
	queued bool
	cert   *session.Certificate // nil if the last probe got none
}

// NewKeeper returns a Keeper that probes as o says, in brief: one handshake each.
func NewKeeper(o Options, k KeeperOptions) *Keeper {
	k = k.complete()
	return &Keeper{p: briefly(o), o: k, entries: make(map[keptKey]*list.Element), order: list.New(), queue: make(chan keptKey, k.MaxQueue)}
}

// complete puts defaults in the place of zeros.
func (k KeeperOptions) complete() KeeperOptions {
	or := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	or(&k.Every, time.Hour)
	or(&k.Pause, 10*time.Second)
	or(&k.Jitter, 30*time.Second)
	or(&k.MaxAge, 2*time.Hour)
	k.MaxAge = max(k.MaxAge, k.Every)
	if k.MaxQueue <= 0 {
		k.MaxQueue = 64
	}
	if k.MaxKept <= 0 {
		k.MaxKept = 512
	}
	return k
}

func briefly(o Options) *Prober {
	o.Brief, o.Ciphers, o.Plaintext, o.Proxy = true, false, 0, ""
	return New(o)
}

// Use has the Keeper probe and judge otherwise from now on, but for the length of its queue. What it saw is forgotten, for it was judged by
// what was allowed then.
func (k *Keeper) Use(o Options, with KeeperOptions) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.p, k.o = briefly(o), with.complete()
	for _, el := range k.entries {
		e := el.Value.(*kept)
		e.cert, e.next = nil, time.Time{}
	}
}

// maxName is the longest name that DNS has (RFC 1035, Section 2.3.4).
const maxName = 255

// sharedSpace is private, too (RFC 6598).
var sharedSpace = netip.MustParsePrefix("100.64.0.0/10")

// wanted reports whether a session's certificate is one that a probe may tell something about: TLS straight to the endpoint, not seen, at an
// address that is the same one for us. The caller holds mu.
func (k *Keeper) wanted(s *session.Session) bool {
	switch {
	case !s.Endpoint.Known() || s.Transport != session.TransportTLS || s.Proxy != nil || s.RedirectedTo.IsValid():
		return false
	case s.Certificate != nil || s.Trust != session.TrustUnseen || len(s.TLS.SNI) > maxName:
		return false
	}
	a := s.Server.Addr().Unmap()
	home := s.Process != nil && s.Process.NetNS != 0 && s.Process.NetNS == homeNamespace() // else of another network namespace, or nobody knows of which
	switch {
	case home:
	case a.IsLoopback(), a.IsLinkLocalUnicast():
		return false
	case a.IsPrivate() || sharedSpace.Contains(a):
		// Somebody else may have it here, unless its packets pass here, or the operator says whose it is.
		if s.Source != "packet" && !k.p.o.Endpoints.AddrAllowed(netip.AddrPortFrom(a, s.Server.Port())) {
			return false
		}
	}
	return s.Visibility == session.VisibilityEncrypted || s.Visibility == session.VisibilityResumed
}

// Fill gives a session whose certificate nobody saw the one that a probe of the same address and name was shown, if there is one that is
// not too old, and has the endpoint probed when its time has come. It reports whether it filled in.
//
// Call it after the session was judged; only Certificate is set.
func (k *Keeper) Fill(s *session.Session, now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.wanted(s) {
		return false
	}
	key := keptKey{netip.AddrPortFrom(s.Server.Addr().Unmap(), s.Server.Port()), s.TLS.SNI}
	e := k.entry(key)
	if !e.queued && !now.Before(e.next) {
		select {
		case k.queue <- key:
			e.queued = true
		default:
			k.stats.Dropped++
		}
	}
	if e.cert == nil || now.Sub(e.cert.SeenAt) > k.o.MaxAge {
		return false
	}
	cert := *e.cert
	s.Certificate = &cert
	k.stats.Filled++
	return true
}

// entry finds or makes what is kept of an endpoint. The caller holds mu.
func (k *Keeper) entry(key keptKey) *kept {
	if el, ok := k.entries[key]; ok {
		k.order.MoveToFront(el)
		return el.Value.(*kept)
	}
	if k.order.Len() >= k.o.MaxKept {
		last := k.order.Back()
		delete(k.entries, last.Value.(*kept).key)
		k.order.Remove(last)
		k.stats.Evicted++
	}
	key.name = strings.Clone(key.name)
	e := &kept{key: key}
	k.entries[key] = k.order.PushFront(e)
	return e
}

// Run probes what Fill asks for until the context ends.
func (k *Keeper) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case key := <-k.queue:
			k.mu.Lock()
			pause := k.o.Pause + rand.N(k.o.Jitter)
			k.mu.Unlock()
			if !sleep(ctx, pause) {
				return
			}
			k.probe(ctx, key)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func (k *Keeper) probe(ctx context.Context, key keptKey) {
	k.mu.Lock()
	p, result := k.p, k.o.Result
	k.mu.Unlock()
	results := p.Probe(ctx, Target{Host: key.name, Addr: key.server.Addr(), Port: key.server.Port()})
	if ctx.Err() != nil {
		return
	}
	k.keep(p, key, results[0])
	if result != nil {
		result(results[0])
	}
}

// keep takes what a probe by p came to.
func (k *Keeper) keep(p *Prober, key keptKey, r *session.Probe) {
	shown := r.Session != nil && r.Session.Certificate != nil
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stats.Probes++
	if !shown {
		k.stats.Failed++ // an earlier answer stays until it is too old
	}
	e := k.entry(key)
	e.queued = false
	if p != k.p {
		return // it was judged by what was allowed before
	}
	// Jittered too, so that endpoints that were met at the same time do not come due at the same time for ever.
	e.next = r.End.Add(k.o.Every + rand.N(k.o.Every/8+1))
	if shown {
		e.cert = compact(r.Session.Certificate)
	}
}

// What is kept of a certificate's texts, in bytes: a server can fill a quarter of a mebibyte with them.
const (
	maxDN    = 512
	maxNames = 4096 // of all names together
)

// compact copies what is worth keeping of a certificate, and nothing that it points into.
func compact(c *session.Certificate) *session.Certificate {
	x := *c
	for _, text := range []*string{&x.Subject, &x.Issuer, &x.Serial, &x.SHA256, &x.SPKISHA256, &x.Key, &x.Signature} {
		*text = strings.Clone(strings.ToValidUTF8((*text)[:min(len(*text), maxDN)], ""))
	}
	x.Names = nil
	room := maxNames
	for _, name := range c.Names {
		if room -= len(name); room < 0 {
			break
		}
		x.Names = append(x.Names, strings.Clone(name))
	}
	x.Names = slices.Clip(x.Names)
	return &x
}

// Stats returns the counters so far.
func (k *Keeper) Stats() KeeperStats {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.stats
	s.Kept, s.Waiting = k.order.Len(), len(k.queue)
	return s
}
