package main

import (
	"encoding/json"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/bpf"
	"github.com/dynwatch/dynwatch/internal/testenv"
)

// runWatched runs capture -- COMMAND to its end, with further environment.
func runWatched(t *testing.T, env []string, args ...string) *watch {
	t.Helper()
	w := newWatch(t, append([]string{"--library-probes", "off"}, args...)...)
	w.cmd.Env = append(w.cmd.Env, env...)
	w.start()
	w.wait()
	return w
}

func TestTheStatusIsTheCommandsOwn(t *testing.T) {
	for script, want := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -9 $$": 137} {
		w := runWatched(t, nil, "--", "sh", "-c", script)
		if code := w.cmd.ProcessState.ExitCode(); code != want {
			t.Errorf("%s: status %d, want %d: %s", script, code, want, w.stderr.String())
		}
	}
	w := runWatched(t, nil, "--", "no-such-program-anywhere")
	if code := w.cmd.ProcessState.ExitCode(); code != exitFailed || !strings.Contains(w.stderr.String(), "run the command") {
		t.Errorf("a program that does not exist: status %d: %s", code, w.stderr.String())
	}
	w = runWatched(t, nil, "-w", "-", "--", "true")
	if code := w.cmd.ProcessState.ExitCode(); code != exitUsage {
		t.Errorf("-w - with a command: status %d: %s", code, w.stderr.String())
	}
}

// TestWhatAKilledCaptureLeftIsSwept looks at the cgroup that it left, and at others that are to stay.
func TestWhatAKilledCaptureLeftIsSwept(t *testing.T) {
	testenv.Root(t)
	root, err := bpf.FindCgroup()
	if err != nil {
		t.Fatal(err)
	}
	// The command lives until its input ends, which it does with the capture.
	w := newWatch(t, "--library-probes", "off", "--", "cat")
	in, err := w.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	w.start()
	left := filepath.Join(root, cgroupPrefix+strconv.Itoa(w.cmd.Process.Pid))
	procs := func() string { b, _ := os.ReadFile(filepath.Join(left, "cgroup.procs")); return string(b) }
	w.await("the command runs", func() bool { return procs() != "" })
	old := time.Now().Add(-2 * sweepAfter)
	if err := os.Chtimes(left, old, old); err != nil {
		t.Fatal(err)
	}
	sweep(root)
	if !exists(left) {
		t.Fatal("the cgroup of a capture that lives was removed")
	}
	w.cmd.Process.Kill()
	<-w.done
	in.Close()
	for deadline := time.Now().Add(20 * time.Second); procs() != "" && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
	}
	dead := filepath.Join(t.TempDir(), filepath.Base(left)) // the same name, just made
	if err := os.Mkdir(dead, 0o755); err != nil {
		t.Fatal(err)
	}
	if sweep(filepath.Dir(dead)); !exists(dead) {
		t.Error("a new one was removed")
	}
	if sweep(root); exists(left) {
		t.Error("what the killed capture left is still there")
	}
}

// clearRequest is a shell command that sends DynamoDB a request in clear.
func clearRequest(addr netip.AddrPort) string {
	return "curl --silent --max-time 20 --output /dev/null --header 'Host: " + liveName + "' --header 'X-Amz-Target: DynamoDB_20120810.ListTables' --data '{}' http://" + addr.String() + "/"
}

// TestOnlyTheCommandAndItsChildrenAreJudged: neither findings of others nor those of what the command left behind are somebody else's.
func TestOnlyTheCommandAndItsChildrenAreJudged(t *testing.T) {
	testenv.Tool(t, "curl")
	testenv.Root(t)
	own, others := serveClear(t, "127.0.9.11"), serveClear(t, "127.0.9.12")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() { // somebody else speaks in clear all the time
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if c, err := net.Dial("tcp", others.String()); err == nil {
				c.Write([]byte(liveRequest()))
				c.Read(make([]byte, 10))
				c.Close()
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	// A child of a child, which the command does not wait for in the foreground.
	script := "(" + clearRequest(own) + ") & wait; exit 7"
	w := runWatched(t, nil, "-o", "json", "--fail-on", "high", "--", "sh", "-c", script)
	if code := w.cmd.ProcessState.ExitCode(); code != exitFindings {
		t.Errorf("status %d: %s", code, w.stderr.String())
	}
	report := jsonLines(w.stderr.String())
	if n := len(linesOf(t, report, "session", own.Addr())); n != 1 {
		t.Errorf("%d sessions of the command's child: %s", n, report)
	}
	if n := len(linesOf(t, report, "session", others.Addr())); n != 0 {
		t.Errorf("%d sessions of another process", n)
	}
	if w.stdout.String() != "" {
		t.Errorf("standard output is the command's: %q", w.stdout.String())
	}
	// The same is no reason to fail if nobody says so.
	w = runWatched(t, nil, "--", "sh", "-c", script)
	if code := w.cmd.ProcessState.ExitCode(); code != 7 {
		t.Errorf("without --fail-on: status %d: %s", code, w.stderr.String())
	}
	// A command without findings of its own passes, whatever others do.
	w = runWatched(t, nil, "--fail-on", "low", "--", "sh", "-c", "sleep 0.2")
	if code := w.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("a command that does nothing: status %d: %s", code, w.stderr.String())
	}
}

// TestTheCommandIsJudgedInCgroupsBelow: it makes one, asks from there, and removes it.
func TestTheCommandIsJudgedInCgroupsBelow(t *testing.T) {
	testenv.Tool(t, "curl")
	testenv.Root(t)
	root, err := bpf.FindCgroup()
	if err != nil {
		t.Fatal(err)
	}
	addr := serveClear(t, "127.0.9.15")
	script := `below=` + root + `$(grep "^0::" /proc/self/cgroup | cut -d: -f3)/a/b; mkdir -p $below || exit 1
(sh -c 'echo $PPID' > $below/cgroup.procs; ` + clearRequest(addr) + `)`
	for name, after := range map[string]string{"removed": `; rmdir $below ${below%/b}`, "left": ""} {
		w := runWatched(t, nil, "--fail-on", "high", "--", "sh", "-c", script+after+"; exit 0")
		if code := w.cmd.ProcessState.ExitCode(); code != exitFindings {
			t.Errorf("%s: status %d: %s", name, code, w.stderr.String())
		}
		if dir := filepath.Join(root, cgroupPrefix+strconv.Itoa(w.cmd.Process.Pid)); exists(dir) {
			t.Errorf("%s: %s is still there", name, dir)
		}
	}
}

// TestWhatTheCommandLeavesBehindIsTold: it is not waited for, so what it does later is judged by nobody.
func TestWhatTheCommandLeavesBehindIsTold(t *testing.T) {
	testenv.Root(t)
	root, err := bpf.FindCgroup()
	if err != nil {
		t.Fatal(err)
	}
	const told = "behind still run"
	for script, want := range map[string]string{
		"sleep 0.01 & exit 0":       "",
		"cat <&3 >&3 2>&3 & exit 0": "dynwatch: warning: 1 process that the command left behind still runs: what it does from now on is not watched\n",
		`below=` + root + `$(grep "^0::" /proc/self/cgroup | cut -d: -f3)/below; mkdir $below; cat <&3 >&3 2>&3 & echo $! > $below/cgroup.procs; cat <&3 >&3 2>&3 & exit 0`: "dynwatch: warning: 2 processes that the command left behind still run: what they do from now on is not watched\n",
	} {
		// What is left behind reads this until the test ends.
		in, out, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		w := newWatch(t, "--library-probes", "off", "--", "sh", "-c", "exec 3<&0; "+script)
		w.cmd.Stdin = in
		w.start()
		in.Close()
		w.wait()
		dir := filepath.Join(root, cgroupPrefix+strconv.Itoa(w.cmd.Process.Pid))
		if got := w.stderr.String(); strings.Contains(got, told) != (want != "") || !strings.Contains(got, want) {
			t.Errorf("%s: want %q: %s", script, want, got)
		}
		if code := w.cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("%s: status %d", script, code)
		}
		out.Close()
		for deadline := time.Now().Add(20 * time.Second); exists(dir) && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			removeCgroup(dir)
		}
		if exists(dir) {
			t.Errorf("%s: %s is left", script, dir)
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// jsonLines are those of a mixed output.
func jsonLines(output string) string {
	var b strings.Builder
	for line := range strings.Lines(output) {
		if json.Valid([]byte(line)) {
			b.WriteString(line)
		}
	}
	return b.String()
}

func TestTheCommandRunsAsTheUserBehindSudo(t *testing.T) {
	testenv.Root(t)
	const script = `id -u; id -g; echo "$USER $LOGNAME $HOME"; echo "sudo:$SUDO_UID$SUDO_GID$SUDO_USER$SUDO_COMMAND"; grep CapEff /proc/self/status`
	w := runWatched(t, []string{"SUDO_UID=65534", "SUDO_GID=65534", "SUDO_USER=nobody", "SUDO_COMMAND=dynwatch"}, "--", "sh", "-c", script)
	if code := w.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("status %d: %s", code, w.stderr.String())
	}
	if got, want := w.stdout.String(), "65534\n65534\nnobody nobody /nonexistent\nsudo:\nCapEff:\t0000000000000000\n"; got != want {
		t.Errorf("the command says %q, want %q", got, want)
	}
	// Without sudo it is who called.
	w = runWatched(t, []string{"SUDO_UID=", "SUDO_GID="}, "--", "id", "-u")
	if got := strings.TrimSpace(w.stdout.String()); got != "0" || os.Getuid() != 0 {
		t.Errorf("without sudo: user %s", got)
	}
	w = runWatched(t, []string{"SUDO_UID=many", "SUDO_GID=1"}, "--", "true")
	if code := w.cmd.ProcessState.ExitCode(); code != exitFailed || !strings.Contains(w.stderr.String(), "SUDO_UID") {
		t.Errorf("a user id that is none: status %d: %s", code, w.stderr.String())
	}
}
