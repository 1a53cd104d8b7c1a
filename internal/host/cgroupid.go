package host

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/bpf"
)

// cgroupPath returns the path below root, a cgroup2 mount point, of the cgroup with the given id. It needs CAP_DAC_READ_SEARCH.
func cgroupPath(root string, id uint64) (string, error) {
	fd, err := bpf.OpenCgroup(root, id)
	if err != nil {
		return "", err
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
