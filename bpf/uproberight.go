package bpf

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// UprobesNeedAdmin reports whether this kernel wants CAP_SYS_ADMIN for probes in programs, and CAP_PERFMON will not do: one without links of many
// uprobes (before Linux 6.6) that has the repair of CVE-2025-38466 (5.10.240, 5.15.189, 6.1.146 and later ones).
func UprobesNeedAdmin() bool { return !haveMulti() && perfNeedsAdmin() }

// perfNeedsAdmin asks for a probe in a file that is not there, without CAP_SYS_ADMIN: rights are looked at first. What cannot be told is no.
func perfNeedsAdmin() bool {
	text, err := os.ReadFile("/sys/bus/event_source/devices/uprobe/type")
	if err != nil {
		return false
	}
	kind, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32)
	if err != nil {
		return false
	}
	path, err := unix.BytePtrFromString("/proc/self/no-such-file")
	if err != nil {
		return false
	}
	attr := unix.PerfEventAttr{Type: uint32(kind), Ext1: uint64(uintptr(unsafe.Pointer(path)))}
	attr.Size = uint32(unsafe.Sizeof(attr))
	fd := -1
	refused := withoutAdmin(func() error {
		fd, err = unix.PerfEventOpen(&attr, -1, 0, -1, unix.PERF_FLAG_FD_CLOEXEC)
		return err
	})
	runtime.KeepAlive(path)
	if fd >= 0 {
		unix.Close(fd)
	}
	return errors.Is(refused, unix.EACCES) || errors.Is(refused, unix.EPERM)
}

// withoutAdmin calls f on a thread that has laid CAP_SYS_ADMIN down for that time. f is not called if that cannot be done.
func withoutAdmin(f func() error) error {
	runtime.LockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	before := data[0].Effective
	data[0].Effective &^= 1 << unix.CAP_SYS_ADMIN
	if err := unix.Capset(&header, &data[0]); err != nil {
		runtime.UnlockOSThread()
		return nil
	}
	err := f()
	data[0].Effective = before
	if unix.Capset(&header, &data[0]) == nil {
		runtime.UnlockOSThread() // else the thread ends with its goroutine: nobody else shall have it
	}
	return err
}

// lackingForProbes are those of the rights that probes need, of this way of attaching, and the calling thread does not have.
func lackingForProbes(multi bool) []string {
	names := slices.DeleteFunc(lacking(), func(name string) bool { return name == "CAP_NET_ADMIN" })
	if len(names) == 0 && !multi && perfNeedsAdmin() {
		names = append(names, "CAP_SYS_ADMIN") // or the attempt would not have failed
	}
	return names
}
