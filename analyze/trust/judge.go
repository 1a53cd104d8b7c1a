package trust

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// Store holds what is trusted, and remembers chains that it verified. It is safe for concurrent use.
type Store struct {
	anchors     anchorSet // Amazon's and the operator's
	pins        map[[sha256.Size]byte]bool
	allowIssuer map[string]bool
	minRSABits  int
	cache       cache
}

// NewStore makes a store that trusts the Amazon Trust Services roots and what the policy allows.
func NewStore(p Policy) (*Store, error) { return newStore(p, amazonRoots()) }

func newStore(p Policy, amazon []*anchor) (*Store, error) {
	s := &Store{
		anchors:     make(anchorSet),
		pins:        make(map[[sha256.Size]byte]bool),
		allowIssuer: make(map[string]bool),
		minRSABits:  p.MinRSABits,
	}
	if s.minRSABits == 0 {
		s.minRSABits = DefaultMinRSABits
	}
	if s.minRSABits < 0 {
		return nil, fmt.Errorf("shortest RSA key of %d bits: want a positive number", p.MinRSABits)
	}
	for _, a := range amazon {
		s.anchors.add(a)
	}
	for _, ca := range p.AllowCA {
		if ca.parsed == nil {
			return nil, fmt.Errorf("allowed CA %q: not from ParseCAFile", ca.Name)
		}
		s.anchors.add(newAnchor(anchorCA, ca.parsed))
	}
	for _, pin := range p.Pins {
		s.pins[pin] = true
	}
	for _, name := range p.AllowIssuer {
		if err := checkIssuerName(name); err != nil {
			return nil, err
		}
		s.allowIssuer[name] = true
	}
	s.cache.init()
	return s, nil
}

// Query is what was asked of the server, and when.
type Query struct {
	// Name is the host name or IP address that the client wanted: SNI, else the CONNECT host, in any case, with or without a final dot.
	// "" if it is not known.
	Name string
	// At is the time of the packet that carried the certificate. TimeKnown is false where the capture holds none; a time before 2000 is
	// taken for unknown as well (anonymised captures begin at zero).
	At        time.Time
	TimeKnown bool
	// DynamoDBName is asked, when Name is "", whether a DNS name of the leaf is one of DynamoDB's; it gets a wildcard as names that the
	// wildcard stands for. nil: without Name no name is checked.
	DynamoDBName func(string) bool
}

// firstPlausible is the beginning of time for captures: TLS as such is from 1999.
var firstPlausible = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// Result is the judgement of one chain.
type Result struct {
	Trust session.Trust
	// Chain is the detail behind the word.
	Chain session.Chain
	// Certificate describes the leaf, with SeenBy "wire"; the caller may set that to what it knows. Names is shared and read-only. nil if
	// not even the leaf's issuer could be read.
	Certificate *session.Certificate
	// LeafKey is for VerifyServerKeyExchange; nil if signatures of that key cannot be checked.
	LeafKey crypto.PublicKey
}

// Judge says what a chain is worth. chain holds the DER certificates as sent; the slices are not kept and not changed.
//
// The same chain is verified once and then remembered; what depends on the query is judged anew each time.
func (s *Store) Judge(chain [][]byte, q Query) Result {
	if len(chain) == 0 {
		return Result{Trust: session.TrustUnseen}
	}
	k := s.cache.key(chain)
	v := s.cache.get(k, chain)
	if v == nil {
		v = s.verify(chain)
		s.cache.put(k, v, len(chain))
	}
	return v.judge(q)
}

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

// judge adds time and name.
func (v *verdict) judge(q Query) Result {
	r := Result{Chain: v.base, Trust: session.TrustMalformed}
	if v.cert != nil {
		c := *v.cert
		r.Certificate = &c
	}
	if v.leaf == nil || v.leaf.Damage != nil {
		return r
	}
	r.LeafKey = v.leaf.Key.Key
	chain := &r.Chain
	chain.TimeUnknown = !q.TimeKnown || q.At.Before(firstPlausible)
	chain.NameChecked, chain.NameMismatch = v.checkName(q)

	best, by, expired, notYet := v.best(q.At, chain.TimeUnknown)
	chain.OutOfTimeBy, chain.Expired, chain.NotYetValid = by, expired, notYet
	chain.WeakKey, chain.WeakSignature, chain.Root = best.weakKey, best.weakSignature, best.root
	if len(v.paths) > 0 {
		chain.AllowedBy = allowedBy[best.kind]
	} else if v.allowByName {
		chain.AllowedBy = "allow-issuer"
	}
	switch {
	case chain.LeadsToAllowed:
		switch {
		case expired:
			r.Trust = session.TrustExpired
		case notYet:
			r.Trust = session.TrustNotYetValid
		case chain.NameMismatch || chain.WrongPurpose:
			r.Trust = session.TrustNameMismatch
		case best.kind == anchorAmazon:
			r.Trust = session.TrustAmazon
		default:
			r.Trust = session.TrustAllowed
		}
	case v.amazonClaim:
		r.Trust = session.TrustForged
	case v.selfSigned:
		r.Trust = session.TrustSelfSigned
	case chain.LeadsToPublic:
		r.Trust = session.TrustPublic
	default:
		r.Trust = session.TrustPrivate
	}
	return r
}

// best picks the path to judge by: one that is in time rather than one that is not, Amazon's rather than the operator's, strong signatures
// rather than weak ones, the shorter.
func (v *verdict) best(at time.Time, timeUnknown bool) (best *path, by time.Duration, expired, notYet bool) {
	if len(v.paths) == 0 {
		best = &v.fallback
		if !timeUnknown {
			by, expired, notYet = best.outOfTime(at)
		}
		return best, by, expired, notYet
	}
	for i := range v.paths {
		p := &v.paths[i]
		pBy, pExpired, pNotYet := time.Duration(0), false, false
		if !timeUnknown {
			pBy, pExpired, pNotYet = p.outOfTime(at)
		}
		if best == nil || betterPath(p, pBy, best, by) {
			best, by, expired, notYet = p, pBy, pExpired, pNotYet
		}
	}
	return best, by, expired, notYet
}

func betterPath(a *path, aBy time.Duration, b *path, bBy time.Duration) bool {
	switch {
	case (aBy == 0) != (bBy == 0):
		return aBy == 0
	case a.kind != b.kind:
		return a.kind < b.kind
	case aBy != bBy:
		return aBy < bBy
	case (a.weakSignature == "") != (b.weakSignature == ""):
		return a.weakSignature == ""
	}
	return a.length < b.length
}

// checkName compares the leaf's names with what was asked for.
func (v *verdict) checkName(q Query) (checked, mismatch bool) {
	x := &v.leaf.Extensions
	if q.Name != "" {
		return true, v.bearer.VerifyHostname(strings.TrimSuffix(q.Name, ".")) != nil
	}
	if q.DynamoDBName == nil {
		return false, false
	}
	for i, name := range x.DNSNames {
		if i == maxAsked {
			break
		}
		if !strings.HasPrefix(name, "*.") {
			if q.DynamoDBName(strings.ToLower(name)) {
				return true, false
			}
			continue
		}
		for _, label := range wildcardLabels {
			if q.DynamoDBName(label + strings.ToLower(name[1:])) {
				return true, false
			}
		}
	}
	return true, true
}

// maxAsked is how many names of a leaf the callback of a query is asked about.
const maxAsked = 200

// wildcardLabels are what a wildcard in front of a DynamoDB name may stand for: the service in a Region, an account, a VPC endpoint, the
// streams.
var wildcardLabels = [...]string{"dynamodb", "123456789012", "vpce-0123456789abcdef0-abcdefgh", "streams"}

// describeLeaf is the leaf as shown in output.
func describeLeaf(p *Parsed, chainLength int) *session.Certificate {
	c := &session.Certificate{
		SeenBy:      "wire",
		Issuer:      FormatDN(p.RawIssuer),
		Serial:      p.SerialHex(),
		ChainLength: chainLength,
		Partial:     p.Partial(),
		Signature:   p.SignatureAlgorithm.Name,
		Key:         p.Key.Algorithm,
		NotBefore:   p.NotBefore,
		NotAfter:    p.NotAfter,
	}
	if p.RawSubject != nil {
		c.Subject = FormatDN(p.RawSubject)
	}
	if p.Damage == nil {
		digest := sha256.Sum256(p.Raw)
		c.SHA256 = hex.EncodeToString(digest[:])
	}
	if p.RawSPKI != nil {
		digest := sha256.Sum256(p.RawSPKI)
		c.SPKISHA256 = hex.EncodeToString(digest[:])
	}
	for _, name := range p.Extensions.DNSNames {
		if len(c.Names) == maxShownNames {
			break
		}
		c.Names = append(c.Names, printable(name))
	}
	for _, ip := range p.Extensions.IPAddresses {
		if len(c.Names) == maxShownNames {
			break
		}
		c.Names = append(c.Names, ip.String())
	}
	return c
}

// maxShownNames is how many names of a leaf are kept for output.
const maxShownNames = 100

// printable escapes all but printable ASCII as FormatDN does, and cuts what is longer than any host name.
func printable(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if i == 256 {
			b.WriteString("...")
			break
		}
		switch c := s[i]; {
		case c < 0x20 || c >= 0x7f:
			b.WriteByte('\\')
			b.WriteByte(upperHex[c>>4])
			b.WriteByte(upperHex[c&15])
		case c == '\\':
			b.WriteString(`\\`)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
