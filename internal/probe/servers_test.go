package probe

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/analyze/rules"
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/testenv"
	"github.com/dynwatch/dynwatch/internal/testnet"
)

// start runs a server until the test ends, and waits until it listens at an address of [testnet.Free].
func start(t *testing.T, address, program string, args ...string) netip.AddrPort {
	t.Helper()
	at := netip.MustParseAddrPort(address)
	var out bytes.Buffer
	cmd := testenv.Command(t, program, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	t.Cleanup(func() { cmd.Process.Kill(); <-ended })
	for range 200 {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			c.Close()
			return at
		}
		select {
		case <-ended:
			t.Fatalf("%s ended: %s", program, &out)
		case <-time.After(25 * time.Millisecond):
		}
	}
	t.Fatalf("%s does not listen: %s", program, &out)
	return at
}

// taken says which versions a probe found, as "1.3 1.2".
func taken(p *session.Probe) string {
	var list []string
	for _, v := range p.Versions {
		if v.Taken == session.Yes {
			list = append(list, strings.TrimPrefix(v.Version.String(), "TLS "))
		}
	}
	return strings.Join(list, " ")
}

// TestOpenSSL probes openssl s_server with every chain in every version.
func TestOpenSSL(t *testing.T) {
	const openssl = "openssl"
	versions := []string{"1.3", "1.2", "1.1", "1.0"}
	flags := map[string]string{"1.3": "-tls1_3", "1.2": "-tls1_2", "1.1": "-tls1_1", "1.0": "-tls1"}
	var all []string
	for kind := range kinds {
		all = append(all, kind)
	}
	slices.Sort(all)
	for _, kind := range all {
		chain, key := makePKI().files(t, kind)
		for _, version := range versions {
			t.Run(kind+" in "+version, func(t *testing.T) {
				t.Parallel()
				address := testnet.Free(t)
				at := start(t, address, openssl, "s_server", "-accept", address, "-cert", chain, "-cert_chain", chain, "-key", key, "-quiet",
					"-cipher", "DEFAULT:@SECLEVEL=0", flags[version])
				p := one(t, options(t), target(at))
				if p.Err != "" || p.Session == nil {
					t.Fatalf("no session: %s", p.Err)
				}
				if got := p.Session.Trust; got != kinds[kind] {
					t.Errorf("trust is %s, want %s", got, kinds[kind])
				}
				if got := taken(p); got != version {
					t.Errorf("takes %s, want %s", got, version)
				}
				if c := p.Session.Certificate; c == nil || c.SeenBy != "probe" || c.Subject == "" || p.Session.Visibility != session.VisibilityVisible {
					t.Errorf("certificate %+v, %s", c, p.Session.Visibility)
				}
				if p.Session.TLS.Established != session.Yes {
					t.Error("the handshake was not completed")
				}
				old := version < "1.2"
				rule := map[string]string{"expired": rules.CertificateInvalid, "wrong-name": rules.CertificateInvalid, "good": ""}
				want, known := rule[kind]
				if !known {
					want = rules.UnexpectedIssuer
				}
				f := found(p)
				if want != "" && f[want] < session.High {
					t.Errorf("%s is not among %v", want, f)
				}
				if (f[rules.TLSVersion] >= session.High) != old {
					t.Errorf("findings of version %s: %v", version, f)
				}
				if kind == "good" && !old && (len(f) != 0 || p.Verdict() != session.VerdictOK) {
					t.Errorf("findings about a good server: %v, %s", p.Findings(), p.Verdict())
				}
				for _, r := range []string{rules.VerificationDisabled, rules.InterceptionRefused, rules.ClientObsolete, rules.TLSDowngrade} {
					if _, ok := f[r]; ok {
						t.Errorf("the probe's own doings are a finding: %s", r)
					}
				}
			})
		}
	}
}

// TestOpenSSLProtections probes what a server does besides: sentinel, fallback, weak suites, a stapled response.
func TestOpenSSLProtections(t *testing.T) {
	const openssl = "openssl"
	chain, key := makePKI().files(t, "good")
	address := testnet.Free(t)
	at := start(t, address, openssl, "s_server", "-accept", address, "-cert", chain, "-key", key, "-quiet",
		"-cipher", "ALL:COMPLEMENTOFALL:@SECLEVEL=0", "-min_protocol", "TLSv1", "-alpn", "http/1.1")
	o := options(t)
	o.Ciphers = true
	p := one(t, o, target(at))
	if got := taken(p); got != "1.3 1.2 1.1 1.0" {
		t.Errorf("takes %s", got)
	}
	if p.Sentinel != session.Yes || p.Fallback != "refused" || p.WeakSuite == "" || p.Session.TLS.ALPN != "http/1.1" {
		t.Errorf("sentinel %v, fallback %q, weak suite %q, ALPN %q", p.Sentinel, p.Fallback, p.WeakSuite, p.Session.TLS.ALPN)
	}
	if f := found(p); f[rules.TLSVersion] != session.Medium || f[rules.WeakCipher] != session.Medium || len(f) != 2 {
		t.Errorf("findings %v", p.Findings())
	}
	for _, v := range p.Versions {
		least := map[session.Version]int{session.TLS13: 3, session.TLS12: 20, session.TLS11: 4, session.TLS10: 4}[v.Version]
		if len(v.Ciphers) < least {
			t.Errorf("%s: only %v", v.Version, v.Ciphers)
		}
		if distinct := slices.Compact(slices.Sorted(slices.Values(v.Ciphers))); len(distinct) != len(v.Ciphers) {
			t.Errorf("%s: suites stand twice: %v", v.Version, v.Ciphers)
		}
	}
}

// TestNginx probes nginx with the versions that operators give it.
func TestNginx(t *testing.T) {
	const nginx = "/usr/sbin/nginx"
	dir := t.TempDir()
	sets := []string{"TLSv1.2 TLSv1.3", "TLSv1.3", "TLSv1 TLSv1.1 TLSv1.2"}
	want := []string{"1.3 1.2", "1.3", "1.2 1.1 1.0"}
	plain := netip.MustParseAddrPort(testnet.Free(t))
	var servers []netip.AddrPort
	var b strings.Builder
	fmt.Fprintf(&b, "daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/error; events {}\nhttp { access_log off;\n", dir)
	for _, d := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&b, "%s_temp_path %s;\n", d, filepath.Join(dir, d))
	}
	chain, key := makePKI().files(t, "good")
	fmt.Fprintf(&b, "server { listen %s; return 301 https://$host$request_uri?secret=1;\n", plain)
	for range sets {
		servers = append(servers, netip.MustParseAddrPort(testnet.Free(t)))
		fmt.Fprintf(&b, "listen %s;\n", netip.AddrPortFrom(servers[len(servers)-1].Addr(), plain.Port()))
	}
	b.WriteString("}\n")
	for i, protocols := range sets {
		fmt.Fprintf(&b, "server { listen %s ssl http2; ssl_certificate %s; ssl_certificate_key %s; ssl_protocols %s; ssl_ciphers ALL:!aNULL:@SECLEVEL=0; }\n",
			servers[i], chain, key, protocols)
	}
	b.WriteString("}\n")
	conf := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(conf, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, plain.String(), nginx, "-c", conf, "-e", filepath.Join(dir, "error"))
	for i := range sets {
		t.Run(sets[i], func(t *testing.T) {
			o := options(t)
			o.Plaintext = plain.Port()
			p := one(t, o, target(servers[i]))
			if p.Session == nil || p.Session.Trust != session.TrustAllowed || taken(p) != want[i] {
				t.Fatalf("takes %s, want %s; %+v", taken(p), want[i], p)
			}
			if pt := p.Plaintext; pt == nil || pt.Answer != "http" || pt.Status != 301 || pt.Location != "https://"+name+"/" {
				t.Errorf("plaintext %+v", pt)
			}
			if p.Session.TLS.ALPN != "h2" {
				t.Errorf("ALPN %q", p.Session.TLS.ALPN)
			}
			_, old := found(p)[rules.TLSVersion]
			if old != strings.Contains(want[i], "1.1") {
				t.Errorf("findings %v", p.Findings())
			}
		})
	}
}
