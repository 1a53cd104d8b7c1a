package sockdiag

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/bpf"
)

// cgroupMounts lists where the cgroup2 hierarchy is mounted.
func cgroupMounts() []string {
	b, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil
	}
	return bpf.Cgroup2Mounts(string(b))
}

// cgroupMembers lists the processes of a cgroup, none if they are more than limit: then it says little. It needs CAP_DAC_READ_SEARCH, and is
// only a hint, so that an error is the same as no processes.
func cgroupMembers(mounts []string, id uint64, limit int) []int {
	if id == 0 {
		return nil
	}
	for _, path := range mounts {
		dir, err := bpf.OpenCgroup(path, id)
		if err != nil {
			continue
		}
		fd, err := unix.Openat(dir, "cgroup.procs", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		unix.Close(dir)
		if err != nil {
			return nil
		}
		defer unix.Close(fd)
		b := make([]byte, limit*8) // seven digits and an end of line
		n, err := unix.Read(fd, b)
		if err != nil || n >= len(b)-8 {
			return nil
		}
		var pids []int
		for _, field := range strings.Fields(string(b[:n])) {
			if pid, err := strconv.Atoi(field); err == nil && pid > 0 { // 0 is one of another PID namespace
				pids = append(pids, pid)
			}
		}
		return pids
	}
	return nil
}
