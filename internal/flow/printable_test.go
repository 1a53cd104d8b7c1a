package flow

import "testing"

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"":                     "",
		"gunicorn (main)":      "gunicorn (main)",
		"größer":               "größer",
		"a\xff":                "a?",
		"cut off gr\xc3":       "cut off gr?",
		"\x1b[31mred\x00":      "?[31mred?",
		"two\nlines\tand more": "two lines and more",
		"\u202etxt.exe":        "?txt.exe",
		"\ufffd":               "?",
	} {
		if got := Printable(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
