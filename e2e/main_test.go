package e2e

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

// insideEnv names the working directory for the process that runs in the namespaces, and so tells it from the one that starts it.
const insideEnv = "DYNWATCH_E2E_DIR"

// whyNot is why the tests cannot run here; empty when they can.
var whyNot string

// TestMain builds what the tests run, then starts this test binary again in network and mount namespaces of its own. There the
// tests run; when they are done, the namespaces and everything in them are gone.
func TestMain(m *testing.M) {
	if dir := os.Getenv(insideEnv); dir != "" {
		os.Exit(runInside(m, dir))
	}
	flag.Parse()
	if whyNot = missing(); whyNot != "" || testing.Short() || listing() {
		os.Exit(m.Run()) // needRig ends every test
	}
	status, err := runOutside()
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		status = 1
	}
	os.Exit(status)
}

// listing reports whether go test was asked for the names of the tests only.
func listing() bool {
	f := flag.Lookup("test.list")
	return f != nil && f.Value.String() != ""
}

func runOutside() (status int, err error) {
	dir, err := os.MkdirTemp("", "dynwatch-e2e-")
	if err != nil {
		return 1, err
	}
	if keep := os.Getenv("DYNWATCH_E2E_KEEP"); keep == "" {
		defer os.RemoveAll(dir)
	} else {
		fmt.Fprintln(os.Stderr, "e2e: kept:", dir)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return 1, err
	}
	dynwatch := filepath.Join(dir, "dynwatch")
	if built := os.Getenv("DYNWATCH_E2E_BINARY"); built != "" {
		if err := os.Symlink(built, dynwatch); err != nil {
			return 1, err
		}
	} else if err := build(dynwatch, "..", "./cmd/dynwatch"); err != nil {
		return 1, err
	}
	if err := build(filepath.Join(dir, "goclient"), "goclient", "."); err != nil {
		return 1, err
	}
	if err := errors.Join(compileJava(dir), compileBoringSSL(dir)); err != nil {
		return 1, err
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), insideEnv+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	// An interrupt reaches the inner process too, by the terminal; this one waits for it to clean up.
	signal.Ignore(os.Interrupt)
	err = cmd.Run()
	if cmd.ProcessState == nil {
		return 1, err
	}
	if s := cmd.ProcessState.ExitCode(); s >= 0 {
		return s, nil
	}
	return 1, err
}

func build(to, dir, what string) error {
	cmd := exec.Command("go", "build", "-trimpath", "-o", to, what)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s in %s: %w\n%s", what, dir, err, out)
	}
	return nil
}

// runInside runs the tests, and takes down what they set up.
func runInside(m *testing.M, dir string) (status int) {
	os.Unsetenv(insideEnv)
	r, err := newRig(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	theRig = r
	defer r.stop()
	return m.Run()
}

// theRig is nil where the tests cannot run. It is started by the first test that observes something.
var theRig *rig

// needRig gives the rig or ends the test.
func needRig(t *testing.T) *rig {
	t.Helper()
	testenv.Slow(t, "hundreds of clients")
	if theRig == nil {
		testenv.Lacks(t, "%s", whyNot)
	}
	return theRig
}
