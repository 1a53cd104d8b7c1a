// Command kernels boots kernels in QEMU and has dynwatch tried in each; scripts/test-kernels gets the kernels and runs it.
//
//	go run ./e2e/kernels -dir DIR [-only REGEXP] [-full] [-console] [-update]
//
// DIR has a folder for each kernel, NAME-ARCH, with what Debian's packages of it hold, and a client, openssl/ARCH. Each kernel is booted as it is and with
// lockdown=confidentiality, from an initramfs that holds e2e/kernels/guest as /init, dynwatch, the client, two test binaries and the modules that
// socket diagnostics needs. QEMU emulates (TCG), so that neither rights nor virtualization are needed. The emulator itself crashes now and then: a boot
// that gives no report is tried again, at most three times in all, and the table says so.
//
// Exit status: 0 all checks of all kernels passed; 1 not.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
)

func main() {
	dir := flag.String("dir", "", "folder with the `KERNELS`")
	only := flag.String("only", "", "boot only those whose line matches this `REGEXP`, such as '5.10.*amd64.*none'")
	smp := flag.Int("smp", 2, "processors of each machine")
	jobs := flag.Int("jobs", 2, "machines at a time")
	full := flag.Bool("full", false, "also run the tests of capture/ebpf in each")
	update := flag.Bool("update", false, "hold the verifier to no ceilings but write them to bpf/testdata/verifier.txt, and the table of docs/kernels.md by the last results of all kernels")
	show := flag.Bool("console", false, "show the console of each machine (best with -jobs 1)")
	flag.Parse()
	ok, err := run(*dir, *only, options{*smp, max(*jobs, 1), *full, *show, *update})
	if err != nil {
		fmt.Fprintln(os.Stderr, "kernels: error:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// options are how each machine is run.
type options struct {
	smp, jobs          int
	full, show, update bool
}

// modes are the words that are added to the kernel's command line.
var modes = []struct{ name, arguments string }{
	{"none", ""},
	{"confidentiality", "lsm=lockdown,bpf lockdown=confidentiality"},
}

func run(dir, only string, o options) (ok bool, err error) {
	if dir == "" {
		return false, fmt.Errorf("-dir is missing: scripts/test-kernels gives it")
	}
	want, err := regexp.Compile(only)
	if err != nil {
		return false, err
	}
	kernels, err := find(dir)
	if err != nil {
		return false, err
	}
	these, err := programs()
	if err != nil {
		return false, err
	}
	work, err := os.MkdirTemp("", "dynwatch-kernels-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(work)
	var results []*result
	for _, k := range kernels {
		for _, m := range modes {
			r := &result{kernel: k, mode: m.name, arguments: m.arguments, root: filepath.Join(work, k.arch), programs: these}
			if !want.MatchString(r.name()) {
				continue
			}
			if _, err := os.Stat(r.root); err != nil {
				fmt.Fprintf(os.Stderr, "building for %s\n", k.arch)
				if err := build(r.root, dir, k.arch); err != nil {
					return false, err
				}
			}
			// One after the other: the modules of each go into the same folder.
			r.initramfs = filepath.Join(work, fmt.Sprintf("initramfs-%d", len(results)))
			if err := initramfs(r.initramfs, r.root, k.modules); err != nil {
				return false, err
			}
			results = append(results, r)
		}
	}
	if err := bootAll(dir, results, o); err != nil {
		return false, err
	}
	if len(results) == 0 {
		return false, fmt.Errorf("nothing in %s matches %q", dir, only)
	}
	fmt.Printf("\n%s", table(results))
	if o.update {
		err = update(dir, kernels)
	}
	return !slices.ContainsFunc(results, func(r *result) bool { return !r.passed() }), err
}

// bootAll boots some at a time, and keeps each result.
func bootAll(dir string, results []*result, o options) error {
	var (
		todo    = make(chan *result)
		workers sync.WaitGroup
		mu      sync.Mutex // guards failed and standard output
		failed  error
	)
	for range o.jobs {
		workers.Go(func() {
			for r := range todo {
				fmt.Fprintf(os.Stderr, "booting %s\n", r.name())
				err := r.boot(o)
				mu.Lock()
				failed = errors.Join(failed, err, r.keep(dir))
				r.print(os.Stdout)
				mu.Unlock()
			}
		})
	}
	for _, r := range results {
		todo <- r
	}
	close(todo)
	workers.Wait()
	return failed
}

// kernel is one that can be booted.
type kernel struct {
	name, arch string // such as 5.10, arm64
	image      string
	modules    []string // files, in the order in which they are inserted
}

// modules that are inserted, in this order.
var modules = []string{"inet_diag", "tcp_diag", "udp_diag"}

// find lists the kernels below dir, by name.
func find(dir string) ([]kernel, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var found []kernel
	for _, e := range entries {
		name, arch, ok := cutLast(e.Name(), "-")
		if !ok || qemu[arch].program == "" {
			continue
		}
		k := kernel{name: name, arch: arch}
		if k.image, err = findImage(filepath.Join(dir, e.Name())); err != nil {
			return nil, err
		}
		for _, m := range modules {
			file, err := findModule(filepath.Join(dir, e.Name()), m)
			if err != nil {
				return nil, err
			}
			k.modules = append(k.modules, file)
		}
		found = append(found, k)
	}
	slices.SortFunc(found, func(a, b kernel) int {
		if a.arch != b.arch {
			return strings.Compare(a.arch, b.arch)
		}
		return compareVersions(a.name, b.name)
	})
	return found, nil
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// compareVersions compares such as 5.10 and 6.1.
func compareVersions(a, b string) int {
	var x, y [2]int
	fmt.Sscanf(a, "%d.%d", &x[0], &x[1])
	fmt.Sscanf(b, "%d.%d", &y[0], &y[1])
	return slices.Compare(x[:], y[:])
}

// findImage finds the kernel itself, which newer packages have among the modules.
func findImage(root string) (string, error) {
	var images []string
	for _, pattern := range []string{"boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return "", err
		}
		images = append(images, found...)
	}
	if len(images) != 1 {
		return "", fmt.Errorf("%s: kernel images: %v", root, images)
	}
	return images[0], nil
}

// findModule finds a module's file, whatever it is compressed with.
func findModule(root, name string) (string, error) {
	var file string
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if base, _, ok := strings.Cut(filepath.Base(path), ".ko"); ok && base == name {
			file = path
		}
		return err
	})
	if err == nil && file == "" {
		err = fmt.Errorf("no module %s below %s", name, root)
	}
	return file, err
}
