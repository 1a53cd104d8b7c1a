package scale

import (
	"flag"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

var update = flag.Bool("update", false, "rewrite the tables of docs/scale.md")

const (
	document = "../../docs/scale.md"
	opening  = "<!-- numbers: written by go test ./bench/scale -update -->\n"
	closing  = "<!-- /numbers -->"
)

// TestTheDocumentSaysWhatAFleetCosts holds docs/scale.md to the program.
func TestTheDocumentSaysWhatAFleetCosts(t *testing.T) {
	testenv.Slow(t, "it computes four hours of a fleet")
	dir := t.TempDir()
	if shm, err := os.MkdirTemp("/dev/shm", "dynwatch-scale"); err == nil { // the queues are synced to the disk every second of the hour
		t.Cleanup(func() { os.RemoveAll(shm) })
		dir = shm
	}
	var hours []*Hour
	for _, s := range Scenarios {
		synctest.Test(t, func(t *testing.T) {
			h, err := Run(Default, s, dir)
			if err != nil {
				t.Fatal(err)
			}
			hours = append(hours, h)
		})
	}
	for _, h := range hours {
		if told := h.Findings - h.Folded - h.Limited; told <= 0 || h.OTLP.Units != h.Alerts || h.Log.Units == 0 || h.Plain.Samples == 0 {
			t.Errorf("%s: something did not arrive: %+v", h.Name, h)
		}
	}
	got := Report(Default, hours)
	t.Log("\n" + got)
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(text), opening)
	want, tail, closed := strings.Cut(rest, closing)
	if !ok || !closed {
		t.Fatalf("%s has no place for the tables", document)
	}
	if *update {
		if err := os.WriteFile(document, []byte(head+opening+got+closing+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != want {
		t.Errorf("%s has other numbers (go test ./bench/scale -update, then read what it says about them):\n%s", document, want)
	}
}

func TestNumbersAreForPeople(t *testing.T) {
	for in, want := range map[float64]string{0: "0", 0.1234: "0.123", 7: "7", 99.96: "100", 1234: "1,230", 1234567: "1,230,000", 999.6: "1,000"} {
		if got := number(in); got != want {
			t.Errorf("%v is %s, want %s", in, got, want)
		}
	}
	for in, want := range map[float64]string{12: "12 B", 45678: "45.7 kB", 4.9e9: "4.9 GB", 2e12: "2 TB"} {
		if got := bytesOf(in); got != want {
			t.Errorf("%v is %s, want %s", in, got, want)
		}
	}
}
