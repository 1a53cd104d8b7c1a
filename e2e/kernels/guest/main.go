// Command guest is the first process of a virtual machine that has nothing but a kernel, this program, dynwatch and two test binaries. It tries all of
// that, prints a report, and switches the machine off. It is also, by its other names, the clients that dynwatch is to see.
//
// scripts/test-kernels builds and boots it. It is never run on a host: it mounts file systems and switches off.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/e2e/kernels/report"
)

func main() {
	if filepath.Base(os.Args[0]) == clientName {
		client(os.Args[1:])
		return
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "guest: error: this is the first process of a virtual machine; see scripts/test-kernels")
		os.Exit(2)
	}
	g := &guest{}
	g.check("set up", g.setUp)
	if g.passed() {
		g.run()
	}
	g.tell()
	unix.Sync()
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	select {}
}

type guest struct {
	report report.Report
	server *server
}

// check runs one check; its error is its failure.
func (g *guest) check(name string, f func() (detail string, err error)) {
	c := report.Check{Name: name}
	start := time.Now()
	detail, err := f()
	c.Detail = strings.TrimSpace(detail)
	if err != nil {
		c.Failed = err.Error()
	}
	g.report.Checks = append(g.report.Checks, c)
	fmt.Printf("guest: %s: %v %s\n", name, time.Since(start).Round(time.Millisecond), c.Failed)
}

func (g *guest) passed() bool {
	for _, c := range g.report.Checks {
		if c.Failed != "" {
			return false
		}
	}
	return true
}

// mounts of the guest, in this order.
var mounts = []struct{ kind, at string }{
	{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}, {"securityfs", "/sys/kernel/security"},
	{"cgroup2", "/sys/fs/cgroup"}, {"bpf", "/sys/fs/bpf"}, {"tracefs", "/sys/kernel/tracing"},
}

func (g *guest) setUp() (string, error) {
	for _, m := range mounts {
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			return "", err
		}
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil && m.kind != "tracefs" { // lockdown withholds it
			return "", fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	// The console is for the report.
	if err := os.WriteFile("/proc/sys/kernel/printk", []byte("1"), 0o644); err != nil {
		return "", err
	}
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "", err
	}
	g.report.Release = strings.TrimSpace(string(release))
	if mode, err := os.ReadFile("/sys/kernel/security/lockdown"); err == nil {
		_, rest, _ := strings.Cut(string(mode), "[")
		g.report.Lockdown, _, _ = strings.Cut(rest, "]")
	}
	os.Setenv("PATH", "/bin")
	os.Setenv("HOME", "/tmp")
	if err := insertModules("/modules"); err != nil {
		return "", err
	}
	if err := addresses(); err != nil {
		return "", err
	}
	g.server, err = serve()
	return "", err
}

// insertModules loads what udev and modprobe would have loaded, in the order of the names.
func insertModules(dir string) error {
	paths, err := filepath.Glob(filepath.Join(dir, "*.ko"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil {
			return fmt.Errorf("insert %s: %w", path, err)
		}
	}
	return nil
}

func (g *guest) run() {
	g.check("doctor", g.doctor)
	g.check("programs load, verifier", g.verifier)
	g.check("tests of bpf", g.tests("/src/bpf", "bpf.test", "-test.skip=^TestVerifier"))
	g.watch("ebpf")
	g.watch("packet")
	g.check("memory limit without CAP_SYS_RESOURCE", memoryLimit)
	if asked(report.Full) {
		g.check("tests of capture/ebpf", g.tests("/src/capture/ebpf", "ebpf.test"))
	}
}

func (g *guest) tell() {
	out, err := json.Marshal(&g.report)
	if err != nil {
		out = []byte(err.Error())
	}
	fmt.Printf("\n%s\n%s\n%s\n", report.Begin, out, report.End)
	time.Sleep(200 * time.Millisecond) // for the serial line
}

func (g *guest) doctor() (string, error) {
	text, err := exec.Command("/bin/dynwatch", "doctor").CombinedOutput()
	g.report.Doctor = string(text)
	if err != nil {
		return "", fmt.Errorf("dynwatch doctor: %w: %s", err, text)
	}
	found := map[string][]string{} // names by status
	for line := range strings.Lines(string(text)) {
		if m := doctorLine.FindStringSubmatch(line); m != nil {
			found[m[2]] = append(found[m[2]], m[1])
		}
	}
	switch {
	case len(found["ok"]) < 10 || !strings.Contains(string(text), "--source ebpf works, --source packet works"):
		return "", fmt.Errorf("dynwatch doctor says: %s", text)
	case len(found["missing"]) > 0:
		return "", fmt.Errorf("missing: %s", strings.Join(found["missing"], ", "))
	case len(found["degraded"]) > 0:
		return "degraded: " + strings.Join(found["degraded"], ", "), nil
	}
	return "nothing is missing", nil
}

// doctorLine is a check in the doctor's report: name and status.
var doctorLine = regexp.MustCompile(`^(\S.*?)  +(ok|degraded|missing) `)

// tests runs the tests of a package. Those that the kernel or this bare machine cannot run are skipped, and named.
func (g *guest) tests(dir, binary string, flags ...string) func() (string, error) {
	return func() (string, error) {
		out, err := test(dir, binary, flags...)
		detail, skipped := tally(out)
		g.report.Skipped = append(g.report.Skipped, skipped...)
		return detail, err
	}
}

// tally counts tests by what a test binary printed of them, and names those that were skipped. A test whose parts (its subtests) were skipped has passed.
func tally(out string) (detail string, names []string) {
	var passed, skipped, parts int
	for line := range strings.Lines(out) {
		if name, ok := strings.CutPrefix(strings.TrimLeft(line, " "), "--- SKIP: "); ok {
			name, _, _ = strings.Cut(name, " ")
			names = append(names, name)
			if strings.HasPrefix(line, " ") {
				parts++
			} else {
				skipped++
			}
		} else if strings.HasPrefix(line, "--- PASS: ") {
			passed++
		}
	}
	detail = fmt.Sprintf("%d passed, %d skipped", passed, skipped)
	if parts > 0 {
		detail += fmt.Sprintf(", and %d parts of others", parts)
	}
	return detail, names
}

// test runs a test binary; the error holds what failed.
func test(dir, binary string, flags ...string) (string, error) {
	cmd := exec.Command(filepath.Join(dir, binary), append([]string{"-test.v", "-test.timeout=10m"}, flags...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, failures(out))
	}
	return string(out), err
}

// failures are the lines that tell of failed tests.
func failures(out []byte) string {
	var b strings.Builder
	for line := range strings.Lines(string(out)) {
		t := strings.TrimSpace(line)
		if strings.HasPrefix(t, "--- FAIL") || strings.Contains(t, "_test.go:") || strings.HasPrefix(t, "panic") {
			b.WriteString(t + "\n")
		}
	}
	if b.Len() == 0 {
		return string(out[max(0, len(out)-2000):])
	}
	return b.String()
}

// verifier loads every program and holds the verifier's counts to their ceilings, or makes these anew.
func (g *guest) verifier() (string, error) {
	flags := []string{"-test.run=^TestVerifier"}
	update := asked(report.Update)
	if update {
		flags = append(flags, "-update")
	}
	out, err := test("/src/bpf", "bpf.test", flags...)
	if err != nil {
		return "", err
	}
	_, rest, ok := strings.Cut(out, "dynwatch_egress (all)")
	before := strings.Fields(strings.TrimSuffix(out, "dynwatch_egress (all)"+rest))
	if !ok || len(before) == 0 {
		return "", fmt.Errorf("the test wrote no counts: %s", out)
	}
	if update {
		if g.report.Ceilings, err = g.ceilings(); err != nil {
			return "", err
		}
	}
	return before[len(before)-1], nil
}

// ceilings are this kernel's, of those that the test wrote.
func (g *guest) ceilings() (string, error) {
	all, err := os.ReadFile("/src/bpf/testdata/verifier.txt")
	if err != nil {
		return "", err
	}
	version := strings.SplitN(g.report.Release, ".", 3)
	var own strings.Builder
	for line := range strings.Lines(string(all)) {
		if strings.HasPrefix(line, fmt.Sprintf("%s %s.%s\t", runtime.GOARCH, version[0], version[1])) {
			own.WriteString(line)
		}
	}
	if own.Len() == 0 {
		return "", fmt.Errorf("the test wrote none of %s: %s", g.report.Release, all)
	}
	return own.String(), nil
}

// asked says whether a word stands on the kernel's command line.
func asked(word string) bool {
	line, err := os.ReadFile("/proc/cmdline")
	return err == nil && slices.Contains(strings.Fields(string(line)), word)
}
