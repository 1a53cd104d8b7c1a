package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNoCgroup2: no cgroup2 hierarchy is mounted. Mounting one anywhere is enough: mount -t cgroup2 none /run/dynwatch/cgroup2.
var ErrNoCgroup2 = errors.New("no cgroup2 hierarchy is mounted")

// rootInode is the inode number of the root of a cgroup2 hierarchy (kernfs numbers from it).
const rootInode = 1

// FindCgroup returns where the host's cgroup2 hierarchy is mounted, by /proc/mounts. Where several are, one that is the root is preferred.
func FindCgroup() (string, error) {
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		return "", err
	}
	err = ErrNoCgroup2
	for _, dir := range Cgroup2Mounts(string(mounts)) {
		unfit := CheckCgroup(dir)
		if unfit == nil {
			return dir, nil
		}
		if errors.Is(err, ErrNoCgroup2) {
			err = unfit
		}
	}
	return "", err
}

// Cgroup2Mounts returns where cgroup2 hierarchies are mounted, from a file such as /proc/mounts (fstab(5)). On hybrid hosts it is not /sys/fs/cgroup.
func Cgroup2Mounts(mounts string) []string {
	var dirs []string
	for line := range strings.Lines(mounts) {
		if field := strings.Fields(line); len(field) >= 3 && field[2] == "cgroup2" { // device, directory, type, options
			dirs = append(dirs, UnescapeMount(field[1]))
		}
	}
	return dirs
}

// UnescapeMount undoes the octal escapes, such as \040 for a space, of paths and options in /proc/mounts and /proc/PID/mountinfo (proc_pid_mountinfo(5)).
func UnescapeMount(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

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

// fileIDKernfs is the type of kernfs's file handles (enum fid_type in include/linux/exportfs.h): eight bytes, the cgroup's id. Such
// handles exist since Linux 5.5.
const fileIDKernfs = 0xfe

// OpenCgroup opens (O_PATH) the directory of the cgroup with the given id, of the hierarchy that is mounted at mount. It needs CAP_DAC_READ_SEARCH.
func OpenCgroup(mount string, id uint64) (fd int, err error) {
	dir, err := unix.Open(mount, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", mount, err)
	}
	defer unix.Close(dir)
	handle := unix.NewFileHandle(fileIDKernfs, binary.NativeEndian.AppendUint64(nil, id))
	if fd, err = unix.OpenByHandleAt(dir, handle, unix.O_PATH|unix.O_CLOEXEC); err != nil {
		return -1, fmt.Errorf("cgroup %d below %s: %w", id, mount, err)
	}
	return fd, nil
}
