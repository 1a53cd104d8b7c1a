package main

import (
	"os/exec"
	"strings"
	"testing"
)

// module is the path of this module.
const module = "github.com/dynwatch/dynwatch/"

// TestImportsPointOneWay holds the packages to the direction that the design gives them: bytes flow from capture to analyze to output, and
// nothing looks back.
func TestImportsPointOneWay(t *testing.T) {
	rules := []struct {
		of     string   // packages with this prefix, within the module
		may    []string // prefixes of what they may import of this module; everything else is refused
		never  []string // other packages that they must not reach
		tested int
	}{
		{of: "analyze", may: []string{"analyze", "internal/flow"}, never: []string{"net/http", "os/exec", "os/signal", "github.com/google/gopacket"}},
		{of: "capture", may: []string{"capture", "bpf", "internal/flow"}, never: []string{"net/http", "github.com/google/gopacket"}},
		{of: "bpf", may: []string{"bpf", "internal/flow"}},
		{of: "internal/flow", may: []string{"internal/flow"}},
		{of: "internal/journal", may: []string{"internal/journal"}},
		{of: "internal/history", may: []string{"internal/history", "internal/journal", "internal/output", "internal/flow", "analyze"}, never: []string{"net/http"}},
		{of: "internal/alert", may: []string{"internal/alert", "internal/journal", "internal/output", "internal/flow", "analyze/session"}},
		{of: "internal/output", may: []string{"internal/output", "internal/flow", "analyze/session"}},
	}
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}}: {{join .Deps \" \"}}", module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		path, deps, _ := strings.Cut(strings.TrimSpace(line), ": ")
		name := strings.TrimPrefix(path, module)
		for i := range rules {
			r := &rules[i]
			if name != r.of && !strings.HasPrefix(name, r.of+"/") {
				continue
			}
			r.tested++
			for _, dep := range strings.Fields(deps) {
				if own, ok := strings.CutPrefix(dep, module); ok && !within(own, r.may) {
					t.Errorf("%s reaches %s", name, own)
				}
				if within(dep, r.never) {
					t.Errorf("%s reaches %s", name, dep)
				}
			}
		}
	}
	for _, r := range rules {
		if r.tested == 0 && r.of != "bpf" {
			t.Errorf("no package %s: the rule tests nothing", r.of)
		}
	}
}

func within(path string, prefixes []string) bool {
	for _, p := range prefixes {
		if path == p || strings.HasPrefix(path, p+"/") {
			return true
		}
	}
	return false
}
