package traffic

import (
	"crypto/tls"
	"fmt"
	"net/netip"

	"github.com/dynwatch/dynwatch/internal/synth"
)

// region is one of those whose endpoint is talked to, with a prefix that AWS tags DYNAMODB there (ip-ranges.json of August 2026).
type region struct {
	name   string
	prefix netip.Prefix
}

var regions = []region{
	{"us-east-1", netip.MustParsePrefix("52.94.0.0/22")},
	{"us-west-2", netip.MustParsePrefix("52.94.28.0/23")},
	{"eu-west-1", netip.MustParsePrefix("52.119.240.0/21")},
	{"eu-central-1", netip.MustParsePrefix("52.94.17.0/24")},
	{"ap-northeast-1", netip.MustParsePrefix("52.94.8.0/24")},
}

func (r region) host() string { return "dynamodb." + r.name + ".amazonaws.com" }

// dynamoDBKind is one way to talk to DynamoDB.
type dynamoDBKind struct {
	name string
	// of 100 sessions so many are of this kind.
	share   int
	verdict string
	version uint16 // 0: cleartext
	sni     bool
	// intercepted: a proxy's certificate instead of the endpoint's.
	intercepted bool
}

var dynamoDBKinds = []dynamoDBKind{
	{name: "tls13", share: 45, verdict: "unverified", version: tls.VersionTLS13, sni: true},
	{name: "tls12", share: 30, verdict: "ok", version: tls.VersionTLS12, sni: true},
	{name: "tls12-intercepted", share: 5, verdict: "finding", version: tls.VersionTLS12, sni: true, intercepted: true},
	{name: "tls13-by-address", share: 6, verdict: "unverified", version: tls.VersionTLS13},
	{name: "tls12-by-address", share: 4, verdict: "ok", version: tls.VersionTLS12},
	{name: "http", share: 10, verdict: "finding"},
}

// oldClient reports whether sessions of this kind come from hosts whose clients speak TLS 1.2 at most. They are other hosts than those of
// TLS 1.3, because one client that speaks now this and now that version looks like a downgrade.
func (k *dynamoDBKind) oldClient() bool { return k.version == tls.VersionTLS12 }

// kindOf is the kind of the i-th of many sessions, in the shares above.
func kindOf(i int) *dynamoDBKind {
	i = i * 37 % 100 // 37 and 100 have no common factor: every remainder once, well mixed
	for j := range dynamoDBKinds {
		if i -= dynamoDBKinds[j].share; i < 0 {
			return &dynamoDBKinds[j]
		}
	}
	panic("traffic: the shares of DynamoDB's kinds do not add up to 100")
}

// dynamoDB records a session with DynamoDB.
func (r *recorder) dynamoDB(k *dynamoDBKind, in region) (*script, error) {
	var s *script
	if k.version == 0 {
		s = r.plaintext(in)
	} else {
		cert, err := r.leaf(in, k.intercepted)
		if err != nil {
			return nil, err
		}
		client := &tls.Config{InsecureSkipVerify: true, MaxVersion: k.version, NextProtos: []string{"http/1.1"},
			CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256}} // as OpenSSL 3.0 and botocore on it
		if k.sni {
			client.ServerName = in.host()
		}
		server := &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}}
		if s, err = r.record(client, server, 443, 1+r.rnd.IntN(3), 900); err != nil {
			return nil, fmt.Errorf("record %s: %w", k.name, err)
		}
		s.keepAll()
	}
	s.dynamodb, s.verdict = k.name, k.verdict
	return s.weigh(), nil
}

func (r *recorder) leaf(in region, intercepted bool) (tls.Certificate, error) {
	authority, made := r.amazon, r.ours
	if intercepted {
		authority, made = r.proxy, r.intercepted
	}
	if cert, ok := made[in.name]; ok {
		return cert, nil
	}
	cert, err := authority.Server(r.keys[2], in.host())
	if err == nil {
		made[in.name] = cert
	}
	return cert, err
}

// plaintext is what boto3 sends with use_ssl=False.
func (r *recorder) plaintext(in region) *script {
	var d synth.Dialogue
	for range 1 + r.rnd.IntN(3) {
		body := fmt.Sprintf(`{"TableName": "orders", "Key": {"id": {"S": "%016x"}}}`, r.rnd.Uint64())
		d.Client(fmt.Appendf(nil, "POST / HTTP/1.1\r\nHost: %s\r\nAccept-Encoding: identity\r\nX-Amz-Target: DynamoDB_20120810.GetItem\r\n"+
			"Content-Type: application/x-amz-json-1.0\r\nUser-Agent: Boto3/1.43.67 md/Botocore#1.43.67 ua/2.1 os/linux lang/python#3.11.2\r\n"+
			"X-Amz-Date: 20261121T100000Z\r\nAuthorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261121/%s/dynamodb/aws4_request, "+
			"SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=%064x\r\nContent-Length: %d\r\n\r\n%s",
			in.host(), in.name, r.rnd.Uint64(), len(body), body))
		item := fmt.Sprintf(`{"Item":{"id":{"S":"%016x"},"note":{"S":"%x"}}}`, r.rnd.Uint64(), r.bytes(r.spread(200)))
		d.Server(fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nServer: Server\r\nDate: Sat, 21 Nov 2026 10:00:00 GMT\r\nContent-Type: application/x-amz-json-1.0\r\n"+
			"Content-Length: %d\r\nConnection: keep-alive\r\nx-amzn-RequestId: %052X\r\nx-amz-crc32: %d\r\n\r\n%s",
			len(item), r.rnd.Uint64(), r.rnd.Uint32(), item))
	}
	s := tcpScript(80, d)
	s.keepAll()
	return s
}
