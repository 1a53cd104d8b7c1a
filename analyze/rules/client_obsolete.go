package rules

import (
	"fmt"

	"github.com/dynwatch/dynwatch/analyze/session"
)

var clientObsoleteRule = &Rule{
	ID:       ClientObsolete,
	Title:    "the client does not offer the minimum TLS version",
	Severity: session.Medium,
	Citation: "RFC 8996; AWS: TLS 1.2 is required for all API endpoints",
	Summary: "The highest version in the ClientHello is below --min-version (1.2 unless set). If the server accepted such a version, " +
		"tls-version says so besides.",
	Why: "DynamoDB refuses such a client, so it fails, or talks to something that is not DynamoDB. It is usually an old runtime that needs " +
		"more than this one repair.",
	Limits: "A client that fell back after failed tries offers less than it can: tls-downgrade then stands beside this finding.",
	Fix: Remediation{
		Steps: []string{
			"Update the runtime: Python 2.7.9 or 3.4 with OpenSSL 1.0.1, Java 8, Node 0.12, Go 1.2 are about the oldest that speak TLS 1.2; take a " +
				"supported one.",
			"If the runtime is new, a setting holds it back: look for the options below.",
		},
		Snippets: []Snippet{
			{"Python: boto3 (Django, Flask), AWS CLI v1", `python3 -c 'import ssl; print(ssl.OPENSSL_VERSION)'
grep -n 'MaxProtocol\|MinProtocol' /etc/ssl/openssl.cnf   # no MaxProtocol below TLSv1.2
# and no ssl_version=ssl.PROTOCOL_TLSv1 in an adapter of your own`},
			{"AWS CLI v2", `aws --version   # update it`},
			{"Go (aws-sdk-go-v2)", `grep -rn 'MaxVersion' .   # no MaxVersion: tls.VersionTLS11`},
			{"Java (SDK v2)", `java -Djdk.tls.client.protocols=TLSv1.3,TLSv1.2 …   # and no https.protocols=TLSv1`},
			{"Node (SDK v3)", `node -p process.versions.openssl   # and no --tls-max-v1.1, no secureProtocol: "TLSv1_method"`},
		},
	},
	Applies: func(in *Input) bool {
		t := in.Session.TLS
		return t != nil && t.ClientHelloSeen && t.OfferedMax.Rank() != 0
	},
	Check: func(in *Input) *session.Finding {
		s := in.Session
		offered, least := s.TLS.OfferedMax, in.policy().minVersion()
		if offered.Rank() >= least.Rank() {
			return nil
		}
		e := evidence{}.version("offered_max", offered).version("minimum", least).version("version", s.TLS.Version).yes("fallback_scsv", s.TLS.FallbackSCSV)
		if a := serverAlert(s.TLS); a != nil {
			e.text("alert", a.Description)
		}
		return &session.Finding{
			Rule: ClientObsolete, Severity: session.Medium, Evidence: e,
			Message: fmt.Sprintf("the client of %s offers %s at most, the minimum is %s", peer(s), offered, least),
		}
	},
}
