package rules

import (
	"slices"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// The ids of the rules, as they stand in output.
const (
	Plaintext             = "plaintext"
	TLSVersion            = "tls-version"
	TLSDowngrade          = "tls-downgrade"
	TLSCapped             = "tls-capped"
	WeakCipher            = "weak-cipher"
	UnexpectedIssuer      = "unexpected-issuer"
	CertificateReplayed   = "certificate-replayed"
	CertificateInvalid    = "certificate-invalid"
	VerificationDisabled  = "verification-disabled"
	InterceptionRefused   = "interception-refused"
	UnexpectedDestination = "unexpected-destination"
	ClientObsolete        = "client-obsolete"
	CleartextProxy        = "cleartext-proxy"
	UnexpectedRegion      = "unexpected-region"
	PublicEndpoint        = "public-endpoint"
	IssuerChanged         = "issuer-changed"
)

// Rule is one check.
type Rule struct {
	// ID is the word in output, Title a short line without a full stop.
	ID, Title string
	// Severity is the highest that the rule states; a finding may say less.
	Severity session.Severity
	// Milder are the other severities that its findings may have.
	Milder []session.Severity
	// Citation names the source that the rule rests on.
	Citation string
	// Summary says when the rule holds, Why what follows from it, Limits what it does not say. Plain text; an empty line parts paragraphs.
	Summary, Why, Limits string
	Fix                  Remediation

	// Applies reports whether the session has what the rule looks at. Check is called only if it does.
	Applies func(*Input) bool
	// Check returns the finding, or nil.
	Check func(*Input) *session.Finding
}

// Input is what rules look at. Neither Evaluate nor a rule changes it.
type Input struct {
	Session *session.Session
	// Policy is the operator's; nil is the default.
	Policy *Policy
	// History answers questions about earlier sessions; nil if there is no memory.
	History History
}

// policy never returns nil.
func (in *Input) policy() *Policy {
	if in.Policy == nil {
		return &Policy{}
	}
	return in.Policy
}

// All returns the rules in the order of their table in the documentation.
func All() []*Rule {
	return []*Rule{
		plaintextRule,
		tlsVersionRule,
		tlsDowngradeRule,
		tlsCappedRule,
		weakCipherRule,
		unexpectedIssuerRule,
		issuerChangedRule,
		certificateReplayedRule,
		certificateInvalidRule,
		verificationDisabledRule,
		interceptionRefusedRule,
		unexpectedDestinationRule,
		clientObsoleteRule,
		cleartextProxyRule,
		unexpectedRegionRule,
		publicEndpointRule,
	}
}

// ByID finds a rule.
func ByID(id string) (*Rule, bool) {
	for _, r := range All() {
		if r.ID == id {
			return r, true
		}
	}
	return nil, false
}

// Evaluate runs every rule that applies and returns the findings, most severe first, then in the order of All. A session that is not
// DynamoDB's has none.
func Evaluate(in *Input) []session.Finding {
	if !in.Session.Endpoint.Known() {
		return nil
	}
	var found []session.Finding
	for _, r := range All() {
		if !r.Applies(in) {
			continue
		}
		if f := r.Check(in); f != nil {
			found = append(found, *f)
		}
	}
	slices.SortStableFunc(found, func(a, b session.Finding) int { return int(b.Severity) - int(a.Severity) })
	return found
}

// evidence collects observed values; what is unknown is left out.
type evidence map[string]any

func (e evidence) text(key, value string) evidence {
	if value != "" {
		e[key] = value
	}
	return e
}

func (e evidence) list(key string, values []string) evidence {
	if len(values) > 0 {
		e[key] = slices.Clone(values)
	}
	return e
}

func (e evidence) yes(key string, value bool) evidence {
	if value {
		e[key] = true
	}
	return e
}

func (e evidence) number(key string, value int) evidence {
	if value != 0 {
		e[key] = value
	}
	return e
}

func (e evidence) version(key string, v session.Version) evidence {
	if v != 0 {
		e[key] = v.String()
	}
	return e
}
