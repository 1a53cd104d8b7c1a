package rules

import (
	"fmt"
	"slices"

	"github.com/dynwatch/dynwatch/analyze/session"
)

var publicEndpointRule = &Rule{
	ID:       PublicEndpoint,
	Title:    "a kind of endpoint that the policy does not name",
	Severity: session.Medium,
	Citation: "internal policy; DynamoDB Developer Guide, VPC endpoints",
	Summary: "The policy names kinds of endpoint (--allow-kind), for instance interface alone, and the session uses another kind. Without such " +
		"a policy there is no finding.",
	Why: "Where a policy demands PrivateLink, a client with the public name leaves by another path, past the endpoint policy that was to " +
		"restrict it.",
	Limits: "The kind is read from the name. A public name at a private address reached an interface endpoint through a private hosted zone, and " +
		"counts as interface. Gateway endpoints bear public names and addresses: no host can see one, so no word stands for them.",
	Fix: Remediation{
		Steps: []string{
			"Point the client at the interface endpoint's own name, as below: DynamoDB's PrivateLink has no private DNS.",
			"Enforce it in IAM: deny dynamodb:* unless aws:SourceVpce is your endpoint; that covers gateway endpoints too.",
		},
		Snippets: []Snippet{
			{"boto3 (Django, Flask)", `boto3.client("dynamodb", endpoint_url="https://vpce-….dynamodb.eu-central-1.vpce.amazonaws.com")`},
			{"Environment, for all SDKs and AWS CLI", `AWS_ENDPOINT_URL_DYNAMODB=https://vpce-….dynamodb.eu-central-1.vpce.amazonaws.com`},
			{"IAM policy", `{
  "Version": "2012-10-17",
  "Statement": [{
    "Sid": "DenyDynamoDBPastTheEndpoint",
    "Effect": "Deny",
    "Action": "dynamodb:*",
    "Resource": "*",
    "Condition": {"StringNotEquals": {"aws:SourceVpce": "vpce-0123456789abcdef0"}}
  }]
}`},
		},
	},
	Applies: func(in *Input) bool {
		return len(in.policy().EndpointKinds) > 0 && slices.Contains(endpointKinds, in.Session.Endpoint.Kind)
	},
	Check: func(in *Input) *session.Finding {
		s := in.Session
		kind, allowed := s.Endpoint.Kind, in.policy().EndpointKinds
		if slices.Contains(allowed, kind) {
			return nil
		}
		if s.Proxy == nil && slices.Contains(allowed, "interface") {
			switch place(s.Server.Addr()) {
			case "private", "shared":
				return nil
			}
		}
		return &session.Finding{
			Rule: PublicEndpoint, Severity: session.Medium,
			Message:  fmt.Sprintf("%s is a %s endpoint, which the policy does not name", peer(s), kind),
			Evidence: evidence{"kind": kind, "address": s.Server.Addr().Unmap().String()}.list("allowed_kinds", allowed).text("name", asked(s)),
		}
	},
}
