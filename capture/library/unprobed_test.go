package library

import (
	"debug/elf"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/bpf"
	"github.com/dynwatch/dynwatch/internal/testenv"
)

// linkedInside makes a program with OpenSSL in it, of which it exports nothing.
func linkedInside(t *testing.T, dir string) string {
	t.Helper()
	if _, err := testenv.Find("/usr/include/openssl/ssl.h"); err != nil {
		testenv.Lacks(t, "libssl-dev: %v", err)
	}
	program := filepath.Join(dir, "inside")
	cmd := testenv.Command(t, "gcc", "-O1", "-o", program, "testdata/pin.c", "-Wl,-Bstatic", "-lssl", "-lcrypto", "-Wl,-Bdynamic", "-lpthread", "-ldl")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// damaged copies a library one of whose functions is no code any more.
func damaged(t *testing.T, library, function, path string) string {
	t.Helper()
	b, err := os.ReadFile(library)
	if err != nil {
		t.Fatal(err)
	}
	file, err := elf.Open(library)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	x, ok := exported(file)[function]
	at, inText := offsetOf(file, x.Value)
	if !ok || !inText {
		t.Fatalf("%s has no %s", library, function)
	}
	for i := range x.Size {
		b[at+i] = 0xff
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLibrariesWithoutProbesAreKnownByTheirFiles(t *testing.T) {
	if machine != elf.EM_X86_64 {
		testenv.Beyond(t, "this machine: libraries are looked for in amd64's places")
	}
	dir := t.TempDir()
	const libs, awscrt = "/usr/lib/x86_64-linux-gnu/", "/usr/lib/python3/dist-packages/_awscrt.cpython-311-x86_64-linux-gnu.so"
	other := filepath.Join(dir, "other.so")
	if err := os.Symlink(awscrt, other); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file    string
		library string
		reason  string
	}{
		{linkedInside(t, dir), "OpenSSL", reasonInside},
		{damaged(t, libs+"libssl.so.3", "SSL_get_client_random", filepath.Join(dir, "libssl.so.3")), "OpenSSL", "where OpenSSL keeps the ClientHello's random is not plain from SSL_get_client_random"},
		{"/usr/lib/jvm/default-java/lib/server/libjvm.so", "Java", reasonNone},
		{awscrt, "", ""},
		{other, "s2n", reasonNone},
		{damaged(t, awscrt, "s2n_set_server_name", filepath.Join(dir, "aws-crt-nodejs.node")), "s2n",
			"where s2n keeps a connection's role is not plain from s2n_set_server_name"},
		{"/usr/lib/chromium/chromium", "BoringSSL or AWS-LC", reasonInside},
		{libs + "libssl.so.3", "", ""},
		{libs + "libcrypto.so.3", "", ""},
		{libs + "libgnutls.so.30", "", ""},
		{libs + "android/libssl.so.0", "", ""},
		{libs + "libcurl.so.4", "", ""},
		{"/usr/bin/node", "", ""},
		{"/usr/bin/openssl", "", ""},
		{"/usr/lib/python3.11/lib-dynload/_ssl.cpython-311-x86_64-linux-gnu.so", "", ""},
		{"/bin/sh", "", ""},
		{"testdata/pin.c", "", ""},
		{"/dev/null", "", ""},
	} {
		t.Run(c.file, func(t *testing.T) {
			f, err := os.Open(c.file)
			if err != nil {
				testenv.Lacks(t, "%v", err)
			}
			defer f.Close()
			if got, want := unprobed(f, filepath.Base(c.file)), (kind{c.library, c.reason}); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}

// TestProcessesWithoutProbesAreNamed runs a program with OpenSSL inside, and one with the shared library.
func TestProcessesWithoutProbesAreNamed(t *testing.T) {
	testenv.Root(t)
	dir := t.TempDir()
	program := linkedInside(t, dir)
	root, _ := newHost(t)
	ca := inFile(t, root.PEM())
	before, err := Look() // at others' programs with OpenSSL inside, of which there may be more than are named
	if err != nil {
		t.Fatal(err)
	}
	inside := startWaiting(t, "inside", exec.Command(program, ca, "127.0.0.1:1", "nothing"))
	shared := startWaiting(t, "shared", testenv.Command(t, "/usr/bin/python3", "-c", pythonClient, ca, "127.0.0.1:1"))
	t.Cleanup(func() { _, _, _ = inside.cmd.Process.Kill(), shared.cmd.Process.Kill(), os.Remove(ca) })
	s, err := Look()
	if err != nil {
		t.Fatal(err)
	}
	named := false
	for _, u := range s.Unprobed {
		if u.Processes < len(u.Examples) || len(u.Examples) == 0 || len(u.Examples) > maxExamples || u.Reason == "" {
			t.Errorf("%+v", u)
		}
		for _, e := range u.Examples {
			if e.PID == shared.cmd.Process.Pid {
				t.Errorf("the shared library is said to have no probes: %+v", u)
			}
		}
		if u.Library != "OpenSSL" || u.Reason != reasonInside {
			continue
		}
		others := 0
		for _, b := range before.Unprobed {
			if b.Library == u.Library && b.Reason == u.Reason {
				others = b.Processes
			}
		}
		named = slices.Contains(u.Examples, Example{inside.cmd.Process.Pid, "inside", program}) || others >= maxExamples && u.Processes > others
	}
	if !named || s.Processes < 3 || s.Without < 1 || s.Without > s.Processes {
		t.Errorf("%+v", s)
	}
}

// TestKernelThreadsAreNotClosedProcesses looks without the right to look at other users' processes.
func TestKernelThreadsAreNotClosedProcesses(t *testing.T) {
	for stat, want := range map[string]bool{
		"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0":              false,
		"9 (a) S 0 0 0 0 -1 2129984 0) S 1 9 9 0 -1 4194560 1 0": true,
		"9 (app) S 1 9 9 0 -1 4194560 1 0":                       true,
		"9 (app) Z 1 9 9 0 -1 4194564 1 0":                       false,
		"9 (app":                                                 true, // no kernel writes this
	} {
		if got := statTellsProgram(stat); got != want {
			t.Errorf("%s: %v, want %v", stat, got, want)
		}
	}
	testenv.Root(t)
	all, err := Look()
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread() // never unlocked: the thread has lost the right, and ends with the test
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	data[0].Effective &^= 1 << unix.CAP_SYS_PTRACE
	if err := unix.Capset(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Readlink("/proc/2/exe"); !errors.Is(err, fs.ErrPermission) {
		testenv.Lacks(t, "no kernel thread in this PID namespace that may not be looked at: %v", err)
	}
	pids, err := bpf.Processes("/proc")
	if err != nil {
		t.Fatal(err)
	}
	threads := 0
	for _, pid := range pids {
		if !hasProgram(pid) {
			threads++
		}
	}
	few, err := Look()
	if err != nil {
		t.Fatal(err)
	}
	// Other processes of this host come and go meanwhile, but not as many as there are kernel threads.
	if threads < 10 || few.Processes > all.Processes+threads/2 {
		t.Errorf("%d processes, %d without the right; %d kernel threads", all.Processes, few.Processes, threads)
	}
	for _, u := range few.Unprobed {
		for _, e := range u.Examples {
			if e.PID == 2 || !hasProgram(e.PID) && u.Reason == reasonClosed {
				t.Errorf("%+v", e)
			}
		}
	}
}

func TestASurveyIsBounded(t *testing.T) {
	x := survey{kinds: map[kind]*Unprobed{}}
	for i := range maxKinds + 2 {
		for pid := range maxExamples + 2 {
			x.add(kind{strings.Repeat("x", i+1), reasonNone}, Example{PID: pid + 1})
		}
	}
	if len(x.kinds) != maxKinds || x.Others != 2*(maxExamples+2) {
		t.Errorf("%d kinds, %d others", len(x.kinds), x.Others)
	}
	for _, u := range x.kinds {
		if u.Processes != maxExamples+2 || len(u.Examples) != maxExamples {
			t.Errorf("%+v", u)
		}
	}
}
