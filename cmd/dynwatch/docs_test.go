package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/analyze"
	"github.com/dynwatch/dynwatch/analyze/tlswire"
	"github.com/dynwatch/dynwatch/capture"
	"github.com/dynwatch/dynwatch/internal/output"
	"github.com/dynwatch/dynwatch/internal/testenv"
)

func readDoc(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestEveryFieldIsDocumented(t *testing.T) {
	doc := readDoc(t, "docs/output.md")
	var schema struct {
		Defs map[string]struct {
			Properties map[string]struct {
				Enum  []string
				Items struct{ Enum []string }
			}
		} `json:"$defs"`
	}
	if err := json.Unmarshal([]byte(readDoc(t, "docs/events.schema.json")), &schema); err != nil {
		t.Fatal(err)
	}
	for object, def := range schema.Defs {
		for field, p := range def.Properties {
			if !strings.Contains(doc, "`"+field+"`") && !strings.Contains(doc, "`"+object+"."+field+"`") {
				t.Errorf("docs/output.md does not tell of %s.%s", object, field)
			}
			if field == "rule" || field == "level" {
				continue // docs/rules.md; a word that explains itself
			}
			for _, word := range append(p.Enum, p.Items.Enum...) {
				if !strings.Contains(doc, "`"+word+"`") {
					t.Errorf("docs/output.md does not tell of %s.%s %q", object, field, word)
				}
			}
		}
	}
}

func TestEveryLossCounterIsDocumented(t *testing.T) {
	doc := readDoc(t, "docs/output.md")
	out, _, _ := call(nil, "capture", "-r", samplePath, "-o", "json")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var summary struct{ Loss map[string]uint64 }
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &summary); err != nil {
		t.Fatal(err)
	}
	if len(summary.Loss) < 20 {
		t.Errorf("only %d counters", len(summary.Loss))
	}
	for name := range summary.Loss {
		if !strings.Contains(doc, "`"+name+"`") {
			t.Errorf("docs/output.md does not tell of %s", name)
		}
	}
}

// TestEveryCounterOfTheAnalysisIsInTheSummary: a counter that is added there and forgotten here would be a loss that nobody sees.
func TestEveryCounterOfTheAnalysisIsInTheSummary(t *testing.T) {
	noLoss := []string{"Segments", "Datagrams", "PayloadBytes", "Flows", "Sessions", "DNSAnswers"}
	var stats analyze.Stats
	v := reflect.ValueOf(&stats).Elem()
	for i := range v.NumField() {
		v.Field(i).SetUint(uint64(1000 + i))
	}
	s := &output.Summary{}
	fillSummary(s, capture.Stats{Loss: make(map[string]uint64)}, stats, tlswire.NewKeyLog(0), nil)
	var shown []uint64
	for _, n := range s.Loss {
		shown = append(shown, n)
	}
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; !slices.Contains(noLoss, name) && !slices.Contains(shown, uint64(1000+i)) {
			t.Errorf("analyze.Stats.%s is not among the summary's losses", name)
		}
	}
}

// TestExamplesForJQ runs the examples of docs/output.md.
func TestExamplesForJQ(t *testing.T) {
	testenv.Tool(t, "jq")
	doc := readDoc(t, "docs/output.md")
	n := 0
	for line := range strings.Lines(doc) {
		command, ok := strings.CutPrefix(strings.TrimSpace(line), "dynwatch ")
		left, right, piped := strings.Cut(command, " | jq ")
		if !ok || !piped {
			continue
		}
		n++
		args := strings.Fields(strings.ReplaceAll(left, "testdata/", filepath.Join("..", "..", "testdata")+"/"))
		out, stderr, status := call(nil, args...)
		if status != 0 {
			t.Errorf("%s: status %d: %s", left, status, stderr)
		}
		jq := testenv.Command(t, "sh", "-c", "jq "+right)
		jq.Stdin = strings.NewReader(out)
		got, err := jq.CombinedOutput()
		if err != nil || len(strings.TrimSpace(string(got))) == 0 {
			t.Errorf("jq %s: %v: %s", right, err, got)
		}
		t.Logf("%s", got)
	}
	if n < 5 {
		t.Errorf("%d examples were found", n)
	}
}

// TestTheReadmeShowsRealOutput compares the first example with what its command prints.
func TestTheReadmeShowsRealOutput(t *testing.T) {
	_, rest, _ := strings.Cut(readDoc(t, "README.md"), "bin/dynwatch capture -r testdata/sample.pcap --allow-ca testdata/sample-ca.pem\n```\n")
	_, rest, _ = strings.Cut(rest, "```\n")
	block, _, ok := strings.Cut(rest, "```\n")
	if !ok || strings.Count(block, "\n") < 10 {
		t.Fatalf("there is no example: %q", block)
	}
	out, _, _ := call(nil, "capture", "-r", samplePath, "--allow-ca", sampleCA)
	for line := range strings.Lines(block) {
		if line != "…\n" && !strings.Contains(out, line) {
			t.Errorf("dynwatch does not print: %s", line)
		}
	}
}
