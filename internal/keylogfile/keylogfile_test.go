package keylogfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// secret is a line for session n, and random its key.
func secret(n int) string {
	return fmt.Sprintf("SERVER_HANDSHAKE_TRAFFIC_SECRET %064x %s\n", n, strings.Repeat("5e", 32))
}

func random(n int) (r [32]byte) {
	r[31], r[30] = byte(n), byte(n>>8)
	return r
}

func follow(t *testing.T, limit int, names ...string) *Files {
	t.Helper()
	k, err := Follow(names, limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k
}

// knows polls and checks which sessions are known.
func knows(t *testing.T, k *Files, want ...int) {
	t.Helper()
	k.Poll()
	for _, n := range want {
		if _, ok := k.Lookup(random(n)); !ok {
			t.Errorf("session %d is not known", n)
		}
	}
	if s := k.Log().Stats(); s.Sessions != len(want) || s.Malformed != 0 {
		t.Errorf("%+v, want %d sessions", s, len(want))
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func TestAGrowingFileIsFollowed(t *testing.T) {
	name := filepath.Join(t.TempDir(), "keys.log")
	write(t, name, secret(1))
	k := follow(t, 0, name)
	knows(t, k, 1)
	line := secret(2)
	write(t, name, line[:40])
	knows(t, k, 1)
	write(t, name, line[40:]+secret(3))
	knows(t, k, 1, 2, 3)
	if w := k.Warnings(); len(w) != 0 {
		t.Errorf("%q", w)
	}
}

func TestAFileMayComeLater(t *testing.T) {
	name := filepath.Join(t.TempDir(), "keys.log")
	k := follow(t, 0, name)
	if a := k.Absent(); len(a) != 1 || a[0] != name {
		t.Errorf("absent: %q", a)
	}
	knows(t, k)
	write(t, name, secret(1))
	knows(t, k, 1)
	if a := k.Absent(); len(a) != 0 {
		t.Errorf("absent: %q", a)
	}
}

func TestAFileMayBeTruncated(t *testing.T) {
	name := filepath.Join(t.TempDir(), "keys.log")
	write(t, name, secret(1)+secret(2)+"half a li")
	k := follow(t, 0, name)
	if err := os.Truncate(name, 0); err != nil {
		t.Fatal(err)
	}
	write(t, name, secret(3))
	knows(t, k, 1, 2, 3)
	if w := k.Warnings(); len(w) != 1 || !strings.Contains(w[0], "truncated") {
		t.Errorf("%q", w)
	}
}

func TestAFileMayBeReplaced(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "keys.log")
	write(t, name, secret(1))
	k := follow(t, 0, name)
	write(t, name, secret(2)) // the end of the old one is read, too
	other := filepath.Join(dir, "new")
	write(t, other, secret(3))
	if err := os.Rename(other, name); err != nil {
		t.Fatal(err)
	}
	k.Poll()
	knows(t, k, 1, 2, 3)
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	knows(t, k, 1, 2, 3)
	write(t, name, secret(4))
	knows(t, k, 1, 2, 3, 4)
}

func TestANamedPipeIsReadWithoutWaiting(t *testing.T) {
	name := filepath.Join(t.TempDir(), "keys.fifo")
	if err := unix.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	k := follow(t, 0, name) // nobody writes
	knows(t, k)
	for n := 1; n <= 2; n++ { // and again, after the first writer has gone
		w, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		line := secret(n)
		w.WriteString(line[:50])
		k.Poll()
		w.WriteString(line[50:])
		w.Close()
		if n == 1 {
			knows(t, k, 1)
		}
	}
	knows(t, k, 1, 2)
}

func TestSeveralFilesDoNotMix(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	k := follow(t, 0, a, b)
	write(t, a, secret(1)[:50])
	write(t, b, secret(2)[:70])
	k.Poll()
	write(t, a, secret(1)[50:])
	write(t, b, secret(2)[70:])
	knows(t, k, 1, 2)
}

func TestMemoryIsBounded(t *testing.T) {
	name := filepath.Join(t.TempDir(), "keys.log")
	var b strings.Builder
	for n := range 20_000 { // more than is read at a time
		b.WriteString(secret(n))
	}
	write(t, name, b.String())
	k := follow(t, 100, name)
	if s := k.Log().Stats(); s.Sessions != 100 || s.Secrets != 20_000 || s.Evicted != 19_900 {
		t.Errorf("%+v", s)
	}
	write(t, name, strings.Repeat("x", 3<<20)) // no line ends
	for range 5 {
		k.Poll()
	}
	write(t, name, "\n"+secret(1))
	k.Poll()
	if _, ok := k.Lookup(random(1)); !ok {
		t.Error("what comes after a line without end is not read")
	}
}

func TestLookupReadsOn(t *testing.T) {
	name := filepath.Join(t.TempDir(), "keys.log")
	k := follow(t, 0, name)
	write(t, name, secret(1))
	for k.Log().Stats().Sessions == 0 { // not more often than every pause
		k.Lookup(random(1))
	}
	if _, ok := k.Lookup(random(1)); !ok {
		t.Error("not known")
	}
}

func TestWhatIsNoFileIsAnError(t *testing.T) {
	var path *fs.PathError
	if _, err := Follow([]string{t.TempDir()}, 0); !errors.As(err, &path) || !errors.Is(err, unix.EISDIR) {
		t.Errorf("a folder: %v", err)
	}
	if _, err := Follow([]string{filepath.Join(t.TempDir(), strings.Repeat("x", 300))}, 0); err == nil {
		t.Error("an impossible name is waited for")
	}
}

func TestNothingIsLeftOpen(t *testing.T) {
	name := filepath.Join(t.TempDir(), "keys.log")
	write(t, name, secret(1))
	k, err := Follow([]string{name}, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := k.files[0].fd
	k.Close()
	k.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err == nil && st.Ino == k.files[0].ino {
		t.Error("the file is still open")
	}
}
