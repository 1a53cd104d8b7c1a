package rules

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/dynwatch/dynwatch/analyze/session"
)

var plaintextRule = &Rule{
	ID:       Plaintext,
	Title:    "DynamoDB traffic in clear text",
	Severity: session.Critical,
	Milder:   []session.Severity{session.Low},
	Citation: "AWS Well-Architected SEC09-BP02 (enforce encryption in transit); Signature Version 4 signs, it does not encrypt",
	Summary: "HTTP of any form, or the DAX protocol on port 8111, carries DynamoDB requests without TLS; or HTTP goes to an address in AWS's " +
		"DYNAMODB ranges and no Host names another service. Severity is low for an emulator (DynamoDB Local, dynalite, LocalStack) on " +
		"loopback. A real endpoint name at a loopback address is no emulator: a forwarder or an interceptor on this host, so critical.",
	Why: "Whoever sits on the path reads table names, keys and items, and can change the answers, which are not signed. The signature " +
		"keeps the secret key secret, but a request in clear can be sent again for some minutes, and it shows the access key id and, with " +
		"temporary credentials, the session token. AWS's endpoint tables list plain HTTP for DynamoDB in most partitions, so one wrong URL is enough.",
	Limits: "Unknown or mid-stream bytes are transport unknown, never plaintext. NULL cipher suites are weak-cipher. What the endpoint " +
		"did with the request is not known.",
	Fix: Remediation{
		Steps: []string{
			"Use https: remove use_ssl=False and every endpoint URL that begins with http://, in code, in AWS_ENDPOINT_URL and " +
				"AWS_ENDPOINT_URL_DYNAMODB, and in ~/.aws/config. For DAX use daxs:// and a cluster with encryption in transit; that is " +
				"chosen when a cluster is made, so make a new one.",
			"Replace what was exposed, as the evidence says. access_key AKIA…: rotate the key (make a new one, deploy it, set the old one " +
				"inactive, delete it). session_token_exposed: it belongs to a role; revoke the role's sessions, as below. The secret key " +
				"itself never travelled: what was seen can be replayed for minutes, but signs nothing new.",
			"Deny plaintext in IAM or a service control policy, as below. That refuses the request; the token and the item have been on " +
				"the wire by then, so it does not replace the first step.",
			"Keep logs clean: botocore's debug log and wire logs of other SDKs print headers and bodies. Drop Authorization and " +
				"X-Amz-Security-Token before anything is written.",
		},
		Snippets: []Snippet{
			{"boto3 (Django, Flask, any Python)", `dynamodb = boto3.resource("dynamodb", region_name="eu-central-1")  # no endpoint_url, no use_ssl
# an emulator in development only, and never by default:
url = os.environ.get("DYNAMODB_EMULATOR_URL")
dynamodb = boto3.resource("dynamodb", endpoint_url=url) if url else boto3.resource("dynamodb")`},
			{"Django settings.py", `if not DEBUG and os.environ.get("AWS_ENDPOINT_URL_DYNAMODB", "").startswith("http:"):
    raise ImproperlyConfigured("DynamoDB over plain HTTP")`},
			{"Flask", `if not app.debug and os.environ.get("AWS_ENDPOINT_URL_DYNAMODB", "").startswith("http:"):
    raise RuntimeError("DynamoDB over plain HTTP")`},
			{"AWS CLI and all SDKs", `unset AWS_ENDPOINT_URL AWS_ENDPOINT_URL_DYNAMODB
grep -n 'endpoint_url *= *http:' ~/.aws/config   # must print nothing`},
			{"Go (aws-sdk-go-v2)", `client := dynamodb.NewFromConfig(cfg, func(o *dynamodb.Options) {
	o.BaseEndpoint = nil                   // or aws.String("https://…")
	o.EndpointOptions.DisableHTTPS = false // never true
})`},
			{"Java (SDK v2)", `DynamoDbClient.builder().region(Region.EU_CENTRAL_1).build();
// an endpoint of your own: .endpointOverride(URI.create("https://…"))`},
			{"Node (SDK v3)", `new DynamoDBClient({ region: "eu-central-1" });   // no tls: false, no endpoint: "http://…"`},
			{"DAX", `aws dax create-cluster --cluster-endpoint-encryption-type TLS …
daxs://my-cluster.abc123.dax-clusters.eu-central-1.amazonaws.com   # port 9111`},
			{"IAM policy or service control policy", `{
  "Version": "2012-10-17",
  "Statement": [{
    "Sid": "DenyDynamoDBWithoutTLS",
    "Effect": "Deny",
    "Action": "dynamodb:*",
    "Resource": "*",
    "Condition": {"Bool": {"aws:SecureTransport": "false"}}
  }]
}`},
			{"Rotate an access key", `aws iam create-access-key --user-name USER
aws iam update-access-key --user-name USER --access-key-id AKIA… --status Inactive
aws iam delete-access-key --user-name USER --access-key-id AKIA…`},
			{"Revoke a role's sessions (AWSRevokeOlderSessions, inline on the role; set the time to now)", `{
  "Version": "2012-10-17",
  "Statement": [{
    "Effect": "Deny",
    "Action": ["*"],
    "Resource": ["*"],
    "Condition": {"DateLessThan": {"aws:TokenIssueTime": "2026-01-01T00:00:00Z"}}
  }]
}`},
		},
	},
	Applies: func(in *Input) bool {
		switch s := in.Session; s.Transport {
		case session.TransportTLS, session.TransportConnectTLS:
			return false // what was in clear was a CONNECT request, or a server's complaint about TLS
		default:
			return s.HTTP != nil || s.DAX != nil
		}
	},
	Check: checkPlaintext,
}

func checkPlaintext(in *Input) *session.Finding {
	s := in.Session
	if d := s.DAX; d != nil {
		e := exposure(d.SignatureExposed, d.SessionTokenExposed, d.AccessKeyID).text("protocol", "dax").text("host", asked(s))
		e.yes("authorize_connection", d.AuthSeen)
		return &session.Finding{Rule: Plaintext, Severity: session.Critical, Evidence: e,
			Message: "the DAX protocol goes to " + peer(s) + " in clear text" + exposed(d.SignatureExposed, d.SessionTokenExposed, d.AccessKeyID)}
	}
	h := s.HTTP
	if !carriesDynamoDB(s) {
		return nil
	}
	e := exposure(h.SignatureExposed, h.SessionTokenExposed, h.AccessKeyID)
	e.text("protocol", "http").text("host", h.Host).text("method", h.Method).text("operation", h.Operation).list("operations", h.Operations)
	e.number("requests", h.Requests).text("user_agent", h.UserAgent).yes("response_only", h.ResponseOnly)
	if h.H2C {
		e["protocol"] = "h2c"
	}
	if s.Proxy != nil {
		e.text("proxy", s.Server.String()).yes("proxy_credentials_exposed", s.Proxy.CredentialsExposed)
	}
	f := &session.Finding{Rule: Plaintext, Severity: session.Critical, Evidence: e}
	what := "DynamoDB requests go to " + peer(s) + " over plain HTTP"
	switch {
	case h.ResponseOnly:
		what = "DynamoDB answers come from " + s.Server.String() + " over plain HTTP"
	case h.Requests == 0:
		what = "plain HTTP goes to DynamoDB at " + peer(s)
	}
	if onLoopback(s) {
		f.Severity = session.Low
		e["emulator"] = true
		what = "DynamoDB requests go to an emulator on loopback, " + s.Server.String() + ", over plain HTTP"
	} else if place(s.Server.Addr()) == "loopback" && s.Proxy == nil {
		what += " at a loopback address: something on this host stands in for the endpoint"
	}
	f.Message = what + exposed(h.SignatureExposed, h.SessionTokenExposed, h.AccessKeyID)
	return f
}

// carriesDynamoDB reports whether the cleartext HTTP of s is DynamoDB's by its content, its Host, or its address.
func carriesDynamoDB(s *session.Session) bool {
	h := s.HTTP
	by := s.Endpoint.MatchedBy
	switch {
	case h.Requests > 0 || h.ResponseOnly:
		return true
	case slices.Contains(by, "host") || slices.Contains(by, "target") || slices.Contains(by, "path"):
		return true
	case s.Transport == session.TransportConnectHTTP && slices.Contains(by, "connect"):
		return true
	case s.Endpoint.AddrDynamoDB != session.Yes || s.Proxy != nil:
		return false
	case h.Host == "":
		// Without a Host the address decides, unless the Host may have been lost.
		return (h.Total > 0 || h.H2C) && !s.Loss.Any() && !s.Loss.OneSided && !s.Loss.Midstream
	}
	return isAddress(h.Host)
}

// isAddress reports whether a Host is an IP literal, which names no service.
func isAddress(host string) bool {
	if ap, err := netip.ParseAddrPort(host); err == nil {
		return ap.IsValid()
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil
}

// onLoopback reports whether the server is an emulator on this host: at a loopback address, and not under the name of an AWS endpoint.
func onLoopback(s *session.Session) bool {
	return place(s.Server.Addr()) == "loopback" && (emulator(s) || s.Endpoint.Kind == "" && s.Endpoint.Partition == "") &&
		(s.Proxy == nil || !s.Proxy.Connect)
}

func exposure(signature, token bool, key string) evidence {
	return evidence{"signature_exposed": signature, "session_token_exposed": token}.text("access_key", key).yes("access_key_exposed", key != "")
}

// exposed is the end of a message that says what the path has seen.
func exposed(signature, token bool, key string) string {
	var parts []string
	if key != "" {
		parts = append(parts, "access key id "+key)
	}
	if signature {
		parts = append(parts, "signature")
	}
	if token {
		parts = append(parts, "session token")
	}
	if len(parts) == 0 {
		return ""
	}
	return fmt.Sprintf("; exposed: %s", strings.Join(parts, ", "))
}
