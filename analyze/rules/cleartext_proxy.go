package rules

import (
	"fmt"

	"github.com/dynwatch/dynwatch/analyze/session"
)

var cleartextProxyRule = &Rule{
	ID:       CleartextProxy,
	Title:    "DynamoDB through a proxy that nobody listed",
	Severity: session.Medium,
	Citation: "RFC 9110, Section 9.3.6 (CONNECT); internal policy",
	Summary: "The session goes through an HTTP CONNECT proxy that is not among --allow-proxy. Requests in clear through a forward proxy " +
		"(absolute-form targets) are plaintext instead.",
	Why: "The proxy sees which endpoint and, in account-based names, which account is used; it gets its password in clear with every CONNECT, " +
		"and it is the natural place for an interceptor. One environment variable is enough to put it there.",
	Limits: "A tunnel alone does not break TLS: the findings about the certificate tell whether this one does. A CONNECT that the proxy " +
		"refused carried nothing and is no finding. Where the list names proxies by host name and nothing tells this proxy's name, there is none.",
	Fix: Remediation{
		Steps: []string{
			"If the proxy is right, list it: --allow-proxy HOST:PORT, or CIDR:PORT.",
			"If not, find who set it: HTTPS_PROXY, https_proxy or ALL_PROXY in the unit, the pod or the shell, or the client's own settings. In a VPC " +
				"a gateway endpoint makes a proxy for DynamoDB needless: add its names to NO_PROXY.",
			"If proxy_credentials_exposed is set, change that password; send it over TLS to the proxy (https:// proxy URL) where both sides can.",
		},
		Snippets: []Snippet{
			{"Environment, for Python, AWS CLI and Go", `NO_PROXY=.amazonaws.com,.api.aws,169.254.169.254`},
			{"boto3 (Django, Flask)", `boto3.client("dynamodb", config=Config(proxies={}))   # an empty dict ignores the environment`},
			{"Go (aws-sdk-go-v2)", `awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { t.Proxy = nil })`},
			{"Java (SDK v2)", `ApacheHttpClient.builder().proxyConfiguration(ProxyConfiguration.builder()
    .useSystemPropertyValues(false).useEnvironmentVariableValues(false).build())`},
			{"Node (SDK v3)", `// a proxy is used only if its agent was given
new NodeHttpHandler({ httpsAgent: new https.Agent() })`},
		},
	},
	Applies: func(in *Input) bool {
		s := in.Session
		if s.Proxy == nil || !s.Proxy.Connect || emulator(s) {
			return false
		}
		return s.Proxy.Established || s.Transport == session.TransportConnectTLS || s.Transport == session.TransportConnectHTTP
	},
	Check: func(in *Input) *session.Finding {
		s := in.Session
		if in.policy().proxyAllowed(s.Server, s.Proxy.Names) != session.No {
			return nil
		}
		e := evidence{"proxy": s.Server.String(), "proxy_credentials_exposed": s.Proxy.CredentialsExposed}
		message := fmt.Sprintf("%s was reached through the proxy %s, which is not listed", peer(s), s.Server)
		if s.Proxy.CredentialsExposed {
			message += "; its password went in clear"
		}
		return &session.Finding{
			Rule: CleartextProxy, Severity: session.Medium, Message: message,
			Evidence: e.text("target", s.Proxy.Target).list("proxy_names", s.Proxy.Names),
		}
	},
}
