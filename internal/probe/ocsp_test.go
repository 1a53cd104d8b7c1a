package probe

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/dynwatch/dynwatch/analyze/rules"
	"github.com/dynwatch/dynwatch/analyze/session"
)

func TestStapledResponse(t *testing.T) {
	good := makePKI().chains["good"]
	parse := func(der []byte) *x509.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	leaf, ca := parse(good.Certificate[0]), parse(good.Certificate[1])
	now := time.Now()
	respond := func(status int, next time.Time) []byte {
		b, err := ocsp.CreateResponse(ca, ca, ocsp.Response{
			Status: status, SerialNumber: leaf.SerialNumber, ThisUpdate: now.Add(-time.Hour), NextUpdate: next, RevokedAt: now.Add(-2 * time.Hour),
		}, good.PrivateKey.(crypto.Signer))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	forged := respond(ocsp.Revoked, now.Add(time.Hour))
	forged[len(forged)-1] ^= 1
	later := now.Add(24 * time.Hour)
	tests := map[string]struct {
		response []byte
		status   string
		verified bool
		finding  session.Severity
		warnings int
	}{
		"good":            {respond(ocsp.Good, later), "good", true, session.SeverityNone, 0},
		"revoked":         {respond(ocsp.Revoked, later), "revoked", true, session.High, 0},
		"out of date":     {respond(ocsp.Good, now.Add(-time.Minute)), "good", true, session.SeverityNone, 1},
		"wrong signature": {forged, "revoked", false, session.SeverityNone, 1},
		"garbage":         {[]byte("garbage"), "unreadable", false, session.SeverityNone, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			cert := good
			cert.OCSPStaple = test.response
			p := one(t, options(t), target(serveTLS(t, &tls.Config{Certificates: []tls.Certificate{cert}})))
			if p.OCSP == nil || p.OCSP.Status != test.status || p.OCSP.Verified != test.verified {
				t.Fatalf("%+v", p.OCSP)
			}
			if got := found(p)[rules.CertificateInvalid]; got != test.finding || len(p.Warnings) != test.warnings {
				t.Errorf("finding %v, warnings %q", got, p.Warnings)
			}
		})
	}
	if p := one(t, options(t), target(serveTLS(t, config("good")))); p.OCSP != nil {
		t.Errorf("%+v", p.OCSP)
	}
}
