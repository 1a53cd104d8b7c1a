package trust

import (
	"crypto"
	"strings"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
)

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
