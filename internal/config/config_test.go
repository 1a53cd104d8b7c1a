package config

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/dynwatch/dynwatch/internal/testschema"
)

func parse(t *testing.T, text string) *File {
	t.Helper()
	f, err := Parse("agent.yaml", []byte(text))
	if err != nil {
		t.Fatalf("%v\nin\n%s", err, text)
	}
	return f
}

func TestAnEmptyFileIsTheDefaults(t *testing.T) {
	for _, text := range []string{"", "\n", "# nothing\n", "---\n", "{}\n"} {
		f := parse(t, text)
		if !reflect.DeepEqual(f.Config, Default()) {
			t.Errorf("%q: %+v", text, f.Config)
		}
		if err := f.Validate(); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestAFileChangesWhatItNames(t *testing.T) {
	f := parse(t, `
policy:
  allow_proxy: [proxy.example.com:3128]
limits: {flows: 2000}
severity: {tls-capped: none}
exceptions:
  - {rules: [plaintext], unit: emulator.service, reason: a test bench, expires: 2027-01-31}
`)
	want := Default()
	want.Policy.AllowProxy = []string{"proxy.example.com:3128"}
	want.Limits.Flows = 2000
	want.Severity = map[string]string{"tls-capped": "none"}
	want.Exceptions = []Exception{{Rules: []string{"plaintext"}, Unit: "emulator.service", Reason: "a test bench", Expires: "2027-01-31"}}
	if !reflect.DeepEqual(f.Config, want) {
		t.Errorf("got  %+v\nwant %+v", f.Config, want)
	}
	if err := f.Validate(); err != nil {
		t.Error(err)
	}
}

// TestWhatIsWrong holds each mistake to its message: the place, the key, and what to do.
func TestWhatIsWrong(t *testing.T) {
	const exception = "exceptions:\n  - {rules: [plaintext], unit: x.service, reason: why, expires: 2027-01-31"
	for _, tt := range []struct{ name, text, want string }{
		{"an unknown section", "polcy: {}\n", `agent.yaml:1:1: unknown key "polcy": did you mean "policy"?`},
		{"an unknown key", "policy:\n  min_verison: '1.3'\n", `agent.yaml:2:3: policy: unknown key "min_verison": did you mean "min_version"?`},
		{"an unknown key with nothing near", "web:\n  x: 1\n", `agent.yaml:2:3: web: unknown key "x": use listen, config_file`},
		{"an unknown key in a list", exception + ", pods: y}\n", `agent.yaml:2:77: exceptions[0]: unknown key "pods": did you mean "pod"?`},
		{"a key twice", "observe: true\nobserve: false\n", `agent.yaml:2:1: "observe" stands in line 1 already`},
		{"no YAML", "policy: [\n", "agent.yaml:1:1: did not find expected node content"},
		{"a list in place of a section", "policy: [a]\n", "agent.yaml:1:9: policy: a section (key: value) is wanted here"},
		{"text in place of a list", "policy:\n  allow_ca: ca.pem\n", "agent.yaml:2:13: policy.allow_ca: a list ([a, b], or lines with - ) is wanted here"},
		{"a number in place of text", "policy: {min_version: 1.2}\n", `agent.yaml:1:23: policy.min_version: text is wanted here: put it in quotes, as "1.2"`},
		{"text in place of a number", "limits: {flows: many}\n", "agent.yaml:1:17: limits.flows: a whole number is wanted here"},
		{"text in place of true", "observe: sometimes\n", "agent.yaml:1:10: observe: true or false is wanted here"},
		{"a section without content", "policy:\nobserve: true\n", "policy: a value is missing: a section (key: value)"},
		{"a scalar", "hello\n", "agent.yaml:1:1: a section (key: value) is wanted here"},
		{"an anchor within itself", "source: {interfaces: &x [*x]}\n", "agent.yaml:1:22: source.interfaces: anchors (&), aliases (*) and tags (!) are not taken here"},
		{"two documents", "observe: true\n---\nobserve: false\n", "several documents"},
		{"too large", strings.Repeat("#", maxFile+1), "larger than"},

		{"a version that is none", "policy: {min_version: '2.0'}\n", "agent.yaml:1:10: policy.min_version: "},
		{"a pin that is none", "policy:\n  pin:\n    - abc\n", "agent.yaml:3:7: policy.pin[0]: "},
		{"a proxy without port", "policy:\n  allow_proxy: [a.example:3128, b.example]\n", "agent.yaml:2:33: policy.allow_proxy[1]: b.example: the port is missing: use b.example:3128"},
		{"a zone for a region", "policy: {allow_region: [eu-central-1a]}\n", "policy.allow_region[0]: eu-central-1a: that is an availability zone: use its region, eu-central-1"},
		{"a kind that no host can tell", "policy: {allow_kind: [gateway]}\n", "policy.allow_kind[0]: gateway: a gateway endpoint has public names"},
		{"an endpoint that is none", "policy: {endpoint: ['http://x']}\n", "policy.endpoint[0]: "},
		{"an issuer that is Amazon's", "policy: {allow_issuer: ['CN=Amazon RSA 2048 M01,O=Amazon,C=US']}\n", "policy.allow_issuer[0]: "},
		{"a source that is none", "source: {kind: pcap}\n", `agent.yaml:1:10: source.kind: "pcap": use auto, ebpf, packet`},
		{"probes of nobody knows whom", "source: {library_probes: some}\n", `agent.yaml:1:10: source.library_probes: "some": use auto, all, off`},
		{"a key that is nearly one", "source: {library_probe: all}\n", `unknown key "library_probe": did you mean "library_probes"?`},
		{"interfaces for eBPF", "source: {kind: ebpf, interfaces: [eth0]}\n", "source.interfaces: interfaces go with the kind packet"},
		{"a severity for no rule", "severity: {plain-text: low}\n", `agent.yaml:1:12: severity.plain-text: there is no rule "plain-text": did you mean "plaintext"?`},
		{"a severity that is none", "severity: {plaintext: off}\n", `severity.plaintext: "off": use none, low, medium, high or critical`},
		{"an exception without rules", "exceptions:\n  - {unit: x.service, reason: why, expires: 2027-01-31}\n", "exceptions[0]: rules are missing"},
		{"an exception for no rule", strings.Replace(exception, "plaintext", "plain", 1) + "}\n", `exceptions[0].rules[0]: there is no rule "plain": did you mean "plaintext"?`},
		{"an exception for nobody", "exceptions:\n  - {rules: [plaintext], reason: why, expires: 2027-01-31}\n", "exceptions[0]: nothing says whom it is for"},
		{"an exception for everybody", exception + ", pod: '*'}\n", `exceptions[0].pod: "*" matches everything`},
		{"a pattern that is none", exception + ", pod: '[a'}\n", "exceptions[0].pod: \"[a\" is no pattern"},
		{"an exception without reason", strings.Replace(exception, "why", "' '", 1) + "}\n", "exceptions[0].reason: a reason is wanted"},
		{"an exception without end", "exceptions:\n  - {rules: [plaintext], unit: x.service, reason: why}\n", "exceptions[0].expires: an end is wanted"},
		{"an end that is no day", strings.Replace(exception, "2027-01-31", "31.1.2027", 1) + "}\n", `exceptions[0].expires: "31.1.2027": use a day like 2027-01-31`},
		{"an address without port", "web: {listen: localhost}\n", `web.listen: "localhost": use ADDRESS:PORT`},
		{"a port that is none", "web: {listen: 'localhost:http'}\n", `web.listen: "http" is no port`},
		{"everywhere by leaving the address out", "web: {listen: ':9464'}\n", "web.listen: \":9464\" listens everywhere: say so"},
		{"a level that is none", "log: {level: loud}\n", `log.level: "loud": use debug, info, warn, error`},
		{"a folder that hangs on where the agent is started", "state_dir: state\n", `state_dir: "state": use a whole path`},
		{"a window that is no time", "alerts: {window: long}\n", `alerts.window: "long": use a time from 1m0s to`},
		{"a receiver of no kind", "receivers: [{name: x}]\n", "receivers[0]: use one of alertmanager"},
		{"a receiver of two kinds", "receivers: [{journal: true, webhook: {url: 'http://x'}}]\n", "receivers[0]: use one of"},
		{"two receivers of one name", "receivers: [{journal: true}, {journal: true}]\n", `receivers[1]: there is another receiver "journal"`},
		{"a receiver with a strange name", "receivers: [{journal: true, name: 'a b'}]\n", `receivers[0].name: "a b": use at most`},
		{"a receiver without a place for its queue", "state_dir: ''\nreceivers: [{journal: true}]\n", "receivers: alerts are kept in state_dir"},
		{"an unknown key of a receiver", "receivers: [{webhook: {uri: x}}]\n", `receivers[0].webhook: unknown key "uri": did you mean "url"?`},
		{"no findings", "history: {max_findings: 0}\n", "history.max_findings: 0: use a number from 10"},
		{"too few flows", "limits: {flows: 3}\n", "limits.flows: 3: use a number from 1024 to"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, err := Parse("agent.yaml", []byte(tt.text))
			if err == nil {
				err = f.Validate()
			}
			var problems Problems
			if !errors.As(err, &problems) || len(problems) == 0 {
				t.Fatalf("the error is %v", err)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %s\nwant %s", err, tt.want)
			}
		})
	}
}

func TestAllMistakesAreToldInTheOrderOfTheFile(t *testing.T) {
	f := parse(t, "log: {level: loud}\npolicy:\n  allow_region: [EU-central-1]\n  pin: [x]\nweb: {listen: nowhere}\n")
	err := f.Validate()
	var problems Problems
	if !errors.As(err, &problems) {
		t.Fatal(err)
	}
	var lines []int
	for _, p := range problems {
		lines = append(lines, p.Line)
	}
	if !reflect.DeepEqual(lines, []int{1, 3, 4, 5}) {
		t.Errorf("lines %v\n%v", lines, err)
	}
	if got := problems[1].Excerpt; got != "      3 |   allow_region: [EU-central-1]\n        |                  ^" {
		t.Errorf("the excerpt is\n%s", got)
	}
}

func TestFlagsWinOverVariablesWinOverTheFile(t *testing.T) {
	text := "policy: {min_version: '1.0', allow_region: [eu-west-1]}\nlog: {level: error}\nweb: {listen: 127.0.0.1:1}\n"
	env := map[string]string{
		"DYNWATCH_MIN_VERSION": "1.1", "DYNWATCH_ALLOW_REGION": "us-east-1, us-west-2", "DYNWATCH_LOG_LEVEL": "warn", "DYNWATCH_OBSERVE": "true",
		"DYNWATCH_LIBRARY_PROBES": "all",
	}
	look := func(k string) (string, bool) { v, ok := env[k]; return v, ok }
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	Register(fs)
	if err := fs.Parse([]string{"--min-version", "1.3", "--allow-proxy", "a.example:1", "--allow-proxy", "b.example:2", "-i", "eth0"}); err != nil {
		t.Fatal(err)
	}
	f := parse(t, text)
	if err := f.Override(fs, look); err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Policy.MinVersion = "1.3"                                                               // flag, over variable and file
	want.Policy.AllowRegion = []string{"us-east-1", "us-west-2"}                                 // variable: the whole list, in place of the file's
	want.Policy.AllowProxy = []string{"a.example:1", "b.example:2"}                              // flag
	want.Source = Source{Kind: "packet", Interfaces: []string{"eth0"}, LibraryProbes: ProbesAll} // -i implies the packet source
	want.Log.Level = "warn"
	want.Observe = true
	want.Web.Listen = "127.0.0.1:1" // file
	if !reflect.DeepEqual(f.Config, want) {
		t.Errorf("got  %+v\nwant %+v", f.Config, want)
	}
	if err := f.Validate(); err != nil {
		t.Error(err)
	}
	// What is wrong is told by where it came from.
	env["DYNWATCH_MIN_VERSION"], env["DYNWATCH_ALLOW_REGION"] = "7", "nowhere"
	f = parse(t, text)
	if err := f.Override(nil, look); err != nil {
		t.Fatal(err)
	}
	err := f.Validate()
	for _, want := range []string{"DYNWATCH_MIN_VERSION: ", "DYNWATCH_ALLOW_REGION: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	env["DYNWATCH_OBSERVE"] = "perhaps"
	if err := parse(t, text).Override(nil, look); err == nil || !strings.Contains(err.Error(), `DYNWATCH_OBSERVE: "perhaps": use true or false`) {
		t.Errorf("error %v", err)
	}
}

// TestEverySettingIsAKey: a flag without a key could not be told in the file, and one with a wrong path would be blamed on another.
func TestEverySettingIsAKey(t *testing.T) {
	for _, s := range settings {
		typ := reflect.TypeFor[Config]()
		for key := range strings.SplitSeq(s.path, ".") {
			f, keys := field(typ, key)
			if f == nil {
				t.Fatalf("--%s stands for %s, which is no key (%v)", s.flag, s.path, keys)
			}
			typ = f.Type
		}
		if got := reflect.TypeOf(s.value(Default())).Elem(); got != typ {
			t.Errorf("--%s is a %v, %s is a %v", s.flag, got, s.path, typ)
		}
	}
}

func TestExpiry(t *testing.T) {
	for in, want := range map[string]string{
		"2027-01-31":                "2027-02-01T00:00:00Z", // the whole day
		"2027-01-31T12:00:00+02:00": "2027-01-31T10:00:00Z",
	} {
		got, err := ParseExpiry(in)
		if err != nil || got.Format(time.RFC3339) != want {
			t.Errorf("%s: %v, %v", in, got, err)
		}
	}
}

// TestOffIsAWord: to some readers of YAML it is a boolean.
func TestOffIsAWord(t *testing.T) {
	f := parse(t, "source: {library_probes: off}\n")
	if err := f.Validate(); err != nil || f.Config.Source.LibraryProbes != ProbesOff {
		t.Errorf("%q, %v", f.Config.Source.LibraryProbes, err)
	}
}

func TestNeedsRestart(t *testing.T) {
	a, b := Default(), Default()
	b.Policy.MinVersion, b.Observe, b.Log.Level, b.Source.LibraryProbes = "1.3", true, "debug", ProbesAll
	if got := NeedsRestart(a, b); len(got) != 0 {
		t.Errorf("%v", got)
	}
	b.Web.Listen, b.Source.Interfaces = "127.0.0.1:1", []string{"eth0"}
	if got := NeedsRestart(a, b); !reflect.DeepEqual(got, []string{"source.interfaces", "web.listen"}) {
		t.Errorf("%v", got)
	}
}

// compiled is the schema, as an editor would load it.
func compiled(t *testing.T) *testschema.Schema {
	t.Helper()
	data, err := json.Marshal(Schema())
	if err != nil {
		t.Fatal(err)
	}
	return testschema.Parse(t, "config.json", data)
}

// generic is a configuration as JSON.
func generic(t *testing.T, text string) []byte {
	t.Helper()
	var value map[string]any
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		t.Fatal(err)
	}
	exceptions, _ := value["exceptions"].([]any)
	for _, e := range exceptions {
		if day, ok := e.(map[string]any)["expires"].(time.Time); ok { // JSON has no days
			e.(map[string]any)["expires"] = day.Format(time.DateOnly)
		}
	}
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestTheExampleHasEveryKeyAndIsRight(t *testing.T) {
	data, err := os.ReadFile("../../deploy/dynwatch.yaml")
	if err != nil {
		t.Fatal(err)
	}
	f := parse(t, string(data))
	if err := f.Validate(); err != nil {
		t.Error(err)
	}
	if _, err := compiled(t).Check(generic(t, string(data))); err != nil {
		t.Error(err)
	}
	for _, key := range keys(reflect.TypeFor[Config](), "") {
		other := slices.ContainsFunc([]string{"webhook", "syslog", "journal", "otlp"}, func(kind string) bool {
			return strings.HasPrefix(key, "receivers[0]."+kind) // a receiver is of one kind
		})
		if _, ok := f.places[key]; !ok && !other {
			t.Errorf("the example does not have %s", key)
		}
	}
}

// keys lists all keys there are; lists are represented by their first element.
func keys(typ reflect.Type, prefix string) (all []string) {
	for i := range typ.NumField() {
		f := typ.Field(i)
		key := prefix + keyOf(f)
		all = append(all, key)
		switch {
		case f.Type.Kind() == reflect.Struct:
			all = append(all, keys(f.Type, key+".")...)
		case f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct:
			all = append(all, keys(f.Type.Elem(), key+"[0].")...)
		}
	}
	return all
}

func TestTheSchemaRefusesWhatTheProgramRefuses(t *testing.T) {
	s := compiled(t)
	for _, text := range []string{
		"polcy: {}", "policy: {min_verison: '1.3'}", "policy: {min_version: '2.0'}", "policy: {allow_kind: [gateway]}", "source: {kind: pcap}",
		"source: {library_probes: true}", "source: {library_probes: none}", "observe: sometimes", "limits: {flows: 3}", "severity: {plain-text: low}", "severity: {plaintext: off}", "log: {level: loud}",
		"exceptions: [{unit: x, reason: y, expires: '2027-01-31'}]", "exceptions: [{rules: [], unit: x, reason: y, expires: '2027-01-31'}]",
		"exceptions: [{rules: [plain], unit: x, reason: y, expires: '2027-01-31'}]",
	} {
		if _, err := s.Check(generic(t, text)); err == nil {
			t.Errorf("the schema accepts %s", text)
		}
		f, err := Parse("x", []byte(text))
		if err == nil && f.Validate() == nil {
			t.Errorf("the program accepts %s", text)
		}
	}
}

func TestTheSchemaHasTheDefaults(t *testing.T) {
	want, err := yaml.Marshal(Default())
	if err != nil {
		t.Fatal(err)
	}
	var defaults map[string]map[string]any
	_ = yaml.Unmarshal(want, &defaults) // lists and booleans of the top level do not fit, and are not asked for
	data, _ := json.Marshal(Schema())
	var schema struct {
		Defs map[string]struct {
			Properties map[string]struct {
				Default     any
				Description string
			}
		} `json:"$defs"`
		Properties map[string]struct {
			Ref         string `json:"$ref"`
			Description string
			Type        string
		}
	}
	if err := json.Unmarshal(data, &schema); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for name, section := range schema.Properties {
		if section.Description == "" {
			t.Errorf("%s has no description", name)
		}
		for key, p := range schema.Defs[strings.TrimPrefix(section.Ref, "#/$defs/")].Properties {
			if p.Description == "" {
				t.Errorf("%s.%s has no description", name, key)
			}
			if p.Default == nil {
				continue
			}
			seen++
			got, _ := json.Marshal(p.Default)
			want, _ := json.Marshal(defaults[name][key])
			if string(got) != string(want) {
				t.Errorf("%s.%s: the schema's default is %s, the program's %s", name, key, got, want)
			}
		}
	}
	if seen < 7 {
		t.Errorf("only %d defaults", seen)
	}
}

func FuzzParse(f *testing.F) {
	example, err := os.ReadFile("../../deploy/dynwatch.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	f.Add([]byte("a: &x [*x]\n"))
	f.Add([]byte("policy: {allow_ca: [1, two]}\n---\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 8<<10 {
			return
		}
		file, err := Parse("x", data)
		if (file == nil) == (err == nil) {
			t.Fatalf("%v and %v", file, err)
		}
		if err == nil {
			file.Validate()
		}
	})
}

var update = flag.Bool("update", false, "rewrite the table of keys in docs/agent.md")

// TestTheDocumentListsEveryKey holds the table to the structs.
func TestTheDocumentListsEveryKey(t *testing.T) {
	const name, begin, end = "../../docs/agent.md", "-update -->\n", "<!-- /keys -->"
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(data), begin)
	table, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("the marks are gone")
	}
	flags := map[string]string{}
	for _, s := range settings {
		flags[s.path] = "`--" + s.flag + "`"
	}
	var want strings.Builder
	want.WriteString("| key | default | flag | |\n|---|---|---|---|\n")
	var list func(reflect.Type, string)
	list = func(typ reflect.Type, prefix string) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			key := prefix + keyOf(f)
			if f.Type.Kind() == reflect.Struct {
				list(f.Type, key+".")
				continue
			}
			standard := ""
			for part := range strings.SplitSeq(f.Tag.Get("jsonschema"), ",") {
				if d, ok := strings.CutPrefix(part, "default="); ok {
					standard = "`" + d + "`"
				}
			}
			fmt.Fprintf(&want, "| `%s` | %s | %s | %s |\n", key, standard, flags[key], strings.ReplaceAll(f.Tag.Get("jsonschema_description"), "|", "\\|"))
			if f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct {
				list(f.Type.Elem(), key+"[].")
			}
		}
	}
	list(reflect.TypeFor[Config](), "")
	if table == want.String() {
		return
	}
	if *update {
		if err := os.WriteFile(name, []byte(head+begin+want.String()+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("docs/agent.md does not list the keys as they are: go test ./internal/config -update")
}

func TestExcerptsHideSecrets(t *testing.T) {
	for line, want := range map[string]string{
		"- webhook: {url: 'https://u:planted@hook.example/'}":              "- webhook: {url: 'https://**********hook.example/'}",
		"  url: https://hook.example/services/planted?token=planted":       "  url: https://hook.example/******************************",
		"  http: {username: u, password: planted planted}":                 "  http: {username: u, password: ****************",
		`  "api_key": "planted"`:                                           `  "api_key": *********`,
		"  bearer=planté":                                                  "  bearer=******",
		"  urls: ['http://plänted:x@a.example:9093', 'http://b.planted/']": "  urls: ['http://***********************************************",
		"  password_file: /etc/dynwatch/password":                          "  password_file: /etc/dynwatch/password",
		"  min_verison: 1.3":                                               "  min_verison: 1.3",
	} {
		if got := hidden(line); got != want {
			t.Errorf("%s\n got %s\nwant %s", line, got, want)
		}
	}
}
