// Command sample makes testdata/sample.pcap: one capture with a session of each kind that dynwatch tells apart, for the README's first
// command and for tests. Handshakes are real ones of crypto/tls; addresses are DynamoDB's and TEST-NET's, and nothing is sent anywhere.
//
//	go run ./testdata/sample testdata
//
// writes sample.pcap, and sample-ca.pem, the CA that stands in for Amazon's: Amazon's own keys cannot be had, so the sample's good
// sessions are good only with --allow-ca testdata/sample-ca.pem.
package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"sort"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/dynwatch/dynwatch/internal/synth"
)

const name = "dynamodb.us-east-1.amazonaws.com"

// start is the capture's first second; certificates are made around it, so that the sample never expires.
var start = time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: sample DIR")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "sample:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	good, err := newCA("Amazon Root CA 1", "Amazon")
	if err != nil {
		return err
	}
	corp, err := newCA("Example Corp TLS Inspection CA", "Example Corp")
	if err != nil {
		return err
	}
	var packets []synth.Packet
	for i, s := range scenes(good, corp) {
		d, err := s.dialogue()
		if err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
		at := start.Add(time.Duration(i) * 250 * time.Millisecond)
		if s.question {
			packets = append(packets, lookup(s.server.Addr(), at.Add(-5*time.Millisecond))...)
		}
		f := synth.Flow{
			Client: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.10"), uint16(40100+i)), Server: s.server, Start: at,
			RTT: 2 * time.Millisecond, ClientISN: uint32(1000 * (i + 1)), ServerISN: uint32(500000 * (i + 1)), Reset: s.reset,
		}
		packets = append(packets, f.Packets(d)...)
	}
	sort.SliceStable(packets, func(i, j int) bool { return packets[i].Time.Before(packets[j].Time) })
	if err := os.WriteFile(filepath.Join(dir, "sample.pcap"), pcap(packets), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "sample-ca.pem"), good.pem(), 0o644)
}

// scene is one session of the sample.
type scene struct {
	what     string
	server   netip.AddrPort
	question bool // a DNS question goes before it
	reset    bool
	dialogue func() (synth.Dialogue, error)
}

func scenes(good, corp *ca) []scene {
	at := func(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
	request := []byte("POST / HTTP/1.1\r\nHost: " + name + "\r\nX-Amz-Target: DynamoDB_20120810.GetItem\r\n\r\n{}")
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
	handshake := func(c, s *tls.Config) func() (synth.Dialogue, error) {
		return func() (synth.Dialogue, error) { return synth.TLS(c, s, request, answer) }
	}
	trusting := func(max uint16, roots ...*ca) *tls.Config {
		pool := x509.NewCertPool()
		for _, r := range roots {
			pool.AddCert(r.cert)
		}
		return &tls.Config{ServerName: name, RootCAs: pool, MaxVersion: max, MinVersion: tls.VersionTLS10, Time: func() time.Time { return start }}
	}
	careless := func(max uint16) *tls.Config {
		return &tls.Config{ServerName: name, InsecureSkipVerify: true, MaxVersion: max, MinVersion: tls.VersionTLS10}
	}
	serving := func(c *ca, max uint16, names []string, from, to time.Time) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{c.leaf(names, from, to)}, MaxVersion: max, MinVersion: tls.VersionTLS10}
	}
	year := 365 * 24 * time.Hour
	valid := []time.Time{start.Add(-30 * 24 * time.Hour), start.Add(year / 2)}
	aws := at("52.94.5.7:443")
	return []scene{
		{what: "TLS 1.2, right chain", server: aws, question: true,
			dialogue: handshake(trusting(tls.VersionTLS12, good), serving(good, tls.VersionTLS12, []string{name}, valid[0], valid[1]))},
		{what: "TLS 1.3: the certificate is encrypted", server: aws,
			dialogue: handshake(trusting(0, good), serving(good, 0, []string{name}, valid[0], valid[1]))},
		{what: "plaintext", server: at("52.94.5.7:80"), dialogue: cleartext},
		{what: "an intercepting proxy's certificate, accepted", server: at("198.51.100.7:443"), question: true,
			dialogue: handshake(trusting(tls.VersionTLS12, corp), serving(corp, tls.VersionTLS12, []string{name}, valid[0], valid[1]))},
		{what: "an intercepting proxy's certificate, refused", server: at("198.51.100.7:443"),
			dialogue: tolerant(handshake(trusting(tls.VersionTLS12, good), serving(corp, tls.VersionTLS12, []string{name}, valid[0], valid[1])))},
		{what: "expired, and the client does not look", server: aws,
			dialogue: handshake(careless(tls.VersionTLS12), serving(good, tls.VersionTLS12, []string{name}, start.Add(-year), start.Add(-32*24*time.Hour)))},
		{what: "TLS 1.0", server: aws,
			dialogue: handshake(trusting(tls.VersionTLS10, good), serving(good, tls.VersionTLS10, []string{name}, valid[0], valid[1]))},
		{what: "another service, not reported", server: at("203.0.113.5:443"),
			dialogue: handshake(&tls.Config{ServerName: "www.example.com", InsecureSkipVerify: true},
				serving(corp, 0, []string{"www.example.com"}, valid[0], valid[1]))},
	}
}

// tolerant takes a handshake that is meant to fail.
func tolerant(f func() (synth.Dialogue, error)) func() (synth.Dialogue, error) {
	return func() (synth.Dialogue, error) {
		d, err := f()
		if err == nil {
			return nil, errors.New("the handshake was meant to fail and did not")
		}
		return d, nil
	}
}

// cleartext is a signed request over plain HTTP, with AWS's documented example credentials.
func cleartext() (synth.Dialogue, error) {
	var d synth.Dialogue
	body := `{"TableName": "sample", "Key": {"id": {"S": "1"}}}`
	d.Client(fmt.Appendf(nil, "POST / HTTP/1.1\r\nHost: %s\r\nX-Amz-Target: DynamoDB_20120810.GetItem\r\n"+
		"Content-Type: application/x-amz-json-1.0\r\nUser-Agent: Boto3/1.26.27 Python/3.11.2 Linux/6.1 Botocore/1.29.27\r\n"+
		"X-Amz-Date: 20261121T100000Z\r\nX-Amz-Security-Token: SAMPLE-SESSION-TOKEN\r\n"+
		"Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261121/us-east-1/dynamodb/aws4_request, "+
		"SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target, "+
		"Signature=0000000000000000000000000000000000000000000000000000000000000000\r\n"+
		"Content-Length: %d\r\n\r\n%s", name, len(body), body))
	item := `{"Item": {"id": {"S": "1"}}}`
	d.Server(fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nServer: Server\r\nContent-Type: application/x-amz-json-1.0\r\n"+
		"x-amzn-RequestId: SAMPLE\r\nx-amz-crc32: 1\r\nContent-Length: %d\r\n\r\n%s", len(item), item))
	return d, nil
}

// lookup is a DNS question for the name and an answer with one address.
func lookup(addr netip.Addr, at time.Time) []synth.Packet {
	client, resolver := netip.MustParseAddrPort("192.0.2.10:35353"), netip.MustParseAddrPort("192.0.2.53:53")
	question := dnsmessage.Question{Name: dnsmessage.MustNewName(name + "."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	ask := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, RecursionDesired: true}, Questions: []dnsmessage.Question{question}}
	answer := ask
	answer.Header.Response, answer.Header.RecursionAvailable = true, true
	answer.Answers = []dnsmessage.Resource{{
		Header: dnsmessage.ResourceHeader{Name: question.Name, Type: question.Type, Class: question.Class, TTL: 5},
		Body:   &dnsmessage.AResource{A: addr.As4()},
	}}
	var out []synth.Packet
	for i, m := range []dnsmessage.Message{ask, answer} {
		b, err := m.Pack()
		if err != nil {
			panic(err) // the messages above are constant
		}
		from, to := client, resolver
		if i == 1 {
			from, to = to, from
		}
		out = append(out, synth.Packet{Time: at.Add(time.Duration(i) * time.Millisecond), Data: synth.UDP(from, to, b)})
	}
	return out
}

// ca is a root that signs leaves itself.
type ca struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCA(commonName, organization string) (*ca, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: commonName, Organization: []string{organization}, Country: []string{"US"}},
		NotBefore: start.AddDate(-10, 0, 0), NotAfter: start.AddDate(20, 0, 0), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &ca{cert, key}, err
}

func (c *ca) leaf(names []string, from, to time.Time) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err) // the system has no random numbers
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(from.Unix()), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: from, NotAfter: to, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, t, c.cert, key.Public(), c.key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der, c.cert.Raw}, PrivateKey: key}
}

func (c *ca) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.cert.Raw})
}

// pcap is the classic format, microseconds, Ethernet.
func pcap(packets []synth.Packet) []byte {
	var b bytes.Buffer
	le := binary.LittleEndian
	b.Write(le.AppendUint32(nil, 0xa1b2c3d4))
	b.Write([]byte{2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0})
	for _, p := range packets {
		h := le.AppendUint32(nil, uint32(p.Time.Unix()))
		h = le.AppendUint32(h, uint32(p.Time.Nanosecond()/1000))
		h = le.AppendUint32(h, uint32(len(p.Data)))
		b.Write(le.AppendUint32(h, uint32(len(p.Data))))
		b.Write(p.Data)
	}
	return b.Bytes()
}
