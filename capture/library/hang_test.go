package library

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

// hangingFiles copies OpenSSL's libraries to a directory and gives another, a file system in user space that shows the same and can be stopped: then
// whoever opens something there waits until it goes on.
func hangingFiles(t *testing.T) (plain, hanging string, stop, goOn func()) {
	t.Helper()
	fuse, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		testenv.Lacks(t, "%v", err)
	}
	fuse.Close()
	plain, hanging = t.TempDir(), t.TempDir()
	for _, name := range []string{"libssl.so.3", "libcrypto.so.3"} {
		paths, err := filepath.Glob("/usr/lib/*-linux-gnu/" + name)
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: %v", name, err)
		}
		b, err := os.ReadFile(paths[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(plain, name), b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	server := testenv.Command(t, "bindfs", "-f", "-o", "entry_timeout=0,attr_timeout=0", plain, hanging)
	server.Stderr = os.Stderr
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	signal := func(s unix.Signal) {
		if err := server.Process.Signal(s); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(func() {
		if err := unix.Unmount(hanging, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
		signal(unix.SIGKILL) // whoever still waits gets an error
		_ = server.Wait()
	})
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(hanging, "libssl.so.3")); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("bindfs shows nothing")
		}
	}
	return plain, hanging, func() { signal(unix.SIGSTOP) }, func() { signal(unix.SIGCONT) }
}

// withLibraries starts a program that has the libraries of a directory mapped, and waits.
func withLibraries(t *testing.T, dir string) (pid int) {
	t.Helper()
	c := testenv.Command(t, "sh", "-c", `exec env LD_LIBRARY_PATH="$0" LD_PRELOAD="$0/libssl.so.3" sh -c 'echo ready; read x'`, dir)
	return startWaiting(t, dir, c).cmd.Process.Pid
}

// TestAProcessWhoseFilesHangHoldsNobodyUp: others get their probes, what hangs is told, and gets its own when it goes on.
func TestAProcessWhoseFilesHangHoldsNobodyUp(t *testing.T) {
	_, a := probes(t)
	a.patience = 5 * time.Second // others are slow on a busy machine, too
	own := os.Getpid()
	a.scanOf([]int{own}) // the usual directories, too
	plain, hanging, stop, goOn := hangingFiles(t)
	stuck := withLibraries(t, hanging)
	other := withLibraries(t, plain)
	stop()
	usual := a.stats.Files
	scanned := make(chan struct{})
	go func() {
		a.scanOf([]int{own, stuck, other})
		close(scanned)
	}()
	select {
	case <-scanned:
	case <-time.After(30 * time.Second):
		goOn()
		t.Fatal("one process whose files do not answer holds up all")
	}
	stats := func() attachStats {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.stats
	}
	s := stats()
	if s.Files != usual+2 || s.Closed != 1 || len(s.Problems) != 1 || !strings.Contains(s.Problems[0], errBusy.Error()) {
		t.Errorf("%+v; want both files of the other process", s)
	}
	begun := time.Now()
	a.scanOf([]int{own, stuck, other})
	if took := time.Since(begun); took > a.patience/2 {
		t.Errorf("it is waited for again, %v", took)
	}
	goOn()
	for end := time.Now().Add(20 * time.Second); stats().Files != usual+4; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it goes on and has no probes: %+v", stats())
		}
	}
	a.scanOf([]int{own, stuck, other})
	if s := stats(); s.Files != usual+4 || s.Closed != 0 {
		t.Errorf("after another look: %+v", s)
	}
}
