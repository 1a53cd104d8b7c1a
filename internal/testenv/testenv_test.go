package testenv

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestNoTestSkipsByItself holds every test of the module to this package: a plain Skip would skip where CI=true, too, and a program that is
// looked for or run without it is in nobody's list of packages.
func TestNoTestSkipsByItself(t *testing.T) {
	module := Module(t)
	files := 0
	err := filepath.WalkDir(module, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && path != module && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "testdata") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") || filepath.Dir(path) == filepath.Join(module, "internal", "testenv") {
			return nil
		}
		files++
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(module, path)
		found, err := offences(name, source)
		for _, o := range found {
			t.Error(o)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 50 {
		t.Errorf("%d files of tests were found", files)
	}
}

// offences are the calls of a file of tests that only this package may make.
func offences(name string, source []byte) (found []string, err error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	// Names that stand for a test anywhere in the file.
	tests := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if f, ok := n.(*ast.Field); ok && isTest(f.Type) {
			for _, id := range f.Names {
				tests[id.Name] = true
			}
		}
		return true
	})
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		called, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		of := lastName(called.X)
		what := of + "." + called.Sel.Name
		var use string
		switch {
		case called.Sel.Name == "Skipf", called.Sel.Name == "SkipNow", called.Sel.Name == "Skip" && tests[of]:
			use = "Lacks, Slow, Shared or Beyond"
		case what == "exec.LookPath":
			use = "Tool or Find"
		case what == "exec.Command" && isProgram(call.Args[0]), what == "exec.CommandContext" && isProgram(call.Args[1]):
			use = "Command"
		default:
			return true
		}
		found = append(found, fmt.Sprintf("%s: %s: use %s of internal/testenv", set.Position(call.Pos()), what, use))
		return true
	})
	return found, nil
}

// isTest tells whether a type is *testing.T, B or F, or testing.TB.
func isTest(e ast.Expr) bool {
	if star, ok := e.(*ast.StarExpr); ok {
		e = star.X
	}
	s, ok := e.(*ast.SelectorExpr)
	return ok && lastName(s.X) == "testing" && slices.Contains([]string{"T", "B", "F", "TB"}, s.Sel.Name)
}

// lastName is x of x and of y.x.
func lastName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

// isProgram tells whether an expression names a program, other than the go command, which runs the tests, and the test itself.
func isProgram(e ast.Expr) bool {
	lit, ok := e.(*ast.BasicLit)
	return ok && lit.Value != `"go"` && lit.Value != `"/proc/self/exe"`
}

func TestOffencesAreFound(t *testing.T) {
	for body, want := range map[string]int{
		`t.Skip("no")`:        1,
		`t.Skipf("no %d", 1)`: 1,
		`x.y.SkipNow()`:       1,
		`t.Run("a", func(u *testing.T) { u.Skip("") })`: 1,
		`s.Skip(1)`:                               0,
		`exec.LookPath("ip")`:                     1,
		`exec.Command("ip", "link")`:              1,
		`exec.CommandContext(ctx, "ip")`:          1,
		`exec.Command("go", "list")`:              0,
		`exec.Command(os.Args[0], "-test.run=x")`: 0,
	} {
		found, err := offences("x_test.go", []byte("package x\nfunc TestX(t *testing.T) {\n"+body+"\n}\n"))
		if err != nil || len(found) != want {
			t.Errorf("%s: %q, %v", body, found, err)
		}
	}
}

func TestWhatTheMachineLacks(t *testing.T) {
	for ci, want := range map[string]string{"": "skipped", "true": "failed"} {
		t.Run("CI="+ci, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestChild$", "-test.v")
			cmd.Env = append(os.Environ(), "TESTENV_CHILD=1", "CI="+ci)
			out, _ := cmd.CombinedOutput()
			for _, tool := range []string{"lacks", "tool"} {
				word := map[string]string{"skipped": "--- SKIP", "failed": "--- FAIL"}[want] + ": TestChild/" + tool
				if !strings.Contains(string(out), word) {
					t.Errorf("no %q in %s", word, out)
				}
			}
			for _, allowed := range []string{"shared", "beyond"} {
				if word := "--- SKIP: TestChild/" + allowed; !strings.Contains(string(out), word) {
					t.Errorf("no %q in %s", word, out)
				}
			}
		})
	}
}

// TestChild is what TestWhatTheMachineLacks runs.
func TestChild(t *testing.T) {
	if os.Getenv("TESTENV_CHILD") == "" {
		return
	}
	t.Run("lacks", func(t *testing.T) { Lacks(t, "no %s", "moon") })
	t.Run("tool", func(t *testing.T) { Tool(t, "no-such-program") })
	t.Run("shared", func(t *testing.T) { Shared(t, "no-such-file") })
	t.Run("beyond", func(t *testing.T) { Beyond(t, "it does not") })
}

func TestPackagesOfPrograms(t *testing.T) {
	p := parsePackages([]byte("gunicorn\tno\t\t, python3-gunicorn (= 20.1.0-6), python3:any\n" +
		"python3-gunicorn\tno\t\t, python3:any\npython3\tno\t\tpython3-minimal (= 3.11.2-1+b1), python3.11 (>= 3.11.2-1~)\n" +
		"mawk\tno\tawk\tlibc6 (>= 2.34), \nbase-files\tyes\tbase\tawk, \nlibc6\tno\tlibc6-2.36\t, libgcc-s1\n" +
		"moreutils\tno\t\tperl:any, \nbusybox\tno\t\tlibc6 (>= 2.36) | musl, \n"))
	there := p.closure([]string{"gunicorn"})
	for name, want := range map[string]bool{"gunicorn": true, "python3-minimal": true, "base-files": true, "mawk": true, "libgcc-s1": true, "moreutils": false} {
		if there[name] != want {
			t.Errorf("%s: %t", name, there[name])
		}
	}
}

func TestListIsRead(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(Module(t), List))
	if err != nil {
		t.Fatal(err)
	}
	names := Listed(string(text))
	if !slices.Contains(names, "iproute2") || !slices.IsSorted(names) || slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, "#") }) {
		t.Errorf("%q", names)
	}
}

// TestProgramsComeFromSomewhere checks the check itself with this machine's packages.
func TestProgramsComeFromSomewhere(t *testing.T) {
	Tool(t, "dpkg-query")
	for _, name := range []string{"sh", "ip", "tshark"} {
		if err := Provided(Module(t), Tool(t, name)); err != nil {
			t.Error(err)
		}
	}
	// A module whose list is empty brings what every Debian has, and nothing else.
	empty := t.TempDir()
	if err := os.MkdirAll(filepath.Join(empty, filepath.Dir(List)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(empty, List), []byte("# nothing\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Provided(empty, Tool(t, "sh")); err != nil {
		t.Error(err)
	}
	if err := Provided(empty, Tool(t, "tshark")); err == nil {
		t.Error("tshark comes from a list that is empty")
	}
	if err := Provided(empty, os.Args[0]); err != nil {
		t.Errorf("a file that no package owns: %v", err)
	}
}
