package charttest

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "rewrite the plain manifests from the chart")

const chartDir = "../helm/dynwatch"

func load(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.Load(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// render gives the documents of the chart with values in YAML, by the file of their template.
func render(t *testing.T, kube, values string) (map[string]string, error) {
	t.Helper()
	c := load(t)
	v, err := chartutil.ReadValues([]byte(values))
	if err != nil {
		t.Fatal(err)
	}
	caps := chartutil.DefaultCapabilities.Copy()
	if kube != "" {
		if caps.KubeVersion, err = kubeVersion(kube); err != nil {
			t.Fatal(err)
		}
	}
	all, err := chartutil.ToRenderValues(c, v, chartutil.ReleaseOptions{Name: "dynwatch", Namespace: "dynwatch", Revision: 1, IsInstall: true}, caps)
	if err != nil {
		return nil, err
	}
	return engine.Render(c, all)
}

func kubeVersion(s string) (chartutil.KubeVersion, error) {
	v, err := chartutil.ParseKubeVersion(s)
	if err != nil {
		return chartutil.KubeVersion{}, err
	}
	return *v, nil
}

// object is a document of a rendered chart.
type object struct {
	file, kind, name string
	text             []byte
}

func objects(t *testing.T, files map[string]string) []object {
	t.Helper()
	var list []object
	for file, text := range files {
		if strings.HasSuffix(file, ".txt") || strings.HasSuffix(file, ".tpl") {
			continue
		}
		for part := range strings.SplitSeq("\n"+text, "\n---") {
			if strings.TrimSpace(part) == "" {
				continue
			}
			var head struct {
				Kind     string
				Metadata struct{ Name string }
			}
			if err := yaml.Unmarshal([]byte(part), &head); err != nil {
				t.Fatalf("%s: %v\n%s", file, err, part)
			}
			if head.Kind == "" {
				continue // a comment
			}
			list = append(list, object{filepath.Base(file), head.Kind, head.Metadata.Name, []byte(part)})
		}
	}
	slices.SortFunc(list, func(a, b object) int { return strings.Compare(a.kind+a.name, b.kind+b.name) })
	return list
}

// decode reads an object as the API server would, and refuses fields that the server does not know.
func decode(t *testing.T, o object) runtime.Object {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{appsv1.AddToScheme, corev1.AddToScheme, networkingv1.AddToScheme} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	out, _, err := serializer.NewCodecFactory(s, serializer.EnableStrict).UniversalDeserializer().Decode(o.text, nil, nil)
	if err != nil {
		t.Fatalf("%s %s (%s): %v\n%s", o.kind, o.name, o.file, err, o.text)
	}
	return out
}

const everything = `
podMonitor: {enabled: true, labels: {release: prometheus}, relabelings: [{action: labeldrop, regex: pod}]}
prometheusRule: {enabled: true, labels: {release: prometheus}}
dashboards: {enabled: true}
networkPolicy: {from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]}
global: {imageRegistry: registry.example.com/mirror, imagePullSecrets: [{name: pull}]}
image: {digest: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}
files: {inspection-ca.pem: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}
config: {observe: true, policy: {allow_ca: [/etc/dynwatch/inspection-ca.pem]}}
existingSecret: receivers
env: [{name: A, value: b}]
podAnnotations: {a: b}
podLabels: {c: d}
affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: x, operator: Exists}]}]}}}
serviceAccount: {annotations: {e: f}}
security: {seLinuxOptions: {type: spc_t}}
`

// TestEveryObjectIsWhatTheServerTakes decodes each object strictly, for old and new clusters and all that can be switched.
func TestEveryObjectIsWhatTheServerTakes(t *testing.T) {
	for name, test := range map[string]struct {
		kube, values string
		kinds        []string // at least
	}{
		"by default":           {"1.34.0", "", []string{"ConfigMap", "DaemonSet", "NetworkPolicy", "Pod", "ServiceAccount"}},
		"an old cluster":       {"1.25.0", "", []string{"DaemonSet"}},
		"everything":           {"1.34.0", everything, []string{"ConfigMap", "DaemonSet", "NetworkPolicy", "Pod", "PodMonitor", "ServiceAccount"}},
		"privileged":           {"1.34.0", "security: {mode: privileged}", []string{"DaemonSet"}},
		"on the host's net":    {"1.34.0", "hostNetwork: true", []string{"DaemonSet"}},
		"as little as is left": {"1.34.0", "{hostPID: false, mounts: {podLogs: '', bpffs: '', state: ''}, networkPolicy: {enabled: false}, serviceAccount: {create: false}, priorityClassName: '', tolerations: [], nodeSelector: null, probeScheme: HTTPS}", []string{"DaemonSet"}},
	} {
		t.Run(name, func(t *testing.T) {
			files, err := render(t, test.kube, test.values)
			if err != nil {
				t.Fatal(err)
			}
			var kinds []string
			for _, o := range objects(t, files) {
				kinds = append(kinds, o.kind)
				if o.kind == "PodMonitor" || o.kind == "PrometheusRule" {
					continue // of Prometheus's operator, whose types are not here; TestMonitoring
				}
				decode(t, o)
			}
			for _, k := range test.kinds {
				if !slices.Contains(kinds, k) {
					t.Errorf("no %s among %v", k, kinds)
				}
			}
			for _, text := range files {
				if strings.Contains(text, "<no value>") {
					t.Errorf("a value is missing:\n%s", text)
				}
			}
		})
	}
}

func daemonSet(t *testing.T, kube, values string) *appsv1.DaemonSet {
	t.Helper()
	files, err := render(t, kube, values)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects(t, files) {
		if o.kind == "DaemonSet" {
			return decode(t, o).(*appsv1.DaemonSet)
		}
	}
	t.Fatal("no DaemonSet")
	return nil
}

// TestRights: the least by default, all only if asked for, and nothing of the host writable but the state.
func TestRights(t *testing.T) {
	pod := daemonSet(t, "1.34.0", "").Spec.Template.Spec
	c := pod.Containers[0]
	sc := c.SecurityContext
	if *sc.Privileged || *sc.AllowPrivilegeEscalation || !*sc.ReadOnlyRootFilesystem || !slices.Equal(sc.Capabilities.Drop, []corev1.Capability{"ALL"}) ||
		!slices.Equal(sc.Capabilities.Add, []corev1.Capability{"BPF", "PERFMON", "NET_ADMIN", "SYS_PTRACE"}) ||
		sc.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault || sc.AppArmorProfile.Type != corev1.AppArmorProfileTypeUnconfined {
		t.Errorf("security context %+v", sc)
	}
	if !pod.HostPID || pod.HostNetwork || pod.HostIPC || *pod.AutomountServiceAccountToken || pod.PriorityClassName != "system-node-critical" ||
		len(pod.Tolerations) != 1 || pod.Tolerations[0].Operator != corev1.TolerationOpExists || pod.Tolerations[0].Key != "" {
		t.Errorf("pod %+v", pod)
	}
	host := make(map[string]string)
	for _, v := range pod.Volumes {
		if v.HostPath != nil {
			host[v.Name] = v.HostPath.Path
		}
	}
	for _, m := range c.VolumeMounts {
		if m.ReadOnly == (m.Name == "state") {
			t.Errorf("%s: read-only %v", m.Name, m.ReadOnly)
		}
		if p, ok := host[m.Name]; ok && p != m.MountPath {
			t.Errorf("%s of the host is mounted at %s, where nobody looks for it", p, m.MountPath)
		}
	}
	if c.LivenessProbe.HTTPGet.Path != "/livez" || c.ReadinessProbe.HTTPGet.Path != "/readyz" || c.ReadinessProbe.HTTPGet.Port.StrVal != "metrics" {
		t.Errorf("probes %+v %+v", c.LivenessProbe, c.ReadinessProbe)
	}
	if c.Resources.Limits.Memory().IsZero() || !c.Resources.Limits.Cpu().IsZero() {
		t.Errorf("limits %v: memory is to be limited, the processor not", c.Resources.Limits)
	}
	sc = daemonSet(t, "1.34.0", "security: {mode: privileged}").Spec.Template.Spec.Containers[0].SecurityContext
	if !*sc.Privileged || sc.Capabilities != nil || sc.AllowPrivilegeEscalation != nil {
		t.Errorf("privileged: %+v", sc)
	}
	old := daemonSet(t, "1.29.0", "")
	if old.Spec.Template.Annotations["container.apparmor.security.beta.kubernetes.io/dynwatch"] != "unconfined" ||
		old.Spec.Template.Spec.Containers[0].SecurityContext.AppArmorProfile != nil {
		t.Error("before 1.30 AppArmor's profile is an annotation")
	}
	if got := daemonSet(t, "1.34.0", everything).Spec.Template.Spec.Containers[0].Image; got !=
		"registry.example.com/mirror/dynwatch/dynwatch@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" {
		t.Errorf("image %s", got)
	}
}

// TestPodsAreRestartedForWhatTheAgentDoesNotReadAgain, and for nothing else.
func TestPodsAreRestartedForWhatTheAgentDoesNotReadAgain(t *testing.T) {
	sum := func(values string) string {
		return daemonSet(t, "1.34.0", values).Spec.Template.Annotations["checksum/config"]
	}
	before := sum("")
	for values, restart := range map[string]bool{
		"config: {observe: true}": false, "config: {policy: {min_version: '1.3'}}": false, "config: {severity: {tls-capped: none}}": false,
		"config: {policy: {endpoint: [db.example.com]}}": true, "config: {receivers: [{journal: true}]}": true, "config: {web: {config_file: /etc/dynwatch/web.yml}}": true,
		"port: 9500": true, "resources: {limits: {memory: 300Mi}}": false,
	} {
		if after := sum(values); after == "" || (after != before) != restart {
			t.Errorf("%s: %q, before %q", values, after, before)
		}
	}
}

func TestConfiguration(t *testing.T) {
	files, err := render(t, "1.34.0", everything+"port: 9500\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects(t, files) {
		if o.file != "configmap.yaml" {
			continue
		}
		data := decode(t, o).(*corev1.ConfigMap).Data
		var config struct {
			Observe bool
			Source  struct{ Kind string }
			Policy  struct {
				AllowCA []string `json:"allow_ca"`
			}
			Web struct{ Listen string }
		}
		if err := yaml.UnmarshalStrict([]byte(data["dynwatch.yaml"]), &config); err != nil {
			t.Fatal(err)
		}
		if !config.Observe || config.Source.Kind != "ebpf" || config.Web.Listen != "0.0.0.0:9500" || len(config.Policy.AllowCA) != 1 {
			t.Errorf("%+v", config)
		}
		if !strings.HasPrefix(data["inspection-ca.pem"], "-----BEGIN CERTIFICATE-----\nAAAA\n") {
			t.Errorf("file %q", data["inspection-ca.pem"])
		}
		return
	}
	t.Fatal("no ConfigMap")
}

// TestMonitoring: the rules and dashboards are those of this repository, whole.
func TestMonitoring(t *testing.T) {
	files, err := render(t, "1.34.0", everything)
	if err != nil {
		t.Fatal(err)
	}
	monitor, rules, dashboards := 0, 0, 0
	for _, o := range objects(t, files) {
		switch {
		case o.kind == "PodMonitor":
			monitor++
			var m struct {
				Spec struct {
					JobLabel            string
					SampleLimit         int
					PodMetricsEndpoints []struct{ Port, Path string }
				}
			}
			if err := yaml.Unmarshal(o.text, &m); err != nil || m.Spec.JobLabel != "app.kubernetes.io/name" || m.Spec.SampleLimit == 0 ||
				len(m.Spec.PodMetricsEndpoints) != 1 || m.Spec.PodMetricsEndpoints[0].Port != "metrics" {
				t.Errorf("%v: %s", err, o.text)
			}
		case o.kind == "PrometheusRule":
			rules++
			var r struct {
				Spec struct {
					Groups []struct{ Rules []map[string]any }
				}
			}
			if err := yaml.Unmarshal(o.text, &r); err != nil || len(r.Spec.Groups) == 0 || len(r.Spec.Groups[0].Rules) == 0 {
				t.Errorf("%v: %s", err, o.text)
			}
		case o.file == "dashboards.yaml":
			dashboards++
			for name, text := range decode(t, o).(*corev1.ConfigMap).Data {
				want, err := os.ReadFile(filepath.Join("../../dashboards/grafana", name))
				if err != nil || strings.TrimSpace(text) != strings.TrimSpace(string(want)) {
					t.Errorf("%s is not the repository's (%v)", name, err)
				}
			}
		}
	}
	count := func(pattern string) int { found, _ := filepath.Glob(pattern); return len(found) }
	if monitor != 1 || rules != count("../../dashboards/prometheus/*.rules.yml") || dashboards != count("../../dashboards/grafana/*.json") {
		t.Errorf("%d monitors, %d files of rules, %d dashboards", monitor, rules, dashboards)
	}
}

// TestWrongValuesAreRefused: by the schema or by the templates, before anything is installed.
func TestWrongValuesAreRefused(t *testing.T) {
	for name, values := range map[string]string{
		"an unknown key":           "secruity: {mode: minimal}",
		"an unknown key below":     "security: {priviledged: true}",
		"an unknown mode":          "security: {mode: root}",
		"a capability with CAP_":   "security: {capabilities: [CAP_BPF]}",
		"an unknown capability":    "security: {capabilities: [SYS_MODULE]}",
		"a digest that is none":    "image: {digest: latest}",
		"a port that is none":      "port: 70000",
		"a port as text":           "port: '9464'",
		"a path that is relative":  "mounts: {cgroup: sys/fs/cgroup}",
		"no cgroup":                "mounts: {cgroup: ''}",
		"a memory limit of Go":     "goMemLimit: 200Mi",
		"an interval without unit": "podMonitor: {interval: '30'}",
		"an unknown config key":    "config: {observe: 'yes'}",
		"a configuration in files": "files: {dynwatch.yaml: x}",
		"a file in a folder":       "files: {a/b: x}",
		"an address for metrics":   "config: {web: {listen: '127.0.0.1:1'}}",
	} {
		if _, err := render(t, "1.34.0", values); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestLint(t *testing.T) {
	for _, values := range []string{"", everything} {
		v, err := chartutil.ReadValues([]byte(values))
		if err != nil {
			t.Fatal(err)
		}
		result := lint.AllWithKubeVersion(chartDir, v, "dynwatch", nil)
		for _, m := range result.Messages {
			if m.Severity >= support.WarningSev {
				t.Errorf("%v", m)
			}
		}
	}
}

func TestNotes(t *testing.T) {
	files, err := render(t, "1.34.0", "")
	if err != nil {
		t.Fatal(err)
	}
	notes := files["dynwatch/templates/NOTES.txt"]
	for _, want := range []string{"BPF, PERFMON, NET_ADMIN, SYS_PTRACE", "doctor", "pod-security.kubernetes.io/enforce=privileged", "Autopilot", "podMonitor.enabled"} {
		if !strings.Contains(notes, want) {
			t.Errorf("the notes do not have %q:\n%s", want, notes)
		}
	}
}

// TestPlainManifests: deploy/kubernetes is what the chart gives by default, for who has no Helm.
func TestPlainManifests(t *testing.T) {
	files, err := render(t, "1.34.0", "")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	b.WriteString("# Made from the Helm chart (deploy/helm): do not edit. Another image or namespace is set in kustomization.yaml.\n")
	for _, o := range objects(t, files) {
		if o.kind == "Pod" {
			continue // helm test
		}
		b.WriteString("---\n")
		for line := range strings.Lines(strings.TrimSpace(string(o.text)) + "\n") {
			if strings.Contains(line, "managed-by: Helm") || strings.Contains(line, "helm.sh/chart:") || strings.HasPrefix(line, "#") {
				continue
			}
			b.WriteString(strings.TrimRight(line, " \n") + "\n")
		}
	}
	const golden = "../kubernetes/dynwatch.yaml"
	if *update {
		if err := os.WriteFile(golden, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Error("deploy/kubernetes/dynwatch.yaml is not what the chart gives: go test -update ./... here rewrites it")
	}
	for _, o := range objects(t, map[string]string{"dynwatch.yaml": string(want), "namespace.yaml": read(t, "../kubernetes/namespace.yaml")}) {
		decode(t, o)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
