package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// fileIDKernfs is the type of kernfs's file handles (enum fid_type in include/linux/exportfs.h): eight bytes, the cgroup's id. Such
// handles exist since Linux 5.5.
const fileIDKernfs = 0xfe

// cgroupPath returns the path below root, a cgroup2 mount point, of the cgroup with the given id. It needs CAP_DAC_READ_SEARCH.
func cgroupPath(root string, id uint64) (string, error) {
	mount, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", root, err)
	}
	defer unix.Close(mount)
	handle := unix.NewFileHandle(fileIDKernfs, binary.NativeEndian.AppendUint64(nil, id))
	fd, err := unix.OpenByHandleAt(mount, handle, unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return "", fmt.Errorf("cgroup %d below %s: %w", id, root, err)
	}
	defer unix.Close(fd)
	path, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(root)
	if err != nil {
		return "", err
	}
	rest, ok := strings.CutPrefix(path, real)
	if !ok {
		return "", errors.New("cgroup " + strconv.FormatUint(id, 10) + " is not below " + root)
	}
	return "/" + strings.TrimPrefix(rest, "/"), nil
}
