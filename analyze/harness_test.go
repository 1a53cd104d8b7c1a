package analyze

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/analyze/endpoint"
	"github.com/dynwatch/dynwatch/analyze/rules"
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/analyze/trust"
	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/synth"
)

// Addresses and names that most tests use. dynamodbAddr lies in AWS's DYNAMODB ranges, awsAddr in others of AWS's, farAddr in none.
const (
	clientAddr   = "10.0.0.5:40112"
	dynamodbAddr = "52.94.0.10:443"
	awsAddr      = "3.5.140.7:443"
	farAddr      = "203.0.113.9:443"
	dynamodbName = "dynamodb.us-east-1.amazonaws.com"
)

// start is when captures begin.
var start = time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)

// pki are certificates that tests share; making RSA keys takes time.
type pki struct {
	corp         *synth.Authority // that the tests' policies allow
	rogue        *synth.Authority // that nobody allows
	key          *ecdsa.PrivateKey
	server, evil tls.Certificate // for dynamodbName
	wildcard     tls.Certificate // for *.ddb.us-east-1.amazonaws.com
	rsa          tls.Certificate // for dynamodbName, with an RSA key
	other        tls.Certificate // for www.example.com
	pool         *x509.CertPool  // both authorities
}

var testPKI = sync.OnceValue(func() *pki {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(err)
		return k
	}
	p := &pki{key: key(), pool: x509.NewCertPool()}
	var err error
	p.corp, err = synth.NewAuthority(pkix.Name{CommonName: "Corporate Root"}, key())
	must(err)
	p.rogue, err = synth.NewAuthority(pkix.Name{CommonName: "Rogue Root"}, key())
	must(err)
	p.server, err = p.corp.Server(p.key, dynamodbName)
	must(err)
	p.evil, err = p.rogue.Server(key(), dynamodbName)
	must(err)
	p.wildcard, err = p.corp.Server(p.key, "*.ddb.us-east-1.amazonaws.com")
	must(err)
	p.other, err = p.corp.Server(p.key, "www.example.com")
	must(err)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	p.rsa, err = p.corp.Server(rsaKey, dynamodbName)
	must(err)
	p.pool.AddCert(p.corp.Certificate)
	p.pool.AddCert(p.rogue.Certificate)
	return p
})

// handshake says how crypto/tls's ends are set for one dialogue. The zero value is TLS 1.3 with dynamodbName and a good certificate.
type handshake struct {
	sni         string // "-" sends none
	max         uint16
	certificate *tls.Certificate
	verify      bool // the client verifies, else it takes anything
	suites      []uint16
	cache       tls.ClientSessionCache
	ticketKeys  [][32]byte // the first encrypts new tickets; none, no tickets
	keylog      io.Writer
	request     []byte
}

// dialogue records the handshake, a request and an answer. A handshake that fails is a dialogue too.
func (h handshake) dialogue(t testing.TB) synth.Dialogue {
	t.Helper()
	p := testPKI()
	client := &tls.Config{ServerName: dynamodbName, InsecureSkipVerify: !h.verify, RootCAs: x509.NewCertPool(), MaxVersion: h.max,
		ClientSessionCache: h.cache, CipherSuites: h.suites, Time: func() time.Time { return start }, MinVersion: tls.VersionTLS10}
	client.RootCAs.AddCert(p.corp.Certificate)
	switch h.sni {
	case "":
	case "-":
		client.ServerName, client.InsecureSkipVerify = "", true
	default:
		client.ServerName = h.sni
	}
	if h.keylog != nil {
		client.KeyLogWriter = h.keylog
	}
	server := &tls.Config{Certificates: []tls.Certificate{p.server}, MinVersion: tls.VersionTLS10, CipherSuites: h.suites,
		SessionTicketsDisabled: len(h.ticketKeys) == 0, Time: func() time.Time { return start }}
	if h.certificate != nil {
		server.Certificates[0] = *h.certificate
	}
	if len(h.ticketKeys) > 0 {
		server.SetSessionTicketKeys(h.ticketKeys)
	}
	request := h.request
	if request == nil {
		request = []byte(dynamodbRequest)
	}
	d, err := synth.TLS(client, server, request, []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"))
	if err != nil && len(d) == 0 {
		t.Fatal(err)
	}
	return d
}

// planted are secrets that must never come out.
const (
	plantedToken     = "PLANTEDSESSIONTOKENxyz"
	plantedSignature = "deadbeefplantedsignaturedeadbeef"
	plantedCookie    = "PLANTEDCOOKIEvalue"
	plantedPassword  = "UExBTlRFRHBhc3N3b3Jk"
	plantedItem      = "PLANTEDITEMdata"
)

// dynamodbRequest is a signed request full of secrets.
const dynamodbRequest = "POST / HTTP/1.1\r\nHost: " + dynamodbName + "\r\nX-Amz-Target: DynamoDB_20120810.PutItem\r\n" +
	"Content-Type: application/x-amz-json-1.0\r\nUser-Agent: Boto3/1.40\r\nX-Amz-Security-Token: " + plantedToken + "\r\n" +
	"Cookie: session=" + plantedCookie + "\r\nProxy-Authorization: Basic " + plantedPassword + "\r\n" +
	"Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261121/us-east-1/dynamodb/aws4_request, " +
	"SignedHeaders=host;x-amz-target, Signature=" + plantedSignature + "\r\nContent-Length: 44\r\n\r\n" +
	`{"TableName":"t","Item":"` + plantedItem + `"}  `

// wire makes the segments of one TCP connection as a capture shows them.
type wire struct {
	tuple flow.FiveTuple // client to server
	now   time.Time
	seq   [2]uint32 // next sequence number of client and server
	segs  []flow.Segment
}

func newWire(client, server string) *wire {
	return &wire{tuple: tupleOf(client, server), now: start, seq: [2]uint32{100_000_000, 900_000_000}}
}

const (
	fromClient = 0
	fromServer = 1
)

// add appends a segment at a given sequence number.
func (w *wire) add(from int, flags flow.TCPFlags, seq uint32, payload string) *flow.Segment {
	w.now = w.now.Add(100 * time.Microsecond)
	s := flow.Segment{FiveTuple: w.tuple, Time: w.now.UnixNano(), Seq: seq, Flags: flags, Payload: []byte(payload), Length: len(payload)}
	if from == fromServer {
		s.FiveTuple = w.tuple.Reverse()
	}
	if flags.Has(flow.ACK) {
		s.Ack = w.seq[1-from]
	}
	w.segs = append(w.segs, s)
	return &w.segs[len(w.segs)-1]
}

// open adds the three-way handshake.
func (w *wire) open() *wire {
	w.add(fromClient, flow.SYN, w.seq[fromClient], "")
	w.seq[fromClient]++
	w.add(fromServer, flow.SYN|flow.ACK, w.seq[fromServer], "")
	w.seq[fromServer]++
	w.ack(fromClient)
	return w
}

func (w *wire) ack(from int) { w.add(from, flow.ACK, w.seq[from], "") }

// send adds payload in segments of at most mss bytes, and the acknowledgement; mss 0 is 1448.
func (w *wire) send(from int, data string, mss int) *wire {
	if mss == 0 {
		mss = 1448
	}
	for len(data) > 0 {
		n := min(len(data), mss)
		flags := flow.ACK
		if n == len(data) {
			flags |= flow.PSH
		}
		w.add(from, flags, w.seq[from], data[:n])
		w.seq[from] += uint32(n)
		data = data[n:]
	}
	w.ack(1 - from)
	return w
}

// say adds a whole dialogue.
func (w *wire) say(d synth.Dialogue, mss int) *wire {
	for _, m := range d {
		from := fromServer
		if m.FromClient {
			from = fromClient
		}
		w.send(from, string(m.Data), mss)
	}
	return w
}

// close adds both FINs, the client's first.
func (w *wire) close() *wire {
	for _, from := range []int{fromClient, fromServer} {
		w.add(from, flow.FIN|flow.ACK, w.seq[from], "")
		w.seq[from]++
	}
	w.ack(fromClient)
	return w
}

// run is an Analyzer and what came out of it.
type run struct {
	*Analyzer
	sessions []*session.Session
	dns      []*session.DNS
}

// newRun makes an Analyzer that allows the tests' corporate root; change may be nil.
func newRun(t testing.TB, change func(*Options)) *run {
	t.Helper()
	set, err := endpoint.NewSet(endpoint.Embedded(), nil)
	if err != nil {
		t.Fatal(err)
	}
	cas, err := trust.ParseCAFile("corp.pem", testPKI().corp.PEM())
	if err != nil {
		t.Fatal(err)
	}
	store, err := trust.NewStore(trust.Policy{AllowCA: cas})
	if err != nil {
		t.Fatal(err)
	}
	r := &run{}
	o := Options{Source: "file", Endpoints: set, Trust: store, Policy: &rules.Policy{},
		Emit:    func(s *session.Session) { r.sessions = append(r.sessions, s) },
		EmitDNS: func(d *session.DNS) { r.dns = append(r.dns, d) },
	}
	if change != nil {
		change(&o)
	}
	r.Analyzer = New(o)
	return r
}

// endpoints is a change that names the operator's endpoints.
func endpoints(t testing.TB, list ...string) func(*Options) {
	return func(o *Options) {
		set, err := endpoint.NewSet(endpoint.Embedded(), list)
		if err != nil {
			t.Fatal(err)
		}
		o.Endpoints = set
	}
}

// feed gives the segments to the Analyzer, every other one prepared, and ends the capture.
func (r *run) feed(segs ...flow.Segment) *run {
	segs = slices.Clone(segs)
	for i := 0; i < len(segs); i += 2 {
		r.Prepare(&segs[i])
	}
	if r.o.Live {
		r.feedOpen(segs)
	} else {
		r.Segments(segs)
	}
	r.Flush()
	return r
}

// Segment takes one packet. The time of a live source goes with the packets here; tests in which it does not use the Analyzer's own Segment.
func (r *run) Segment(seg *flow.Segment) {
	if r.o.Live && seg.Time > r.now {
		r.setNow(seg.Time)
	}
	r.Analyzer.Segment(seg)
}

// only is the one session that must have come out.
func (r *run) only(t testing.TB) *session.Session {
	t.Helper()
	if len(r.sessions) != 1 {
		t.Fatalf("%d sessions, want one", len(r.sessions))
	}
	return r.sessions[0]
}

// none fails if a session came out.
func (r *run) none(t testing.TB) {
	t.Helper()
	if len(r.sessions) != 0 {
		t.Fatalf("%d sessions, want none; the first: %+v", len(r.sessions), *r.sessions[0])
	}
}

// ruleIDs are the rules of a session's findings.
func ruleIDs(s *session.Session) []string {
	var ids []string
	for _, f := range s.Findings {
		ids = append(ids, f.Rule)
	}
	return ids
}

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
