package rules

import (
	"fmt"
	"strings"
)

// Remediation says how to make a finding go away for good.
type Remediation struct {
	// Steps are what to do, in order, for whoever gets the alert.
	Steps []string
	// Snippets are lines to copy.
	Snippets []Snippet
}

// Snippet is code or configuration for one client.
type Snippet struct {
	// For names the client: "boto3 (Django, Flask)", "Go (aws-sdk-go-v2)".
	For string
	// Text is the lines, without a newline at the end.
	Text string
}

// Width is the most columns that Explain fills.
const Width = 100

// Explain is the rule as plain text for a terminal: what it says, why it matters, what it does not say, and how to fix it.
// Lines have at most Width columns and end with a newline.
func (r *Rule) Explain() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n\n", r.ID, r.Title)
	wrap(&b, "", fmt.Sprintf("Severity: up to %s. Source: %s.", r.Severity, r.Citation))
	section(&b, "Holds when", r.Summary)
	section(&b, "Why it matters", r.Why)
	if r.Limits != "" {
		section(&b, "What it does not say", r.Limits)
	}
	b.WriteString("\nHow to fix it\n")
	for i, step := range r.Fix.Steps {
		wrap(&b, fmt.Sprintf("  %d. ", i+1), step)
	}
	for _, s := range r.Fix.Snippets {
		fmt.Fprintf(&b, "\n  %s:\n", s.For)
		for _, line := range strings.Split(s.Text, "\n") {
			if line == "" {
				b.WriteByte('\n')
				continue
			}
			fmt.Fprintf(&b, "    %s\n", line)
		}
	}
	return b.String()
}

func section(b *strings.Builder, heading, text string) {
	fmt.Fprintf(b, "\n%s\n", heading)
	for i, paragraph := range strings.Split(text, "\n\n") {
		if i > 0 {
			b.WriteByte('\n')
		}
		wrap(b, "  ", paragraph)
	}
}

// wrap writes text behind the prefix, and further lines indented by the prefix's width. Words longer than a line stand alone.
func wrap(b *strings.Builder, prefix, text string) {
	indent := strings.Repeat(" ", len(prefix))
	line := prefix
	empty := true
	for _, word := range strings.Fields(text) {
		if !empty && len(line)+1+len(word) > Width {
			b.WriteString(line + "\n")
			line, empty = indent, true
		}
		if !empty {
			line += " "
		}
		line += word
		empty = false
	}
	b.WriteString(line + "\n")
}
