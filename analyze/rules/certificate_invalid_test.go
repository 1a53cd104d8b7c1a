package rules

import (
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
)

func TestCertificateInvalid(t *testing.T) {
	with := func(f func(*session.Chain)) *session.Session {
		return change(good12(), func(s *session.Session) { f(s.Chain) })
	}
	run(t, CertificateInvalid, []sample{
		{name: "expired", s: with(func(c *session.Chain) { c.Expired, c.OutOfTimeBy = true, 32*24*time.Hour }), want: session.High, says: []string{"expired by 32 days"}},
		{name: "expired a moment ago", s: with(func(c *session.Chain) { c.Expired, c.OutOfTimeBy = true, time.Minute }), want: session.High, says: []string{"1m0s"}},
		{name: "not yet valid", s: with(func(c *session.Chain) { c.NotYetValid = true }), want: session.High},
		{name: "wrong name", s: with(func(c *session.Chain) { c.NameMismatch = true }), want: session.High, says: []string{"not for the name " + name}},
		{name: "weak key", s: with(func(c *session.Chain) { c.WeakKey = "RSA 1024" }), want: session.High, says: []string{"RSA 1024"}},
		{name: "weak signature", s: with(func(c *session.Chain) { c.WeakSignature = "SHA1-RSA" }), want: session.High},
		{name: "not a server's certificate", s: with(func(c *session.Chain) { c.WrongPurpose = true }), want: session.High},
		{name: "all right", s: good12()},
		{name: "another chain is another rule's", s: change(intercepted(), func(s *session.Session) { s.Chain.Expired = true })},
		{name: "no name to check", s: with(func(c *session.Chain) { c.NameMismatch, c.NameChecked = true, false })},
		{name: "the name in clear is ECH's outer name", s: change(good13(), func(s *session.Session) {
			g := good12()
			s.Certificate, s.Chain, s.Trust, s.Visibility = g.Certificate, g.Chain, g.Trust, session.VisibilityDecrypted
			s.Chain.NameMismatch, s.TLS.ECH = true, true
		})},
		{name: "hidden", s: good13()},
		{name: "lost", s: change(with(func(c *session.Chain) { c.Expired = true }), func(s *session.Session) { hide(s, session.VisibilityIncomplete) })},
	})
}
