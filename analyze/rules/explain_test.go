package rules

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/analyze/session"
)

var update = flag.Bool("update", false, "rewrite golden files")

// dump is a session in a form that compares.
func dump(s *session.Session) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// The page docs/rules.md is made from the rules: go test ./analyze/rules -run RulesPage -update
func TestRulesPage(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "rules.md")
	got := rulesPage()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not what the rules say: run go test ./analyze/rules -run RulesPage -update", path)
	}
}

func rulesPage() string {
	var b strings.Builder
	b.WriteString(`# Rules

What dynwatch concludes from a session, rule by rule. ` + "`dynwatch explain RULE`" + ` prints the same text. This page is made from the rules
themselves (` + "`go test ./analyze/rules -run RulesPage -update`" + `); change them, not the page.

A finding carries the values that it rests on. Severities are low, medium, high and critical; the table shows the highest that a rule
states. What was not seen is never a finding, and never ok: the verdict of a session is one of

- ` + "`finding`" + `: a rule holds;
- ` + "`incomplete`" + `: none holds, but bytes that matter are missing, or the session began before the capture;
- ` + "`ok`" + `: both hellos, the handshake's end and the chain were seen, the chain leads to Amazon or an allowed key with dates and name right, and,
  where it came in clear, a signature proves that the peer holds its key;
- ` + "`unverified`" + `: nothing wrong was seen, and nobody saw the certificate, as in an ordinary TLS 1.3 session in a capture file, or in a
  handshake that failed before it;
- ` + "`not-applicable`" + `: the session is not DynamoDB's.

| rule | severity | title |
|---|---|---|
`)
	for _, r := range All() {
		fmt.Fprintf(&b, "| [%s](#%s) | %s | %s |\n", r.ID, r.ID, r.Severity, r.Title)
	}
	for _, r := range All() {
		fmt.Fprintf(&b, "\n## %s\n\n%s%s.\n\nSeverity: up to %s. Source: %s.\n", r.ID, strings.ToUpper(r.Title[:1]), r.Title[1:], r.Severity, r.Citation)
		fmt.Fprintf(&b, "\n**Holds when.** %s\n\n**Why it matters.** %s\n", r.Summary, r.Why)
		if r.Limits != "" {
			fmt.Fprintf(&b, "\n**What it does not say.** %s\n", r.Limits)
		}
		b.WriteString("\n**How to fix it.**\n\n")
		for i, step := range r.Fix.Steps {
			fmt.Fprintf(&b, "%d. %s\n", i+1, step)
		}
		for _, s := range r.Fix.Snippets {
			fmt.Fprintf(&b, "\n%s:\n\n```\n%s\n```\n", s.For, s.Text)
		}
	}
	return b.String()
}
