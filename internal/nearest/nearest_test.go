package nearest

import (
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	list := []string{"capture", "explain", "ranges", "version", "DYNAMODB"}
	for word, want := range map[string]string{
		"captrue": "capture", "Capture": "capture", "explian": "explain", "range": "ranges", "vers": "version", "dynamo": "DYNAMODB", "x": "", "": "",
		"something": "", strings.Repeat("capture", 20): "",
	} {
		if got := Word(word, list); got != want {
			t.Errorf("nearest to %q is %q, want %q", word, got, want)
		}
	}
}
