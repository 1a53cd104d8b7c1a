package deploy

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

// buildPackages runs scripts/packages and returns the folder.
func buildPackages(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := testenv.Command(t, filepath.Join(testenv.Module(t), "scripts/packages"), "0.1.0", dir)
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1790000000")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("scripts/packages: %v\n%s", err, out)
	}
	return dir
}

// run runs a program, and fails the test if that fails.
func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := testenv.Command(t, program, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", program, strings.Join(args, " "), err, &stdout, &stderr)
	}
	return stdout.String()
}

// below lists the files below a folder, but for the package manager's own.
func below(root, own string) []string {
	var files []string
	filepath.WalkDir(root, func(path string, d fs.DirEntry, _ error) error {
		name := strings.TrimPrefix(path, root)
		if d != nil && d.IsDir() && name == own {
			return filepath.SkipDir
		}
		if d != nil && !d.IsDir() {
			files = append(files, name)
		}
		return nil
	})
	return files
}

var installed = []string{
	"/etc/dynwatch/dynwatch.yaml", "/usr/bin/dynwatch", "/usr/lib/systemd/system/dynwatch.service", "/usr/share/bash-completion/completions/dynwatch",
	"/usr/share/doc/dynwatch/copyright", "/usr/share/doc/dynwatch/sbom.cdx.json",
}

// TestPackages builds them, and installs and removes each below a folder, so that this machine stays as it is.
func TestPackages(t *testing.T) {
	testenv.Slow(t, "builds packages twice")
	testenv.Root(t)
	dir := buildPackages(t)
	again := buildPackages(t)
	for _, file := range below(dir, "-") {
		a, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		b, _ := os.ReadFile(filepath.Join(again, file))
		if sha256.Sum256(a) != sha256.Sum256(b) {
			t.Errorf("%s has other bytes when built again", file)
		}
	}
	if got := len(below(dir, "-")); got != 6 {
		t.Errorf("%d files: %v", got, below(dir, "-"))
	}

	t.Run("deb", func(t *testing.T) {
		root := t.TempDir()
		for _, d := range []string{"info", "updates", "triggers"} {
			if err := os.MkdirAll(filepath.Join(root, "var/lib/dpkg", d), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(root, "var/lib/dpkg/status"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		dpkg := func(args ...string) {
			run(t, "dpkg", append([]string{"--root=" + root, "--force-script-chrootless", "--log=/dev/null"}, args...)...)
		}
		dpkg("--install", filepath.Join(dir, "dynwatch_0.1.0-1_"+runtime.GOARCH+".deb"))
		check(t, root, "/var/lib/dpkg")
		config, state := filepath.Join(root, "etc/dynwatch/dynwatch.yaml"), filepath.Join(root, "var/lib/private/dynwatch/history.db")
		if err := os.MkdirAll(filepath.Dir(state), 0o700); err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{config, state} {
			if err := os.WriteFile(file, []byte("observe: true\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		dpkg("--remove", "dynwatch")
		if left := below(root, "/var/lib/dpkg"); !slices.Equal(left, []string{"/etc/dynwatch/dynwatch.yaml", "/var/lib/private/dynwatch/history.db"}) {
			t.Errorf("removing leaves %v, want the configuration and the history", left)
		}
		dpkg("--purge", "dynwatch")
		if left := below(root, "/var/lib/dpkg"); len(left) != 0 {
			t.Errorf("purging leaves %v", left)
		}
	})

	t.Run("deb under systemd", func(t *testing.T) {
		testUnderSystemd(t, filepath.Join(dir, "dynwatch_0.1.0-1_"+runtime.GOARCH+".deb"))
	})

	t.Run("rpm", func(t *testing.T) {
		root := t.TempDir()
		arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
		rpm := func(args ...string) string {
			// A folder has no shell to run scripts with; what they do needs a running systemd anyway.
			return run(t, "rpm", append([]string{"--root", root, "--dbpath", "/var/lib/rpm"}, args...)...)
		}
		rpm("--initdb")
		rpm("--install", "--nodeps", "--noscripts", filepath.Join(dir, "dynwatch-0.1.0-1."+arch+".rpm"))
		check(t, root, "/var/lib/rpm")
		if changed := rpm("--verify", "dynwatch"); changed != "" {
			t.Errorf("rpm --verify: %s", changed)
		}
		rpm("--erase", "--nodeps", "--noscripts", "dynwatch")
		if left := below(root, "/var/lib/rpm"); len(left) != 0 {
			t.Errorf("removing leaves %v", left)
		}
	})
}

// check looks at what was installed.
func check(t *testing.T, root, own string) {
	t.Helper()
	files := below(root, own)
	for _, want := range installed {
		if !slices.Contains(files, want) {
			t.Errorf("%s is not installed", want)
		}
	}
	if n := len(files); n < len(installed)+10 { // man pages
		t.Errorf("only %d files: %v", n, files)
	}
	if out := run(t, filepath.Join(root, "usr/bin/dynwatch"), "version"); !strings.HasPrefix(out, fmt.Sprintf("dynwatch 0.1.0 linux/%s", runtime.GOARCH)) {
		t.Errorf("the program says %s", out)
	}
	unit, err := os.ReadFile(filepath.Join(root, "usr/lib/systemd/system/dynwatch.service"))
	if want, _ := os.ReadFile("systemd/dynwatch.service"); err != nil || !bytes.Equal(unit, want) {
		t.Errorf("the unit is not the one of TestUnit (%v)", err)
	}
	for _, file := range files {
		if info, err := os.Stat(filepath.Join(root, file)); err == nil && info.Mode().Perm()&0o022 != 0 {
			t.Errorf("%s is writable for others: %v", file, info.Mode())
		}
	}
}
