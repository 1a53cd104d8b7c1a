package rules

import (
	"fmt"

	"github.com/dynwatch/dynwatch/analyze/session"
)

var tlsVersionRule = &Rule{
	ID:       TLSVersion,
	Title:    "a TLS version below the minimum was negotiated",
	Severity: session.Critical,
	Milder:   []session.Severity{session.High},
	Citation: "RFC 8996 (TLS 1.0 and 1.1 must not be used); AWS: TLS 1.2 is required for all API endpoints",
	Summary: "The ServerHello chose a version below --min-version (1.2 unless set). High; critical at TLS 1.0 and below. Judged by the " +
		"ServerHello's choice alone, whether or not the handshake was completed.",
	Why: "TLS 1.1 and older rest on MD5 and SHA-1 and on CBC modes with known attacks. AWS refuses them at its endpoints, so who answered " +
		"with one is probably not AWS.",
	Limits: "An old version that a client merely offers next to a new one is no finding; a client that offers nothing newer is client-obsolete.",
	Fix: Remediation{
		Steps: []string{
			"See first who answered: an AWS endpoint does not speak these versions. Look for a proxy, a TLS terminator or an old emulator in " +
				"the path, and read the other findings of the session.",
			"Then raise the client's own minimum, so that it refuses next time.",
		},
		Snippets: minVersionSnippets,
	},
	Applies: func(in *Input) bool { return in.Session.TLS != nil && in.Session.TLS.Version != 0 },
	Check: func(in *Input) *session.Finding {
		s := in.Session
		v, least := s.TLS.Version, in.policy().minVersion()
		if v.Rank() == 0 || v.Rank() >= least.Rank() {
			return nil
		}
		severity := session.High
		if v.Rank() <= session.TLS10.Rank() {
			severity = session.Critical
		}
		return &session.Finding{
			Rule: TLSVersion, Severity: severity,
			Message:  fmt.Sprintf("%s negotiated %s, below the minimum %s", peer(s), v, least),
			Evidence: evidence{}.version("version", v).version("minimum", least).version("offered_max", s.TLS.OfferedMax).text("cipher", s.TLS.Cipher),
		}
	},
}

// minVersionSnippets set the lowest version that a client accepts.
var minVersionSnippets = []Snippet{
	{"Python: boto3 (Django, Flask), AWS CLI v1", `# boto3 has no switch of its own: OpenSSL's configuration decides (/etc/ssl/openssl.cnf)
openssl_conf = openssl_init
[openssl_init]
ssl_conf = ssl_sect
[ssl_sect]
system_default = system_default_sect
[system_default_sect]
MinProtocol = TLSv1.2
# Python 3.10 and later, and urllib3 2, refuse less than 1.2 without it`},
	{"AWS CLI v2", `aws --version   # it brings its own OpenSSL: update it`},
	{"Go (aws-sdk-go-v2)", `hc := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
})
cfg, err := config.LoadDefaultConfig(ctx, config.WithHTTPClient(hc))`},
	{"Java (SDK v2)", `java -Djdk.tls.client.protocols=TLSv1.3,TLSv1.2 …   # JDK 8u261 and later speak 1.3`},
	{"Node (SDK v3)", `node --tls-min-v1.2 app.js   # the default; remove --tls-min-v1.0 from NODE_OPTIONS
new DynamoDBClient({ requestHandler: new NodeHttpHandler({
  httpsAgent: new https.Agent({ minVersion: "TLSv1.2" }) }) });`},
}
