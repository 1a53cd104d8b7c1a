package output

import "github.com/dynwatch/dynwatch/analyze/session"

// palette paints with ANSI colours when true. Colour never carries what words do not say.
type palette bool

func (p palette) paint(code, s string) string {
	if !p {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p palette) bold(s string) string { return p.paint("1", s) }
func (p palette) dim(s string) string  { return p.paint("2", s) }
func (p palette) warn(s string) string { return p.paint("33", s) }

func (p palette) verdict(v session.Verdict, s string) string {
	switch v {
	case session.VerdictFinding:
		return p.paint("1;31", s)
	case session.VerdictOK:
		return p.paint("32", s)
	case session.VerdictUnverified, session.VerdictIncomplete:
		return p.paint("33", s)
	}
	return p.paint("2", s)
}

func (p palette) severity(v session.Severity, s string) string {
	switch v {
	case session.Critical:
		return p.paint("1;31", s)
	case session.High:
		return p.paint("31", s)
	case session.Medium:
		return p.paint("33", s)
	}
	return p.paint("36", s)
}
