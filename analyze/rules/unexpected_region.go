package rules

import (
	"fmt"
	"slices"

	"github.com/dynwatch/dynwatch/analyze/session"
)

var unexpectedRegionRule = &Rule{
	ID:       UnexpectedRegion,
	Title:    "a region that the policy does not name",
	Severity: session.Medium,
	Citation: "internal policy",
	Summary:  "The policy names regions (--allow-region), and the endpoint is in another one. Without such a policy there is no finding.",
	Why: "Data in an unplanned region may break residency rules, costs transfer, and often means a default such as us-east-1 that nobody " +
		"chose. Stolen credentials are often tried in regions that nobody watches.",
	Limits: "The region is the endpoint name's, or else the address range's; through an IP literal outside the ranges it is unknown, and " +
		"unknown is no finding.",
	Fix: Remediation{
		Steps: []string{
			"Set the region where the process gets it, as below; or add it to the policy.",
			"Enforce it: a service control policy with aws:RequestedRegion refuses the rest.",
		},
		Snippets: []Snippet{
			{"boto3 (Django, Flask)", `boto3.resource("dynamodb", region_name="eu-central-1")`},
			{"Environment, for all SDKs and AWS CLI", `AWS_REGION=eu-central-1`},
			{"Go (aws-sdk-go-v2)", `config.LoadDefaultConfig(ctx, config.WithRegion("eu-central-1"))`},
			{"Java (SDK v2)", `DynamoDbClient.builder().region(Region.EU_CENTRAL_1).build()`},
			{"Node (SDK v3)", `new DynamoDBClient({ region: "eu-central-1" })`},
			{"Service control policy", `{
  "Version": "2012-10-17",
  "Statement": [{
    "Sid": "DenyDynamoDBElsewhere",
    "Effect": "Deny",
    "Action": "dynamodb:*",
    "Resource": "*",
    "Condition": {"StringNotEquals": {"aws:RequestedRegion": ["eu-central-1"]}}
  }]
}`},
		},
	},
	Applies: func(in *Input) bool {
		return len(in.policy().Regions) > 0 && in.Session.Endpoint.Region != "" && !emulator(in.Session)
	},
	Check: func(in *Input) *session.Finding {
		s := in.Session
		if slices.Contains(in.policy().Regions, s.Endpoint.Region) {
			return nil
		}
		return &session.Finding{
			Rule: UnexpectedRegion, Severity: session.Medium,
			Message:  fmt.Sprintf("%s is in %s, which the policy does not name", peer(s), s.Endpoint.Region),
			Evidence: evidence{"region": s.Endpoint.Region}.list("allowed_regions", in.policy().Regions).text("name", asked(s)),
		}
	},
}
