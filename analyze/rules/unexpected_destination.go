package rules

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/dynwatch/dynwatch/analyze/session"
)

var unexpectedDestinationRule = &Rule{
	ID:       UnexpectedDestination,
	Title:    "a DynamoDB name at an address that is not AWS's",
	Severity: session.High,
	Milder:   []session.Severity{session.Medium},
	Citation: "AWS ip-ranges.json; DynamoDB Developer Guide, AWS PrivateLink for DynamoDB",
	Summary: "The client asked for a DynamoDB name (SNI, Host or DNS), and the address that it reached, or that a DNS answer gave, is in none of " +
		"AWS's prefixes and was not allowed with --endpoint CIDR; and no chain proves that Amazon's or an allowed key answered. Medium at " +
		"a private (RFC 1918, 4193, 6598), link-local or loopback address, which a private hosted zone, PrivateLink behind it, or a local " +
		"forwarder may explain.",
	Why: "DNS answers can be forged, hosts files edited, and routes announced; the name in the request stays the same. A DNS answer shows " +
		"the hijack before the first byte is sent.",
	Limits: "The ranges are as old as their file; its date is in the summary. Sessions through a proxy are not judged, because the proxy's " +
		"address says nothing; nor are aws-iso partitions, for which AWS publishes no ranges. PrivateLink names and DAX clusters live at " +
		"private addresses by nature. A right address does not prove anything.",
	Fix: Remediation{
		Steps: []string{
			"Compare DNS from the host with another resolver, and look at /etc/hosts and AWS_ENDPOINT_URL; update the ranges with `dynwatch " +
				"ranges update` if the file is old.",
			"If it is your own endpoint, say so with --endpoint CIDR, as below. For PrivateLink use the vpce- name instead of a private " +
				"hosted zone over the public one, which AWS warns against.",
			"If nobody knows the address: block it, and rotate the credentials of what went there.",
		},
		Snippets: []Snippet{
			{"dynwatch", `dynwatch capture --endpoint 10.20.0.0/16 …   # a DynamoDB name may live there`},
			{"Compare", `getent ahosts dynamodb.eu-central-1.amazonaws.com
dynwatch ranges lookup ADDRESS`},
			{"boto3 (Django, Flask) with PrivateLink", `boto3.client("dynamodb", endpoint_url="https://vpce-….dynamodb.eu-central-1.vpce.amazonaws.com")`},
		},
	},
	Applies: func(in *Input) bool {
		s := in.Session
		if s.Proxy != nil || s.Transport == session.TransportConnectTLS || s.Transport == session.TransportConnectHTTP {
			return false
		}
		return asked(s) != "" && slices.ContainsFunc(s.Endpoint.MatchedBy, func(by string) bool {
			return by == "sni" || by == "host" || by == "dns"
		})
	},
	Check: func(in *Input) *session.Finding {
		s := in.Session
		at := Address{Addr: s.Server.Addr(), AWS: s.Endpoint.AddrAWS, Allowed: s.Endpoint.AddrAllowed}
		severity, where := misplaced(s.Endpoint, at)
		if severity == session.SeverityNone || endpointAnswered(s) || s.TLS != nil && s.Visibility == session.VisibilityIncomplete {
			return nil
		}
		return &session.Finding{
			Rule: UnexpectedDestination, Severity: severity,
			Message: fmt.Sprintf("%s was reached at %s, %s", asked(s), s.Server, where),
			Evidence: evidence{"address": s.Server.Addr().Unmap().String(), "name": asked(s)}.text("place", place(s.Server.Addr())).
				text("trust", string(s.Trust)).list("matched_by", s.Endpoint.MatchedBy),
		}
	},
}

// endpointAnswered reports whether a good chain answered at the address.
func endpointAnswered(s *session.Session) bool { return s.TLS != nil && good(s) }

// Address is an address and what is known of it, as in session.Endpoint.
type Address struct {
	Addr         netip.Addr
	AWS, Allowed session.Tri
}

// CheckDNS judges a DNS answer: e is what the name that was asked for says of itself, with e.Name set; answers are its addresses. It
// returns nil for a name that is not DynamoDB's. The finding is as severe as the worst address.
func CheckDNS(e session.Endpoint, answers []Address) *session.Finding {
	if !e.Known() || e.Name == "" {
		return nil
	}
	worst := session.SeverityNone
	var wrong []string
	var where string
	for _, a := range answers {
		severity, w := misplaced(e, a)
		if severity == session.SeverityNone {
			continue
		}
		wrong = append(wrong, a.Addr.Unmap().String())
		if severity > worst {
			worst, where = severity, w
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return &session.Finding{
		Rule: UnexpectedDestination, Severity: worst,
		Message:  fmt.Sprintf("DNS gives %s for %s, %s", strings.Join(wrong[:min(len(wrong), 4)], ", "), e.Name, where),
		Evidence: evidence{"name": e.Name, "addresses": wrong, "signal": "dns"},
	}
}

// misplaced judges an address for a name. The severity is none where the address is right, or where its owner is unknown.
func misplaced(e session.Endpoint, a Address) (severity session.Severity, where string) {
	if !a.Addr.IsValid() || a.AWS != session.No || a.Allowed != session.No || strings.HasPrefix(e.Partition, "aws-iso") {
		return session.SeverityNone, ""
	}
	dax := e.Service == "dax" && e.Kind == ""
	switch e.Kind {
	case "public", "fips", "dual-stack", "account", "interface":
	default:
		if !dax {
			return session.SeverityNone, "" // a name of the operator's own, or an emulator's
		}
	}
	switch p := place(a.Addr); p {
	case "":
		return session.High, "which is neither AWS's nor allowed"
	case "private", "shared":
		if dax || e.Kind == "interface" {
			return session.SeverityNone, ""
		}
		return session.Medium, "a " + p + " address: a private hosted zone, or a hijack"
	default:
		return session.Medium, "a " + p + " address: a forwarder on this host, or a hijack"
	}
}
