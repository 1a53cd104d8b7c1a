package output

import (
	"encoding/csv"
	"strings"
	"testing"
)

func TestTableIsAligned(t *testing.T) {
	var b strings.Builder
	err := Table(&b, []string{"A", "NAME", "LAST"}, [][]string{{"1", "é", "x y"}, {"", "longer\x1b[31m", ""}})
	want := "A  NAME            LAST\n1  é               x y\n-  longer\\x1b[31m  -\n"
	if err != nil || b.String() != want {
		t.Errorf("%v\n%s\nwant\n%s", err, b.String(), want)
	}
}

func TestCSVIsNoFormula(t *testing.T) {
	var b strings.Builder
	rows := [][]string{{`=HYPERLINK("http://192.0.2.1")`, "a,b\"c"}, {"-1", "\x00\n@x"}, {"@x", ""}}
	if err := CSV(&b, []string{"one", "two"}, rows); err != nil {
		t.Fatal(err)
	}
	got, err := csv.NewReader(strings.NewReader(b.String())).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{{"one", "two"}, {`'=HYPERLINK("http://192.0.2.1")`, "a,b\"c"}, {"'-1", `\x00\x0a@x`}, {"'@x", ""}}
	for i := range want {
		if strings.Join(got[i], "|") != strings.Join(want[i], "|") {
			t.Errorf("row %d: %q, want %q", i, got[i], want[i])
		}
	}
}

func TestLineEscapes(t *testing.T) {
	for _, v := range []any{map[string]string{"a": "\u009b<"}, []byte(`{"a":"` + "\u009b" + `<"}`)} {
		var b strings.Builder
		if err := Line(&b, v); err != nil || b.String() != `{"a":"\u009b<"}`+"\n" {
			t.Errorf("%q, %v", b.String(), err)
		}
	}
}
