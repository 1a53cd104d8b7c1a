package tlswire

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/testenv"
)

// exchange is one connection between crypto/tls and itself, and what the two ends know of it.
type exchange struct {
	tape           tape
	hello          *tls.ClientHelloInfo
	client, server tls.ConnectionState
	clientErr      error
	keyLog         bytes.Buffer
}

// converse runs a handshake, a request, an answer and an orderly end over loopback; net.Pipe has no buffer,
// and both ends write at once when tickets are sent.
func converse(tb testing.TB, client, server *tls.Config) *exchange {
	tb.Helper()
	x := new(exchange)
	client, server = client.Clone(), server.Clone()
	client.KeyLogWriter = &x.keyLog
	server.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		x.hello = h
		return nil, nil
	}
	a, b := loopback(tb)
	cc := tls.Client(tapeConn{a, &x.tape, session.Client}, client)
	sc := tls.Server(tapeConn{b, &x.tape, session.Server}, server)
	done := make(chan error, 1)
	go func() {
		defer b.Close()
		buf := make([]byte, 14)
		_, err := io.ReadFull(sc, buf)
		x.server = sc.ConnectionState()
		if err == nil {
			_, err = sc.Write(buf)
		}
		if err == nil {
			_, err = sc.Read(buf)
		}
		done <- err
	}()
	if x.clientErr = cc.Handshake(); x.clientErr == nil {
		x.client = cc.ConnectionState()
		if _, err := cc.Write([]byte("GET / HTTP/1.1")); err != nil {
			tb.Error(err)
		}
		if _, err := io.ReadFull(cc, make([]byte, 14)); err != nil {
			tb.Error(err)
		}
		cc.CloseWrite()
	}
	a.Close()
	if err := <-done; err != nil && !errors.Is(err, io.EOF) && x.clientErr == nil {
		tb.Logf("server: %v", err)
	}
	return x
}

// loopback returns the two ends of a TCP connection.
func loopback(tb testing.TB) (client, server net.Conn) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			close(accepted)
			return
		}
		accepted <- c
	}()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		tb.Fatal(err)
	}
	server, ok := <-accepted
	if !ok {
		tb.Fatal("accept failed")
	}
	return client, server
}

func groupID(id tls.CurveID) uint16 { return uint16(id) }

// check compares facts with what crypto/tls says.
func (x *exchange) check(t *testing.T, o Options, decrypted bool) *Facts {
	t.Helper()
	c := New(o)
	x.tape.feed(c)
	f := c.Facts()
	equal := func(what string, got, want any) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s = %v, crypto/tls says %v", what, got, want)
		}
	}
	tls13 := x.client.Version == tls.VersionTLS13
	equal("version", f.Version, session.Version(x.client.Version))
	equal("suite", f.CipherName(), tls.CipherSuiteName(x.client.CipherSuite))
	equal("sni", f.ClientHello.SNI, x.hello.ServerName)
	equal("suites", f.ClientHello.Suites(), x.hello.CipherSuites)
	equal("alpn offered", f.ClientHello.ALPN(), x.hello.SupportedProtos)
	equal("points", f.ClientHello.PointFormats(), x.hello.SupportedPoints)
	equal("established", f.Established, session.Yes)
	equal("resumed", f.Resumed, session.TriOf(x.client.DidResume))
	equal("errors", []any{f.ClientHello.Err, f.ServerHello.Err, f.ProtocolError}, []any{nil, nil, (*ProtocolError)(nil)})
	equal("client finished", f.ClientFinished, true)
	equal("client data", f.ClientAppData, true)
	var groups, versions []uint16
	for _, g := range x.hello.SupportedCurves {
		groups = append(groups, groupID(g))
	}
	for _, v := range f.ClientHello.Versions() {
		versions = append(versions, uint16(v))
	}
	equal("groups", f.ClientHello.Groups(), groups)
	if f.ClientHello.hasVersions { // crypto/tls makes a list up where there is none
		equal("versions", versions, x.hello.SupportedVersions)
	}
	equal("offered max", f.OfferedMax, session.Version(slices.Max(x.hello.SupportedVersions)))
	var schemes []uint16
	for _, s := range x.hello.SignatureSchemes {
		schemes = append(schemes, uint16(s))
	}
	if f.ClientHello.hasSchemes {
		equal("schemes", f.ClientHello.SignatureSchemes(), schemes)
	}
	if x.client.CurveID != 0 && !(x.client.DidResume && !tls13) {
		equal("group", f.Group, groupID(x.client.CurveID))
	}
	if !tls13 || decrypted {
		equal("alpn", f.ALPN, x.client.NegotiatedProtocol)
	}
	switch {
	case x.client.DidResume:
		equal("certificates", len(f.Chain.Certificates), 0)
	case tls13 && !decrypted:
		equal("chain state", f.Chain.State, Absent)
	default:
		equal("chain state", f.Chain.State, Complete)
		equal("decrypted", f.Chain.Decrypted, tls13)
		var want [][]byte
		for _, cert := range x.client.PeerCertificates {
			want = append(want, cert.Raw)
		}
		equal("certificates", f.Chain.Certificates, want)
		if err := verifyProof(f); err != nil {
			t.Errorf("proof of the key: %v", err)
		}
	}
	for _, side := range []session.Side{session.Client, session.Server} {
		if !f.HandshakeEndKnown[side] {
			t.Errorf("end of the %s's handshake is not known", side)
		}
	}
	shuffled := New(o)
	x.tape.shuffle(shuffled, mrand.New(mrand.NewPCG(1, uint64(len(x.tape.pieces)))))
	if got, want := snapshot(shuffled.Facts()), snapshot(f); got != want {
		t.Errorf("cut differently:\n%s\nwant:\n%s", got, want)
	}
	return f
}

// verifyProof checks the signature of a ServerKeyExchange or CertificateVerify under the leaf's key, as a user of the package would.
func verifyProof(f *Facts) error {
	if len(f.Chain.Certificates) == 0 {
		return nil
	}
	leaf, err := x509.ParseCertificate(f.Chain.Certificates[0])
	if err != nil {
		return err
	}
	var signed, signature []byte
	var scheme uint16
	hasScheme := true
	switch {
	case f.CertificateVerify != nil:
		signed, signature, scheme = f.CertificateVerify.Signed, f.CertificateVerify.Signature, f.CertificateVerify.Scheme
		if signed == nil {
			return errors.New("nothing signed")
		}
	case f.KeyExchange.State == Complete && !f.KeyExchange.Anonymous:
		k := f.KeyExchange
		signed = slices.Concat(f.ClientHello.Random[:], f.ServerHello.Random[:], k.Params)
		signature, scheme, hasScheme = k.Signature, k.Scheme, k.HasScheme
	default:
		if strings.Contains(f.CipherName(), "DHE_RSA_") || strings.Contains(f.CipherName(), "DHE_ECDSA_") || f.Version == session.TLS13 {
			return fmt.Errorf("no proof: %v", f.KeyExchange.State)
		}
		return nil
	}
	hash, opts := crypto.SHA256, crypto.SignerOpts(crypto.SHA256)
	switch {
	case !hasScheme:
		hash = crypto.SHA1
		if _, ok := leaf.PublicKey.(*rsa.PublicKey); ok {
			hash = crypto.MD5SHA1
		}
		opts = hash
	case scheme == 0x0807:
		hash = 0
	case scheme>>8 == 8: // RSA-PSS
		hash = map[uint16]crypto.Hash{4: crypto.SHA256, 5: crypto.SHA384, 6: crypto.SHA512}[scheme&0xff]
		opts = &rsa.PSSOptions{Hash: hash, SaltLength: rsa.PSSSaltLengthEqualsHash}
	default:
		hash = map[uint16]crypto.Hash{2: crypto.SHA1, 4: crypto.SHA256, 5: crypto.SHA384, 6: crypto.SHA512}[scheme>>8]
		opts = hash
	}
	digest := signed
	switch hash {
	case 0:
	case crypto.MD5SHA1:
		md5, sha1 := crypto.MD5.New(), crypto.SHA1.New()
		md5.Write(signed)
		sha1.Write(signed)
		digest = sha1.Sum(md5.Sum(nil))
	case crypto.SHA256:
		d := sha256.Sum256(signed)
		digest = d[:]
	case crypto.SHA384:
		d := sha512.Sum384(signed)
		digest = d[:]
	default:
		h := hash.New()
		h.Write(signed)
		digest = h.Sum(nil)
	}
	switch key := leaf.PublicKey.(type) {
	case *rsa.PublicKey:
		if pss, ok := opts.(*rsa.PSSOptions); ok {
			return rsa.VerifyPSS(key, hash, digest, signature, pss)
		}
		return rsa.VerifyPKCS1v15(key, hash, digest, signature)
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(key, digest, signature) {
			return errors.New("ECDSA signature does not verify")
		}
	case ed25519.PublicKey:
		if !ed25519.Verify(key, digest, signature) {
			return errors.New("Ed25519 signature does not verify")
		}
	}
	return nil
}

func TestAgainstStandardLibrary(t *testing.T) {
	type setup struct {
		name    string
		version uint16
		cert    string
		change  func(client, server *tls.Config)
	}
	var setups []setup
	for _, v := range []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13} {
		for _, cert := range []string{"rsa", "ecdsa", "ed25519"} {
			if cert == "ed25519" && v < tls.VersionTLS12 {
				continue
			}
			setups = append(setups, setup{name: fmt.Sprintf("%s %s", tls.VersionName(v), cert), version: v, cert: cert})
		}
	}
	for _, s := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		cert := "rsa"
		if strings.Contains(s.Name, "ECDSA") {
			cert = "ecdsa"
		}
		for _, v := range s.SupportedVersions {
			if v == tls.VersionTLS13 {
				continue
			}
			setups = append(setups, setup{name: s.Name + " in " + tls.VersionName(v), version: v, cert: cert,
				change: func(c, s2 *tls.Config) {
					c.CipherSuites, s2.CipherSuites = []uint16{s.ID}, []uint16{s.ID}
				}})
		}
	}
	for _, g := range []tls.CurveID{tls.X25519MLKEM768, tls.SecP256r1MLKEM768, tls.SecP384r1MLKEM1024, tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521} {
		setups = append(setups, setup{name: fmt.Sprintf("group %v", g), version: tls.VersionTLS13, cert: "ecdsa",
			change: func(c, s *tls.Config) { c.CurvePreferences, s.CurvePreferences = []tls.CurveID{g}, []tls.CurveID{g} }})
	}
	setups = append(setups,
		setup{name: "HelloRetryRequest", version: tls.VersionTLS13, cert: "rsa", change: func(c, s *tls.Config) {
			c.CurvePreferences, s.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP384}, []tls.CurveID{tls.CurveP384}
		}},
		setup{name: "ALPN 1.2", version: tls.VersionTLS12, cert: "rsa", change: withALPN},
		setup{name: "ALPN 1.3", version: tls.VersionTLS13, cert: "rsa", change: withALPN},
		setup{name: "client certificate 1.2", version: tls.VersionTLS12, cert: "rsa", change: withClientCert(t)},
		setup{name: "client certificate 1.3", version: tls.VersionTLS13, cert: "rsa", change: withClientCert(t)},
		setup{name: "no SNI", version: tls.VersionTLS13, cert: "rsa", change: func(c, _ *tls.Config) { c.ServerName = "" }},
	)
	for _, s := range setups {
		t.Run(s.name, func(t *testing.T) {
			client := &tls.Config{ServerName: "dynamodb.test", InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: s.version}
			server := &tls.Config{Certificates: []tls.Certificate{testCert(t, s.cert)}, MinVersion: tls.VersionTLS10, MaxVersion: s.version}
			if s.change != nil {
				s.change(client, server)
			}
			x := converse(t, client, server)
			if x.clientErr != nil {
				testenv.Beyond(t, "crypto/tls: %v", x.clientErr)
			}
			f := x.check(t, Options{}, false)
			if retry := s.name == "HelloRetryRequest"; retry != (f.HelloRetryRequest != nil) || retry != (f.FirstHello != nil) {
				t.Errorf("HelloRetryRequest %v, first hello %v", f.HelloRetryRequest, f.FirstHello)
			}
			keys := NewKeyLog(0)
			if err := keys.Read(bytes.NewReader(x.keyLog.Bytes())); err != nil {
				t.Fatal(err)
			}
			f = x.check(t, Options{Secrets: keys}, true)
			mtls := strings.HasPrefix(s.name, "client certificate")
			if f.ClientCertificateRequested != mtls || f.ClientCertificateSent != mtls {
				t.Errorf("client certificate requested %v, sent %v", f.ClientCertificateRequested, f.ClientCertificateSent)
			}
			if s.version == tls.VersionTLS13 {
				want := [2]DecryptState{DecryptFinished, DecryptFinished}
				if f.Decryption.State != want {
					t.Errorf("decryption %v", f.Decryption)
				}
			}
		})
	}
}

func withALPN(c, s *tls.Config) {
	c.NextProtos, s.NextProtos = []string{"h2", "http/1.1"}, []string{"http/1.1"}
}

func withClientCert(tb testing.TB) func(c, s *tls.Config) {
	return func(c, s *tls.Config) {
		c.Certificates = []tls.Certificate{testCert(tb, "ecdsa")}
		s.ClientAuth = tls.RequireAnyClientCert
	}
}

func TestResumptionIsLinkedToItsFullHandshake(t *testing.T) {
	for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(v), func(t *testing.T) {
			client := &tls.Config{ServerName: "dynamodb.test", InsecureSkipVerify: true, MaxVersion: v, ClientSessionCache: tls.NewLRUClientSessionCache(2)}
			server := &tls.Config{Certificates: []tls.Certificate{testCert(t, "rsa")}, MaxVersion: v}
			// Config.Clone shares the ticket keys only once they are set.
			server.SetSessionTicketKeys([][32]byte{{1}})
			first, second := converse(t, client, server), converse(t, client, server)
			if !second.client.DidResume {
				t.Fatal("crypto/tls did not resume")
			}
			keys := NewKeyLog(0)
			keys.Read(bytes.NewReader(first.keyLog.Bytes()))
			keys.Read(bytes.NewReader(second.keyLog.Bytes()))
			second.check(t, Options{}, false)
			f1, f2 := first.check(t, Options{Secrets: keys}, true), second.check(t, Options{Secrets: keys}, true)
			hash, ok := f2.ClientHello.TicketHash()
			if v == tls.VersionTLS13 {
				hash, ok = f2.ClientHello.PSKIdentityHash()
			}
			if !ok || !slices.ContainsFunc(f1.Tickets, func(k Ticket) bool { return k.Hash == hash }) {
				t.Errorf("the second hello's ticket %x (%v) is none of %x", hash, ok, f1.Tickets)
			}
		})
	}
}

func TestClientThatRefusesTheCertificate(t *testing.T) {
	for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(v), func(t *testing.T) {
			client := &tls.Config{ServerName: "dynamodb.test", MaxVersion: v, RootCAs: x509.NewCertPool()}
			server := &tls.Config{Certificates: []tls.Certificate{testCert(t, "rsa")}, MaxVersion: v}
			x := converse(t, client, server)
			if x.clientErr == nil {
				t.Fatal("the client did not refuse")
			}
			f := x.tape.facts(Options{})
			if f.ClientFinished || f.ClientAppData || f.ClientCloseNotify || f.Established == session.Yes && v != tls.VersionTLS13 || !f.ServerFlightSeen {
				t.Errorf("facts: %+v", f)
			}
			if v == tls.VersionTLS12 {
				if a := f.FirstAlert(); a == nil || a.From != session.Client || a.Description != "bad_certificate" || !a.Fatal || a.Decrypted {
					t.Errorf("alert %+v", a)
				}
				return
			}
			if !f.ClientEncryptedAlert || len(f.Alerts) != 0 {
				t.Errorf("encrypted alert %v, alerts %v", f.ClientEncryptedAlert, f.Alerts)
			}
			keys := NewKeyLog(0)
			keys.Read(&x.keyLog)
			f = x.tape.facts(Options{Secrets: keys})
			if a := f.FirstAlert(); a == nil || a.Description != "bad_certificate" || !a.Decrypted {
				t.Errorf("decrypted alert %+v", a)
			}
			if f.ClientFinished || !f.Chain.Decrypted || len(f.Chain.Certificates) != 1 {
				t.Errorf("finished %v, chain %v", f.ClientFinished, f.Chain.State)
			}
		})
	}
}

func TestSecretsMayComeLate(t *testing.T) {
	client := &tls.Config{ServerName: "dynamodb.test", InsecureSkipVerify: true}
	server := &tls.Config{Certificates: []tls.Certificate{testCert(t, "rsa")}}
	x := converse(t, client, server)
	keys := NewKeyLog(0)
	c := New(Options{Secrets: keys})
	for _, p := range x.tape.pieces {
		c.Feed(p.from, p.data)
	}
	if f := c.Facts(); f.Decryption.State != [2]DecryptState{DecryptWaiting, DecryptWaiting} || f.Chain.State != Absent {
		t.Fatalf("before: %v, chain %v", f.Decryption, f.Chain.State)
	}
	for line := range bytes.Lines(x.keyLog.Bytes()) { // one by one, each time asking again
		keys.AddLine(line)
		c.Retry()
	}
	f := c.Facts()
	if f.Decryption.State != [2]DecryptState{DecryptFinished, DecryptFinished} || !f.Chain.Decrypted || f.CertificateVerify == nil {
		t.Errorf("after: %v, chain %v, verify %v", f.Decryption, f.Chain.State, f.CertificateVerify)
	}
	if err := verifyProof(f); err != nil {
		t.Error(err)
	}
}

func TestWrongSecretsAreNoticed(t *testing.T) {
	x := converse(t, &tls.Config{InsecureSkipVerify: true, ServerName: "a.test"}, &tls.Config{Certificates: []tls.Certificate{testCert(t, "rsa")}})
	log := x.keyLog.Bytes()
	for i := range log { // spoil the last digit of every secret
		if log[i] == '\n' {
			log[i-1] ^= 1
			if log[i-1] > '9' && log[i-1] < 'a' || log[i-1] > 'f' {
				log[i-1] = '0'
			}
		}
	}
	keys := NewKeyLog(0)
	keys.Read(bytes.NewReader(log))
	f := x.tape.facts(Options{Secrets: keys})
	if f.Decryption.State != [2]DecryptState{DecryptFailed, DecryptFailed} || f.Chain.State != Absent || f.ALPN != "" {
		t.Errorf("decryption %v, chain %v", f.Decryption, f.Chain.State)
	}
}
