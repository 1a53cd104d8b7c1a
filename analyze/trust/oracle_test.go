package trust

import (
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/testenv"
)

// opensslAccepts asks `openssl verify` about a chain under one root.
func opensslAccepts(t *testing.T, root *identity, chain []*identity, at time.Time) (bool, string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, ids ...*identity) string {
		var b []byte
		for _, id := range ids {
			b = append(b, id.pem()...)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	args := []string{"verify", "-attime", strconv.FormatInt(at.Unix(), 10), "-no-CApath", "-no-CAstore", "-CAfile", write("root.pem", root),
		"-purpose", "sslserver", "-verify_hostname", host}
	if len(chain) > 1 {
		args = append(args, "-untrusted", write("rest.pem", chain[1:]...))
	}
	out, err := testenv.Command(t, "openssl", append(args, write("leaf.pem", chain[0]))...).CombinedOutput()
	return err == nil, string(out)
}

func TestOpenSSLComesToTheSameConclusion(t *testing.T) {
	w := newWorld(t)
	expiredM := issue(t, spec{name: dn("Expired", "Example"), ca: true, to: now.AddDate(0, 0, -1), from: now.AddDate(-1, 0, 0)}, w.corp)
	renewedM := issue(t, spec{name: dn("Expired", "Example"), ca: true, key: expiredM.key}, w.corp)
	zero := issue(t, spec{name: dn("Zero", "Example"), ca: true, pathLen: -1}, w.corp)
	underZero := issue(t, spec{name: dn("Under Zero", "Example"), ca: true}, zero)
	selfIssued := issue(t, spec{name: dn("Zero", "Example"), ca: true, pathLen: -1, edit: func(c *x509.Certificate) { // key change: does not count
		c.AuthorityKeyId = zero.cert.SubjectKeyId // else OpenSSL takes it for self-signed
	}}, zero)
	notCA := issue(t, spec{name: dn("not a CA", "Example")}, w.corp)
	sub := issue(t, spec{name: dn("Sub", "Example"), ca: true}, w.corp)
	mail := issue(t, spec{name: dn("Mail", "Example"), ca: true, purposes: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}}, w.corp)
	noSign := issue(t, spec{name: dn("No Sign", "Example"), ca: true, usage: x509.KeyUsageCRLSign}, w.corp)
	permitted := issue(t, spec{name: dn("Permitted", "Example"), ca: true, edit: func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"amazonaws.com"} }}, w.corp)
	outside := issue(t, spec{name: dn("Outside", "Example"), ca: true, edit: func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"example.com"} }}, w.corp)
	excluded := issue(t, spec{name: dn("Excluded", "Example"), ca: true, edit: func(c *x509.Certificate) { c.ExcludedDNSDomains = []string{"us-east-1.amazonaws.com"} }}, w.corp)
	ipNet := func(cidr string) []*net.IPNet {
		_, n, err := net.ParseCIDR(cidr)
		if err != nil {
			t.Fatal(err)
		}
		return []*net.IPNet{n}
	}
	ipIn := issue(t, spec{name: dn("IP in", "Example"), ca: true, edit: func(c *x509.Certificate) { c.PermittedIPRanges = ipNet("10.0.0.0/8") }}, w.corp)
	ipOut := issue(t, spec{name: dn("IP out", "Example"), ca: true, edit: func(c *x509.Certificate) { c.ExcludedIPRanges = ipNet("10.0.0.0/8") }}, w.corp)
	directory := func(allowed bool, o string) *identity {
		name, _ := asn1.Marshal(pkix.Name{Country: []string{"US"}, Organization: []string{o}}.ToRDNSequence())
		tag := byte(tagContext0)
		if !allowed {
			tag = 0xa1
		}
		value := tlv(tagSequence, tlv(tag, tlv(tagSequence, tlv(generalDirectory, name))))
		return issue(t, spec{name: dn("Directory", "Example"), ca: true, edit: func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 30}, Critical: true, Value: value}}
		}}, w.corp)
	}
	below, beside, notBelow := directory(true, "Example"), directory(true, "Other"), directory(false, "Example")
	withIP := func(parent *identity) *identity {
		return issue(t, spec{names: []string{host}, ips: []net.IP{net.IPv4(10, 1, 2, 3)}}, parent)
	}
	named := func(parent *identity) *identity { return issue(t, spec{name: dn(host, "EXAMPLE")}, parent) }
	pss := issue(t, spec{name: dn("PSS", "Example"), ca: true, key: rsaKey(t, 2048)}, w.corp)
	tests := []struct {
		name  string
		chain []*identity
		at    time.Time
	}{
		{"plain", []*identity{issue(t, spec{}, w.corp)}, now},
		{"intermediate", []*identity{issue(t, spec{}, sub), sub}, now},
		{"intermediate missing", []*identity{issue(t, spec{}, sub)}, now},
		{"wrong intermediate", []*identity{issue(t, spec{}, sub), zero}, now},
		{"expired leaf", []*identity{issue(t, spec{}, sub), sub}, now.AddDate(1, 0, 0)},
		{"future leaf", []*identity{issue(t, spec{}, sub), sub}, now.AddDate(-1, 0, 0)},
		{"expired intermediate", []*identity{issue(t, spec{}, expiredM), expiredM}, now},
		{"renewed intermediate", []*identity{issue(t, spec{}, expiredM), renewedM}, now},
		{"both intermediates", []*identity{issue(t, spec{}, expiredM), expiredM, renewedM}, now},
		{"path length kept", []*identity{issue(t, spec{}, zero), zero}, now},
		{"path length overstepped", []*identity{issue(t, spec{}, underZero), underZero, zero}, now},
		{"self-issued CA below path length zero", []*identity{issue(t, spec{}, selfIssued), selfIssued, zero}, now},
		{"issuer is no CA", []*identity{issue(t, spec{}, notCA), notCA}, now},
		{"issuer for mail", []*identity{issue(t, spec{}, mail), mail}, now},
		{"issuer may not sign", []*identity{issue(t, spec{}, noSign), noSign}, now},
		{"names permitted", []*identity{issue(t, spec{}, permitted), permitted}, now},
		{"names not permitted", []*identity{issue(t, spec{}, outside), outside}, now},
		{"names excluded", []*identity{issue(t, spec{}, excluded), excluded}, now},
		{"address permitted", []*identity{withIP(ipIn), ipIn}, now},
		{"address excluded", []*identity{withIP(ipOut), ipOut}, now},
		{"addresses excluded, none borne", []*identity{issue(t, spec{}, ipOut), ipOut}, now},
		{"directory permitted", []*identity{named(below), below}, now},
		{"directory not permitted", []*identity{named(beside), beside}, now},
		{"directory excluded", []*identity{named(notBelow), notBelow}, now},
		{"PSS", []*identity{issue(t, spec{algorithm: x509.SHA256WithRSAPSS}, pss), pss}, now},
		{"client purpose", []*identity{issue(t, spec{purposes: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, sub), sub}, now},
		{"any purpose", []*identity{issue(t, spec{purposes: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}, sub), sub}, now},
		{"other name", []*identity{issue(t, spec{names: []string{"x.example"}}, sub), sub}, now},
		{"wildcard", []*identity{issue(t, spec{names: []string{"*.us-east-1.amazonaws.com"}}, sub), sub}, now},
		{"wildcard over two labels", []*identity{issue(t, spec{names: []string{"*.amazonaws.com"}}, sub), sub}, now},
		{"another root of the same name", []*identity{issue(t, spec{}, issue(t, spec{name: dn("Example Corp Inspection CA", "Example Corp"), ca: true}, nil))}, now},
		{"unknown critical extension", []*identity{issue(t, spec{extensions: criticalExtension()}, sub), sub}, now},
	}
	s, err := NewStore(Policy{AllowCA: allow(t, w.corp)})
	if err != nil {
		t.Fatal(err)
	}
	accepted := 0
	for _, tt := range tests {
		r := s.Judge(ders(tt.chain...), Query{Name: host, At: tt.at, TimeKnown: true})
		want, out := opensslAccepts(t, w.corp, tt.chain, tt.at)
		if want {
			accepted++
		}
		if (r.Trust == session.TrustAllowed) != want {
			t.Errorf("%s: we say %s (%+v), OpenSSL: %s", tt.name, r.Trust, r.Chain, out)
		}
	}
	if accepted < 8 || accepted > len(tests)-8 {
		t.Errorf("OpenSSL accepts %d of %d: the table is lopsided", accepted, len(tests))
	}
}

func criticalExtension() []pkix.Extension {
	return []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: null}}
}

// still is a world that is the same in every process, which fuzzing with several workers needs: Ed25519 keys from fixed seeds, whose
// signatures are deterministic.
func still(t testing.TB) (root *identity, chains [][]*identity) {
	seed := byte(0)
	make := func(s spec, parent *identity) *identity {
		seed++
		bytes := [ed25519.SeedSize]byte{seed}
		if s.key == nil {
			s.key = ed25519.NewKeyFromSeed(bytes[:])
		}
		edit, serial := s.edit, int64(seed)
		s.edit = func(c *x509.Certificate) {
			c.SerialNumber = big.NewInt(serial)
			if edit != nil {
				edit(c)
			}
		}
		return issue(t, s, parent)
	}
	ca := func(name pkix.Name) spec { return spec{name: name, ca: true} }
	root = make(ca(amazonRootName), nil)
	m01 := make(spec{name: amazonM01Name, ca: true, pathLen: -1}, root)
	fake := make(ca(amazonRootName), nil)
	fakeM := make(ca(amazonM01Name), fake)
	cross := make(spec{name: amazonRootName, ca: true, key: root.key}, fake)
	good, forged := make(spec{}, m01), make(spec{}, fakeM)
	byLeaf := make(spec{}, good)
	limited := make(spec{name: dn("Limited", "Amazon"), ca: true, edit: func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"example.com"} }}, root)
	client := make(spec{purposes: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, m01)
	expired := make(spec{to: now.Add(-time.Hour)}, m01)
	other := make(spec{names: []string{"x.example"}}, m01)
	return root, [][]*identity{
		{good, m01}, {good, m01, root}, {good, cross, m01}, {good}, {forged, fakeM, root}, {forged, fakeM, fake}, {forged, m01}, {byLeaf, good, m01},
		{make(spec{}, limited), limited}, {client, m01}, {expired, m01}, {other, m01}, {root}, {m01, root}, {good, fakeM, m01},
	}
}

// FuzzJudge holds Judge to crypto/x509: a chain is amazon exactly if Verify with the same root, time and name accepts it, wherever
// crypto/x509 reads all certificates.
func FuzzJudge(f *testing.F) {
	root, chains := still(f)
	for _, c := range chains {
		f.Add(listOf(ders(c...)))
	}
	w := &world{amazon: root}
	s := w.store(f, Policy{})
	roots := x509.NewCertPool()
	roots.AddCert(root.cert)
	f.Fuzz(func(t *testing.T, data []byte) {
		chain := unlist(data)
		r := s.Judge(chain, asked)
		again := s.Judge(chain, asked)
		if r.Trust != again.Trust || r.Trust == "" {
			t.Fatalf("first %q, then %q", r.Trust, again.Trust)
		}
		ok := r.Trust == session.TrustAmazon || r.Trust == session.TrustAllowed
		if ok && (!r.Chain.LeadsToAmazon || r.Chain.Violation != "" || r.Chain.NameMismatch || r.Chain.Expired || r.Chain.Incomplete) {
			t.Fatalf("%s: %+v", r.Trust, r.Chain)
		}
		if r.Chain.LeadsToAllowed && (r.Trust == session.TrustForged || r.Trust == session.TrustPrivate || r.Trust == session.TrustPublic) {
			t.Fatalf("%s: %+v", r.Trust, r.Chain)
		}
		if len(chain) == 0 || len(chain) > 8 {
			return
		}
		opts := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool(), DNSName: host, CurrentTime: now}
		leaf, err := x509.ParseCertificate(chain[0])
		if err != nil {
			return
		}
		for _, der := range chain[1:] {
			c, err := x509.ParseCertificate(der)
			if err != nil {
				return
			}
			opts.Intermediates.AddCert(c)
		}
		_, err = leaf.Verify(opts)
		if leaf.Equal(root.cert) {
			return // the root as server: refused here, misnamed there
		}
		if ok != (err == nil) {
			t.Fatalf("we say %s %+v; crypto/x509: %v", r.Trust, r.Chain, err)
		}
	})
}

// listOf writes certificates as a certificate_list of TLS 1.2: each with its length in three bytes.
func listOf(chain [][]byte) []byte {
	var out []byte
	for _, der := range chain {
		out = append(out, byte(len(der)>>16), byte(len(der)>>8), byte(len(der)))
		out = append(out, der...)
	}
	return out
}

func unlist(b []byte) (chain [][]byte) {
	for len(b) >= 3 && len(chain) < 100 {
		n := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
		b = b[3:]
		n = min(n, len(b))
		chain = append(chain, b[:n])
		b = b[n:]
	}
	return chain
}

// FuzzJudgeSelection is the same over chains put together from a fixed set of certificates, one for each byte of picks, at any time; a picked
// byte above the set flips a bit of the certificate before it.
func FuzzJudgeSelection(f *testing.F) {
	root, chains := still(f)
	var pool []*identity
	seen := make(map[string]bool)
	for _, c := range chains {
		for _, id := range c {
			if !seen[string(id.der)] {
				seen[string(id.der)] = true
				pool = append(pool, id)
			}
		}
	}
	for i := range pool {
		f.Add([]byte{byte(i), 1}, int32(0))
		f.Add([]byte{0, byte(i), 1}, int32(24*i))
		f.Add([]byte{byte(i), 1, 0xf0, byte(i)}, int32(-24*i))
	}
	w := &world{amazon: root}
	s := w.store(f, Policy{})
	roots := x509.NewCertPool()
	roots.AddCert(root.cert)
	f.Fuzz(func(t *testing.T, picks []byte, hours int32) {
		if len(picks) > 16 {
			return
		}
		var chain [][]byte
		for _, b := range picks {
			if int(b) < len(pool) {
				chain = append(chain, pool[b].der)
			} else if n := len(chain); n > 0 {
				chain[n-1] = append([]byte(nil), chain[n-1]...)
				at := int(b) * len(chain[n-1]) / 256
				chain[n-1][at] ^= 1 << (b % 8)
			}
		}
		at := now.Add(time.Duration(hours) * time.Hour)
		r := s.Judge(chain, Query{Name: host, At: at, TimeKnown: true})
		if len(chain) == 0 || r.Chain.LimitExceeded || r.Chain.TimeUnknown {
			return
		}
		opts := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool(), DNSName: host, CurrentTime: at}
		leaf, err := x509.ParseCertificate(chain[0])
		if err != nil || leaf.Equal(root.cert) {
			return
		}
		for _, der := range chain[1:] {
			c, err := x509.ParseCertificate(der)
			if err != nil {
				continue // to us it is as if it were not there, too
			}
			opts.Intermediates.AddCert(c)
		}
		_, err = leaf.Verify(opts)
		if (r.Trust == session.TrustAmazon) != (err == nil) {
			t.Fatalf("we say %s %+v; crypto/x509: %v", r.Trust, r.Chain, err)
		}
	})
}
