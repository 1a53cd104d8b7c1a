package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/internal/synth"
	"github.com/dynwatch/dynwatch/internal/testenv"
	"github.com/dynwatch/dynwatch/internal/testnet"
	"github.com/dynwatch/dynwatch/internal/testschema"
)

// endpointOf is a TLS server on loopback, with a DynamoDB name's certificate of a CA whose file it returns.
func endpointOf(t *testing.T) (port, ca string) {
	t.Helper()
	root, cert, err := synth.NewHost("Test Root", "dynamodb.us-east-1.amazonaws.com")
	if err != nil {
		t.Fatal(err)
	}
	ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, root.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	at := testnet.Listen(t, "127.0.0.1", testnet.Handshakes(&tls.Config{Certificates: []tls.Certificate{cert}}))
	return strconv.Itoa(int(at.Port())), ca
}

func TestProbe(t *testing.T) {
	t.Setenv("AWS_REGION", "")
	port, ca := endpointOf(t)
	named := "dynamodb.us-east-1.amazonaws.com:" + port
	here := []string{"probe", named, "--address", "127.0.0.1", "--endpoint", "127.0.0.0/8"}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	closed.Close()
	tests := []struct {
		name   string
		args   []string
		status int
		out    string // among the lines
	}{
		{"a good server", append(here, "--allow-ca", ca, "--fail-on", "low"), exitOK, "OK "},
		{"another CA", here, exitOK, "critical   unexpected-issuer: "},
		{"another CA and --fail-on", append(here, "--fail-on", "critical"), exitFindings, "FINDING"},
		{"a finding below --fail-on", append(here, "--allow-ca", ca, "--min-version", "1.3", "--fail-on", "medium"), exitOK, "low        tls-version: "},
		{"a pin", append(here, "--pin", strings.Repeat("0", 64), "--fail-on", "critical"), exitFindings, "unexpected-issuer"},
		{"nobody listens", []string{"probe", nobody}, exitFailed, "error      connection refused"},
		{"nobody listens, which wins", append([]string{"probe", nobody, "127.0.0.1:" + port}, "--fail-on", "low"), exitFailed, "unexpected-issuer"},
		{"in brief", append(here, "--allow-ca", ca, "--brief"), exitOK, "TLS 1.3"},
		{"from a process's namespace", append(here, "--allow-ca", ca, "--netns-of", strconv.Itoa(os.Getpid())), exitOK, "from       the network namespace of pid "},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if strings.HasPrefix(test.name, "from a process") {
				testenv.Root(t)
			}
			out, stderr, status := call(nil, test.args...)
			if status != test.status || !strings.Contains(out, test.out) {
				t.Errorf("status %d, want %d with %q\n%s%s", status, test.status, test.out, out, stderr)
			}
			out, _, status = call(nil, append(test.args, "-o", "json")...)
			if status != test.status {
				t.Errorf("as JSON: status %d, want %d", status, test.status)
			}
			schema := testschema.Events(t)
			for line := range strings.Lines(out) {
				if _, err := schema.Check([]byte(line)); err != nil {
					t.Errorf("%v\n%s", err, line)
				}
			}
		})
	}
}

// TestProbeNamesNobodyItself: the only names that are not on the command line are those of regions.
func TestProbeNamesNobodyItself(t *testing.T) {
	env := func(values ...string) func(string) string {
		return func(name string) string {
			for i := 0; i < len(values); i += 2 {
				if values[i] == name {
					return values[i+1]
				}
			}
			return ""
		}
	}
	tests := []struct {
		f    probeFlags
		args []string
		env  func(string) string
		want string
	}{
		{probeFlags{}, nil, env("AWS_REGION", "eu-central-1"), "dynamodb.eu-central-1.amazonaws.com:443"},
		{probeFlags{region: "cn-north-1"}, nil, env("AWS_REGION", "eu-central-1"), "dynamodb.cn-north-1.amazonaws.com.cn:443"},
		{probeFlags{}, []string{"a.example"}, env("AWS_REGION", "eu-central-1"), "a.example:443"},
		{probeFlags{region: "us-gov-west-1"}, []string{"a.example:1"}, env(), "dynamodb.us-gov-west-1.amazonaws.com:443 a.example:1"},
		{probeFlags{}, nil, env("AWS_DEFAULT_REGION", "eu-central-1", "HTTPS_PROXY", "http://proxy:1"), ""},
	}
	for _, test := range tests {
		list, err := test.f.targets(test.args, test.env)
		var got []string
		for _, x := range list {
			got = append(got, fmt.Sprintf("%s:%d", x.Host, x.Port))
		}
		if s := strings.Join(got, " "); s != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%v: %q %v, want %q", test.args, s, err, test.want)
		}
	}
}

// TestProbeSaysWhatItSaw compares the JSON with what the server is known to be.
func TestProbeSaysWhatItSaw(t *testing.T) {
	port, ca := endpointOf(t)
	out, stderr, status := call(nil, "probe", "dynamodb.us-east-1.amazonaws.com:"+port, "--address", "127.0.0.1", "--allow-ca", ca, "-o", "json")
	var p struct {
		Type, Host, Address, Verdict, Trust, Fallback string
		Sentinel                                      bool
		Endpoint                                      struct{ Region string }
		TLS                                           struct{ Version, SNI string }
		Certificate                                   struct {
			SeenBy string `json:"seen_by"`
			Issuer string
		}
		Chain    []struct{ Subject string }
		Versions []struct {
			Version  string
			Accepted *bool
		}
		Findings []struct{ Rule string }
	}
	if err := json.Unmarshal([]byte(out), &p); err != nil || status != exitOK {
		t.Fatalf("%v, status %d: %s%s", err, status, out, stderr)
	}
	if p.Type != "probe" || p.Address != "127.0.0.1" || p.Trust != "allowed" || p.Verdict != "ok" || p.Endpoint.Region != "us-east-1" ||
		p.TLS.Version != "TLS 1.3" || p.TLS.SNI != p.Host || p.Certificate.SeenBy != "probe" || p.Certificate.Issuer != "CN=Test Root" ||
		len(p.Chain) != 1 || p.Fallback != "refused" || !p.Sentinel {
		t.Errorf("%s", out)
	}
	for _, v := range p.Versions {
		if want := v.Version == "TLS 1.3" || v.Version == "TLS 1.2"; v.Accepted == nil || *v.Accepted != want {
			t.Errorf("%s: accepted %v, want %v", v.Version, v.Accepted, want)
		}
	}
	if len(p.Findings) != 0 { // the chain proves whose the address is
		t.Errorf("findings %v", p.Findings)
	}
}
