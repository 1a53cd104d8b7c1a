package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/dashboards"
	"github.com/dynwatch/dynwatch/internal/testenv"
)

// What a data source puts into a variable or an annotation besides, which Grafana's types leave open: Prometheus's, as Grafana exports them.
var ofPrometheus = []string{"definition", "expr", "step", "titleFormat", "textFormat"}

// TestDashboardsAreByGrafanasTypes holds the dashboards to the types that Grafana publishes for their JSON: that of a dashboard (schemaVersion 42), and the
// options and field options of each panel by the panel's own. A key that Grafana does not know is an error, as is a value of the wrong type or word. So is a key
// of the dashboard that is missing and must be there; of the options none must, for Grafana has defaults.
func TestDashboardsAreByGrafanasTypes(t *testing.T) {
	modules, dir := needRig(t).modules, t.TempDir()
	grafanaTypes(t, filepath.Join(modules, "@grafana", "schema", "dist", "types"), filepath.Join(dir, "node_modules", "@grafana", "schema"))
	files, panels := 0, 0
	for _, f := range dashboards.Files() {
		base, ok := strings.CutSuffix(filepath.Base(f.Name), ".json")
		if !ok {
			continue
		}
		var board map[string]any
		if err := json.Unmarshal(f.Data, &board); err != nil {
			t.Fatal(err)
		}
		var ts strings.Builder
		fmt.Fprintln(&ts, "import type { Dashboard } from '@grafana/schema/raw/dashboard/x/types.gen';")
		imported := map[string]bool{}
		var each func(list []any)
		each = func(list []any) {
			for _, x := range list {
				p := x.(map[string]any)
				kind := p["type"].(string)
				if kind == "row" {
					if inner, ok := p["panels"].([]any); ok {
						each(inner)
					}
					continue
				}
				module := "@grafana/schema/raw/composable/" + kind + "/panelcfg/x/types.gen"
				if !imported[kind] {
					fmt.Fprintf(&ts, "import type * as %s from '%s';\n", kind, module)
					imported[kind] = true
				}
				panels++
				fmt.Fprintf(&ts, "// %q\nexport const options%d: Partial<%s.Options> = %s;\n", p["title"], panels, kind, asJSON(t, p["options"]))
				fields := p["fieldConfig"].(map[string]any)["defaults"].(map[string]any)
				if custom := fields["custom"]; custom != nil {
					fmt.Fprintf(&ts, "export const fields%d: Partial<%s.FieldConfig> = %s;\n", panels, kind, asJSON(t, custom))
				}
			}
		}
		each(board["panels"].([]any))
		for _, list := range []any{board["templating"].(map[string]any)["list"], board["annotations"].(map[string]any)["list"]} {
			for _, x := range list.([]any) {
				for _, key := range ofPrometheus {
					delete(x.(map[string]any), key)
				}
			}
		}
		fmt.Fprintf(&ts, "export const board: Dashboard = %s;\n", asJSON(t, board))
		if err := os.WriteFile(filepath.Join(dir, base+".ts"), []byte(ts.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		files++
	}
	if files != 4 || panels < 50 {
		t.Fatalf("%d dashboards with %d panels", files, panels)
	}
	check := func() ([]byte, error) {
		names, err := filepath.Glob(filepath.Join(dir, "*.ts"))
		if err != nil {
			t.Fatal(err)
		}
		cmd := testenv.Command(t, "node", append([]string{filepath.Join(modules, "typescript", "bin", "tsc"), "--noEmit", "--strict", "--skipLibCheck"}, names...)...)
		cmd.Dir = dir
		return cmd.CombinedOutput()
	}
	if out, err := check(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	// The check is one: it finds what is wrong.
	wrong := `import type { Dashboard } from '@grafana/schema/raw/dashboard/x/types.gen';
import type * as stat from '@grafana/schema/raw/composable/stat/panelcfg/x/types.gen';
export const board: Partial<Dashboard> = { "titel": "x" };
export const options: Partial<stat.Options> = { "graphMode": "areas" };
export const short: Dashboard = {};
`
	if err := os.WriteFile(filepath.Join(dir, "wrong.ts"), []byte(wrong), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := check(); err == nil || bytes.Count(out, []byte("wrong.ts")) != 3 {
		t.Errorf("a wrong key, a wrong word and a missing key are not found: %v\n%s", err, out)
	}
}

func asJSON(t *testing.T, v any) []byte {
	t.Helper()
	if v == nil {
		return []byte("{}")
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var (
	anEnum  = regexp.MustCompile(`(?s)export declare enum (\w+) \{(.*?)\}`)
	aMember = regexp.MustCompile(`= ("[^"]*"|-?\d+)`)
)

// grafanaTypes copies declarations to where the compiler looks for them. Enumerations become the words that JSON has, which TypeScript keeps apart.
func grafanaTypes(t *testing.T, from, to string) {
	t.Helper()
	enums := 0
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		b = anEnum.ReplaceAllFunc(b, func(enum []byte) []byte {
			m, words := anEnum.FindSubmatch(enum), [][]byte{}
			for _, member := range aMember.FindAllSubmatch(m[2], -1) {
				words = append(words, member[1])
			}
			enums++
			return fmt.Appendf(nil, "export type %s = %s;", m[1], bytes.Join(words, []byte(" | ")))
		})
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		name = filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		return os.WriteFile(name, b, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	if enums < 20 {
		t.Fatalf("%d enumerations in %s", enums, from)
	}
	if err := os.WriteFile(filepath.Join(to, "package.json"), []byte(`{"name":"@grafana/schema","version":"0.0.0","types":"index.d.ts"}`), 0o644); err != nil {
		t.Fatal(err)
	}
}
