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
	without := ofSession(s, f)
	s.Certificate = &session.Certificate{SeenBy: session.SeenByProbe, Issuer: "CN=Probed", SeenAt: s.Start, ProbeTrust: session.TrustForged}
	with := ofSession(s, f)
	with.complete()
	if with.Issuer != "" || with.Fingerprint != without.Fingerprint || with.Finding == nil || bytes.Contains(with.Finding, []byte("Probed")) {
		t.Errorf("%+v\n%s", with, with.Finding)
	}
}
