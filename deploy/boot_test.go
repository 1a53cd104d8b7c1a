package deploy

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/bpf"
	"github.com/dynwatch/dynwatch/internal/testenv"
)

// machine is a systemd that runs as process 1 of namespaces of its own (testdata/boot).
type machine struct {
	t   *testing.T
	pid int // of process 1, as this machine counts
}

// bootMachine starts one, with a package at /dynwatch.deb.
func bootMachine(t *testing.T, deb string) *machine {
	t.Helper()
	testenv.Root(t)
	for _, program := range []string{"unshare", "nsenter"} {
		testenv.Tool(t, program)
	}
	if _, err := os.Stat("/lib/systemd/systemd"); err != nil {
		testenv.Lacks(t, "systemd is not installed: %v", err)
	}
	root, err := bpf.FindCgroup()
	if err != nil {
		t.Fatal(err)
	}
	cgroup, err := os.MkdirTemp(root, "dynwatch-boot-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(cgroup, 0o755); err != nil { // its services' users look into it
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd := testenv.Command(t, "testdata/boot", t.TempDir(), cgroup, deb)
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = &said, &said, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() // which kills process 1, which ends all of its namespace
		cmd.Wait()
		removeCgroup(t, cgroup)
		if t.Failed() {
			t.Logf("the machine said %s", said.String())
		}
	})
	m := &machine{t: t}
	m.await("systemd runs", func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
		if err != nil {
			return false
		}
		m.pid, _ = strconv.Atoi(strings.TrimSpace(string(b)))
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", m.pid))
		return err == nil && strings.TrimSpace(string(comm)) == "systemd"
	})
	m.await("systemd has begun", func() bool {
		state, _ := m.try("systemctl", "is-system-running")
		return state == "running" || state == "degraded"
	})
	return m
}

// removeCgroup removes a cgroup with all below it, once what was in it has ended.
func removeCgroup(t *testing.T, dir string) {
	var left error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var dirs []string
		filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for i := len(dirs) - 1; i >= 0; i-- {
			left = os.Remove(dirs[i])
		}
		if left == nil || os.IsNotExist(left) {
			return
		}
	}
	t.Error(left)
}

// try runs a program in the machine; it returns what it printed, without the last newline.
func (m *machine) try(program string, args ...string) (string, error) {
	cmd := testenv.Command(m.t, "nsenter", append([]string{
		"--target", strconv.Itoa(m.pid), "--mount", "--pid", "--uts", "--ipc", "--net", "--root", "--wd", "--", program}, args...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive"}
	out, err := cmd.CombinedOutput()
	return strings.TrimSuffix(string(out), "\n"), err
}

// run is try for a program that must not fail.
func (m *machine) run(program string, args ...string) string {
	m.t.Helper()
	out, err := m.try(program, args...)
	if err != nil {
		log, _ := m.try("journalctl", "--no-pager", "--lines=50")
		m.t.Fatalf("%s %s: %v: %s\n%s", program, strings.Join(args, " "), err, out, log)
	}
	return out
}

func (m *machine) write(path, text string) {
	m.t.Helper()
	m.run("sh", "-ec", `mkdir -p "$(dirname "$0")"; printf %s "$1" > "$0"`, path, text)
}

func (m *machine) await(what string, ready func() bool) {
	m.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !ready(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			log, _ := m.try("journalctl", "--no-pager", "--lines=50")
			m.t.Fatalf("%s: not within a minute\n%s", what, log)
		}
	}
}

// is gives a property of the unit.
func (m *machine) is(property string) string {
	m.t.Helper()
	return m.run("systemctl", "show", "--value", "--property="+property, "dynwatch.service")
}

// testUnderSystemd takes the package through its life on a machine with systemd: installed, started, reloaded, killed, hanging, stopped, removed.
func testUnderSystemd(t *testing.T, deb string) {
	m := bootMachine(t, deb)
	m.run("dpkg", "--install", "/dynwatch.deb")
	if state := m.is("ActiveState"); state != "inactive" {
		t.Errorf("installing leaves it %s", state)
	}
	const address = "127.0.9.41"
	m.write("/etc/dynwatch/dynwatch.yaml", "source: {kind: ebpf}\npolicy: {endpoint: ['"+address+"/32']}\n")
	// What takes a minute in the unit takes seconds here; nothing else differs.
	m.write("/run/systemd/system/dynwatch.service.d/test.conf", "[Service]\nWatchdogSec=4\nTimeoutAbortSec=1\nRestartSec=100ms\n")
	m.run("systemctl", "daemon-reload")

	m.run("systemctl", "start", "dynwatch") // returns when it has said that it is ready
	if status := m.is("StatusText"); !strings.Contains(status, "watching this host by eBPF") {
		t.Errorf("its status is %q", status)
	}
	if state := m.is("ActiveState") + "/" + m.is("SubState"); state != "active/running" {
		t.Errorf("it is %s", state)
	}
	metrics := func(series string) string {
		out, _ := m.try("curl", "--silent", "--fail", "--max-time", "5", "http://127.0.0.1:9464/metrics")
		for line := range strings.Lines(out) {
			if value, ok := strings.CutPrefix(line, series+" "); ok {
				return strings.TrimSpace(value)
			}
		}
		return ""
	}
	for line := range strings.Lines(m.run("journalctl", "--no-pager", "--output=cat", "--unit=dynwatch.service")) {
		// That processes are not looked up is so because this machine has a PID namespace of its own.
		expected := strings.Contains(line, `"msg":"finding"`) || strings.Contains(line, `"msg":"processes are not looked up"`)
		if strings.Contains(line, `"level":"WARN"`) && !expected || strings.Contains(line, `"level":"ERROR"`) {
			t.Errorf("the sandbox takes something away: %s", line)
		}
	}

	// A service of this machine speaks in clear.
	m.run("systemd-run", "--unit=server", "--quiet", "--", "python3", "-m", "http.server", "--bind", address, "8000")
	m.await("the server", func() bool {
		_, err := m.try("systemd-run", "--wait", "--collect", "--quiet", "--unit=orders", "--", "curl", "--silent", "--output", "/dev/null", "-H", "Host: dynamodb.us-east-1.amazonaws.com",
			"http://"+address+":8000/")
		return err == nil
	})
	found := func() bool {
		out, err := m.try("dynwatch", "findings", "-o", "json")
		return err == nil && strings.Contains(out, `"plaintext"`) && strings.Contains(out, address)
	}
	m.await("the finding in the inventory", found)
	if mode := m.run("stat", "--format=%a %U", "/var/lib/private/dynwatch/history.journal"); !strings.HasPrefix(mode, "600 ") || strings.HasSuffix(mode, " root") {
		t.Errorf("the journal is %s", mode)
	}

	m.write("/etc/dynwatch/dynwatch.yaml", "source: {kind: ebpf}\nobserve: true\npolicy: {endpoint: ['"+address+"/32']}\n")
	m.run("systemctl", "reload", "dynwatch")
	m.await("the new configuration", func() bool { return metrics("dynwatch_observe_mode") == "1" })

	time.Sleep(6 * time.Second) // longer than the watchdog waits
	if n, state := m.is("NRestarts"), m.is("ActiveState"); n != "0" || state != "active" {
		t.Errorf("it is %s after %s restarts: the watchdog is not fed", state, n)
	}

	// Killed, and hanging: it is started anew, and knows what it knew.
	for i, signal := range []string{"KILL", "STOP"} {
		m.run("systemctl", "kill", "--kill-whom=main", "--signal="+signal, "dynwatch")
		m.await("a new start after SIG"+signal, func() bool {
			return m.is("NRestarts") == strconv.Itoa(i+1) && m.is("ActiveState") == "active" && metrics("dynwatch_observe_mode") == "1"
		})
		if !found() {
			t.Errorf("after SIG%s it has forgotten its findings", signal)
		}
	}

	m.run("systemctl", "stop", "dynwatch")
	if result, status := m.is("Result"), m.is("ExecMainStatus"); result != "success" || status != "0" {
		t.Errorf("it ended with %s, status %s", result, status)
	}
	m.run("systemctl", "start", "dynwatch")
	m.run("dpkg", "--remove", "dynwatch")
	if out, err := m.try("pidof", "dynwatch"); err == nil {
		t.Errorf("removed, and process %s runs", out)
	}
	if state := m.is("LoadState"); state == "loaded" && m.is("FragmentPath") != "" {
		t.Errorf("its unit is %s, from %s", state, m.is("FragmentPath"))
	}
	m.run("dpkg", "--purge", "dynwatch")
	if left, err := m.try("sh", "-c", "ls -d /var/lib/dynwatch /var/lib/private/dynwatch /etc/dynwatch 2>/dev/null"); err == nil || left != "" {
		t.Errorf("purged, and there is %q", left)
	}
}
