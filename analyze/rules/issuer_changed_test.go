package rules

import (
	"fmt"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// certified is good12 at a time, with a chain to an allowed root of that name.
func certified(after time.Duration, root string) *session.Session {
	return change(good12(), func(s *session.Session) {
		s.Start, s.End = t0.Add(after), t0.Add(after+time.Second)
		s.Certificate.Issuer = "CN=Intermediate,O=Anybody"
		s.Chain = &session.Chain{LeadsToAllowed: true, AllowedBy: "allow-ca", NameChecked: true, Root: root}
		s.Trust = session.TrustAllowed
	})
}

// amazons is good12 at a time, with an intermediate and a root of Amazon's.
func amazons(after time.Duration, issuer, root string) *session.Session {
	return change(good12(), func(s *session.Session) {
		s.Start, s.End = t0.Add(after), t0.Add(after+time.Second)
		s.Certificate.Issuer, s.Chain.Root = issuer, root
	})
}

const (
	exampleRoot  = "CN=Example Inspection Root,O=Example Corp,C=US"
	exampleRoot2 = "CN=Example Inspection Root G2,O=Example Corp,C=US"
	otherRoot    = `CN=Other Root,O=Other\, Inc.,C=DE`
	m01          = "CN=Amazon RSA 2048 M01,O=Amazon,C=US"
	root1        = "CN=Amazon Root CA 1,O=Amazon,C=US"
)

// amazonPast is an endpoint that Amazon certified n times.
func amazonPast(n int, more ...*session.Session) History {
	var list []*session.Session
	for i := range n {
		list = append(list, amazons(time.Duration(i)*time.Minute, m01, root1))
	}
	return remember(append(list, more...)...)
}

func TestIssuerChanged(t *testing.T) {
	public := func(s *session.Session) {
		s.Chain = &session.Chain{LeadsToPublic: true, NameChecked: true, Root: "CN=DigiCert Global Root G2,OU=www.digicert.com,O=DigiCert Inc,C=US"}
		s.Trust = session.TrustPublic
	}
	run(t, IssuerChanged, []sample{
		{name: "Amazon's endpoint is inspected by an allowed CA", s: certified(time.Hour, exampleRoot), h: amazonPast(3), want: session.High,
			says: []string{"Example Corp", "Amazon Trust Services"}},
		{name: "still so a little later", s: certified(2*time.Hour, exampleRoot), h: amazonPast(3, certified(time.Hour, exampleRoot)), want: session.High},
		{name: "one allowed CA after another", s: certified(time.Hour, otherRoot), want: session.Medium, says: []string{`Other\, Inc.`},
			h: remember(certified(0, exampleRoot), certified(1, exampleRoot), certified(2, exampleRoot))},
		{name: "inspection ended", s: amazons(time.Hour, m01, root1), want: session.Medium,
			h: remember(certified(0, exampleRoot), certified(1, exampleRoot), certified(2, exampleRoot))},
		{name: "a public CA in a partition whose CA is not published", s: change(certified(time.Hour, ""), func(s *session.Session) {
			public(s)
			s.Endpoint.Partition = "aws-cn"
		}), h: amazonPast(3), want: session.High},
		{name: "a public CA elsewhere is unexpected-issuer's alone", s: change(certified(time.Hour, ""), public), h: amazonPast(3)},
		{name: "a private CA is unexpected-issuer's alone", s: change(intercepted(), func(s *session.Session) { s.Start = t0.Add(time.Hour) }), h: amazonPast(3)},
		{name: "Amazon's next intermediate", s: amazons(time.Hour, "CN=Amazon RSA 2048 M04,O=Amazon,C=US", root1), h: amazonPast(9)},
		{name: "another root of Amazon's", s: amazons(time.Hour, "CN=Amazon ECDSA 256 M02,O=Amazon,C=US", "CN=Amazon Root CA 3,O=Amazon,C=US"), h: amazonPast(9)},
		{name: "Amazon's Starfield root", s: amazons(time.Hour, m01, "CN=Starfield Services Root Certificate Authority - G2,O=Starfield Technologies\\, Inc.,C=US"), h: amazonPast(9)},
		{name: "the company's next root", s: certified(time.Hour, exampleRoot2),
			h: remember(certified(0, exampleRoot), certified(1, exampleRoot), certified(2, exampleRoot))},
		{name: "two sessions are no habit", s: certified(time.Hour, exampleRoot), h: amazonPast(2)},
		{name: "nothing was seen before", s: certified(time.Hour, exampleRoot), h: remember()},
		{name: "a day later it is usual", s: certified(25*time.Hour+time.Minute, exampleRoot),
			h: amazonPast(3, certified(time.Hour, exampleRoot), amazons(20*time.Hour, m01, root1), certified(21*time.Hour, exampleRoot))},
		{name: "both from the beginning", s: certified(time.Hour, exampleRoot),
			h: remember(certified(0, exampleRoot), amazons(1, m01, root1), certified(2, exampleRoot), amazons(3, m01, root1), amazons(4, m01, root1))},
		{name: "the habit is forgotten", s: certified(26*time.Hour, exampleRoot), h: amazonPast(3)},
		{name: "the certificate is encrypted", s: change(good13(), func(s *session.Session) { s.Start = t0.Add(time.Hour) }), h: amazonPast(3)},
		{name: "the certificate is of the session that is resumed", s: change(certified(time.Hour, exampleRoot), func(s *session.Session) {
			s.Visibility, s.Certificate.SeenBy = session.VisibilityResumed, "resumption"
		}), h: amazonPast(3)},
		{name: "another endpoint", s: change(certified(time.Hour, exampleRoot), func(s *session.Session) {
			s.Endpoint.Name, s.TLS.SNI = "dynamodb.eu-west-1.amazonaws.com", "dynamodb.eu-west-1.amazonaws.com"
		}), h: amazonPast(3)},
		{name: "the time is unknown", s: change(certified(0, exampleRoot), func(s *session.Session) { s.Start = time.Time{} }), h: amazonPast(3)},
		{name: "there is no memory", s: certified(time.Hour, exampleRoot)},
		{name: "plain HTTP", s: plain(), h: amazonPast(3)},
		{name: "an emulator", s: change(certified(time.Hour, exampleRoot), func(s *session.Session) {
			s.Endpoint.Service, s.Endpoint.Kind = "dynamodb-local", "local"
		}), h: amazonPast(3)},
	})
}

func TestIssuerChangedNamesWhoWasReplaced(t *testing.T) {
	h := amazonPast(3, certified(time.Hour, exampleRoot), certified(time.Hour+1, exampleRoot), certified(time.Hour+2, exampleRoot), certified(time.Hour+3, exampleRoot))
	f := issuerChangedRule.Check(&Input{Session: certified(2*time.Hour, exampleRoot), History: h})
	if f == nil || f.Evidence["previous_authority"] != amazonAuthority || f.Evidence["previous_sessions"] != 3 {
		t.Fatalf("%+v", f)
	}
	f = issuerChangedRule.Check(&Input{Session: certified(2*time.Hour, otherRoot), History: h})
	if f == nil || f.Evidence["previous_authority"] != "Example Corp" {
		t.Fatalf("a third authority: %+v", f)
	}
}

func TestOrganisation(t *testing.T) {
	for dn, want := range map[string]string{
		"CN=Amazon Root CA 1,O=Amazon,C=US":     "Amazon",
		`CN=a\,O=fake,O=Other\, Inc.,C=DE`:      `Other\, Inc.`,
		"CN=only":                               "CN=only",
		"":                                      "",
		`CN=x\\,O=y`:                            "y",
		"OU=a+O=b,C=US":                         "b",
		"O=":                                    "O=",
		`CN=\`:                                  `CN=\`,
		"CN=FOO=bar,STREET=O=no,O=yes,O=second": "yes",
	} {
		if got := organisation(dn); got != want {
			t.Errorf("%s: %q, want %q", dn, got, want)
		}
	}
}

func TestAuthoritiesAreBounded(t *testing.T) {
	r := NewRecent()
	for i := range 2000 {
		r.Observe(certified(time.Duration(i), fmt.Sprintf("O=Authority %d", i)))
		r.Observe(change(certified(time.Duration(i), exampleRoot), func(s *session.Session) { s.Endpoint.Name = fmt.Sprintf("%d.example", i) }))
	}
	if n := len(r.endpoints.entries); n != maxEndpoints {
		t.Errorf("%d endpoints, at most %d", n, maxEndpoints)
	}
	r.Observe(certified(3000, "O=Authority 1999"))
	list := r.Authorities(certified(time.Second, exampleRoot))
	if len(list) == 0 || len(list) > maxAuthorities {
		t.Errorf("%d authorities, at most %d", len(list), maxAuthorities)
	}
}
