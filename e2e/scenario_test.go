package e2e

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// scenario is one client that does its work once, at an address that no other scenario uses.
type scenario struct {
	name string
	// client is boto3, go, node, curl, boringssl, java, crt, django or flask.
	client string
	// options go to the client in JSON; see clients/ and goclient/. For the others, args does.
	options map[string]any
	args    []string
	// env is added to the client's environment. @ADDR@, in env and in every string of options and args, becomes the scenario's address,
	// and @DIR@ the directory with the certificates.
	env []string
	// server answers at the scenario's address.
	server server
	// at is where that address lies.
	at network
	// region goes to the client, host is the name that has the scenario's address in its hosts file.
	region, host string
	// byDNS: the name is not in the hosts file, a DNS server gives the address.
	byDNS bool
	// mapped: the hosts file has the address as an IPv4-mapped IPv6 one.
	mapped bool
	// stays: the client keeps its connection until the live sources have told of it. early: it also connects before they start.
	stays, early bool

	// beyondPackets: neither address nor port are among those that the packet source looks at.
	beyondPackets bool

	// blind: the client does not verify, and nobody can know it as long as the chain is good.
	blind bool
	// unprobed: the client's TLS library has no probes. nameless: it has, but the name that it was told is not known.
	unprobed, nameless bool

	want want
	// withKeys is what the capture file with the client's TLS secrets must give; nil where there are none.
	withKeys *want
}

// network says where a scenario's address lies.
type network int

// The networks.
const (
	far      network = iota // 198.51.100.0/24 behind a veth pair, listed with --endpoint
	loopback                // 127.51.0.0/24 on the client's own host, listed
	unlisted                // 203.0.113.0/25 behind the veth pair, not listed
	aws                     // 203.0.113.128/25 behind the veth pair, DynamoDB's in the ip-ranges.json of the tests
	v6                      // 2001:db8:51::/64 behind the veth pair, listed
)

// address is the i-th of the network.
func (n network) address(i int) netip.Addr {
	switch n {
	case loopback:
		return netip.AddrFrom4([4]byte{127, 51, 0, byte(i)})
	case unlisted:
		return netip.AddrFrom4([4]byte{203, 0, 113, byte(i)})
	case aws:
		return netip.AddrFrom4([4]byte{203, 0, 113, byte(128 + i)})
	case v6:
		a := netip.MustParseAddr("2001:db8:51::").As16()
		a[15] = byte(i)
		return netip.AddrFrom16(a)
	}
	return netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})
}

// server is what answers at a scenario's address.
type server struct {
	// software is openssl, tinyproxy, squid, mitm-connect, mitm-reverse, or dynalite without anything before it; empty is nginx before dynalite.
	software string
	chain    chain
	// versions as nginx's ssl_protocols takes them; empty is all from 1.2.
	versions string
	// ciphers as OpenSSL takes them; empty is all that its security level 0 allows.
	ciphers string
	// plain is HTTP without TLS, at port if it is not 80.
	plain bool
	port  int
	// allowed: dynwatch is told that this proxy may be used.
	allowed bool
}

// want is what each observer must say.
type want struct {
	// works: the client got its item back. Otherwise its complaint contains fails.
	works bool
	fails string
	// sessions that are DynamoDB's, all alike; 1 if zero. none: there must be none.
	sessions int
	none     bool

	// endpoint is the name that the client uses for it, as SNI or Host.
	service, kind, region, endpoint                        string
	transport, version, issuer, visibility, trust, verdict string
	// findings as rule:severity, in the order of the rules' names.
	findings []string
	// operations of cleartext requests.
	operation string
}

// versions are nginx's names with ours, and a region for each: a client program that is seen with one name in ever different versions
// would itself be a finding.
var versions = []struct{ nginx, ours, region string }{
	{"TLSv1", "TLS 1.0", "eu-west-1"},
	{"TLSv1.1", "TLS 1.1", "eu-west-2"},
	{"TLSv1.2", "TLS 1.2", "us-west-2"},
	{"TLSv1.3", "TLS 1.3", "us-east-1"},
}

func regional(region string) string { return "dynamodb." + region + ".amazonaws.com" }

// scenarios are all of them, with their defaults filled in.
func scenarios() []*scenario {
	all := slices.Concat(matrix(), others(), runtimes(), boring(), java(), crt())
	for _, s := range all {
		if s.region == "" {
			s.region = "us-east-1"
		}
		if s.host == "" {
			s.host = regional(s.region)
		}
		s.want.fill(s)
		if s.withKeys != nil {
			s.withKeys.fill(s)
		}
	}
	return all
}

// fill sets what a scenario takes for granted.
func (w *want) fill(s *scenario) {
	if w.none {
		return
	}
	def := func(p *string, v string) {
		if *p == "" {
			*p = v
		}
	}
	def(&w.service, "dynamodb")
	def(&w.kind, "public")
	def(&w.region, s.region)
	def(&w.endpoint, s.host)
	def(&w.transport, "tls")
	if w.sessions == 0 {
		w.sessions = 1
	}
}

// matrix is boto3, told to verify and told not to, against every chain in every version. Debian's OpenSSL completes TLS 1.0 and 1.1 only at
// security level 0.
func matrix() []*scenario {
	var all []*scenario
	for _, v := range versions {
		for _, c := range []chain{good, forged, corp, selfSigned, expired, wrongName} {
			for _, verify := range []bool{true, false} {
				s := &scenario{
					name:   fmt.Sprintf("boto3 %s %s verify=%t", v.ours, c, verify),
					client: "boto3", region: v.region, server: server{chain: c, versions: v.nginx},
					options: map[string]any{"verify": false},
					want:    tlsWant(c, v.ours, !verify),
				}
				if verify {
					s.options["verify"] = "@DIR@/roots.pem"
				}
				if len(all)%3 == 0 {
					s.at = loopback
				}
				if v.ours == "TLS 1.3" {
					s.env = []string{"SSLKEYLOGFILE=@DIR@/keys.log"}
					s.withKeys = keyedWant(c, !verify)
				}
				if v.ours < "TLS 1.2" {
					s.env = []string{"OPENSSL_CONF=@DIR@/level0.cnf"}
				}
				all = append(all, s)
			}
		}
	}
	return all
}

// runtimes are the other clients, told to verify and told not to, against every chain in TLS 1.3, where only their libraries see it. What the
// wire shows of a refusal differs from client to client, and is left to the scenarios of others.
func runtimes() []*scenario {
	var all []*scenario
	for _, client := range []string{"curl", "node", "go", "boringssl"} {
		for _, c := range []chain{good, forged, corp, selfSigned, expired, wrongName} {
			for _, verify := range []bool{true, false} {
				s := &scenario{
					name:   fmt.Sprintf("%s TLS 1.3 %s verify=%t", client, c, verify),
					client: client, server: server{chain: c, versions: "TLSv1.3"},
					want: want{works: c == good || !verify, version: "TLS 1.3", visibility: "encrypted", trust: "unseen", verdict: "*",
						findings: []string{"*"}},
				}
				switch {
				case client == "curl" && verify:
					s.args = []string{"https://" + regional("us-east-1") + "/"}
				case client == "curl":
					s.args = []string{"--insecure", "https://" + regional("us-east-1") + "/"}
				case client == "boringssl" && verify:
					s.args = []string{regional("us-east-1"), "443", "@DIR@/roots.pem"}
				case client == "boringssl":
					s.args = []string{regional("us-east-1"), "443", "insecure"}
				case !verify:
					s.options = map[string]any{"insecure": true}
				}
				// Node asks for the judgement also when it means to ignore it, so a good chain tells nothing.
				s.blind = client == "node" && !verify && c == good
				if len(all)%3 == 0 {
					s.at = loopback
				}
				all = append(all, s)
			}
		}
	}
	return all
}

// tlsWant is what a client that offers TLS 1.3 meets in a direct session with a server of that chain and version. A client that verifies
// refuses all chains but the good one, by an alert, or, for the wrong name, as Python does it, by leaving without a word.
func tlsWant(c chain, version string, anyChain bool) want {
	w := want{version: version, visibility: "visible", issuer: c.Issuer(), works: c == good || anyChain}
	refused := "interception-refused:high"
	if !w.works {
		w.fails = "certificate verify failed"
		if c == wrongName {
			w.fails = "doesn't match"
			refused = "interception-refused:medium"
		}
	}
	if version == "TLS 1.3" {
		w.visibility, w.issuer, w.trust, w.verdict = "encrypted", "", "unseen", "unverified"
		if !w.works {
			w.findings = []string{refused}
			w.verdict = "finding"
		}
		return w
	}
	switch c {
	case good:
		w.trust = "allowed"
	case expired, wrongName:
		w.trust = map[chain]string{expired: "expired", wrongName: "name-mismatch"}[c]
		w.findings = append(w.findings, "certificate-invalid:high")
	default:
		w.trust = map[chain]string{forged: "forged", corp: "private", selfSigned: "self-signed"}[c]
		w.findings = append(w.findings, "unexpected-issuer:critical")
		if version == "TLS 1.2" {
			w.findings = append(w.findings, "tls-capped:low")
		}
	}
	if !w.works {
		w.findings = append(w.findings, refused)
	} else if c == expired || c == wrongName {
		w.findings = append(w.findings, "verification-disabled:critical")
	}
	switch version {
	case "TLS 1.0":
		w.findings = append(w.findings, "tls-version:critical")
	case "TLS 1.1":
		w.findings = append(w.findings, "tls-version:high")
	}
	w.verdict = "ok"
	if len(w.findings) > 0 {
		w.verdict = "finding"
	}
	return w
}

// keyedWant is what a session in TLS 1.3 is, once somebody has its secrets: what it would have been in TLS 1.2, but that the version is right.
func keyedWant(c chain, anyChain bool) *want {
	w := tlsWant(c, "TLS 1.2", anyChain).with(func(w *want) {
		w.version, w.visibility = "TLS 1.3", "decrypted"
		w.findings = slices.DeleteFunc(w.findings, func(f string) bool { return f == "tls-capped:low" })
	})
	return &w
}

// plainWant is what cleartext to a real endpoint's name gives.
func plainWant() want {
	return want{works: true, transport: "http", verdict: "finding", operation: "PutItem", findings: []string{"plaintext:critical"}}
}

// with changes a want.
func (w want) with(change func(*want)) want {
	change(&w)
	return w
}

// merged is a with b's keys added.
func merged(a, b map[string]any) map[string]any {
	m := maps.Clone(a)
	if m == nil {
		m = map[string]any{}
	}
	maps.Copy(m, b)
	return m
}
