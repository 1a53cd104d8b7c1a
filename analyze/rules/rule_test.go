package rules

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/dynwatch/dynwatch/analyze/session"
)

func TestAllIsInTheOrderOfTheTable(t *testing.T) {
	want := []string{"plaintext", "tls-version", "tls-downgrade", "tls-capped", "weak-cipher", "unexpected-issuer", "issuer-changed", "certificate-replayed",
		"certificate-invalid", "verification-disabled", "interception-refused", "unexpected-destination", "client-obsolete", "cleartext-proxy",
		"unexpected-region", "public-endpoint"}
	var got []string
	for _, r := range All() {
		got = append(got, r.ID)
		if byID, ok := ByID(r.ID); !ok || byID != r {
			t.Errorf("ByID(%s) is another rule", r.ID)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if _, ok := ByID("no-such-rule"); ok {
		t.Error("a rule that is not there was found")
	}
}

func TestEveryRuleIsWhole(t *testing.T) {
	for _, r := range All() {
		if r.Title == "" || r.Citation == "" || r.Summary == "" || r.Why == "" || r.Limits == "" || r.Severity == session.SeverityNone ||
			r.Applies == nil || r.Check == nil {
			t.Errorf("%s lacks a part", r.ID)
		}
		if strings.HasSuffix(r.Title, ".") || len(r.Title) > 80 {
			t.Errorf("%s: title %q", r.ID, r.Title)
		}
		for _, text := range []string{r.Summary, r.Why, r.Limits} {
			if !strings.HasSuffix(text, ".") || strings.Contains(text, "  ") {
				t.Errorf("%s: %q is no sentence", r.ID, text)
			}
		}
		if len(r.Fix.Steps) == 0 || len(r.Fix.Snippets) == 0 {
			t.Errorf("%s says no repair", r.ID)
		}
		for _, s := range r.Fix.Snippets {
			if s.For == "" || s.Text == "" || strings.HasSuffix(s.Text, "\n") {
				t.Errorf("%s: snippet %q", r.ID, s.For)
			}
		}
	}
}

// The rules that a change in the application repairs speak to all the clients that people use.
func TestRepairsCoverTheClients(t *testing.T) {
	for _, id := range []string{Plaintext, TLSVersion, TLSDowngrade, UnexpectedIssuer, VerificationDisabled, InterceptionRefused, ClientObsolete} {
		r, _ := ByID(id)
		text := r.Explain()
		for _, client := range []string{"boto3", "Django", "Flask", "AWS CLI", "Go (aws-sdk-go-v2)", "Java (SDK v2)", "Node (SDK v3)"} {
			if !strings.Contains(text, client) {
				t.Errorf("%s does not speak to %s", id, client)
			}
		}
	}
}

func TestExplainFitsTheWidth(t *testing.T) {
	for _, r := range All() {
		text := r.Explain()
		if !strings.HasPrefix(text, r.ID+": ") || !strings.HasSuffix(text, "\n") || strings.HasSuffix(text, "\n\n") {
			t.Errorf("%s begins or ends oddly", r.ID)
		}
		for i, line := range strings.Split(text, "\n") {
			if n := utf8.RuneCountInString(strings.ReplaceAll(line, "\t", "        ")); n > Width {
				t.Errorf("%s, line %d has %d columns: %s", r.ID, i+1, n, line)
			}
			if strings.TrimRight(line, " \t") != line {
				t.Errorf("%s, line %d ends in blanks", r.ID, i+1)
			}
		}
	}
}

func TestEvaluateOrdersBySeverityThenByTable(t *testing.T) {
	s := left12()
	s.TLS.ClientAppData = true
	s.TLS.OfferedMax, s.TLS.OfferedVersions = session.TLS13, []session.Version{session.TLS13}
	s.TLS.Cipher, s.TLS.KeyProof = "TLS_RSA_WITH_AES_128_CBC_SHA", session.KeyProofNone
	s.Chain.NameMismatch = true
	var got []string
	for _, f := range Evaluate(&Input{Session: s, Policy: &Policy{Regions: []string{"eu-west-1"}}}) {
		got = append(got, f.Rule)
	}
	want := []string{UnexpectedIssuer, VerificationDisabled, WeakCipher, UnexpectedRegion, TLSCapped}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestEvaluateSaysNothingOfOtherServices(t *testing.T) {
	for _, base := range bases {
		s := base()
		s.Endpoint = session.Endpoint{Name: "s3.us-east-1.amazonaws.com"}
		if f := Evaluate(&Input{Session: s}); f != nil {
			t.Errorf("findings %v", f)
		}
	}
}

func TestEvaluateTakesAnEmptySession(t *testing.T) {
	s := &session.Session{Endpoint: session.Endpoint{Service: "dynamodb"}}
	for _, with := range []func(){
		func() {},
		func() { s.TLS = &session.TLS{} },
		func() { s.HTTP = &session.HTTP{} },
		func() { s.DAX = &session.DAX{} },
		func() { s.Proxy = &session.Proxy{Connect: true, Established: true} },
		func() { s.Chain = &session.Chain{} },
		func() { s.Certificate = &session.Certificate{}; s.Visibility = session.VisibilityVisible },
	} {
		with()
		f := Evaluate(&Input{Session: s, History: NewRecent()})
		NewRecent().Observe(s)
		if v := Verdict(s, f); v == session.VerdictOK {
			t.Error("an empty session is ok")
		}
	}
}

// A rule only reads.
func TestEvaluateDoesNotChangeTheSession(t *testing.T) {
	for i, base := range bases {
		s := base()
		before := dump(s)
		f := Evaluate(&Input{Session: s, Policy: somePolicy, History: pastOf()})
		for _, f := range f {
			for _, v := range f.Evidence {
				if list, ok := v.([]string); ok {
					for i := range list {
						list[i] = "changed"
					}
				}
			}
		}
		if after := dump(s); after != before {
			t.Errorf("base %d changed\n%s\n%s", i, before, after)
		}
	}
	if somePolicy.Regions[0] != "eu-central-1" {
		t.Error("the policy changed")
	}
}

func BenchmarkEvaluate(b *testing.B) {
	b.ReportAllocs()
	in := &Input{Session: good13(), Policy: &Policy{}, History: NewRecent()}
	for b.Loop() {
		if f := Evaluate(in); f != nil {
			b.Fatal(f)
		}
	}
}
