package library

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

// TestAProcessThatEndsWhileItIsLookedAtIsGone: what was read of it until then is not all that it had.
func TestAProcessThatEndsWhileItIsLookedAtIsGone(t *testing.T) {
	cmd := testenv.Command(t, "/usr/bin/python3", "-c", "import ssl; print(); input()")
	said, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	if _, err := said.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	if p, err := programsOf(pid, nil, nil); err != nil || len(p.libraries) == 0 || len(p.callers) == 0 {
		t.Fatalf("%+v, %v", p, err)
	}
	p, err := programsOf(pid, func(mapped) {
		cmd.Process.Kill()
		// It stays as a zombie, whose mappings can be read, and are none.
		if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
			t.Error(err)
		}
	}, nil)
	if err == nil {
		t.Errorf("%+v of a process that has ended", p)
	}
}

// TestPathsAreFollowedWithoutTheKernelAsWithIt compares the steps with openat2.
func TestPathsAreFollowedWithoutTheKernelAsWithIt(t *testing.T) {
	dir := t.TempDir()
	rooted := filepath.Join(dir, "root")
	for path, text := range map[string]string{
		"secret": "outside", "root/usr/lib/x.so": "x", "root/secret": "inside", "root/deep/a/b/c": "c",
	} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"lib": "usr/lib", "absolute": "/usr/lib", "file": "lib/x.so", "file2": "/absolute//x.so", "up": "../../secret", "up2": "/../../secret", "round": "round",
		"round2": "/round3", "round3": "round2/x", "nowhere": "nothing/at/all", "deep/back": "a/b/../../../secret", "deep/a/top": "/", "dots": "././usr/./lib/../lib/x.so",
		"behind": "file/", "usr/lib/y.so": "x.so", "long": strings.Repeat("./", 2000) + "secret",
	} {
		if err := os.Symlink(text, filepath.Join(rooted, name)); err != nil {
			t.Fatal(err)
		}
	}
	fd, err := unix.Open(rooted, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	r := &root{fd: fd}
	defer r.close()
	read := func(fd int, err error) (string, error) {
		if err != nil {
			return "", err
		}
		f := os.NewFile(uintptr(fd), "")
		defer f.Close()
		if names, err := f.Readdirnames(-1); err == nil {
			return strings.Join(names, " "), nil
		}
		b, err := io.ReadAll(f)
		return string(b), err
	}
	opened := 0
	for _, name := range []string{
		"/usr/lib/x.so", "usr/lib/x.so", "/lib/x.so", "/absolute/x.so", "file", "file2", "file/", "behind", "up", "up2", "round", "round2", "nowhere", "deep/back",
		"deep/a/top/secret", "deep/a/top", "dots", "/", "lib", "lib/", "lib/.", "lib/..", "../secret", "/../../secret", "deep/a/../../secret", "file/more", "none",
		"lib/y.so", "long", "deep/a/b/c/..",
	} {
		want, wrong := read(unix.Openat2(r.fd, name, &unix.OpenHow{Flags: openFlags, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}))
		if errors.Is(wrong, unix.ENOSYS) {
			t.Fatal("no openat2 to compare with")
		}
		got, err := read(r.openByStep(name))
		if got != want || !errors.Is(err, wrong) {
			t.Errorf("%s: %q, %v; openat2 gives %q, %v", name, got, err, want, wrong)
		}
		if err == nil {
			opened++
		}
	}
	if opened < 15 {
		t.Errorf("%d paths could be opened", opened)
	}
}
