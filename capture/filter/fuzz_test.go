package filter

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// fuzzLinks are the link types that a fuzzed byte chooses from, one of them unknown.
var fuzzLinks = []uint32{
	LinkEthernet, LinkRaw, LinkLinuxSLL, LinkLinuxSLL2, LinkNull, LinkLoop, LinkPPP, LinkIPv4, LinkIPv6, LinkDLTRaw, 147,
}

// FuzzCompile holds every expression to: a filter or an error, never both; an error that points into the expression and prints
// without control bytes; a program that loads, and that matches what it matched before the optimizer.
func FuzzCompile(f *testing.F) {
	seen := make(map[string]bool)
	for _, o := range readExpressions(f) {
		if !seen[o.expr] {
			seen[o.expr] = true
			f.Add(o.expr, byte(slices.Index(fuzzLinks, linkNames[o.link])))
		}
	}
	for _, c := range refusals {
		f.Add(c.expr, byte(0))
	}
	f.Add(strings.Repeat("(", 300), byte(0))
	f.Add(strings.Repeat("not ", 300)+"ip", byte(0))
	https, dns6 := benchFrames()
	samples := [][]byte{https, dns6, https[:20], https[14:], dns6[14:], nil}

	f.Fuzz(func(t *testing.T, expr string, linkIndex byte) {
		link := fuzzLinks[int(linkIndex)%len(fuzzLinks)]
		filter, err := Compile(expr, Options{Link: link})
		if (filter == nil) == (err == nil) {
			t.Fatalf("filter %v, error %v", filter, err)
		}
		if err != nil {
			if se, ok := errors.AsType[*SyntaxError](err); ok {
				if se.Offset < 0 || se.Offset > len(expr) || se.Expr != expr || se.Msg == "" {
					t.Fatalf("%#v", se)
				}
				text := se.Error()
				if strings.ContainsFunc(strings.ReplaceAll(text, "\n", ""), func(r rune) bool { return r < ' ' || r == 0x7f }) {
					t.Fatalf("control bytes in %q", text)
				}
				if n := strings.Count(text, "\n"); n < 2 || n > 3 {
					t.Fatalf("%d line ends in %q", n, text)
				}
			} else if !errors.Is(err, ErrLinkType) {
				t.Fatal(err)
			}
			return
		}
		if n := len(filter.Program()); n == 0 || n > maxInstructions {
			t.Fatalf("%d instructions", n)
		}
		if strings.Count(filter.Dump(), "\n")+1 != strings.Count(filter.DumpDecimal(), "\n") {
			t.Fatalf("dumps differ:\n%s\n%s", filter.Dump(), filter.DumpDecimal())
		}
		j := newJudges(t, filter)
		for _, frame := range samples {
			j.agree(t, frame)
		}
		again, err := Compile(expr, Options{Link: link})
		if err != nil || again.DumpDecimal() != filter.DumpDecimal() {
			t.Fatalf("a second time: %v\n%s\n%s", err, filter.Dump(), again.Dump())
		}
	})
}

// FuzzMatch runs one of the expressions over a fuzzed frame: Match and the other machines agree.
func FuzzMatch(f *testing.F) {
	var all []judges
	for _, o := range readExpressions(f) {
		if filter, err := Compile(o.expr, Options{Link: linkNames[o.link]}); err == nil {
			all = append(all, newJudges(f, filter))
		}
	}
	i := 0
	for _, link := range []string{"EN10MB", "RAW", "LINUX_SLL", "LINUX_SLL2", "NULL", "PPP"} {
		for _, frame := range frames(f, link) {
			f.Add(uint16(i*37), frame)
			i++
		}
	}
	f.Fuzz(func(t *testing.T, index uint16, frame []byte) {
		// A few expressions for each frame: the frame is what costs to invent.
		for k := range 16 {
			all[(int(index)+k*61)%len(all)].agree(t, frame)
		}
	})
}
