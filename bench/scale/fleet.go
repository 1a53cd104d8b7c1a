// Package scale computes what a fleet of agents costs the systems that join what they say: Prometheus, Alertmanager, Loki, an OpenTelemetry collector.
//
//	go test -v ./bench/scale           # prints docs/scale.md's tables, and compares
//	go test ./bench/scale -update      # writes them
//
// Nothing in it is an estimate of dynwatch: findings go through the agent's own registry, de-duplication, rate limit, journal and sinks, and receivers
// in memory count what arrives. Only the clock is not real (testing/synctest), so that an hour of a fleet takes seconds, and so Run is called in a
// bubble of it. The estimate is the fleet itself: how many workloads, connections and findings. That is Fleet and Scenario.
package scale

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// Fleet is what the hosts run.
type Fleet struct {
	Nodes int
	// Workloads are deployments that talk to DynamoDB, spread over Namespaces; PerNode of them have a pod on each node.
	Workloads, Namespaces, PerNode int
}

// Default is the fleet of docs/scale.md.
var Default = Fleet{Nodes: 10_000, Workloads: 250, Namespaces: 25, PerNode: 10}

// sampled is how many nodes are computed: as many as it takes to have each workload once. Node n+sampled has the same workloads as node n, and differs
// by its name alone.
func (f Fleet) sampled() int { return f.Workloads / f.PerNode }

// Scenario is an hour.
type Scenario struct {
	Name string
	// Every is how often a workload of a node opens a connection.
	Every time.Duration
	// Standing in a hundred workloads have a finding at each connection that nobody has mended.
	Standing int
	// Incident: from its tenth minute on, for half an hour, all connections of all nodes meet an issuer that is not expected. Issuers: each
	// meets another one.
	Incident, Issuers bool
	// PerMinute and Burst are the agents' alerts.per_minute and alerts.burst; 0 is their default.
	PerMinute, Burst int
	// One computes one node alone: its cost is known by it, but not which alerts of the fleet are the same.
	One bool
}

// Scenarios are those of docs/scale.md.
var Scenarios = []Scenario{
	{Name: "ordinary", Every: 30 * time.Second, Standing: 2},
	{Name: "incident", Every: 30 * time.Second, Standing: 2, Incident: true},
	{Name: "forged anew", Every: 5 * time.Second, Incident: true, Issuers: true, One: true},
	{Name: "forged anew, limited", Every: 5 * time.Second, Incident: true, Issuers: true, One: true, PerMinute: 1, Burst: 12},
}

const (
	hour          = time.Hour
	incidentFrom  = 10 * time.Minute
	incidentUntil = 40 * time.Minute
)

// incidentNow reports whether a moment of the hour, since its beginning, is in the incident.
func (s Scenario) incidentNow(since time.Duration) bool {
	return s.Incident && since >= incidentFrom && since < incidentUntil
}

// connect makes the i-th session of a node's workload, and its findings.
func (f Fleet) connect(s Scenario, node, slot, i int, since time.Duration) *session.Session {
	w := (node*f.PerNode + slot) % f.Workloads
	now := time.Now()
	region := []string{"us-east-1", "eu-central-1"}[w%2]
	endpoint := "dynamodb." + region + ".amazonaws.com"
	x := &session.Session{
		Start: now, Source: "ebpf", Transport: session.TransportTLS, Verdict: session.VerdictOK,
		Client: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(w), 7}), uint16(40000+i%20000)), Server: netip.MustParseAddrPort("52.94.5.7:443"),
		Process: &flow.Process{
			PID: 1000 + slot, Comm: "gunicorn", Exe: "/usr/local/bin/python3.12", ContainerID: fmt.Sprintf("%064x", w*1000+slot), ContainerName: "app",
			Namespace: fmt.Sprintf("team-%02d", w%f.Namespaces), Pod: fmt.Sprintf("service-%03d-7d9f8b6c5d-x2x7p", w),
		},
		Endpoint:   session.Endpoint{Service: "dynamodb", Region: region, Partition: "aws", Kind: "public", MatchedBy: []string{"sni", "range"}, Name: endpoint},
		TLS:        &session.TLS{Version: session.TLS12, SNI: endpoint, Established: session.Yes, HandshakeDone: now.Add(12 * time.Millisecond)},
		Visibility: session.VisibilityVisible, Trust: session.TrustAmazon,
		Certificate: &session.Certificate{SeenBy: "wire", Subject: "CN=" + endpoint, Issuer: "CN=Amazon RSA 2048 M01,O=Amazon,C=US"},
	}
	if w%3 > 0 { // two of three speak 1.3, and their certificates are seen inside their libraries, or not at all
		x.TLS.Version, x.Certificate.SeenBy = session.TLS13, "library"
		if w%3 == 2 {
			x.Visibility, x.Certificate, x.Trust, x.Verdict = session.VisibilityEncrypted, nil, session.TrustUnseen, session.VerdictUnverified
		}
	}
	if w*100 < s.Standing*f.Workloads {
		x.Findings = append(x.Findings, session.Finding{
			Rule: "client-obsolete", Severity: session.Medium, Message: "the client offers TLS 1.1 at most", Evidence: map[string]any{"offered_max": "TLS 1.1"},
		})
	}
	if s.incidentNow(since) {
		issuer := "CN=Example Corp TLS Inspection CA,O=Example Corp,C=US"
		if s.Issuers {
			issuer = fmt.Sprintf("CN=Example Corp TLS Inspection CA %08d,O=Example Corp,C=US", (node*f.PerNode+slot)*10_000+i)
		}
		x.Visibility, x.Trust = session.VisibilityVisible, session.TrustPrivate
		x.Certificate = &session.Certificate{SeenBy: "wire", Subject: "CN=" + endpoint, Issuer: issuer}
		x.Findings = append(x.Findings, session.Finding{
			Rule: "unexpected-issuer", Severity: session.Critical,
			Message:  endpoint + " showed a certificate issued by " + issuer + ", a CA that is neither Amazon's nor allowed",
			Evidence: map[string]any{"issuer": issuer, "trust": string(session.TrustPrivate)},
		})
	}
	if len(x.Findings) > 0 {
		x.Verdict = session.VerdictFinding
	}
	return x
}
