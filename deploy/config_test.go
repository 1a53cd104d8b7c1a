package deploy

import (
	"os"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/internal/config"
)

// TestConfigurations: the agent takes what the packages and the plain manifests bring.
func TestConfigurations(t *testing.T) {
	packaged, err := os.ReadFile("package/dynwatch.yaml")
	if err != nil {
		t.Fatal(err)
	}
	manifests, err := os.ReadFile("kubernetes/dynwatch.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(manifests), "\n  dynwatch.yaml: |\n")
	text, _, found := strings.Cut(text, "\n---")
	if !found {
		t.Fatal("no configuration in the manifests")
	}
	inManifests := strings.ReplaceAll("\n"+text, "\n    ", "\n")
	// What stands behind # there is meant to be used too.
	commented := strings.ReplaceAll(string(packaged), "\n# ", "\n")
	_, commented, _ = strings.Cut(commented, "\nobserve:")
	for name, text := range map[string]string{"packages": string(packaged), "packages, with all": "observe:" + commented, "manifests": inManifests} {
		f, err := config.Parse(name, []byte(text))
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, text)
			continue
		}
		if name == "manifests" && (f.Config.Source.Kind != "ebpf" || f.Config.Web.Listen != "0.0.0.0:9464") {
			t.Errorf("%s: %+v", name, f.Config)
		}
		if strings.HasPrefix(name, "packages") && f.Config.Source.Kind != "auto" {
			t.Errorf("%s: %+v", name, f.Config)
		}
	}
}
