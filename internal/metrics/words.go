package metrics

import (
	"slices"

	"github.com/dynwatch/dynwatch/analyze/rules"
	"github.com/dynwatch/dynwatch/analyze/session"
)

// other stands for every value that is not in a label's set.
const other = "other"

// The values of labels. They are the words of the JSON output wherever that has them.
var (
	transports = []string{
		string(session.TransportTLS), string(session.TransportHTTP), string(session.TransportDAX), string(session.TransportConnectTLS),
		string(session.TransportConnectHTTP), string(session.TransportUnknown),
	}
	// none is a session without TLS, unknown one whose ServerHello nobody saw.
	versions = []string{"none", "unknown", "SSL 2.0", "SSL 3.0", "TLS 1.0", "TLS 1.1", "TLS 1.2", "TLS 1.3"}
	// handshakeVersions part what takes one round trip from what takes two: a histogram is many series.
	handshakeVersions = []string{"TLS 1.3", "older"}

	verdicts = []string{
		string(session.VerdictFinding), string(session.VerdictOK), string(session.VerdictUnverified), string(session.VerdictIncomplete),
	}
	services     = []string{"dynamodb", "dynamodb-streams", "dax", "dynamodb-local", other}
	kinds        = []string{"public", "fips", "dual-stack", "account", "interface", "local", "unknown", other}
	severities   = []string{session.Low.String(), session.Medium.String(), session.High.String(), session.Critical.String()}
	visibilities = []string{
		string(session.VisibilityVisible), string(session.VisibilityDecrypted), string(session.VisibilityEncrypted),
		string(session.VisibilityResumed), string(session.VisibilityNone), string(session.VisibilityIncomplete),
		string(session.VisibilityUnparsable),
	}
	// seenBy is who saw the certificate.
	seenBy = []string{"nobody", "wire", "library", "keylog", "probe", "resumption", other}
	// verifications is whether a client verifies, and whether its library told.
	verifications = []string{"yes", "no", "open", "unseen"}
	// libraryKinds are the libraries that probes are known for, as package library has them.
	libraryKinds    = []string{"openssl", "gnutls", "go", other}
	libraryFailures = []string{LibraryUnsupported, LibraryNoRights, LibraryBroken, "unreadable", "refused", "over_limit", "closed"}

	probeResults = []string{"answered", "failed", "dropped", "evicted"}

	trusts = []string{
		string(session.TrustAmazon), string(session.TrustAllowed), string(session.TrustExpired), string(session.TrustNotYetValid),
		string(session.TrustNameMismatch), string(session.TrustForged), string(session.TrustSelfSigned), string(session.TrustPublic),
		string(session.TrustPrivate), string(session.TrustMalformed), string(session.TrustUnseen),
	}
	attributions = []string{"pod", "container", "unit", "process", "none"}
	lookups      = []string{"ok", "gone", "reused", "slow", "unreadable"}
	sources      = []string{"ebpf", "packet"}
	reasons      = []string{SuppressedByException, SuppressedByObserve, SuppressedByOverride}
)

// Why a finding does not alert.
const (
	SuppressedByException = "exception" // the operator excepted its process, and the exception has not expired
	SuppressedByObserve   = "observe"   // the agent only observes
	SuppressedByOverride  = "override"  // the operator gave its rule the severity none
)

// ruleIDs are the rules, and other for one that is not among them.
func ruleIDs() []string {
	var ids []string
	for _, r := range rules.All() {
		ids = append(ids, r.ID)
	}
	return append(ids, other)
}

// among gives a value if it is in a set, else what stands for the rest.
func among(set []string, value, rest string) string {
	if slices.Contains(set, value) {
		return value
	}
	return rest
}

// versionOf is the version's word for a session.
func versionOf(s *session.Session) string {
	if s.TLS == nil {
		return "none"
	}
	switch v := s.TLS.Version; {
	case v == 0:
		return "unknown"
	case v.Is13():
		return session.TLS13.String() // drafts of it too
	default:
		return among(versions, v.String(), "unknown")
	}
}

// attributionOf is how closely a session's process is known.
func attributionOf(s *session.Session) string {
	p := s.Process
	switch {
	case p == nil || p.PID == 0 && p.Comm == "" && p.ContainerID == "":
		return "none"
	case p.Pod != "":
		return "pod"
	case p.ContainerID != "":
		return "container"
	case p.Unit != "":
		return "unit"
	}
	return "process"
}
