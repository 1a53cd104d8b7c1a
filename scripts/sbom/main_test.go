package main

import (
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// TestEveryModuleIsListed looks at this test's own binary, which is built of modules too.
func TestEveryModuleIsListed(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	info, err := buildinfo.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := write(&b, self, "1.2.3"); err != nil {
		t.Fatal(err)
	}
	var doc document
	if err := json.Unmarshal(b.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Format != "CycloneDX" || doc.Metadata.Component.Version != "1.2.3" || len(doc.Metadata.Component.Hashes) != 1 {
		t.Errorf("%+v", doc.Metadata)
	}
	if len(doc.Components) != len(info.Deps)+1 || len(doc.Dependencies) != 1 || len(doc.Dependencies[0].On) != len(doc.Components) {
		t.Errorf("%d components of %d modules and the standard library", len(doc.Components), len(info.Deps))
	}
	if std := doc.Components[0]; std.Name != "std" || std.Version != strings.TrimPrefix(info.GoVersion, "go") {
		t.Errorf("%+v", std)
	}
	if err := write(&b, "/dev/null", "1"); err == nil {
		t.Error("a file that is no Go program has a bill of materials")
	}
}
