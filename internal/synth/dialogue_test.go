package synth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"testing"
)

func TestTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root, err := NewAuthority(pkix.Name{CommonName: "root"}, key)
	if err != nil {
		t.Fatal(err)
	}
	below, err := root.Intermediate(pkix.Name{CommonName: "below"}, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := below.Server(key, "a.example", "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AddCert(root.Certificate)

	tests := []struct {
		name           string
		client, server *tls.Config
		refused        bool
	}{
		{"TLS 1.3 takes a hello each", &tls.Config{}, &tls.Config{}, false},
		{"a HelloRetryRequest is no deadlock", &tls.Config{}, &tls.Config{CurvePreferences: []tls.CurveID{tls.CurveP521}}, false},
		{"TLS 1.2 takes two rounds", &tls.Config{MaxVersion: tls.VersionTLS12}, &tls.Config{}, false},
		{"a refused certificate is a dialogue too", &tls.Config{ServerName: "b.example"}, &tls.Config{}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			client, server := test.client.Clone(), test.server.Clone()
			client.RootCAs, server.Certificates = trusted, []tls.Certificate{cert}
			if client.ServerName == "" {
				client.ServerName = "a.example"
			}
			var first string // who wrote, a letter a write
			for range 3 {
				d, err := TLS(client, server, []byte("request"), []byte("answer"))
				if refused := err != nil; refused != test.refused {
					t.Fatalf("error %v", err)
				}
				order := ""
				for _, m := range d {
					if m.FromClient {
						order += "c"
					} else {
						order += "s"
					}
				}
				if first == "" {
					first = order
				}
				if order != first {
					t.Errorf("the order of writes is now %s, was %s", order, first)
				}
			}
			if len(first) < 3 {
				t.Errorf("order of writes: %s: less than a handshake", first)
			}
		})
	}
}
