// Package session holds what is known of one flow once it is understood, and what was concluded from it.
//
// A Session is plain data: analyze fills it, the rules read it, the outputs print it. It keeps no payload, no key material and no
// secret: what came from an Authorization header or a cookie is here only as "it was exposed". Zero fields mean "not seen".
package session

import (
	"net/netip"
	"time"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// Session is one understood flow.
type Session struct {
	// Start and End are the times of the flow's first and last packet; zero where the capture holds no time.
	Start, End time.Time
	// Source is where the packets came from: "file", "ebpf" or "packet".
	Source string
	// Client is the side that opened the flow, Server the other, addresses unmapped.
	Client, Server netip.AddrPort
	// RedirectedTo is where the packets really go, when that is not where the client asked the kernel to connect to; else not valid.
	RedirectedTo netip.AddrPort
	// Cookie is the kernel's socket cookie, 0 where the source does not know it.
	Cookie uint64
	// Process is the opener, nil when nobody could tell.
	Process *flow.Process

	// SDK is what the client is probably made with.
	SDK SDK

	Endpoint  Endpoint
	Transport Transport
	// TLS is set once a TLS record of either side was recognised.
	TLS *TLS
	// Certificate is the server's leaf, nil when nobody saw it.
	Certificate *Certificate
	// Visibility says whether the certificate could be seen, and if not, why; empty for a session without TLS.
	Visibility Visibility
	// Trust is the judgement of the chain; TrustUnseen when there was none to judge, empty for a session without TLS.
	Trust Trust
	// Library is what the client's TLS library told of the handshake; nil if nobody asked it.
	Library *Library
	// Chain is what the verification found beyond the one word; nil when no chain was seen.
	Chain *Chain
	// HTTP is set when cleartext HTTP was seen in this flow (inside a CONNECT tunnel it is the request inside).
	HTTP *HTTP
	// DAX is set when the cleartext opening of the DAX protocol was seen.
	DAX *DAX
	// Proxy is set when the flow goes to a proxy: a CONNECT request or an absolute-form request target.
	Proxy *Proxy

	Loss  Loss
	Ended Ended
	// HandshakeEnd is, by sender, where the handshake ends in the stream: what follows is application data, which a copy of the packets
	// leaves out.
	HandshakeEnd [2]SequenceNumber

	Verdict  Verdict
	Findings []Finding
}

// SequenceNumber is a TCP sequence number that may be unknown.
type SequenceNumber struct {
	Number uint32
	Known  bool
}

// SDK is a guess at the AWS SDK, HTTP library or language of a client. The zero value is none.
type SDK struct {
	Name string // as in "boto3", "aws-sdk-go-v2", "python"
	By   string // what it rests on, see analyze/sdk
}

// Endpoint says which DynamoDB endpoint a session is with. Service is empty when it is none.
type Endpoint struct {
	Service   string // dynamodb, dynamodb-streams, dax, dynamodb-local
	Region    string
	Partition string // aws, aws-cn, aws-us-gov, aws-eusc, aws-iso…
	Kind      string // public, fips, dual-stack, account, interface, local
	// MatchedBy lists what proved it, in the order range, sni, host, dns, target, path, connect, certificate, endpoint, port.
	MatchedBy []string
	// Name is the host name that the client asked for: SNI, Host, CONNECT target or DNS question; lower case, no trailing dot.
	Name string
	// Resolved are DynamoDB names that a DNS answer of this capture gave for the server's address.
	Resolved []string
	// AddrAWS and AddrDynamoDB say whether the server's address lies in any prefix of AWS's ip-ranges.json, and in one tagged DYNAMODB;
	// AddrAllowed whether the operator said that an endpoint may live there (--endpoint CIDR). Unknown means that nobody looked it up;
	// an operator who gave no list makes AddrAllowed No. An address below 64:ff9b::/96 (RFC 6052) is looked up by the IPv4 address in it.
	AddrAWS, AddrDynamoDB, AddrAllowed Tri
}

// OwnCertificate is the certificate that the session's server showed, as far as anybody saw it: one that a probe was shown, on a connection of its
// own, is not. nil if there is none.
func (s *Session) OwnCertificate() *Certificate {
	if s.Certificate == nil || s.Certificate.SeenBy == SeenByProbe {
		return nil
	}
	return s.Certificate
}

// EndpointName names the endpoint that a session is with, for lists and counts: the name that was asked for, else what is known of the
// address. DynamoDB's own addresses are many and change: without a name, all of a Region are one.
func (s *Session) EndpointName() string {
	switch e := &s.Endpoint; {
	case e.Name != "":
		return e.Name
	case e.AddrDynamoDB == Yes && e.Region != "":
		return e.Service + " in " + e.Region
	}
	return s.Server.Addr().String()
}

// Known reports whether the session is DynamoDB's.
func (e Endpoint) Known() bool { return e.Service != "" }

// Transport is how the application bytes travel.
type Transport string

// The transports.
const (
	TransportTLS         Transport = "tls"
	TransportHTTP        Transport = "http"
	TransportDAX         Transport = "dax" // cleartext DAX, port 8111
	TransportConnectTLS  Transport = "connect+tls"
	TransportConnectHTTP Transport = "connect+http"
	TransportUnknown     Transport = "unknown"
)

// Visibility says whether the server's certificate could be seen.
type Visibility string

// The visibilities.
const (
	VisibilityVisible    Visibility = "visible"
	VisibilityDecrypted  Visibility = "decrypted"  // by a key log or a pcapng secrets block
	VisibilityEncrypted  Visibility = "encrypted"  // TLS 1.3, no secrets at hand
	VisibilityResumed    Visibility = "resumed"    // session id, ticket or PSK: none is sent
	VisibilityNone       Visibility = "none"       // anonymous or PSK cipher suite, or the handshake ended before it
	VisibilityIncomplete Visibility = "incomplete" // bytes are missing
	VisibilityUnparsable Visibility = "unparsable"
)

// Trust is the one-word judgement of a chain, the first that holds in this order.
type Trust string

// The words of trust.
const (
	TrustAmazon       Trust = "amazon"
	TrustAllowed      Trust = "allowed"
	TrustExpired      Trust = "expired"
	TrustNotYetValid  Trust = "not-yet-valid"
	TrustNameMismatch Trust = "name-mismatch"
	TrustForged       Trust = "forged"
	TrustSelfSigned   Trust = "self-signed"
	TrustPublic       Trust = "public"
	TrustPrivate      Trust = "private"
	TrustMalformed    Trust = "malformed"
	TrustUnseen       Trust = "unseen"
)

// Side is one end of a connection.
type Side uint8

// The two ends. The client is the side that opened the flow.
const (
	Client Side = iota
	Server
)

// Peer is the other end.
func (s Side) Peer() Side { return 1 - s }

// String is the word used in output: "client" or "server".
func (s Side) String() string {
	if s == Client {
		return "client"
	}
	return "server"
}

// Loss is what is missing from a flow's streams.
type Loss struct {
	// GapBytes are payload bytes, by sender, that the capture does not hold and that lie inside what had to be read.
	GapBytes [2]int64
	// ConflictBytes are bytes, by sender, that came twice with different content; the first copy was used.
	ConflictBytes [2]int64
	// TruncatedPackets had payload cut off by a snap length inside what had to be read.
	TruncatedPackets int
	// Midstream: the flow's SYN was not captured. One-sided: no packet of that side was captured.
	Midstream bool
	OneSided  bool
	// Evicted: the flow was dropped from a full table before it ended.
	Evicted bool
}

// Any reports whether bytes are known to be missing.
func (l Loss) Any() bool {
	return l.GapBytes[0] != 0 || l.GapBytes[1] != 0 || l.TruncatedPackets != 0 || l.Evicted
}

// Ended says how the flow came to its end.
type Ended struct {
	// By is the side that sent the first FIN or RST; meaningful only when FIN or RST is set.
	By Side
	// FIN and RST tell what By sent. Both false: the capture or an idle limit ended first.
	FIN, RST bool
}

// Verdict is the conclusion for one session.
type Verdict string

// The verdicts.
const (
	VerdictFinding       Verdict = "finding"
	VerdictOK            Verdict = "ok"
	VerdictUnverified    Verdict = "unverified"
	VerdictIncomplete    Verdict = "incomplete"
	VerdictNotApplicable Verdict = "not-applicable"
)

// HTTP is what cleartext HTTP/1.x requests of one flow showed. Values of secret headers are never here.
type HTTP struct {
	// Method, Host, Path and Target are of the first request that made the flow DynamoDB's, else of the first request.
	// Path has no query; Host is as sent, with port.
	Method, Host, Path string
	// Operation is the DynamoDB operation of that request, Operations all distinct ones in order of appearance (at most 32).
	Operation  string
	Operations []string
	// Requests counts the DynamoDB requests seen, Total all.
	Requests, Total int
	UserAgent       string
	// Tables are table names, filled only when the operator asked for them.
	Tables []string
	// AccessKeyID is masked: first four and last four characters (AKIA…MPLE).
	AccessKeyID string
	// What the requests exposed to the path.
	SignatureExposed, SessionTokenExposed bool
	// H2C: an HTTP/2 connection preface in cleartext (RFC 9113, Section 3.4).
	H2C bool
	// ResponseOnly: only the server's answers were captured, and they are DynamoDB's.
	ResponseOnly bool
	// Status is the first response's status code, 0 if none was seen.
	Status int
}

// DAX is the cleartext opening of the DAX protocol on port 8111.
type DAX struct {
	// AuthSeen: an authorizeConnection call followed the opening bytes.
	AuthSeen                              bool
	AccessKeyID                           string // masked
	SignatureExposed, SessionTokenExposed bool
}

// Proxy is the proxy that a flow goes through.
type Proxy struct {
	// Target is the CONNECT target or the absolute request target's authority.
	Target string
	// Connect is set for CONNECT; Established once the proxy answered 2xx; Status is its answer.
	Connect     bool
	Established bool
	Status      int
	// CredentialsExposed: a Proxy-Authorization header went in clear.
	CredentialsExposed bool
	// Names are names that DNS answers of this capture, or the host, gave for the proxy's address; lower case, no trailing dot. Only
	// with them can an operator's list of proxies by name be compared.
	Names []string
}
