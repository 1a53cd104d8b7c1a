package session

import "fmt"

// Severity of a finding. The zero value is none.
type Severity uint8

// The severities, in rising order.
const (
	SeverityNone Severity = iota
	Low
	Medium
	High
	Critical
)

var severityNames = [...]string{"none", "low", "medium", "high", "critical"}

// String is the lower-case word.
func (s Severity) String() string {
	if int(s) < len(severityNames) {
		return severityNames[s]
	}
	return fmt.Sprintf("severity(%d)", uint8(s))
}

// ParseSeverity reads the word that String gives.
func ParseSeverity(s string) (Severity, error) {
	for i, name := range severityNames {
		if s == name {
			return Severity(i), nil
		}
	}
	return 0, fmt.Errorf("unknown severity %q: use none, low, medium, high or critical", s)
}

// Finding is what a rule states about one session.
type Finding struct {
	Rule     string
	Severity Severity
	Message  string
	// Evidence are the observed values that justify it, by snake_case key. Values are strings, booleans, numbers or lists of strings.
	Evidence map[string]any
}
