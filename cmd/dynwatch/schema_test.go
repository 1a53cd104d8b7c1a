package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/internal/testenv"
	"github.com/dynwatch/dynwatch/internal/testschema"
)

// TestEveryLineIsByTheSchema judges every capture at hand with everything turned on, and holds each line to the schema.
func TestEveryLineIsByTheSchema(t *testing.T) {
	schema := testschema.Events(t)
	files := append([]string{samplePath}, testenv.SharedFiles(t, "corpus", "dynamodb", "*.pcap*")...)
	files = append(files, testenv.SharedFiles(t, "corpus", "tls", "*.pcap*")...)
	roots := testenv.SharedFiles(t, "corpus", "dynamodb", "certs", "test-roots.pem")
	lines, kinds := 0, make(map[string]int)
	for _, file := range files {
		args := []string{"capture", "-r", file, "-o", "json", "--all", "--tables", "--allow-region", "eu-west-1", "--allow-kind", "interface", "--min-version", "1.3"}
		for _, root := range roots {
			args = append(args, "--allow-ca", root)
		}
		base := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(file), "ng"), ".pcap")
		for _, keys := range []string{filepath.Join(filepath.Dir(file), "keys", base+".keylog"), filepath.Join(filepath.Dir(file), base+".keys")} {
			if _, err := os.Stat(keys); err == nil {
				args = append(args, "--keylog", keys)
			}
		}
		stdout, stderr, status := call(nil, args...)
		if status != exitOK && status != exitFailed || status == exitOK && strings.Contains(stderr, "error") {
			t.Errorf("%s: status %d: %s", filepath.Base(file), status, stderr)
		}
		out := []byte(stdout)
		if status == exitOK && !strings.Contains(stdout, `{"type":"summary"`) {
			t.Errorf("%s: no summary", filepath.Base(file))
		}
		for line := range bytes.Lines(out) {
			v, err := schema.Check(line)
			if err != nil {
				t.Fatalf("%s: %v\n%s", filepath.Base(file), err, line)
			}
			lines++
			kinds[v.(map[string]any)["type"].(string)]++
		}
	}
	if kinds["session"] == 0 || kinds["dns"] == 0 || kinds["summary"] == 0 {
		t.Errorf("not every kind of line was seen: %v", kinds)
	}
	t.Logf("%d lines of %d captures: %v", lines, len(files), kinds)
}

// TestHistoryIsByTheSchema holds what inventory and findings print to the schema.
func TestHistoryIsByTheSchema(t *testing.T) {
	schema, dir := testschema.Events(t), t.TempDir()
	writeHistories(t, dir)
	lines := 0
	for _, command := range []string{"inventory", "findings"} {
		stdout, stderr, status := call(nil, command, "-o", "json", "--state-dir", filepath.Join(dir, "state"))
		if status != exitOK {
			t.Fatalf("%s: status %d: %s", command, status, stderr)
		}
		for line := range strings.Lines(stdout) {
			if _, err := schema.Check([]byte(line)); err != nil {
				t.Errorf("%v\n%s", err, line)
			}
			lines++
		}
	}
	if lines != 7 {
		t.Errorf("%d lines", lines)
	}
}
