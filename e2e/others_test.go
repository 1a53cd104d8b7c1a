package e2e

import "github.com/dynwatch/dynwatch/internal/testchains"

// others are the scenarios besides the matrix: other clients, other servers, cleartext, proxies, names, and controls.
func others() []*scenario {
	tls12, tls13 := server{chain: good, versions: "TLSv1.2"}, server{chain: good, versions: "TLSv1.3"}
	of := func(c chain, versions string) server { return server{chain: c, versions: versions} }
	http := server{plain: true}
	west := "us-west-2" // the region of TLS 1.2 scenarios
	all := []*scenario{
		// boto3 as it comes, and its ways to do without TLS.
		{name: "boto3 default, TLS 1.3", client: "boto3", server: tls13, want: tlsWant(good, "TLS 1.3", false)},
		{name: "boto3 default, TLS 1.2", client: "boto3", region: west, server: tls12, want: tlsWant(good, "TLS 1.2", false)},
		{name: "boto3 default refuses a forged certificate", client: "boto3", region: west, server: of(forged, "TLSv1.2"),
			want: tlsWant(forged, "TLS 1.2", false)},
		{name: "boto3 default meets TLS 1.0", client: "boto3", region: "eu-west-1", server: of(good, "TLSv1"),
			want: tlsWant(good, "TLS 1.0", false).with(func(w *want) { w.works, w.fails = false, "SSL" })},
		{name: "boto3 with AWS_CA_BUNDLE of the inspecting proxy", client: "boto3", region: west, server: of(corp, "TLSv1.2"),
			env: []string{"AWS_CA_BUNDLE=@DIR@/corp.pem"}, want: tlsWant(corp, "TLS 1.2", false)},
		{name: "boto3 use_ssl=False", client: "boto3", options: map[string]any{"use_ssl": false}, server: http, want: plainWant()},
		{name: "boto3 use_ssl=False on loopback", client: "boto3", options: map[string]any{"use_ssl": false}, server: http, at: loopback,
			want: plainWant()},
		{name: "boto3 endpoint_url=http://", client: "boto3", region: "eu-central-1",
			options: map[string]any{"endpoint": "http://dynamodb.eu-central-1.amazonaws.com"}, server: http, want: plainWant()},
		{name: "boto3 http with a session token", client: "boto3", options: map[string]any{"use_ssl": false, "token": "token-of-the-tests"},
			server: http, want: plainWant()},
		{name: "boto3 http to an unlisted address", client: "boto3", options: map[string]any{"use_ssl": false}, server: http, at: unlisted,
			want: plainWant().with(func(w *want) { w.findings = append(w.findings, "unexpected-destination:high") })},
		{name: "boto3 http to an address", client: "boto3", options: map[string]any{"endpoint": "http://@ADDR@"}, server: http,
			want: plainWant().with(func(w *want) { w.endpoint = "@ADDR@"; w.kind = "-" })},
		{name: "boto3 http to an unlisted address and a port that is nobody's", client: "boto3", region: "eu-central-2", at: unlisted,
			options: map[string]any{"endpoint": "http://dynamodb.eu-central-2.amazonaws.com:8888"}, server: server{plain: true, port: 8888},
			beyondPackets: true,
			want: plainWant().with(func(w *want) {
				w.findings, w.endpoint = append(w.findings, "unexpected-destination:high"), "dynamodb.eu-central-2.amazonaws.com:8888"
			})},
		{name: "boto3 http over IPv6", client: "boto3", options: map[string]any{"use_ssl": false}, server: http, at: v6, want: plainWant()},
		{name: "boto3 forged at an unlisted address", client: "boto3", region: west, options: map[string]any{"verify": false},
			server: of(forged, "TLSv1.2"), at: unlisted,
			want: tlsWant(forged, "TLS 1.2", true).with(func(w *want) { w.findings = append(w.findings, "unexpected-destination:high") })},
		{name: "boto3 good chain at an unlisted address", client: "boto3", region: west, server: tls12, at: unlisted,
			want: tlsWant(good, "TLS 1.2", false)},
		{name: "boto3 TLS 1.3 at an unlisted address", client: "boto3", server: tls13, at: unlisted,
			want: tlsWant(good, "TLS 1.3", false).with(func(w *want) {
				w.verdict, w.findings = "finding", []string{"unexpected-destination:high"}
			})},
		{name: "boto3 offers TLS 1.1 at most", client: "boto3", region: "eu-west-2", server: of(good, "TLSv1.1"),
			env:  []string{"OPENSSL_CONF=@DIR@/max11.cnf"},
			want: tlsWant(good, "TLS 1.1", false).with(func(w *want) { w.findings = append(w.findings, "client-obsolete:medium") })},
		{name: "boto3 streams over http", client: "boto3", options: map[string]any{"use_ssl": false, "service": "dynamodbstreams"},
			host: "streams.dynamodb.us-east-1.amazonaws.com", server: http,
			want: plainWant().with(func(w *want) {
				w.works, w.fails, w.service, w.operation = false, "UnknownOperation", "dynamodb-streams", "ListStreams"
			})},
		{name: "boto3 emulator on loopback", client: "boto3", region: "eu-north-1", options: map[string]any{"endpoint": "http://localhost:8000"},
			host: "localhost", at: loopback, server: server{software: "dynalite"},
			want: plainWant().with(func(w *want) {
				w.service, w.kind, w.endpoint = "dynamodb-local", "local", "localhost:8000"
				w.findings = []string{"plaintext:low"}
			})},
		{name: "boto3 to a PrivateLink name", client: "boto3", region: west,
			options: map[string]any{"endpoint": "https://vpce-0d5107b23891af2b9-sow3v4uq.dynamodb.us-west-2.vpce.amazonaws.com"},
			host:    "vpce-0d5107b23891af2b9-sow3v4uq.dynamodb.us-west-2.vpce.amazonaws.com", server: tls12,
			want: tlsWant(good, "TLS 1.2", false).with(func(w *want) { w.kind = "interface" })},

		{name: "boto3 misled by DNS", client: "boto3", region: "ca-central-1", byDNS: true, at: unlisted,
			options: map[string]any{"verify": false}, server: of(forged, "TLSv1.2"),
			want: tlsWant(forged, "TLS 1.2", true).with(func(w *want) { w.findings = append(w.findings, "unexpected-destination:high") })},
		{name: "boto3 to an IPv4-mapped address", client: "boto3", region: west, mapped: true, server: tls12,
			want: tlsWant(good, "TLS 1.2", false)},
		{name: "boto3 at AWS's addresses", client: "boto3", region: west, at: aws, server: tls12, want: tlsWant(good, "TLS 1.2", false)},
		{name: "boto3 http at AWS's addresses", client: "boto3", region: west, at: aws, options: map[string]any{"use_ssl": false}, server: http,
			want: plainWant()},
		{name: "curl without SNI at AWS's addresses", client: "curl", region: west, at: aws, server: tls13,
			args: []string{"--insecure", "https://@ADDR@/"},
			want: tlsWant(good, "TLS 1.3", true).with(func(w *want) { w.endpoint = "-" })},
		{name: "boto3 keeps its connection", client: "boto3", region: west, stays: true, server: of(forged, "TLSv1.2"),
			options: map[string]any{"verify": false}, want: tlsWant(forged, "TLS 1.2", true)},
		{name: "boto3 keeps its connection in clear", client: "boto3", stays: true, server: http, options: map[string]any{"use_ssl": false},
			want: plainWant()},
		{name: "boto3 connected before anybody watched", client: "boto3", region: west, stays: true, early: true, at: aws, server: tls12,
			want: want{works: true, transport: "*", version: "*", visibility: "*", trust: "*", verdict: "incomplete", endpoint: "-"}},

		// Weak suites.
		{name: "static RSA", client: "boto3", region: west, server: server{chain: good, versions: "TLSv1.2", ciphers: "AES128-GCM-SHA256"},
			want: tlsWant(good, "TLS 1.2", false).with(func(w *want) {
				w.verdict, w.findings = "finding", []string{"weak-cipher:medium"}
			})},
		{name: "NULL suite", client: "curl", region: west, server: server{chain: good, versions: "TLSv1.2", ciphers: "ECDHE-RSA-NULL-SHA"},
			args: []string{"--ciphers", "ECDHE-RSA-NULL-SHA:@SECLEVEL=0", "https://dynamodb.us-west-2.amazonaws.com/"},
			want: tlsWant(good, "TLS 1.2", false).with(func(w *want) {
				w.verdict, w.findings = "finding", []string{"weak-cipher:high"}
			})},
		{name: "anonymous suite, openssl", client: "curl", region: west,
			server: server{software: "openssl", chain: good, versions: "TLSv1.2", ciphers: "ADH-AES128-GCM-SHA256:@SECLEVEL=0"},
			args:   []string{"--insecure", "--ciphers", "ADH-AES128-GCM-SHA256:@SECLEVEL=0", "https://dynamodb.us-west-2.amazonaws.com/"},
			want: tlsWant(good, "TLS 1.2", true).with(func(w *want) {
				w.visibility, w.issuer, w.trust = "none", "", "unseen"
				w.verdict, w.findings = "finding", []string{"weak-cipher:high", "tls-capped:low"}
			})},

		// curl.
		{name: "curl, TLS 1.2", client: "curl", region: west, server: tls12, args: []string{"https://dynamodb.us-west-2.amazonaws.com/"},
			want: tlsWant(good, "TLS 1.2", false)},
		{name: "curl, TLS 1.3", client: "curl", server: tls13, args: []string{"https://dynamodb.us-east-1.amazonaws.com/"},
			want: tlsWant(good, "TLS 1.3", false)},
		{name: "curl refuses a forged certificate", client: "curl", region: west, server: of(forged, "TLSv1.2"),
			args: []string{"https://dynamodb.us-west-2.amazonaws.com/"},
			want: tlsWant(forged, "TLS 1.2", false).with(func(w *want) { w.fails = "SSL certificate problem" })},
		{name: "curl --insecure, expired, openssl", client: "curl", region: west,
			server: server{software: "openssl", chain: expired, versions: "TLSv1.2", ciphers: "ALL:@SECLEVEL=0"},
			args:   []string{"--insecure", "https://dynamodb.us-west-2.amazonaws.com/"}, want: tlsWant(expired, "TLS 1.2", true)},
		{name: "curl with TLS 1.1, forged, openssl", client: "curl", region: "eu-west-2",
			server: server{software: "openssl", chain: forged, versions: "TLSv1.1", ciphers: "ALL:@SECLEVEL=0"},
			args:   []string{"--insecure", "--tlsv1.0", "--ciphers", "DEFAULT:@SECLEVEL=0", "https://dynamodb.eu-west-2.amazonaws.com/"},
			want:   tlsWant(forged, "TLS 1.1", true)},
		{name: "curl to an address, no SNI", client: "curl", region: west, server: of(forged, "TLSv1.2"),
			args: []string{"--insecure", "https://@ADDR@/"},
			want: tlsWant(forged, "TLS 1.2", true).with(func(w *want) { w.endpoint, w.region = "-", "us-east-1" })},
		{name: "curl, HTTP without TLS on port 443", client: "curl", server: server{plain: true, port: 443},
			args: append(signed("us-east-1"), "http://dynamodb.us-east-1.amazonaws.com:443/"),
			want: plainWant().with(func(w *want) {
				w.operation, w.endpoint = "ListTables", "dynamodb.us-east-1.amazonaws.com:443"
			})},

		// Go.
		{name: "Go, TLS 1.3", client: "go", server: tls13, want: tlsWant(good, "TLS 1.3", false)},
		{name: "Go, TLS 1.2", client: "go", region: west, server: tls12, want: tlsWant(good, "TLS 1.2", false)},
		{name: "Go over IPv6", client: "go", region: west, server: tls12, at: v6, want: tlsWant(good, "TLS 1.2", false)},
		{name: "Go refuses a forged certificate, TLS 1.2", client: "go", region: west, server: of(forged, "TLSv1.2"),
			want: tlsWant(forged, "TLS 1.2", false).with(func(w *want) { w.fails = "unknown authority" })},
		{name: "Go refuses a forged certificate, TLS 1.3", client: "go", server: of(forged, "TLSv1.3"),
			want: tlsWant(forged, "TLS 1.3", false).with(func(w *want) {
				w.fails, w.findings = "unknown authority", []string{"interception-refused:medium"}
			})},
		{name: "Go InsecureSkipVerify, wrong name", client: "go", region: west, options: map[string]any{"insecure": true},
			server: of(wrongName, "TLSv1.2"), want: tlsWant(wrongName, "TLS 1.2", true)},
		{name: "Go over http", client: "go", options: map[string]any{"endpoint": "http://dynamodb.us-east-1.amazonaws.com"}, server: http,
			want: plainWant()},
		{name: "Go dual-stack name", client: "go", region: west, options: map[string]any{"dual_stack": true},
			host: "dynamodb.us-west-2.api.aws", at: v6, server: tls12,
			want: tlsWant(good, "TLS 1.2", false).with(func(w *want) { w.kind = "dual-stack" })},
		{name: "Go FIPS name", client: "go", region: west, options: map[string]any{"fips": true},
			host: "dynamodb-fips.us-west-2.amazonaws.com", server: tls12,
			want: tlsWant(good, "TLS 1.2", false).with(func(w *want) { w.kind = "fips" })},
		{name: "Go account-based name", client: "go", region: west, env: []string{"AWS_ACCOUNT_ID=123456789012"},
			host: "123456789012.ddb.us-west-2.amazonaws.com", server: tls12,
			want: tlsWant(good, "TLS 1.2", false).with(func(w *want) { w.kind = "account" })},

		// Node.
		{name: "Node, TLS 1.3", client: "node", server: tls13, want: tlsWant(good, "TLS 1.3", false)},
		{name: "Node, TLS 1.2", client: "node", region: west, server: tls12, want: tlsWant(good, "TLS 1.2", false)},
		{name: "Node resumes TLS 1.2", client: "node", region: west, options: map[string]any{"again": true}, server: tls12,
			want: tlsWant(good, "TLS 1.2", false).with(func(w *want) { w.sessions = 2; w.visibility = "*" })},
		{name: "Node refuses a forged certificate, TLS 1.2", client: "node", region: west, server: of(forged, "TLSv1.2"),
			want: tlsWant(forged, "TLS 1.2", false).with(func(w *want) {
				w.fails = "unable to get local issuer"
				w.findings = []string{"unexpected-issuer:critical", "tls-capped:low", "interception-refused:medium"}
			})},
		{name: "Node refuses a forged certificate, TLS 1.3", client: "node", server: of(forged, "TLSv1.3"),
			want: tlsWant(forged, "TLS 1.3", false).with(func(w *want) {
				w.fails, w.findings = "unable to get local issuer", []string{"interception-refused:medium"}
			})},
		{name: "Node rejectUnauthorized: false, expired", client: "node", region: west, options: map[string]any{"insecure": true},
			server: of(expired, "TLSv1.2"), want: tlsWant(expired, "TLS 1.2", true)},
		{name: "Node NODE_TLS_REJECT_UNAUTHORIZED=0, wrong name", client: "node", region: west, env: []string{"NODE_TLS_REJECT_UNAUTHORIZED=0"},
			server: of(wrongName, "TLSv1.2"), want: tlsWant(wrongName, "TLS 1.2", true)},
		{name: "Node over http, endpoint from the environment", client: "node",
			env: []string{"AWS_ENDPOINT_URL_DYNAMODB=http://dynamodb.us-east-1.amazonaws.com"}, server: http, want: plainWant()},

		// Web applications under gunicorn.
		{name: "Django default", client: "django", region: "eu-south-1", server: tls12, want: tlsWant(good, "TLS 1.2", false)},
		{name: "Django use_ssl=False", client: "django", region: "eu-south-2", options: map[string]any{"use_ssl": false}, server: http,
			want: plainWant()},
		{name: "Django verify=False, expired", client: "django", region: "eu-west-3", options: map[string]any{"verify": false},
			server: of(expired, "TLSv1.2"), want: tlsWant(expired, "TLS 1.2", true)},
		{name: "Flask default, TLS 1.3", client: "flask", region: "ap-south-1", server: tls13, want: tlsWant(good, "TLS 1.3", false)},
		{name: "Flask endpoint_url=http://", client: "flask", region: "ap-south-2",
			options: map[string]any{"endpoint": "http://dynamodb.ap-south-2.amazonaws.com"}, server: http, want: plainWant()},
		{name: "Flask verify=False, forged", client: "flask", region: "ap-east-1", options: map[string]any{"verify": false},
			server: of(forged, "TLSv1.2"), want: tlsWant(forged, "TLS 1.2", true)},

		// Controls: other services are nobody's business here.
		{name: "Kinesis over TLS", client: "curl", host: "kinesis.us-east-1.amazonaws.com", server: of(wrongName, "TLSv1.2"),
			args: []string{"--insecure", "https://kinesis.us-east-1.amazonaws.com/"}, want: want{works: true, none: true}},
		{name: "S3 over http", client: "curl", host: "s3.us-east-1.amazonaws.com", server: http,
			args: []string{"http://s3.us-east-1.amazonaws.com/"}, want: want{works: true, none: true}},
	}
	return append(all, proxied()...)
}

// proxied are sessions through tinyproxy and squid, which forward, and mitmproxy, which intercepts. The proxies reach an origin of their own.
func proxied() []*scenario {
	tiny, squid := server{software: "tinyproxy"}, server{software: "squid"}
	connect, reverse := server{software: "mitm-connect"}, server{software: "mitm-reverse"}
	west := "us-west-2"
	through := func(port string) []string {
		return []string{"HTTPS_PROXY=http://@ADDR@:" + port, "HTTP_PROXY=http://@ADDR@:" + port}
	}
	proxied := func(w want, extra ...string) want {
		w.transport = "connect+tls"
		w.findings = append(append([]string{}, w.findings...), extra...)
		w.verdict = "finding"
		return w
	}
	mitm := func(version string) want {
		w := want{version: version, works: true, visibility: "encrypted", trust: "unseen", verdict: "unverified"}
		if version == "TLS 1.2" {
			w.visibility, w.issuer, w.trust, w.verdict = "visible", testchains.MITMIssuer, "private", "finding"
			w.findings = []string{"unexpected-issuer:critical"}
		}
		return w
	}
	refused := func(w want) want {
		w.works, w.fails, w.verdict = false, "certificate verify failed", "finding"
		w.findings = append(w.findings, "interception-refused:high")
		return w
	}
	trusted := map[string]any{"verify": "@DIR@/mitm.pem"}
	max12 := "OPENSSL_CONF=@DIR@/max12.cnf"
	return []*scenario{
		{name: "boto3 through tinyproxy, TLS 1.2", client: "boto3", region: west, server: tiny, at: unlisted, env: through("3128"), host: "unused.invalid",
			want: proxied(tlsWant(good, "TLS 1.2", false), "cleartext-proxy:medium").with(func(w *want) { w.endpoint = regional(west) })},
		{name: "boto3 through tinyproxy, TLS 1.3", client: "boto3", server: tiny, at: unlisted, env: through("3128"), host: "unused.invalid",
			want: proxied(tlsWant(good, "TLS 1.3", false), "cleartext-proxy:medium").with(func(w *want) { w.endpoint = regional("us-east-1") })},
		{name: "Go through tinyproxy on loopback", client: "go", region: west, server: tiny, at: loopback, env: through("3128"), host: "unused.invalid",
			want: proxied(tlsWant(good, "TLS 1.2", false), "cleartext-proxy:medium").with(func(w *want) { w.endpoint = regional(west) })},
		{name: "boto3 through an allowed tinyproxy", client: "boto3", region: west, server: server{software: "tinyproxy", allowed: true},
			env: through("3128"), host: "unused.invalid",
			want: tlsWant(good, "TLS 1.2", false).with(func(w *want) { w.transport = "connect+tls"; w.endpoint = regional(west) })},
		{name: "boto3 through tinyproxy with a password", client: "boto3", region: west, server: tiny, at: unlisted, host: "unused.invalid",
			env:  []string{"HTTPS_PROXY=http://user:password-of-the-tests@@ADDR@:3128"},
			want: proxied(tlsWant(good, "TLS 1.2", false), "cleartext-proxy:medium").with(func(w *want) { w.endpoint = regional(west) })},
		{name: "boto3 http through tinyproxy", client: "boto3", server: tiny, at: unlisted, env: through("3128"), host: "unused.invalid",
			options: map[string]any{"use_ssl": false}, want: plainWant().with(func(w *want) { w.endpoint, w.sessions, w.operation = regional("us-east-1"), 2, "*" })},
		{name: "boto3 forged behind tinyproxy", client: "boto3", region: "eu-north-1", server: tiny, at: unlisted, env: through("3128"), host: "unused.invalid",
			options: map[string]any{"verify": false},
			want:    proxied(tlsWant(forged, "TLS 1.2", true), "cleartext-proxy:medium").with(func(w *want) { w.endpoint = regional("eu-north-1") })},

		{name: "boto3 through squid, TLS 1.2", client: "boto3", region: west, server: squid, at: unlisted, env: through("8000"), host: "unused.invalid",
			want: proxied(tlsWant(good, "TLS 1.2", false), "cleartext-proxy:medium").with(func(w *want) { w.endpoint = regional(west) })},
		{name: "Go through squid, TLS 1.3", client: "go", server: squid, at: unlisted, env: through("8000"), host: "unused.invalid",
			want: proxied(tlsWant(good, "TLS 1.3", false), "cleartext-proxy:medium").with(func(w *want) { w.endpoint = regional("us-east-1") })},
		{name: "boto3 http through squid", client: "boto3", server: squid, at: unlisted, env: through("8000"), host: "unused.invalid",
			options: map[string]any{"use_ssl": false}, want: plainWant().with(func(w *want) { w.endpoint = regional("us-east-1") })}, // it keeps the connection
		{name: "boto3 forged behind squid", client: "boto3", region: "eu-north-1", server: squid, at: unlisted, env: through("8000"), host: "unused.invalid",
			options: map[string]any{"verify": false},
			want:    proxied(tlsWant(forged, "TLS 1.2", true), "cleartext-proxy:medium").with(func(w *want) { w.endpoint = regional("eu-north-1") })},

		{name: "boto3 through mitmproxy, trusted", client: "boto3", region: west, server: connect, at: unlisted, env: append(through("8080"), max12),
			host: "unused.invalid", options: trusted,
			want: proxied(mitm("TLS 1.2"), "cleartext-proxy:medium").with(func(w *want) { w.endpoint = regional(west) })},
		{name: "boto3 through mitmproxy, TLS 1.3, verify=False", client: "boto3", server: connect, at: unlisted, env: through("8080"),
			host: "unused.invalid", options: map[string]any{"verify": false},
			want: proxied(mitm("TLS 1.3"), "cleartext-proxy:medium").with(func(w *want) { w.endpoint = regional("us-east-1") })},
		{name: "boto3 through mitmproxy, refused", client: "boto3", region: west, server: connect, at: unlisted, env: append(through("8080"), max12),
			host: "unused.invalid",
			want: proxied(refused(mitm("TLS 1.2")), "cleartext-proxy:medium").with(func(w *want) { w.endpoint = regional(west) })},
		{name: "boto3 mitmproxy reverse, trusted", client: "boto3", region: west, server: reverse, env: []string{max12},
			options: merged(trusted, map[string]any{"endpoint": "https://dynamodb.us-west-2.amazonaws.com:8443"}), want: mitm("TLS 1.2")},
		{name: "boto3 mitmproxy reverse, TLS 1.3, verify=False", client: "boto3", server: reverse,
			options: map[string]any{"endpoint": "https://dynamodb.us-east-1.amazonaws.com:8443", "verify": false}, want: mitm("TLS 1.3")},
		{name: "boto3 mitmproxy reverse, TLS 1.3, refused", client: "boto3", server: reverse,
			options: map[string]any{"endpoint": "https://dynamodb.us-east-1.amazonaws.com:8443"}, want: refused(mitm("TLS 1.3"))},
	}
}

// signed are curl's arguments for a signed ListTables.
func signed(region string) []string {
	return []string{"--aws-sigv4", "aws:amz:" + region + ":dynamodb", "--user", "AKIAIOSFODNN7EXAMPLE:" + secretKey,
		"-H", "X-Amz-Target: DynamoDB_20120810.ListTables", "-H", "Content-Type: application/x-amz-json-1.0", "-d", "{}"}
}
