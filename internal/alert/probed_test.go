package alert

import (
	"bytes"
	"testing"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// TestACertificateThatAProbeSawIsNobodysIssuer: alerts of sessions with one are those of sessions without.
func TestACertificateThatAProbeSawIsNobodysIssuer(t *testing.T) {
	s, f := weak(name)
	s.Certificate = nil
	without, err := ofSession(s, f)
	if err != nil {
		t.Fatal(err)
	}
	s.Certificate = &session.Certificate{SeenBy: session.SeenByProbe, Issuer: "CN=Probed", SeenAt: s.Start, ProbeTrust: session.TrustForged}
	with, err := ofSession(s, f)
	if err != nil {
		t.Fatal(err)
	}
	if with.Issuer != "" || with.Fingerprint != without.Fingerprint || bytes.Contains(with.Finding, []byte("Probed")) {
		t.Errorf("%+v\n%s", with, with.Finding)
	}
}
