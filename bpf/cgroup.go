package bpf

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNoCgroup2: no cgroup2 hierarchy is mounted. Mounting one anywhere is enough: mount -t cgroup2 none /run/dynwatch/cgroup2.
var ErrNoCgroup2 = errors.New("no cgroup2 hierarchy is mounted")

// rootInode is the inode number of the root of a cgroup2 hierarchy (kernfs numbers from it).
const rootInode = 1

// FindCgroup returns where the host's cgroup2 hierarchy is mounted, by /proc/mounts. Where several are, one that is the root is preferred.
func FindCgroup() (string, error) {
	f, err := os.Open("/proc/mounts")
	if err != nil {
		return "", err
	}
	defer f.Close()
	var first error
	for s := bufio.NewScanner(f); s.Scan(); {
		field := strings.Fields(s.Text()) // device, directory, type, options (fstab(5))
		if len(field) < 3 || field[2] != "cgroup2" {
			continue
		}
		dir := unescape.Replace(field[1])
		err := CheckCgroup(dir)
		if err == nil {
			return dir, nil
		}
		if first == nil {
			first = err
		}
	}
	if first == nil {
		first = ErrNoCgroup2
	}
	return "", first
}

// unescape undoes what the kernel does to directories in /proc/mounts.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// NotRootError: a cgroup directory is not the root of the hierarchy, so that programs attached to it would see only what is below.
type NotRootError struct {
	Dir   string
	Inode uint64
}

func (e *NotRootError) Error() string {
	return fmt.Sprintf("%s is not the root of the cgroup2 hierarchy (inode %d, not 1): in a container, run it in the host's cgroup namespace"+
		" (docker run --cgroupns=host) or mount the host's hierarchy into it", e.Dir, e.Inode)
}

// CheckCgroup reports whether dir is the root of a cgroup2 hierarchy: attached anywhere else, the programs would silently miss the rest of the host.
func CheckCgroup(dir string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("cgroup %s: %w", dir, err)
	}
	if fs.Type != unix.CGROUP2_SUPER_MAGIC {
		return fmt.Errorf("cgroup %s: not a cgroup2 file system", dir)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return fmt.Errorf("cgroup %s: %w", dir, err)
	}
	if st.Ino != rootInode {
		return &NotRootError{Dir: dir, Inode: st.Ino}
	}
	return nil
}
