package sockdiag

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// listPids returns the numbers of all processes, the youngest first as far as numbers tell: the kernel gives them out in rising order
// and starts again at the end.
func listPids(root string) []int {
	d, err := os.Open(root)
	if err != nil {
		return nil
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil && len(names) == 0 {
		return nil
	}
	pids := make([]int, 0, len(names))
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	last := lastPid(root)
	slices.SortFunc(pids, func(a, b int) int {
		if (a <= last) != (b <= last) {
			if a <= last {
				return -1
			}
			return 1
		}
		return b - a
	})
	return pids
}

// lastPid is the number given out last (the fifth field of /proc/loadavg), or one above all.
func lastPid(root string) int {
	b, err := os.ReadFile(filepath.Join(root, "loadavg"))
	if err == nil {
		if fields := strings.Fields(string(b)); len(fields) >= 5 {
			if pid, err := strconv.Atoi(fields[4]); err == nil {
				return pid
			}
		}
	}
	return int(^uint32(0) >> 1)
}

// place is a place in the list of a process's open files.
type place struct {
	pid    int
	offset int64 // of the directory, 0 is the beginning
}

// holds reports whether a process has the file that link names open, among some limit of its files from a place on; how many were looked at,
// and where more are, 0 if there are none.
func holds(root string, p place, link []byte, limit int) (found bool, looked int, next int64) {
	fd, err := unix.Open(filepath.Join(root, strconv.Itoa(p.pid), "fd"), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, 1, 0
	}
	defer unix.Close(fd)
	if p.offset != 0 {
		if _, err := unix.Seek(fd, p.offset, unix.SEEK_SET); err != nil {
			return false, 1, 0
		}
	}
	var (
		entries [8192]byte
		target  [64]byte
		names   []string
	)
	for looked < limit {
		n, err := unix.ReadDirent(fd, entries[:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n <= 0 {
			return false, max(looked, 1), 0
		}
		_, _, names = unix.ParseDirent(entries[:n], -1, names[:0])
		for _, name := range names {
			looked++
			if n, err := unix.Readlinkat(fd, name, target[:]); err == nil && bytes.Equal(target[:n], link) {
				return true, looked, 0
			}
		}
	}
	if next, err = unix.Seek(fd, 0, unix.SEEK_CUR); err != nil {
		next = 0
	}
	return false, looked, next
}

// nanosPerTick turns the times of /proc/PID/stat, in hundredths of a second, into nanoseconds.
const nanosPerTick = 10_000_000

// nameAndStart reads a process's name and start time (fields 2 and 22 of /proc/PID/stat), the former made printable, the latter in nanoseconds since boot.
func nameAndStart(root string, pid int) (comm string, start uint64, err error) {
	b, err := os.ReadFile(filepath.Join(root, strconv.Itoa(pid), "stat"))
	if err != nil {
		return "", 0, err
	}
	open, shut := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || shut < open {
		return "", 0, errors.New("stat: no name in parentheses")
	}
	fields := strings.Fields(string(b[shut+1:]))
	if len(fields) < 20 {
		return "", 0, fmt.Errorf("stat: %d fields, want at least 22", len(fields)+2)
	}
	ticks, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return "", 0, fmt.Errorf("stat: start time: %w", err)
	}
	return flow.Printable(string(b[open+1 : shut])), ticks * nanosPerTick, nil
}
