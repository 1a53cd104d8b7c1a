package trust

import (
	"bytes"
	"crypto/x509"
	"slices"
	"strconv"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// verdict is what is known of a chain whatever the time and the name. It is immutable and shared.
type verdict struct {
	raw  [][]byte // the store's own copy, which everything else aliases
	size int

	leaf   *Parsed              // nil if unreadable
	cert   *session.Certificate // nil if unreadable
	bearer *x509.Certificate    // the leaf's names
	base   session.Chain
	// paths that lead to something allowed and break no rule; fallback is the best of the others.
	paths       []path
	fallback    path
	allowByName bool
	selfSigned  bool
	amazonClaim bool
}

// verify does all that costs time.
func (s *Store) verify(chain [][]byte) *verdict {
	v := &verdict{}
	considered := chain
	if len(considered) > MaxChain {
		considered = considered[:MaxChain]
	}
	for i, der := range considered {
		if len(der) > MaxCertificate || v.size+len(der) > maxChainBytes {
			considered = considered[:i]
			break
		}
		v.size += len(der)
	}
	all := make([]byte, 0, v.size)
	for _, der := range considered {
		n := len(all)
		all = append(all, der...)
		v.raw = append(v.raw, all[n:len(all):len(all)])
	}
	v.base.LimitExceeded = len(considered) < len(chain)

	b := &builder{anchors: s.anchors, pins: s.pins, minRSABits: s.minRSABits, outcomes: make(map[[2]*candidate]proof)}
	problem := func(i int, what string) {
		if len(v.base.Problems) < maxProblems {
			v.base.Problems = append(v.base.Problems, "certificate "+strconv.Itoa(i)+": "+what)
		}
	}
	for i, der := range v.raw {
		p, err := ParseCertificate(der)
		if i == 0 && p != nil {
			v.leaf, v.cert, v.bearer = p, describeLeaf(p, len(chain)), p.Extensions.bearer()
		}
		if err == nil {
			err = p.Damage
		}
		if err != nil {
			problem(i, err.Error())
			if i == 0 {
				break
			}
			continue
		}
		for _, what := range p.Problems {
			problem(i, what)
		}
		c := newCandidate(p)
		v.base.AmazonNamed = v.base.AmazonNamed || isAmazonName(p.RawIssuer) || isAmazonName(p.RawSubject)
		if !slices.ContainsFunc(b.certs, func(other *candidate) bool { return bytes.Equal(other.Raw, p.Raw) }) {
			b.certs = append(b.certs, c)
		}
	}
	if len(b.certs) == 0 { // the leaf is unreadable, whatever follows it
		v.base.Malformed = true
		return v
	}
	if _, err := x509.ParseCertificate(v.raw[0]); err != nil {
		v.base.Malformed = true
		problem(0, "a strict reader refuses it: "+printable(err.Error()))
	}
	s.walk(v, b)
	return v
}

// walk finds where the chain leads, and what it claims.
func (s *Store) walk(v *verdict, b *builder) {
	leaf := b.certs[0]
	line := []*candidate{leaf}
	b.search(line)
	allowed := func(p path) bool { return p.kind < anchorPublic && p.violation == "" }
	if !slices.ContainsFunc(b.paths, allowed) {
		// Only now does it matter whether the chain is another public CA's.
		own := b.anchors
		b.anchors, b.steps = publicRoots(), 0
		b.search(line)
		merged := make(anchorSet, len(own))
		for name, list := range own {
			merged[name] = slices.Concat(list, b.anchors[name])
		}
		for _, c := range b.certs { // of the public ones, only those that the chain names
			if _, done := merged[c.issuer]; !done {
				merged[c.issuer] = b.anchors[c.issuer]
			}
		}
		b.anchors = merged
	}
	if b.dead.length == 0 {
		b.dead = b.weigh(line, nil, anchorNone)
	}
	cl := b.follow()
	chain := &v.base
	v.fallback = b.dead
	v.fallback.root = ""
	for _, p := range b.paths {
		switch {
		case allowed(p):
			v.paths = append(v.paths, p)
			chain.LeadsToAllowed = true
			chain.LeadsToAmazon = chain.LeadsToAmazon || p.kind == anchorAmazon
		case p.kind == anchorPublic && p.violation == "":
			if !chain.LeadsToPublic || p.length < v.fallback.length {
				v.fallback = p
			}
			chain.LeadsToPublic = true
		case p.kind < anchorPublic && chain.Violation == "":
			chain.Violation = p.violation
		}
	}
	if chain.LeadsToAllowed {
		chain.Violation = ""
	} else {
		chain.BrokenSignature, chain.Disproved = cl.broken, cl.disproved && !chain.LeadsToPublic
		if cl.incomplete && !chain.LeadsToPublic {
			chain.Incomplete, chain.MissingIssuer = true, cl.missing
		}
		chain.Unsupported = cl.unsupported
		chain.Interceptor = cl.interceptor
		if s.allowIssuer[v.cert.Issuer] && !refuted(b, leaf) {
			v.allowByName = true
			chain.LeadsToAllowed = true
		}
	}
	// Both name and key must be its own: mitmproxy signs its leaves, in the name of its CA, with the one key that both have.
	v.selfSigned = b.selfSigned(leaf)
	chain.SelfSigned = v.selfSigned
	chain.ExplicitCurve = cl.explicitCurve
	chain.WrongPurpose = !leaf.Extensions.mayServe()
	chain.LimitExceeded = chain.LimitExceeded || b.limited
	v.amazonClaim = cl.amazon
}

// refuted reports whether the leaf's issuer was sent, and none of the certificates with its name signed the leaf.
func refuted(b *builder, leaf *candidate) bool {
	parents := b.named(leaf)
	return len(parents) > 0 && !slices.ContainsFunc(parents, func(p *candidate) bool { return b.proofOf(leaf, p) == valid })
}
