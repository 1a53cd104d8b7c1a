package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/dynwatch/dynwatch/analyze/endpoint"
	"github.com/dynwatch/dynwatch/analyze/rules"
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/analyze/tlswire"
	"github.com/dynwatch/dynwatch/analyze/trust"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// Options are what a Prober works with. Endpoints, Trust and Policy are required.
type Options struct {
	Endpoints *endpoint.Set
	Trust     *trust.Store
	Policy    *rules.Policy
	// Timeout bounds each connection, and each resolution; 0 means DefaultTimeout.
	Timeout time.Duration
	// Namespace is where connections begin; nil is this process's own.
	Namespace *Namespace
	// Proxy, HOST:PORT, is asked by CONNECT to reach the endpoint; "" for none. It then resolves the names, unless a target has an address.
	Proxy string
	// Brief makes only the handshake of an ordinary client. Ciphers asks for every suite that the server takes, a connection each. Plaintext,
	// if not 0, is a port to ask in cleartext HTTP.
	Brief, Ciphers bool
	Plaintext      uint16
	// Own is told of the connections, for who watches this host; nil for nobody. It goes without Namespace.
	Own *Own
	// ExpiryWarning is how long before its end a certificate is warned about; 0 is never.
	ExpiryWarning time.Duration
}

// DefaultTimeout is how long a connection may take.
const DefaultTimeout = 5 * time.Second

// Bounds of one probe.
const (
	maxProbed    = 16 // addresses of a name
	parallel     = 4  // of them at a time
	maxChain     = 16 // certificates that are described
	maxCiphers   = 64 // suites that are asked for, of one version
	budgetFactor = 8  // an address may take so many timeouts
)

// Prober probes endpoints. It is safe for concurrent use.
type Prober struct{ o Options }

// New returns a Prober. It panics if a required option is missing: that is an error of the program.
func New(o Options) *Prober {
	if o.Endpoints == nil || o.Trust == nil || o.Policy == nil {
		panic("probe: Endpoints, Trust and Policy are required")
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	return &Prober{o}
}

// Probe resolves a target and probes its addresses. There is at least one result, which says what failed if all did.
//
// A name that is not DynamoDB's is judged as one that the operator named (--endpoint): who asks for it says that it is.
func (p *Prober) Probe(ctx context.Context, t Target) []*session.Probe {
	set, err := p.endpoints(t)
	if err != nil {
		return []*session.Probe{p.failed(t, err)}
	}
	r := route{host: t.name(), port: t.Port, proxy: p.o.Proxy}
	if p.o.Proxy != "" {
		if r.proxy, err = p.proxyAddress(ctx); err != nil {
			return []*session.Probe{p.failed(t, fmt.Errorf("proxy %s: %w", p.o.Proxy, err))}
		}
	}
	var res *session.Resolution
	addrs := []netip.Addr{t.Addr}
	switch {
	case t.Addr.IsValid():
	case p.o.Proxy != "":
		res = &session.Resolution{By: "proxy", Name: t.name()}
	default:
		lookup := resolver{p.o.Namespace, p.o.Timeout}
		if res, err = lookup.lookup(ctx, t.Host); err != nil {
			return []*session.Probe{p.failed(t, fmt.Errorf("resolve %s: %w", t.name(), err))}
		}
		addrs = res.Addrs
		p.judgeResolution(set, t, res)
	}
	rest := len(addrs) - maxProbed
	addrs = addrs[:min(len(addrs), maxProbed)]

	out := make([]*session.Probe, len(addrs))
	var running sync.WaitGroup
	turn := make(chan struct{}, parallel)
	for i, a := range addrs {
		running.Add(1)
		turn <- struct{}{}
		go func() {
			defer running.Done()
			defer func() { <-turn }()
			r := r
			if a.IsValid() {
				r.server = netip.AddrPortFrom(a, t.Port)
			}
			out[i] = p.probe(ctx, &r, set)
			out[i].Resolution = res
		}()
	}
	running.Wait()
	if rest > 0 {
		out[0].Warnings = append(out[0].Warnings, fmt.Sprintf("%d more addresses were not probed", rest))
	}
	return out
}

// endpoints is the operator's set, with the target's own name in it.
func (p *Prober) endpoints(t Target) (*endpoint.Set, error) {
	if t.Host == "" {
		return p.o.Endpoints, nil
	}
	if _, _, ok := p.o.Endpoints.Name(t.name(), t.Port); ok {
		return p.o.Endpoints, nil
	}
	var list []string
	for _, e := range p.o.Endpoints.Endpoints() {
		list = append(list, e.String())
	}
	return endpoint.NewSet(p.o.Endpoints.Ranges(), append(list, net.JoinHostPort(t.name(), strconv.Itoa(int(t.Port)))))
}

// proxyAddress gives the proxy as an address to connect to.
func (p *Prober) proxyAddress(ctx context.Context) (string, error) {
	host, port, err := net.SplitHostPort(p.o.Proxy)
	if err != nil {
		return "", err
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return p.o.Proxy, nil
	}
	lookup := resolver{p.o.Namespace, p.o.Timeout}
	res, err := lookup.lookup(ctx, host)
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(res.Addrs[0].String(), port), nil
}

func (p *Prober) failed(t Target, err error) *session.Probe {
	now := time.Now()
	out := &session.Probe{Start: now, End: now, Host: t.name(), Port: t.Port, Proxy: p.o.Proxy, From: p.o.Namespace.String(), Err: err.Error()}
	if t.Addr.IsValid() {
		out.Server = netip.AddrPortFrom(t.Addr, t.Port)
	}
	return out
}

// judgeResolution compares the addresses that a name gave with AWS's and the operator's.
func (p *Prober) judgeResolution(set *endpoint.Set, t Target, res *session.Resolution) {
	n, _, ok := set.Name(t.name(), t.Port)
	if !ok {
		return
	}
	e := session.Endpoint{Service: n.Service, Region: n.Region, Partition: n.Partition, Kind: n.Kind, Name: t.name()}
	var answers []rules.Address
	for _, a := range res.Addrs {
		answers = append(answers, rules.Address{
			Addr: a, AWS: session.TriOf(set.Ranges().IsAWS(flow.IPFrom(a))),
			Allowed: session.TriOf(set.AddrAllowed(netip.AddrPortFrom(a, t.Port))),
		})
	}
	if f := rules.CheckDNS(e, answers); f != nil {
		if res.By == "hosts" {
			f.Message = "the hosts file " + f.Message[len("DNS "):]
			f.Evidence["signal"] = "hosts"
		}
		res.Findings = append(res.Findings, *f)
	}
}

// probe looks at one address.
func (p *Prober) probe(ctx context.Context, r *route, set *endpoint.Set) *session.Probe {
	ctx, cancel := context.WithTimeout(ctx, budgetFactor*p.o.Timeout)
	defer cancel()
	out := &session.Probe{
		Start: time.Now(), Host: r.host, Port: r.port, Server: r.server, Proxy: p.o.Proxy, From: p.o.Namespace.String(),
	}
	if r.server.IsValid() {
		if info, ok := set.Ranges().Lookup(flow.IPFrom(r.server.Addr())); ok {
			out.Prefix, out.Region, out.Services = info.Prefix.String(), info.Region, info.Services
		}
	}
	defer func() { out.End = time.Now() }()
	main := p.handshake(ctx, r, set)
	best := main
	var others []attempt
	// A server that does not even take the connection is asked no more, nor one that says nothing: each question takes the whole timeout.
	if connected := main.session != nil || main.answered; connected && !p.o.Brief && main.answer != "no answer" {
		others = p.versions(ctx, r, set, &main, out)
		for _, a := range others {
			if a.answered && !best.answered {
				best = a
			}
		}
	}
	if p.o.Plaintext != 0 && r.proxy == "" {
		out.Plaintext = p.plaintext(ctx, r)
	}
	p.conclude(out, &best, others, main.err)
	return out
}

// versions asks for each version alone, and for what hangs on that.
func (p *Prober) versions(ctx context.Context, r *route, set *endpoint.Set, main *attempt, out *session.Probe) []attempt {
	var others []attempt
	highest := main.version
	for _, v := range []session.Version{session.TLS13, session.TLS12, session.TLS11, session.TLS10, session.SSL30} {
		pv := session.ProbedVersion{Version: v}
		a, h := main, &hello{version: v, name: r.host, suites: suites12()}
		if v.Is13() {
			h.suites = suites13
		}
		if v != main.version {
			if ctx.Err() != nil {
				pv.Answer = "not tried"
				out.Versions = append(out.Versions, pv)
				continue
			}
			x := p.ask(ctx, r, set, h)
			others = append(others, x)
			a = &x
		}
		switch {
		case a.answered && a.version == v:
			pv.Taken = session.Yes
			pv.Cipher = tlswire.CipherName(a.suite)
			if a.session != nil && a.session.TLS != nil {
				pv.Group = a.session.TLS.Group
			}
			if highest < v {
				highest = v
			}
			if p.o.Ciphers {
				pv.Ciphers = p.ciphers(ctx, r, set, h)
			}
		case a.answered:
			pv.Taken, pv.Answer = session.No, "answered with "+a.version.String()
		case a.answer == "no answer", a.answer == "no connection":
			pv.Answer = a.answer
		default:
			pv.Taken, pv.Answer = session.No, a.answer
		}
		if v == session.TLS12 && pv.Taken == session.Yes && highest.Is13() && a.session != nil && a.session.TLS != nil {
			out.Sentinel = session.TriOf(a.session.TLS.Sentinel == session.SentinelTLS12)
		}
		out.Versions = append(out.Versions, pv)
	}
	p.fallback(ctx, r, set, highest, out)
	p.weak(ctx, r, set, out)
	return others
}

// ciphers asks again and again without what was chosen before. The order is that of the server's choice.
func (p *Prober) ciphers(ctx context.Context, r *route, set *endpoint.Set, h *hello) []string {
	var names []string
	left := slices.Clone(h.suites)
	for range maxCiphers {
		if len(left) == 0 || ctx.Err() != nil {
			break
		}
		next := *h
		next.suites = left
		a := p.ask(ctx, r, set, &next)
		i := slices.Index(left, a.suite)
		if !a.answered || a.version != h.version || i < 0 {
			break
		}
		names = append(names, tlswire.CipherName(a.suite))
		left = slices.Delete(left, i, i+1)
	}
	return names
}

// fallback sends what a client sends that fell back from the server's best version (RFC 7507, Section 3).
func (p *Prober) fallback(ctx context.Context, r *route, set *endpoint.Set, highest session.Version, out *session.Probe) {
	lower := highest - 1
	if highest > session.TLS13 || lower < session.TLS10 || ctx.Err() != nil ||
		!slices.ContainsFunc(out.Versions, func(v session.ProbedVersion) bool { return v.Version == lower && v.Taken == session.Yes }) {
		return // a refusal would be the version's
	}
	a := p.ask(ctx, r, set, &hello{version: lower, name: r.host, suites: suites12(), fallback: true})
	switch {
	case a.answered:
		out.Fallback = "accepted"
	case a.answer == "alert inappropriate_fallback":
		out.Fallback = "refused"
	}
}

// weak offers nothing but weak suites, in the highest version below TLS 1.3 that the server takes.
func (p *Prober) weak(ctx context.Context, r *route, set *endpoint.Set, out *session.Probe) {
	for _, v := range out.Versions {
		if v.Version.Is13() || v.Taken != session.Yes || ctx.Err() != nil {
			continue
		}
		a := p.ask(ctx, r, set, &hello{version: v.Version, name: r.host, suites: weakSuites()})
		out.WeakTried = a.answered || a.answer != "no answer" && a.answer != "no connection"
		if a.answered && slices.Contains(weakSuites(), a.suite) {
			out.WeakSuite = tlswire.CipherName(a.suite)
		}
		return
	}
}

// unreachable reports whether an error says that there is no way to addresses of this family from here.
func unreachable(err error) bool {
	return errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)
}
