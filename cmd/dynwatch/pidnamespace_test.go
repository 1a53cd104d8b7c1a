package main

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/dynwatch/dynwatch/internal/host"
	"github.com/dynwatch/dynwatch/internal/testenv"
)

// TestAPIDNamespaceOfItsOwnIsSaidOnce: there the kernel's numbers find no process, which is no reason to say that it has exited.
func TestAPIDNamespaceOfItsOwnIsSaidOnce(t *testing.T) {
	if hosts, why := host.PIDNamespace("/proc"); !hosts {
		testenv.Lacks(t, "the processes of the host: %s", why)
	}
	addr := serveClear(t, "127.0.9.95")
	w := newWatch(t, "-o", "json", "--source", "ebpf", "--library-probes", "off")
	args := w.cmd.Args
	w.cmd = testenv.Command(t, "sh", append([]string{"-c", `mount -t proc none /proc && exec "$0" "$@"`}, args...)...)
	w.cmd.Env = append(os.Environ(), asDynwatch+"=1", "GORACE=halt_on_error=1")
	w.cmd.Stdout, w.cmd.Stderr = &w.stdout, &w.stderr
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS} // with Unshareflags mounts are made private
	w.start()
	w.await("watching", func() bool { return strings.Contains(w.stderr.String(), "dynwatch: watching this host") })
	for range 2 {
		askClear(t, addr).Close()
	}
	w.await("the sessions", func() bool { return len(linesOf(t, w.stdout.String(), "session", addr.Addr())) == 2 })
	w.interrupt()
	for _, l := range linesOf(t, w.stdout.String(), "session", addr.Addr()) {
		if l.Process.PID != os.Getpid() {
			t.Errorf("of process %d, want %d", l.Process.PID, os.Getpid())
		}
	}
	if strings.Contains(w.stdout.String(), `"exited"`) {
		t.Errorf("a process that lives is said to have exited: %s", w.stdout.String())
	}
	if n := strings.Count(w.stderr.String(), "is not the host's: processes cannot be looked up"); n != 1 {
		t.Errorf("said %d times: %s", n, w.stderr.String())
	}
}
