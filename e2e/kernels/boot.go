package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dynwatch/dynwatch/e2e/kernels/report"
)

// qemu is how each architecture is emulated.
var qemu = map[string]struct {
	program string
	machine []string
	console string
}{
	"amd64": {"qemu-system-x86_64", []string{"-M", "q35", "-cpu", "Skylake-Client"}, "ttyS0"},
	"arm64": {"qemu-system-aarch64", []string{"-M", "virt", "-cpu", "cortex-a72"}, "ttyAMA0"},
}

const (
	// attempts is how often a boot is tried until it gives a report.
	attempts = 3
	// patience is for one boot: emulation is some twenty times slower than the machine.
	patience = 15 * time.Minute
)

// build makes the folder that becomes the initramfs of an architecture. The folder of kernels, dir, has the client with OpenSSL.
func build(root, dir, arch string) error {
	if err := os.CopyFS(root, os.DirFS(filepath.Join(dir, "openssl", arch))); err != nil {
		return fmt.Errorf("the client with OpenSSL: %w", err)
	}
	for dir, packages := range map[string]string{"bpf": "./bpf", "capture/ebpf": "./capture/ebpf"} {
		to := filepath.Join(root, "src", dir)
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
		if err := compile(arch, "test", "-c", "-ldflags", "-s -w", "-o", filepath.Join(to, filepath.Base(dir)+".test"), packages); err != nil {
			return err
		}
	}
	if err := compile(arch, "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(root, "bin/dynwatch"), "./cmd/dynwatch"); err != nil {
		return err
	}
	if err := compile(arch, "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(root, "init"), "./e2e/kernels/guest"); err != nil {
		return err
	}
	if err := os.Symlink("/init", filepath.Join(root, "bin/kernelclient")); err != nil {
		return err
	}
	// What the tests read.
	paths, err := filepath.Glob(objects)
	if err != nil {
		return err
	}
	for _, path := range append(paths, ceilings) {
		if err := copyFile(filepath.Join(root, "src", path), path); err != nil {
			return err
		}
	}
	return nil
}

func compile(arch string, args ...string) error {
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

func copyFile(to, from string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o644)
}

// initramfs packs a root with a kernel's modules.
func initramfs(file, root string, modules []string) error {
	dir := filepath.Join(root, "modules")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for i, from := range modules {
		base, _, _ := strings.Cut(filepath.Base(from), ".ko")
		if err := unpack(filepath.Join(dir, fmt.Sprintf("%d-%s.ko", i, base)), from); err != nil {
			return err
		}
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command("/bin/bash", "-c", "set -o pipefail; find . -print0 | sort -z | cpio --null --create --format=newc --owner=0:0 --quiet | gzip -1")
	cmd.Dir, cmd.Stdout, cmd.Stderr = root, out, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("pack the initramfs: %w", err)
	}
	return out.Close()
}

// unpack copies a module; not every kernel unpacks them itself.
func unpack(to, from string) error {
	tool := map[string]string{".xz": "xz", ".zst": "zstd", ".gz": "gzip"}[filepath.Ext(from)]
	if tool == "" {
		return copyFile(to, from)
	}
	out, err := exec.Command(tool, "--decompress", "--stdout", from).Output()
	if err != nil {
		return fmt.Errorf("%s of %s: %w", tool, from, err)
	}
	return os.WriteFile(to, out, 0o644)
}

// result is what booting one kernel in one mode gave.
type result struct {
	kernel          kernel
	mode, arguments string
	// root is the folder that is packed into initramfs.
	root, initramfs string
	// programs is a digest of the compiled programs.
	programs string

	report *report.Report
	// crashes says how each boot ended that gave no report.
	crashes []string
	took    time.Duration
	date    string
}

func (r *result) passed() bool {
	if r.report == nil {
		return false
	}
	for _, c := range r.report.Checks {
		if c.Failed != "" {
			return false
		}
	}
	return true
}

// name is what -only matches.
func (r *result) name() string {
	return fmt.Sprintf("%s %s lockdown=%s", r.kernel.name, r.kernel.arch, r.mode)
}

// boot boots until there is a report. The error is about this machine.
func (r *result) boot(o options) error {
	for range attempts {
		start := time.Now()
		console, err := emulate(r.kernel, r.initramfs, r.arguments, o)
		r.took, r.date = time.Since(start), start.UTC().Format(time.DateOnly)
		if err != nil {
			return err
		}
		var why error
		if r.report, why = parse(console); why == nil {
			return nil
		}
		r.crashes = append(r.crashes, why.Error())
		fmt.Fprintf(os.Stderr, "%s: boot ended without a report: %v; the console's end:\n%s\n", r.name(), why, tail(console, 30))
	}
	return nil
}

// emulate runs one machine to its end and gives its console.
func emulate(k kernel, initramfs, arguments string, o options) (console []byte, err error) {
	q := qemu[k.arch]
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	machine := q.machine
	if k.arch == "amd64" && k.name == "6.12" {
		// QEMU 7.2 damages the flags register in cmpxchg16b, and 6.12's allocator stumbles over it in every boot. It does without. (7.3 cannot:
		// socket storage then finds no memory.)
		machine = append(slices.Clone(machine), "-cpu", "Skylake-Client,-cx16")
	}
	if o.full {
		arguments += " " + report.Full
	}
	if o.update {
		arguments += " " + report.Update
	}
	args := append([]string{"-accel", "tcg,thread=single", "-smp", strconv.Itoa(o.smp), "-m", "1024", "-nographic", "-no-reboot", "-nic", "none",
		"-kernel", k.image, "-initrd", initramfs, "-append", "console=" + q.console + " panic=-1 quiet " + arguments}, machine...)
	cmd := exec.CommandContext(ctx, q.program, args...)
	var out bytes.Buffer
	cmd.Stdout = &out
	if o.show {
		cmd.Stdout = io.MultiWriter(&out, os.Stderr)
	}
	cmd.WaitDelay = time.Second
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		return nil, fmt.Errorf("%s: %w", q.program, err)
	}
	return out.Bytes(), nil
}

// parse finds the report on a console.
func parse(console []byte) (*report.Report, error) {
	text := strings.ReplaceAll(string(console), "\r", "")
	_, rest, ok := strings.Cut(text, report.Begin+"\n")
	if !ok {
		return nil, fmt.Errorf("no report; last line: %q", tail([]byte(text), 1))
	}
	object, _, ok := strings.Cut(rest, "\n"+report.End)
	if !ok {
		return nil, errors.New("the report is cut off")
	}
	r := new(report.Report)
	if err := json.Unmarshal([]byte(object), r); err != nil {
		return nil, fmt.Errorf("the report: %w", err)
	}
	return r, nil
}

// tail is the last lines of a text.
func tail(text []byte, lines int) string {
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
