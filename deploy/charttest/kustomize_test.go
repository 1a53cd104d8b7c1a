package charttest

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// TestKustomizeBuild does what `kubectl kustomize deploy/kubernetes` does, and looks that image and namespace are set by the file alone.
func TestKustomizeBuild(t *testing.T) {
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), "../kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	kinds := make(map[string]int)
	for _, r := range built.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		decode(t, object{kind: r.GetKind(), text: text})
		kinds[r.GetKind()]++
		if ns := r.GetNamespace(); r.GetKind() != "Namespace" && ns != "dynwatch" {
			t.Errorf("%s %s is in namespace %q", r.GetKind(), r.GetName(), ns)
		}
		if r.GetKind() != "DaemonSet" {
			continue
		}
		var d appsv1.DaemonSet
		if err := yaml.Unmarshal(text, &d); err != nil {
			t.Fatal(err)
		}
		for _, c := range d.Spec.Template.Spec.Containers {
			if !strings.HasSuffix(c.Image, "dynwatch/dynwatch:0.1.0") {
				t.Errorf("the image is %s", c.Image)
			}
		}
	}
	for _, kind := range []string{"Namespace", "DaemonSet", "ConfigMap", "ServiceAccount"} {
		if kinds[kind] != 1 {
			t.Errorf("%d of kind %s: %v", kinds[kind], kind, kinds)
		}
	}
}
