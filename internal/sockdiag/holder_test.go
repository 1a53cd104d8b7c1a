package sockdiag

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

// processes makes a proc file system of processes with so many open files each, of which the last is a socket with the pid as its inode.
func processes(t *testing.T, files map[int]int) (root string) {
	t.Helper()
	root = t.TempDir()
	for pid, n := range files {
		dir := filepath.Join(root, strconv.Itoa(pid), "fd")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for i := range n - 1 {
			if err := os.Symlink("/dev/null", filepath.Join(dir, strconv.Itoa(i))); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink(fmt.Sprintf("socket:[%d]", pid), filepath.Join(dir, strconv.Itoa(n-1))); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestManyFilesOfYoungerProcessesHideNoOlderOne(t *testing.T) {
	now := time.Now()
	root := processes(t, map[int]int{10: 5, 100: 1000, 101: 1000, 102: 1000})
	f := open(t, Options{ProcRoot: root, FilesPerSecond: 2500, Now: func() time.Time { return now }})
	f.first = 100 // to need fewer files
	for i := range 3 {
		f.recent = nil // as when others opened connections since
		if pid := f.holder(Socket{Inode: 10}); pid != 10 {
			t.Errorf("look-up %d: %d, %+v", i, pid, f.Stats())
		}
		now = now.Add(time.Second)
	}
}

func TestManyFilesOfRecentProcessesHideNoOther(t *testing.T) {
	now := time.Now()
	root := processes(t, map[int]int{10: 5, 100: 1000, 101: 1000, 102: 1000})
	f := open(t, Options{ProcRoot: root, FilesPerSecond: 2500, Now: func() time.Time { return now }})
	f.first = 100
	f.recent = []int{100, 101, 102}
	if pid := f.holder(Socket{Inode: 10}); pid != 10 {
		t.Errorf("%d, %+v", pid, f.Stats())
	}
}

func TestSearchGoesOnWhereTheLastOneStopped(t *testing.T) {
	now := time.Now()
	files := make(map[int]int)
	for pid := range 100 {
		files[1000+pid] = 10
	}
	f := open(t, Options{ProcRoot: processes(t, files), FilesPerSecond: 500, Now: func() time.Time { return now }})
	for round := range 40 {
		if f.holder(Socket{Inode: 1000}) == 1000 {
			t.Logf("found in round %d: %+v", round, f.Stats())
			return
		}
		now = now.Add(time.Second)
	}
	t.Errorf("never found: %+v", f.Stats())
}

func TestSearchGoesOnInAProcessWithManyFiles(t *testing.T) {
	now := time.Now()
	root := processes(t, map[int]int{10: 5, 100: 1000, 101: 1000})
	for _, inode := range []uint32{100, 101} {
		f := open(t, Options{ProcRoot: root, FilesPerSecond: 1400, Now: func() time.Time { return now }})
		f.first = 100
		found := false
		for range 20 {
			found = found || f.holder(Socket{Inode: inode}) == int(inode)
			f.recent = nil
			now = now.Add(time.Second)
			if pid := f.holder(Socket{Inode: 10}); pid != 10 {
				t.Fatalf("the search for %d hides another: %+v", inode, f.Stats())
			}
			now = now.Add(time.Second)
		}
		if !found {
			t.Errorf("%d is never found: %+v", inode, f.Stats())
		}
	}
}

func TestProcessesOfTheCgroupComeFirst(t *testing.T) {
	testenv.Root(t)
	mounts := cgroupMounts()
	if len(mounts) == 0 {
		testenv.Lacks(t, "no cgroup2 mount")
	}
	dir, err := os.MkdirTemp(mounts[0], "dynwatch-test-")
	if err != nil {
		testenv.Lacks(t, "%v", err)
	}
	defer syscall.Rmdir(dir)
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	id := info.Sys().(*syscall.Stat_t).Ino
	if got := cgroupMembers(mounts, id, maxMembers); len(got) != 0 {
		t.Errorf("of an empty cgroup: %v", got)
	}
	pid, _, stop := startChild(t, anyInterface)
	defer stop()
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
		testenv.Lacks(t, "%v", err)
	}
	if got := cgroupMembers(mounts, id, maxMembers); !slices.Equal(got, []int{pid}) {
		t.Errorf("%v, want %d", got, pid)
	}
	if got := cgroupMembers(mounts, id, 1); got != nil {
		t.Errorf("more than the limit: %v", got)
	}

	fds, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "fd"))
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		link, _ := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "fd", fd.Name()))
		inode, ok := strings.CutPrefix(link, "socket:[")
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSuffix(inode, "]"), 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		f := open(t, Options{})
		f.recent = []int{os.Getpid()}
		if got := f.holder(Socket{Inode: uint32(n), CgroupID: id}); got != pid || f.Stats().Files > uint64(len(fds)) {
			t.Errorf("%d, want %d, which has %d files: %+v", got, pid, len(fds), f.Stats())
		}
		return
	}
	t.Error("the child has no socket")
}

func TestFromTurnsTheList(t *testing.T) {
	pids := []int{200, 50, 1, 300}
	for pid, want := range map[int]string{0: "[200 50 1 300]", 50: "[50 1 300 200]", 60: "[50 1 300 200]", 300: "[300 200 50 1]"} {
		if got := fmt.Sprint(from(pids, pid)); got != want {
			t.Errorf("from %d: %s, want %s", pid, got, want)
		}
	}
}
