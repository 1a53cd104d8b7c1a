package trust

import (
	"crypto"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Limits of one judgement. Honest chains have two to five certificates and need as many signature checks.
const (
	// MaxChain is how many certificates of a message are considered.
	MaxChain = 64
	// maxChainBytes is how many bytes of certificates are considered.
	maxChainBytes = 1 << 20
	// maxChecks and maxCost bound the signature checks; cost 1 is about 30 microseconds, so that a hostile chain takes some
	// ten milliseconds at most.
	maxChecks = 100
	maxCost   = 400
	// maxPath is the length of the longest path in certificates, root included; maxPaths how many are compared; maxSteps bounds the
	// search for them through certificates that all sign each other.
	maxPath  = 12
	maxPaths = 64
	maxSteps = 500
)

// A path is a line of valid signatures from the leaf to an anchor, or to where it stops. It does not depend on time and host name.
type path struct {
	kind anchorKind
	// root is the printed subject of the certificate that the path ends at.
	root string
	// notBefore and notAfter bound the time at which every certificate of the path is valid.
	notBefore, notAfter time.Time
	// violation says why no client may go this way, though the signatures are right.
	violation string
	// weakKey and weakSignature are the worst of the path.
	weakKey, weakSignature string
	weakBits               int
	length                 int
}

// A builder finds the paths of one chain. It is used once.
type builder struct {
	certs      []*candidate // the message without unreadable and repeated certificates; the leaf is the first
	anchors    anchorSet    // to be tried now
	pins       map[[32]byte]bool
	minRSABits int

	outcomes     map[[2]*candidate]proof // of child under parent
	checks, cost int
	steps        int
	limited      bool

	paths []path
	dead  path // the longest path that leads to no anchor
}

// proofOf checks, once, whether the key of parent made the signature of child.
func (b *builder) proofOf(child, parent *candidate) proof {
	key := [2]*candidate{child, parent}
	if outcome, done := b.outcomes[key]; done {
		return outcome
	}
	outcome := unchecked
	if parent.Key.Key != nil && child.SignatureAlgorithm.kind != kindUnsupported {
		cost := parent.Key.verificationCost()
		if b.checks++; b.checks > maxChecks || b.cost+cost > maxCost {
			b.limited = true
			return unchecked // not remembered as an outcome
		}
		b.cost += cost
		outcome = verify(parent.Key.Key, parent.Key.PSSOnly, child.SignatureAlgorithm, child.RawTBS, child.Signature)
	}
	b.outcomes[key] = outcome
	return outcome
}

// named yields the certificates of the message that bear the name which child gives as its issuer.
func (b *builder) named(child *candidate) []*candidate {
	var out []*candidate
	for _, c := range b.certs {
		if c.subject == child.issuer {
			out = append(out, c)
		}
	}
	return out
}

// search extends line, which begins with the leaf, in every way that signatures allow.
func (b *builder) search(line []*candidate) {
	if b.steps++; b.steps > maxSteps || len(b.paths) >= maxPaths {
		b.limited = true
		return
	}
	last := line[len(line)-1]
	if b.pins[last.spki] {
		b.finish(line, nil, anchorPin)
	}
	for _, a := range b.anchors[last.subject] {
		// A certificate that the operator put into a file is allowed as the server's own.
		if len(line) == 1 && a.kind == anchorCA && a.sameCA(last) {
			b.finish(line, nil, anchorCA)
		}
	}
	for _, a := range b.anchors[last.issuer] {
		if b.proofOf(last, a.candidate) == valid {
			kind := a.kind
			if kind == anchorPublic && b.pins[a.spki] {
				kind = anchorPin // of a root that servers do not send, but that is known here
			}
			b.finish(line, a, kind)
		}
	}
	extended := false
	for _, parent := range b.named(last) {
		if slices.ContainsFunc(line, parent.sameCA) || b.proofOf(last, parent) != valid {
			continue
		}
		if len(line)+1 >= maxPath {
			b.limited = true
			break
		}
		extended = true
		b.search(append(line[:len(line):len(line)], parent))
	}
	if !extended && len(line) > b.dead.length {
		b.dead = b.weigh(line, nil, anchorNone)
	}
}

// finish records a path.
func (b *builder) finish(line []*candidate, a *anchor, kind anchorKind) {
	p := b.weigh(line, a, kind)
	p.violation = b.violation(line, a, kind)
	b.paths = append(b.paths, p)
}

// weigh collects what a path is like, apart from where it leads. The signature of its last certificate matters only if an anchor made it.
func (b *builder) weigh(line []*candidate, a *anchor, kind anchorKind) path {
	last := line[len(line)-1]
	p := path{kind: kind, length: len(line), root: FormatDN(last.RawSubject)}
	for i, c := range line {
		p.window(c)
		p.key(c.Key, b.minRSABits)
		if c.SignatureAlgorithm.Weak && (i < len(line)-1 || a != nil || kind == anchorNone && !b.selfSigned(c)) {
			p.signature(c.SignatureAlgorithm.Name)
		}
	}
	if a != nil {
		p.root = FormatDN(a.RawSubject)
		p.length++
		p.window(a.candidate)
		p.key(a.Key, b.minRSABits)
	}
	return p
}

func (b *builder) selfSigned(c *candidate) bool {
	return c.subject == c.issuer && b.proofOf(c, c) == valid
}

func (p *path) window(c *candidate) {
	if !c.ValidityRead {
		return
	}
	if p.notBefore.IsZero() || c.NotBefore.After(p.notBefore) {
		p.notBefore = c.NotBefore
	}
	if p.notAfter.IsZero() || c.NotAfter.Before(p.notAfter) {
		p.notAfter = c.NotAfter
	}
}

func (p *path) key(k PublicKey, minBits int) {
	if k.Bits > 0 && k.Bits < minBits && (p.weakBits == 0 || k.Bits < p.weakBits) {
		p.weakBits, p.weakKey = k.Bits, k.Algorithm
	}
}

func (p *path) signature(name string) {
	if p.weakSignature == "" || strings.HasPrefix(name, "MD5") {
		p.weakSignature = name
	}
}

// violation says which step of a path no client may take.
func (b *builder) violation(line []*candidate, a *anchor, kind anchorKind) string {
	leaf := line[0]
	if a == nil && kind == anchorCA {
		return "" // the operator allowed this very certificate
	}
	if leaf.Extensions.refuse != "" {
		return describe(leaf, "has "+leaf.Extensions.refuse)
	}
	if a != nil && a.kind == anchorAmazon && a.spki == leaf.spki {
		// Everybody has the root certificates; one that stands as the server's own is a bait.
		return describe(leaf, "is a root, shown as the server's own certificate")
	}
	steps := line[1:]
	if a != nil {
		steps = append(steps[:len(steps):len(steps)], a.candidate)
	}
	for i, c := range steps {
		root := i == len(steps)-1 && kind != anchorNone // or pinned, which is as good
		if reason := c.cannotIssue(root); reason != "" {
			return describe(c, reason)
		}
		below := line[:i+1]
		if reason := c.oversteps(below); reason != "" {
			return describe(c, reason)
		}
		child := line[i]
		if kind == anchorPublic {
			continue // old public chains are recognised for what they are; that proves nothing in favour of the server
		}
		// Collisions for MD5 gave a rogue CA in 2008 already, and keys below 1024 bits are broken by factoring.
		if child.SignatureAlgorithm.hash == crypto.MD5 {
			return describe(child, "is signed with MD5")
		}
		if c.Key.Bits > 0 && c.Key.Bits < minStandardRSA {
			return describe(c, fmt.Sprintf("signs with a key of %d bits", c.Key.Bits))
		}
	}
	for _, c := range line {
		if !c.ValidityRead {
			return describe(c, "has an unreadable validity")
		}
	}
	return ""
}

func describe(c *candidate, reason string) string {
	name := FormatDN(c.RawSubject)
	if name == "" {
		name = "a certificate without subject"
	}
	return name + " " + reason
}

// outOfTime is how far t lies outside the path's time; 0 if inside, which includes both ends.
func (p *path) outOfTime(t time.Time) (by time.Duration, expired, notYet bool) {
	if p.notAfter.IsZero() {
		return 0, false, false
	}
	if expired = t.After(p.notAfter); expired {
		by = t.Sub(p.notAfter)
	}
	if notYet = t.Before(p.notBefore); notYet {
		by = max(by, p.notBefore.Sub(t))
	}
	return by, expired, notYet
}

// A claim is what the chain says of itself, by names, whether true or not: it is followed from the leaf from issuer to issuer.
type claim struct {
	amazon        bool   // some name on the way is an Amazon CA's
	missing       string // an issuer that is nowhere to be found
	incomplete    bool
	disproved     bool // a known key that should have signed did not
	broken        bool // the same, of a key that was sent
	unsupported   string
	explicitCurve bool
	interceptor   string
}

// follow reads the claim.
func (b *builder) follow() claim {
	var cl claim
	queue, queued := []*candidate{b.certs[0]}, map[*candidate]bool{b.certs[0]: true}
	for len(queue) > 0 {
		c := queue[0]
		queue = queue[1:]
		cl.amazon = cl.amazon || isAmazonName(c.RawIssuer) || isAmazonName(c.RawSubject)
		cl.explicitCurve = cl.explicitCurve || c.Key.ExplicitCurve
		if cl.interceptor == "" {
			cl.interceptor = interceptor(c.RawIssuer)
		}
		if c.SignatureAlgorithm.kind == kindUnsupported && cl.unsupported == "" && c.issuer != c.subject {
			cl.unsupported = c.SignatureAlgorithm.Name
		}
		sent, anchors := b.named(c), b.anchors[c.issuer]
		if len(sent) == 0 && len(anchors) == 0 {
			if !cl.incomplete {
				cl.incomplete, cl.missing = true, FormatDN(c.RawIssuer)
			}
			continue
		}
		var any [3]bool // by outcome
		for _, parent := range sent {
			outcome := b.proofOf(c, parent)
			any[outcome] = true
			if outcome == unchecked && parent.Key.Unsupported && cl.unsupported == "" {
				cl.unsupported = parent.Key.Algorithm
			}
			if !queued[parent] {
				queued[parent] = true
				queue = append(queue, parent)
			}
		}
		sentSigned, sentRefuted := any[valid], any[invalid] && !any[unchecked]
		any = [3]bool{}
		for _, a := range anchors {
			any[b.proofOf(c, a.candidate)] = true
		}
		anchorSigned, anchorRefuted := any[valid], any[invalid] && !any[unchecked]
		if sentRefuted && !sentSigned && !anchorSigned {
			cl.broken, cl.disproved = true, true
		}
		if anchorRefuted && !anchorSigned {
			cl.disproved = true
		}
	}
	return cl
}
