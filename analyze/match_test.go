package analyze

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/dynwatch/dynwatch/analyze/rules"
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// dnsAnswer is a response that gives addr for the last of names, each of which is an alias of the next.
func dnsAnswer(t testing.TB, addr string, names ...string) string {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: 7, Response: true})
	question := dnsmessage.MustNewName(names[0] + ".")
	must(b.StartQuestions())
	must(b.Question(dnsmessage.Question{Name: question, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}))
	must(b.StartAnswers())
	for i := range len(names) - 1 {
		must(b.CNAMEResource(dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(names[i] + "."), Class: dnsmessage.ClassINET, TTL: 60},
			dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(names[i+1] + ".")}))
	}
	h := dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(names[len(names)-1] + "."), Class: dnsmessage.ClassINET, TTL: 60}
	if a := netip.MustParseAddr(addr); a.Is4() {
		must(b.AResource(h, dnsmessage.AResource{A: a.As4()}))
	} else {
		must(b.AAAAResource(h, dnsmessage.AAAAResource{AAAA: a.As16()}))
	}
	msg, err := b.Finish()
	must(err)
	return string(msg)
}

// udpAnswer is that response as a datagram of the resolver's.
func udpAnswer(msg string) flow.Segment {
	s := flow.Segment{FiveTuple: tupleOf("10.0.0.2:53", "10.0.0.5:5353"), Time: start.UnixNano(), Payload: []byte(msg), Length: len(msg)}
	s.Proto = flow.UDP
	return s
}

// tcpAnswer are such responses over a TCP connection, in segments of mss bytes.
func tcpAnswer(mss int, messages ...string) []flow.Segment {
	w := newWire("10.0.0.5:5353", "10.0.0.2:53").open()
	w.send(fromClient, "\x00\x05query", 0)
	var b []byte
	for _, msg := range messages {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(msg))), msg...)
	}
	return w.send(fromServer, string(b), mss).close().segs
}

func TestWhoseSessionItIs(t *testing.T) {
	p := testPKI()
	account := "123456789012.ddb.us-east-1.amazonaws.com"
	plain := func(host string) string { return "GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n" }
	signed := func(host string) string {
		return "GET / HTTP/1.1\r\nHost: " + host + "\r\nAuthorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261121/eu-west-1/dynamodb/aws4_request, " +
			"SignedHeaders=host, Signature=00\r\n\r\n"
	}
	later := func(segs []flow.Segment, by time.Duration) []flow.Segment {
		for i := range segs {
			segs[i].Time += int64(by)
		}
		return segs
	}
	tlsTo := func(server string, h handshake) []flow.Segment {
		return newWire(clientAddr, server).open().say(h.dialogue(t), 0).close().segs
	}
	tls6 := func(server string, h handshake) []flow.Segment {
		return newWire("[2001:db8::5]:40112", server).open().say(h.dialogue(t), 0).close().segs
	}
	httpTo := func(server, head string) []flow.Segment {
		return newWire(clientAddr, server).open().send(fromClient, head, 0).send(fromServer, okEmpty, 0).close().segs
	}
	for _, tt := range []struct {
		name      string
		endpoints []string
		dns       []flow.Segment
		segs      []flow.Segment
		want      session.Endpoint // Service "" is no session; the Addr fields and Resolved are not compared
	}{
		{name: "by SNI and range", segs: tlsTo(dynamodbAddr, handshake{}),
			want: session.Endpoint{Service: "dynamodb", Region: "us-east-1", Partition: "aws", Kind: "public", MatchedBy: []string{"range", "sni"}, Name: dynamodbName}},
		{name: "by SNI alone", segs: tlsTo(farAddr, handshake{sni: account}),
			want: session.Endpoint{Service: "dynamodb", Region: "us-east-1", Partition: "aws", Kind: "account", MatchedBy: []string{"sni"}, Name: account}},
		{name: "by SNI over IPv6", segs: tls6("[2600:1f18::1]:443", handshake{sni: "dynamodb.eu-west-1.api.aws"}),
			want: session.Endpoint{Service: "dynamodb", Region: "eu-west-1", Partition: "aws", Kind: "dual-stack", MatchedBy: []string{"sni"}, Name: "dynamodb.eu-west-1.api.aws"}},
		{name: "the SNI of another service", segs: tlsTo(dynamodbAddr, handshake{sni: "s3.us-east-1.amazonaws.com"})},
		{name: "the SNI of somebody else", segs: tlsTo(dynamodbAddr, handshake{sni: "www.example.com"})},
		{name: "by range, without SNI", segs: tlsTo(dynamodbAddr, handshake{sni: "-"}),
			want: session.Endpoint{Service: "dynamodb", Region: "us-east-1", Partition: "aws", Kind: "public", MatchedBy: []string{"range"}}},
		{name: "TLS 1.3 without SNI elsewhere", segs: tlsTo(farAddr, handshake{sni: "-"})},
		{name: "by the certificate, without SNI", segs: tlsTo(farAddr, handshake{sni: "-", max: 0x303}),
			want: session.Endpoint{Service: "dynamodb", Region: "us-east-1", Partition: "aws", Kind: "public", MatchedBy: []string{"certificate"}, Name: dynamodbName}},
		{name: "by a certificate for all accounts, without SNI", segs: tlsTo(farAddr, handshake{sni: "-", max: 0x303, certificate: &p.wildcard}),
			want: session.Endpoint{Service: "dynamodb", Region: "us-east-1", Partition: "aws", Kind: "account", MatchedBy: []string{"certificate"}}},
		{name: "another certificate, without SNI", segs: tlsTo(farAddr, handshake{sni: "-", max: 0x303, certificate: &p.other})},

		{name: "by Host", segs: httpTo("203.0.113.9:80", plain(dynamodbName)),
			want: session.Endpoint{Service: "dynamodb", Region: "us-east-1", Partition: "aws", Kind: "public", MatchedBy: []string{"host"}, Name: dynamodbName}},
		{name: "by Host with a port", segs: httpTo("203.0.113.9:8000", plain(strings.ToUpper(dynamodbName)+".:8000")),
			want: session.Endpoint{Service: "dynamodb", Region: "us-east-1", Partition: "aws", Kind: "public", MatchedBy: []string{"host"}, Name: dynamodbName}},
		{name: "by range, Host an address", segs: httpTo("52.94.0.10:80", plain("52.94.0.10")),
			want: session.Endpoint{Service: "dynamodb", Region: "us-east-1", Partition: "aws", Kind: "public", MatchedBy: []string{"range"}, Name: "52.94.0.10"}},
		{name: "the Host of another service", segs: httpTo("52.94.0.10:80", plain("s3.us-east-1.amazonaws.com"))},
		{name: "by target", segs: httpTo("203.0.113.9:80", request("db.internal")),
			want: session.Endpoint{Service: "dynamodb", Region: "us-east-1", MatchedBy: []string{"target", "scope"}, Name: "db.internal"}},
		{name: "by scope alone", segs: httpTo("203.0.113.9:80", signed("db.internal")),
			want: session.Endpoint{Service: "dynamodb", Region: "eu-west-1", MatchedBy: []string{"scope"}, Name: "db.internal"}},
		{name: "DynamoDB's scope at another service", segs: httpTo("203.0.113.9:80", signed("s3.eu-west-1.amazonaws.com"))},
		{name: "by path", segs: httpTo("203.0.113.9:80", "POST /service/DynamoDB_20120810/operation/GetItem HTTP/1.1\r\nHost: db.internal\r\nSmithy-Protocol: rpc-v2-cbor\r\nContent-Length: 0\r\n\r\n"),
			want: session.Endpoint{Service: "dynamodb", MatchedBy: []string{"path"}, Name: "db.internal"}},

		{name: "an emulator on loopback", segs: httpTo("127.0.0.1:8000", request("localhost:8000")),
			want: session.Endpoint{Service: "dynamodb-local", Region: "us-east-1", Kind: "local", MatchedBy: []string{"target", "scope"}, Name: "localhost"}},
		{name: "an emulator on IPv6's loopback", segs: func() []flow.Segment {
			return newWire("[::1]:40112", "[::1]:8000").open().send(fromClient, request("[::1]:8000"), 0).close().segs
		}(), want: session.Endpoint{Service: "dynamodb-local", Region: "us-east-1", Kind: "local", MatchedBy: []string{"target", "scope"}, Name: "::1"}},
		{name: "no emulator: a remote server without Host", segs: httpTo("203.0.113.9:80", strings.Replace(dynamodbRequest, "Host: "+dynamodbName+"\r\n", "", 1)),
			want: session.Endpoint{Service: "dynamodb", Region: "us-east-1", MatchedBy: []string{"target", "scope"}}},

		{name: "by DNS, without SNI", dns: []flow.Segment{udpAnswer(dnsAnswer(t, "203.0.113.9", dynamodbName))}, segs: later(tlsTo(farAddr, handshake{sni: "-"}), time.Second),
			want: session.Endpoint{Service: "dynamodb", Region: "us-east-1", Partition: "aws", Kind: "public", MatchedBy: []string{"dns"}, Name: dynamodbName}},
		{name: "by DNS over TCP", dns: tcpAnswer(7, dnsAnswer(t, "203.0.113.9", dynamodbName)), segs: later(tlsTo(farAddr, handshake{sni: "-"}), time.Second),
			want: session.Endpoint{Service: "dynamodb", Region: "us-east-1", Partition: "aws", Kind: "public", MatchedBy: []string{"dns"}, Name: dynamodbName}},
		{name: "by DNS with aliases", dns: []flow.Segment{udpAnswer(dnsAnswer(t, "203.0.113.9", "db.example.com", dynamodbName, "x.example.com"))},
			segs: later(tlsTo(farAddr, handshake{sni: "-"}), time.Second),
			want: session.Endpoint{Service: "dynamodb", Region: "us-east-1", Partition: "aws", Kind: "public", MatchedBy: []string{"dns"}, Name: dynamodbName}},
		{name: "by DNS over IPv6", dns: []flow.Segment{udpAnswer(dnsAnswer(t, "2001:db8::9", dynamodbName))},
			segs: later(tls6("[2001:db8::9]:443", handshake{sni: "-"}), time.Second),
			want: session.Endpoint{Service: "dynamodb", Region: "us-east-1", Partition: "aws", Kind: "public", MatchedBy: []string{"dns"}, Name: dynamodbName}},
		{name: "DNS confirms the SNI", dns: []flow.Segment{udpAnswer(dnsAnswer(t, "203.0.113.9", dynamodbName))}, segs: later(tlsTo(farAddr, handshake{}), time.Second),
			want: session.Endpoint{Service: "dynamodb", Region: "us-east-1", Partition: "aws", Kind: "public", MatchedBy: []string{"sni", "dns"}, Name: dynamodbName}},
		{name: "DNS says DynamoDB, the SNI says something else", dns: []flow.Segment{udpAnswer(dnsAnswer(t, "203.0.113.9", dynamodbName))},
			segs: later(tlsTo(farAddr, handshake{sni: "www.example.com"}), time.Second)},
		{name: "DNS answered too late", segs: append(tlsTo(farAddr, handshake{sni: "-"}), udpAnswer(dnsAnswer(t, "203.0.113.9", dynamodbName)))},

		{name: "the operator's name", endpoints: []string{"db.corp"}, segs: tlsTo("10.1.2.3:8443", handshake{sni: "db.corp"}),
			want: session.Endpoint{Service: "dynamodb", MatchedBy: []string{"sni", "endpoint"}, Name: "db.corp"}},
		{name: "the operator's name and port", endpoints: []string{"db.corp:8443"}, segs: tlsTo("10.1.2.3:8443", handshake{sni: "db.corp"}),
			want: session.Endpoint{Service: "dynamodb", MatchedBy: []string{"sni", "endpoint"}, Name: "db.corp"}},
		{name: "the operator's name on another port", endpoints: []string{"db.corp:8443"}, segs: tlsTo("10.1.2.3:443", handshake{sni: "db.corp"})},
		{name: "the operator's name and port behind a proxy", endpoints: []string{"db.corp:8443"}, segs: func() []flow.Segment {
			w := newWire(clientAddr, "10.0.0.99:3128").open().send(fromClient, "CONNECT db.corp:8443 HTTP/1.1\r\nHost: x\r\n\r\n", 0).send(fromServer, tunnel, 0)
			return w.say(handshake{sni: "db.corp"}.dialogue(t), 0).close().segs
		}(), want: session.Endpoint{Service: "dynamodb", MatchedBy: []string{"sni", "connect", "endpoint"}, Name: "db.corp"}},
		{name: "the operator's name, and the port of HTTP, in a request to be forwarded", endpoints: []string{"db.corp:80"},
			segs: httpTo("10.0.0.99:3128", "GET http://db.corp/ HTTP/1.1\r\nHost: db.corp\r\n\r\n"),
			want: session.Endpoint{Service: "dynamodb", MatchedBy: []string{"host", "endpoint"}, Name: "db.corp"}},
		{name: "the operator's name and port by DNS", endpoints: []string{"db.corp:8443"},
			dns:  []flow.Segment{udpAnswer(dnsAnswer(t, "10.1.2.3", "other.corp")), udpAnswer(dnsAnswer(t, "10.1.2.3", "db.corp"))},
			segs: later(tlsTo("10.1.2.3:8443", handshake{sni: "-"}), time.Second),
			want: session.Endpoint{Service: "dynamodb", MatchedBy: []string{"dns", "endpoint"}, Name: "db.corp"}},
		{name: "of two names that DNS gave, the one that fits the port", endpoints: []string{"a.corp:1", "b.corp:8443"},
			dns:  []flow.Segment{udpAnswer(dnsAnswer(t, "10.1.2.3", "a.corp")), udpAnswer(dnsAnswer(t, "10.1.2.3", "b.corp"))},
			segs: later(tlsTo("10.1.2.3:8443", handshake{sni: "-"}), time.Second),
			want: session.Endpoint{Service: "dynamodb", MatchedBy: []string{"dns", "endpoint"}, Name: "b.corp"}},
		{name: "an address in the operator's prefix is no endpoint by itself", endpoints: []string{"10.1.0.0/16"}, segs: tlsTo("10.1.2.3:443", handshake{sni: "-"})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRun(t, endpoints(t, tt.endpoints...)).feed(append(slices.Clone(tt.dns), tt.segs...)...)
			if tt.want.Service == "" {
				r.none(t)
				return
			}
			got := r.only(t).Endpoint
			got.AddrAWS, got.AddrDynamoDB, got.AddrAllowed, got.Resolved = 0, 0, 0, nil
			if got.Service != tt.want.Service || got.Region != tt.want.Region || got.Partition != tt.want.Partition || got.Kind != tt.want.Kind ||
				got.Name != tt.want.Name || !slices.Equal(got.MatchedBy, tt.want.MatchedBy) {
				t.Errorf("\n got %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestAddressesAreLookedUp(t *testing.T) {
	for _, tt := range []struct {
		server                 string
		aws, dynamodb, allowed session.Tri
	}{
		{dynamodbAddr, session.Yes, session.Yes, session.No},
		{awsAddr, session.Yes, session.No, session.No},
		{farAddr, session.No, session.No, session.No},
		{"10.1.2.3:443", session.No, session.No, session.Yes},
		{"10.1.2.3:444", session.No, session.No, session.No},
	} {
		r := newRun(t, endpoints(t, "10.1.0.0/16:443")).feed(newWire(clientAddr, tt.server).open().say(handshake{}.dialogue(t), 0).close().segs...)
		if e := r.only(t).Endpoint; e.AddrAWS != tt.aws || e.AddrDynamoDB != tt.dynamodb || e.AddrAllowed != tt.allowed {
			t.Errorf("%s: %+v", tt.server, e)
		}
	}
}

// The address of a proxy says nothing of the endpoint, whatever stands between it and the handshake.
func TestUnexpectedDestinationsAreNotProxies(t *testing.T) {
	d := handshake{}.dialogue(t)
	for name, before := range map[string]func(w *wire){
		"CONNECT":  func(w *wire) { w.send(fromClient, connect, 0).send(fromServer, tunnel, 0) },
		"STARTTLS": func(w *wire) { w.send(fromClient, "STARTTLS\r\n", 0).send(fromServer, "220 go ahead\r\n", 0) },
		"SOCKS": func(w *wire) {
			w.send(fromClient, "\x05\x01\x00", 0).send(fromServer, "\x05\x00", 0).send(fromClient, "\x05\x01\x00\x01\x34\x5e\x00\x0a\x01\xbb", 0)
			w.send(fromServer, "\x05\x00\x00\x01\x0a\x00\x00\x01\x9c\x40", 0)
		},
		"nothing": func(*wire) {},
	} {
		w := newWire(clientAddr, farAddr).open()
		before(w)
		s := newRun(t, nil).feed(w.say(d, 0).close().segs...).only(t)
		if found := slices.Contains(ruleIDs(s), rules.UnexpectedDestination); found != (name == "nothing") {
			t.Errorf("%s: findings %v", name, ruleIDs(s))
		}
	}
}

func TestDNSAnswersAreReported(t *testing.T) {
	good := dnsAnswer(t, "52.94.0.10", dynamodbName)
	cut := udpAnswer(dnsAnswer(t, "203.0.113.9", dynamodbName))
	cut.Payload = cut.Payload[:len(cut.Payload)-5]
	broken := udpAnswer(dnsAnswer(t, "203.0.113.9", dynamodbName)[:60])
	query := udpAnswer(strings.Replace(dnsAnswer(t, "203.0.113.9", dynamodbName), "\x80", "\x00", 1))
	gap := func() []flow.Segment {
		segs := tcpAnswer(20, dnsAnswer(t, "203.0.113.9", dynamodbName))
		return remove(segs, 3) // the client's query is of no use
	}()
	for _, tt := range []struct {
		name               string
		segs               []flow.Segment
		answers, malformed uint64
	}{
		{"an answer", []flow.Segment{udpAnswer(dnsAnswer(t, "52.94.0.10", dynamodbName))}, 1, 0},
		{"an answer for somebody else", []flow.Segment{udpAnswer(dnsAnswer(t, "203.0.113.9", "www.example.com"))}, 0, 0},
		{"one cut off by the snap length", []flow.Segment{cut}, 0, 0},
		{"a broken one", []flow.Segment{broken}, 0, 1},
		{"a query", []flow.Segment{query}, 0, 0},
		{"something else on the port", []flow.Segment{udpAnswer("no DNS at all")}, 0, 0},
		{"two over one connection", tcpAnswer(0, good, "", good), 2, 0},
		{"one over TCP, byte by byte", tcpAnswer(1, good), 1, 0},
		{"one over TCP, the query not captured", gap, 1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRun(t, nil).feed(tt.segs...)
			if st := r.Stats(); st.DNSAnswers != tt.answers || st.DNSMalformed != tt.malformed || uint64(len(r.dns)) != tt.answers {
				t.Errorf("%d answers, %d malformed, %d reported, want %d, %d", st.DNSAnswers, st.DNSMalformed, len(r.dns), tt.answers, tt.malformed)
			}
			r.none(t)
		})
	}
	r := newRun(t, nil).feed(udpAnswer(dnsAnswer(t, "203.0.113.9", "db.example.com", dynamodbName)))
	d := r.dns[0]
	if d.Client != addrPort("10.0.0.5:5353") || d.Server != addrPort("10.0.0.2:53") || d.Question != "db.example.com" || d.QueryType != "A" ||
		d.RCode != "NOERROR" || !slices.Equal(d.Names, []string{"db.example.com", dynamodbName}) || !d.Time.Equal(start) ||
		len(d.Findings) != 1 || d.Findings[0].Rule != rules.UnexpectedDestination {
		t.Errorf("%+v", *d)
	}
}

func TestPlainHost(t *testing.T) {
	for in, want := range map[string]string{
		"A.Example.": "a.example", "a.example:80": "a.example", "a.example.:80": "a.example", "[::1]:80": "::1", "[::1]": "::1", "::1": "::1",
		"10.0.0.1:80": "10.0.0.1", "": "", "a:b:c": "a:b:c",
	} {
		if got := plainHost(in); got != want {
			t.Errorf("plainHost(%q) = %q, want %q", in, got, want)
		}
	}
}
