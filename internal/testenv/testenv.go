// Package testenv is how tests say that they cannot run here, so that one that silently does not run is nobody's green tick.
//
// There are four reasons. A machine that lacks a program, a right or a kernel feature ([Lacks], [Tool], [Root]) is a reason on a developer's
// machine; where CI=true it fails the test, because scripts/packages.txt and the runner owe all of these. The other three may skip
// anywhere: captures that belong to others and are not beside the repository ([Shared]), -short ([Slow]), and something that
// the implementation with which a test compares, or a variant of the build, does not do ([Beyond]). A test of this package holds all tests of the module to it: none
// calls t.Skip itself.
package testenv

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// must reports whether this machine has to be able to run every test.
func must() bool { return os.Getenv("CI") == "true" }

// Lacks skips a test for want of something that the machine ought to have, or fails it where CI=true.
func Lacks(t testing.TB, format string, args ...any) {
	t.Helper()
	if must() {
		t.Fatalf("CI=true, and "+format, args...)
	}
	t.Skipf(format, args...)
}

// Tool is the path of a program that some package of scripts/packages.txt provides. Where CI=true it fails the test if that is not so.
func Tool(t testing.TB, name string) string {
	t.Helper()
	path, err := Find(name)
	if err != nil {
		Lacks(t, "%s is not installed (scripts/setup installs the packages of %s)", name, List)
	}
	if must() {
		once, _ := checked.LoadOrStore(path, sync.OnceValue(func() error { return Provided(Module(t), path) }))
		if err := once.(func() error)(); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// checked are the programs whose package was asked for, by path; asking takes longer than running many of them.
var checked sync.Map

// Find is the path of a program, or of anything by its absolute path, for those who have no test yet.
func Find(name string) (string, error) {
	if !filepath.IsAbs(name) {
		return exec.LookPath(name)
	}
	_, err := os.Stat(name)
	return name, err
}

// Command is a command whose program is a [Tool].
func Command(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	return exec.Command(Tool(t, name), args...)
}

// Root is for tests that make network namespaces, open packet sockets or load kernel programs.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Lacks(t, "not root")
	}
}

// Slow skips with -short; why says what takes the time.
func Slow(t testing.TB, why string) {
	t.Helper()
	if testing.Short() {
		t.Skipf("-short: %s", why)
	}
}

// Shared is the path of a file or folder in the folder shared beside the repository, which holds captures and lists that are not ours to
// publish. Without it the test is skipped. A repository that is checked out alone has none.
func Shared(t testing.TB, elem ...string) string {
	t.Helper()
	path := sharedPath(t, elem)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("not beside the repository: %v", err)
	}
	return path
}

// SharedFiles are the files in the folder of [Shared] that match a pattern; none is no reason to skip.
func SharedFiles(t testing.TB, pattern ...string) []string {
	t.Helper()
	files, err := filepath.Glob(sharedPath(t, pattern))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func sharedPath(t testing.TB, elem []string) string {
	t.Helper()
	return filepath.Join(append([]string{Module(t), "..", "shared"}, elem...)...)
}

// Beyond skips what something else does not do that the test needs: the implementation that it compares with, or a variant of the build.
func Beyond(t testing.TB, format string, args ...any) {
	t.Helper()
	t.Skipf("not done by "+format, args...)
}

// Module is the directory of go.mod.
func Module(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the working directory")
		}
	}
}
