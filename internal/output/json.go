package output

import (
	"bytes"
	"encoding/json"
	"io"
	"sync"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// JSON writes one object a line, in the form of docs/events.schema.json: keys are stable, what is unknown is absent.
// It is not safe for concurrent use.
type JSON struct {
	enc *json.Encoder
}

// NewJSON returns a printer that writes to w.
func NewJSON(w io.Writer) *JSON {
	return &JSON{NewEncoder(w)}
}

// NewEncoder returns an encoder of one line for each value, in which what drives a terminal is escaped.
func NewEncoder(w io.Writer) *json.Encoder {
	enc := json.NewEncoder(&lineWriter{w: w})
	enc.SetEscapeHTML(false)
	return enc
}

// Session writes one session.
func (j *JSON) Session(s *session.Session) error { return j.enc.Encode(sessionObject(s)) }

// Finding writes a finding that showed after its session was put out.
func (j *JSON) Finding(s *session.Session, f session.Finding) error {
	return j.enc.Encode(findingEvent(s, f))
}

func findingEvent(s *session.Session, f session.Finding) findingEventJSON {
	o, x := sessionObject(s), findings([]session.Finding{f})[0]
	return findingEventJSON{
		Type: "finding", Time: o.Time, Source: o.Source, Rule: x.Rule, Severity: x.Severity, Message: x.Message, Evidence: x.Evidence,
		Flow: &o.Flow, Process: o.Process, SDK: o.SDK, Endpoint: o.Endpoint,
	}
}

// FindingEvent is the object of type finding for a finding of a session, in one line without its newline.
func FindingEvent(s *session.Session, f session.Finding) ([]byte, error) {
	return line(findingEvent(s, f))
}

// DNSFindingEvent is the object of type finding for a finding of a DNS answer: it has the question in place of a flow.
func DNSFindingEvent(d *session.DNS, f session.Finding) ([]byte, error) {
	x := findings([]session.Finding{f})[0]
	return line(findingEventJSON{
		Type: "finding", Time: timestamp(d.Time), Source: d.Source, Rule: x.Rule, Severity: x.Severity, Message: x.Message, Evidence: x.Evidence,
		DNS: &questionJSON{addrPort(d.Client), addrPort(d.Server), d.Question, d.QueryType},
	})
}

// buffers are for lines that are being made.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// line is how JSON would print v.
func line(v any) ([]byte, error) {
	b := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(b)
	b.Reset()
	err := NewEncoder(b).Encode(v)
	return bytes.Clone(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), err // findings are kept for long: without room for more
}

// DNS writes one DNS answer.
func (j *JSON) DNS(d *session.DNS) error {
	return j.enc.Encode(dnsJSON{
		Type: "dns", Time: timestamp(d.Time), Source: d.Source,
		Client: addrPort(d.Client), Resolver: addrPort(d.Server), Question: d.Question, QueryType: d.QueryType,
		RCode: d.RCode, Names: d.Names, Addresses: addrs(d.Addrs), Findings: findings(d.Findings),
	})
}

// Summary writes the last line.
func (j *JSON) Summary(s *Summary) error { return j.enc.Encode(s.object()) }

type flowJSON struct {
	Proto      string `json:"proto"`
	ClientIP   string `json:"client_ip"`
	ClientPort uint16 `json:"client_port"`
	ServerIP   string `json:"server_ip"`
	ServerPort uint16 `json:"server_port"`
	// RedirectedTo is where the packets really go, where that differs.
	RedirectedTo string `json:"redirected_to,omitempty"`
}

type processJSON struct {
	PID           int      `json:"pid,omitempty"`
	TID           int      `json:"tid,omitempty"`
	Comm          string   `json:"comm,omitempty"`
	Exe           string   `json:"exe,omitempty"`
	Cmdline       string   `json:"cmdline,omitempty"`
	Parents       []string `json:"parents,omitempty"`
	UID           *uint32  `json:"uid,omitempty"`
	User          string   `json:"user,omitempty"`
	ContainerID   string   `json:"container_id,omitempty"`
	ContainerName string   `json:"container_name,omitempty"`
	Runtime       string   `json:"runtime,omitempty"`
	Pod           string   `json:"pod,omitempty"`
	Namespace     string   `json:"namespace,omitempty"`
	Unit          string   `json:"unit,omitempty"`
	CgroupID      uint64   `json:"cgroup_id,omitempty"`
	NetNS         uint64   `json:"netns,omitempty"`
	Exited        bool     `json:"exited,omitempty"`
}

type sdkJSON struct {
	Guess string `json:"guess"`
	By    string `json:"by"`
}

type endpointJSON struct {
	Service   string   `json:"service"`
	Region    string   `json:"region,omitempty"`
	Partition string   `json:"partition,omitempty"`
	Kind      string   `json:"kind,omitempty"`
	MatchedBy []string `json:"matched_by"`
}

type alertJSON struct {
	From        string `json:"from"`
	Level       string `json:"level"`
	Code        uint8  `json:"code"`
	Description string `json:"description"`
	Decrypted   bool   `json:"decrypted,omitempty"`
}

type tlsJSON struct {
	Version           string      `json:"version,omitempty"`
	OfferedMax        string      `json:"offered_max,omitempty"`
	OfferedVersions   []string    `json:"offered_versions,omitempty"`
	Cipher            string      `json:"cipher,omitempty"`
	CipherID          string      `json:"cipher_id,omitempty"`
	Group             string      `json:"group,omitempty"`
	SNI               string      `json:"sni,omitempty"`
	SNIInvalid        bool        `json:"sni_invalid,omitempty"`
	ALPN              string      `json:"alpn,omitempty"`
	ALPNOffered       []string    `json:"alpn_offered,omitempty"`
	Resumed           *bool       `json:"resumed,omitempty"`
	Established       *bool       `json:"established,omitempty"`
	HelloRetryRequest bool        `json:"hello_retry_request,omitempty"`
	EarlyData         bool        `json:"early_data,omitempty"`
	ECH               bool        `json:"ech,omitempty"`
	Compression       bool        `json:"compression,omitempty"`
	FallbackSCSV      bool        `json:"fallback_scsv,omitempty"`
	DowngradeSentinel string      `json:"downgrade_sentinel,omitempty"`
	ClientCertificate string      `json:"client_certificate,omitempty"`
	KeyProof          string      `json:"key_proof,omitempty"`
	ApplicationData   []string    `json:"application_data,omitempty"`
	JA3               string      `json:"ja3,omitempty"`
	JA4               string      `json:"ja4,omitempty"`
	Alert             *alertJSON  `json:"alert,omitempty"`
	Alerts            []alertJSON `json:"alerts,omitempty"`
}

type certificateJSON struct {
	SeenBy  string `json:"seen_by"`
	Subject string `json:"subject,omitempty"`
	Issuer  string `json:"issuer,omitempty"`
	// PartialIssuer stands instead of Issuer when only a part of the Certificate message was captured.
	PartialIssuer string   `json:"partial_issuer,omitempty"`
	Serial        string   `json:"serial,omitempty"`
	SHA256        string   `json:"sha256,omitempty"`
	SPKISHA256    string   `json:"spki_sha256,omitempty"`
	NotBefore     string   `json:"not_before,omitempty"`
	NotAfter      string   `json:"not_after,omitempty"`
	Names         []string `json:"names,omitempty"`
	Key           string   `json:"key,omitempty"`
	Signature     string   `json:"signature,omitempty"`
	ChainLength   int      `json:"chain_length,omitempty"`
	Partial       bool     `json:"partial,omitempty"`
	// What a probe saw: when, how long before the session began (negative: after), and how it was judged.
	SeenAt     string `json:"seen_at,omitempty"`
	AgeSeconds *int64 `json:"age_seconds,omitempty"`
	ProbeTrust string `json:"probe_trust,omitempty"`
}

type libraryJSON struct {
	Name        string `json:"name,omitempty"`
	Path        string `json:"path,omitempty"`
	TID         int    `json:"tid,omitempty"`
	Verifies    *bool  `json:"verifies,omitempty"`
	VerifiesBy  string `json:"verifies_by,omitempty"`
	ServerName  string `json:"server_name,omitempty"`
	NameDiffers bool   `json:"server_name_differs,omitempty"`
	NameChecked bool   `json:"name_checked,omitempty"`
	CheckedName string `json:"checked_name,omitempty"`
}

type httpJSON struct {
	Method       string   `json:"method,omitempty"`
	Host         string   `json:"host,omitempty"`
	Path         string   `json:"path,omitempty"`
	Operation    string   `json:"operation,omitempty"`
	Operations   []string `json:"operations,omitempty"`
	Requests     int      `json:"requests,omitempty"`
	Credentials  string   `json:"credentials,omitempty"`
	AccessKey    string   `json:"access_key,omitempty"`
	SessionToken string   `json:"session_token,omitempty"`
	UserAgent    string   `json:"user_agent,omitempty"`
	Tables       []string `json:"tables,omitempty"`
	Status       int      `json:"status,omitempty"`
	H2C          bool     `json:"h2c,omitempty"`
	ResponseOnly bool     `json:"response_only,omitempty"`
}

type daxJSON struct {
	Credentials  string `json:"credentials,omitempty"`
	AccessKey    string `json:"access_key,omitempty"`
	SessionToken string `json:"session_token,omitempty"`
}

type proxyJSON struct {
	Target      string `json:"target,omitempty"`
	Method      string `json:"method"`
	Established *bool  `json:"established,omitempty"`
	Status      int    `json:"status,omitempty"`
	Credentials string `json:"credentials,omitempty"`
}

type lossJSON struct {
	ClientGapBytes      int64 `json:"client_gap_bytes"`
	ServerGapBytes      int64 `json:"server_gap_bytes"`
	ClientConflictBytes int64 `json:"client_conflict_bytes,omitempty"`
	ServerConflictBytes int64 `json:"server_conflict_bytes,omitempty"`
	TruncatedPackets    int   `json:"truncated_packets,omitempty"`
	Midstream           bool  `json:"midstream,omitempty"`
	OneSided            bool  `json:"one_sided,omitempty"`
	Evicted             bool  `json:"evicted,omitempty"`
}

type findingJSON struct {
	Rule     string         `json:"rule"`
	Severity string         `json:"severity"`
	Message  string         `json:"message"`
	Evidence map[string]any `json:"evidence"`
}

type sessionJSON struct {
	Type        string           `json:"type"`
	Time        string           `json:"time,omitempty"`
	DurationMS  float64          `json:"duration_ms"`
	Source      string           `json:"source"`
	Flow        flowJSON         `json:"flow"`
	Process     *processJSON     `json:"process,omitempty"`
	SDK         *sdkJSON         `json:"sdk,omitempty"`
	Endpoint    *endpointJSON    `json:"endpoint,omitempty"`
	Transport   string           `json:"transport"`
	TLS         *tlsJSON         `json:"tls,omitempty"`
	Library     *libraryJSON     `json:"library,omitempty"`
	Certificate *certificateJSON `json:"certificate,omitempty"`
	Visibility  string           `json:"certificate_visibility,omitempty"`
	Trust       string           `json:"trust,omitempty"`
	HTTP        *httpJSON        `json:"http,omitempty"`
	DAX         *daxJSON         `json:"dax,omitempty"`
	Proxy       *proxyJSON       `json:"proxy,omitempty"`
	Loss        lossJSON         `json:"loss"`
	Verdict     string           `json:"verdict"`
	Findings    []findingJSON    `json:"findings"`
}

type findingEventJSON struct {
	Type     string         `json:"type"`
	Time     string         `json:"time,omitempty"`
	Source   string         `json:"source"`
	Rule     string         `json:"rule"`
	Severity string         `json:"severity"`
	Message  string         `json:"message"`
	Evidence map[string]any `json:"evidence"`
	Flow     *flowJSON      `json:"flow,omitempty"`
	DNS      *questionJSON  `json:"dns,omitempty"`
	Process  *processJSON   `json:"process,omitempty"`
	SDK      *sdkJSON       `json:"sdk,omitempty"`
	Endpoint *endpointJSON  `json:"endpoint,omitempty"`
}

type questionJSON struct {
	Client    string `json:"client"`
	Resolver  string `json:"resolver"`
	Question  string `json:"question"`
	QueryType string `json:"query_type"`
}

type dnsJSON struct {
	Type      string        `json:"type"`
	Time      string        `json:"time,omitempty"`
	Source    string        `json:"source"`
	Client    string        `json:"client"`
	Resolver  string        `json:"resolver"`
	Question  string        `json:"question"`
	QueryType string        `json:"query_type"`
	RCode     string        `json:"rcode"`
	Names     []string      `json:"names,omitempty"`
	Addresses []string      `json:"addresses,omitempty"`
	Findings  []findingJSON `json:"findings"`
}

// timestamp prints microseconds, and nanoseconds where the capture holds them; "" for an unknown time.
func timestamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	if t.Nanosecond()%1000 == 0 {
		return t.UTC().Format("2006-01-02T15:04:05.000000Z")
	}
	return t.UTC().Format("2006-01-02T15:04:05.000000000Z")
}
