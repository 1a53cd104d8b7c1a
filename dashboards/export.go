package dashboards

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

//go:embed prometheus/*.rules.yml
var prometheus embed.FS

// File is one file of an export.
type File struct {
	// Name is its path, with slashes, below the folder that is exported to.
	Name string
	Data []byte
}

func all() map[string]*dashboard {
	return map[string]*dashboard{"overview": overview(), "findings": findings(), "workloads": workload(), "agent": agent()}
}

// names of the dashboards, in the order in which a reader meets them.
var names = []string{"overview", "findings", "workloads", "agent"}

// Files are the dashboards, as grafana/NAME.json, and the rules, as prometheus/NAME.rules.yml.
func Files() []File {
	var list []File
	boards := all()
	for _, name := range names {
		list = append(list, File{"grafana/dynwatch-" + name + ".json", encode(boards[name])})
	}
	rules, err := prometheus.ReadDir("prometheus")
	if err != nil {
		panic(err) // it is part of the program
	}
	for _, r := range rules {
		name := "prometheus/" + r.Name()
		data, err := prometheus.ReadFile(name)
		if err != nil {
			panic(err)
		}
		list = append(list, File{name, data})
	}
	return list
}

func encode(d *dashboard) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(d); err != nil {
		panic(err) // the model has nothing that cannot be encoded
	}
	return b.Bytes()
}

// Export writes all files below dir, which is made if it is not there, and returns their paths. Files of the same names are replaced.
func Export(dir string) ([]string, error) {
	var written []string
	for _, f := range Files() {
		name := filepath.Join(dir, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return written, fmt.Errorf("export dashboards: %w", err)
		}
		if err := os.WriteFile(name, f.Data, 0o644); err != nil {
			return written, fmt.Errorf("export dashboards: %w", err)
		}
		written = append(written, name)
	}
	return written, nil
}

// Runbook is where the runbook of a rule's findings is: that of the alert that Prometheus makes of them.
func Runbook(rule string) string {
	name := "DynwatchFinding"
	switch rule {
	case "plaintext":
		name = "DynwatchCleartext"
	case "unexpected-issuer", "certificate-replayed":
		name = "DynwatchUnexpectedIssuer"
	case "verification-disabled":
		name = "DynwatchVerificationDisabled"
	case "tls-downgrade":
		name = "DynwatchDowngrade"
	}
	return runbooks + name + ".md"
}

const runbooks = "https://github.com/dynwatch/dynwatch/blob/main/docs/runbooks/"
