// Package privilege gives up what a running program no longer needs: Linux capabilities, for all threads and for good.
package privilege

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// names of the capabilities that dynwatch has to do with (capabilities(7)).
var names = map[int]string{
	unix.CAP_DAC_OVERRIDE:    "CAP_DAC_OVERRIDE",
	unix.CAP_DAC_READ_SEARCH: "CAP_DAC_READ_SEARCH",
	unix.CAP_KILL:            "CAP_KILL",
	unix.CAP_SYS_PTRACE:      "CAP_SYS_PTRACE",
	unix.CAP_NET_ADMIN:       "CAP_NET_ADMIN",
	unix.CAP_NET_RAW:         "CAP_NET_RAW",
	unix.CAP_SYS_ADMIN:       "CAP_SYS_ADMIN",
	unix.CAP_BPF:             "CAP_BPF",
	unix.CAP_PERFMON:         "CAP_PERFMON",
}

// Name is the capability's name, or its number.
func Name(c int) string {
	if n, ok := names[c]; ok {
		return n
	}
	return fmt.Sprintf("capability %d", c)
}

// Set is a set of capabilities by number.
type Set uint64

// SetOf makes a set.
func SetOf(caps ...int) Set {
	var s Set
	for _, c := range caps {
		s |= 1 << c
	}
	return s
}

// Has reports whether c is in the set.
func (s Set) Has(c int) bool { return s&(1<<c) != 0 }

// String lists the names of those that dynwatch knows, and the number of others.
func (s Set) String() string {
	var list []string
	others := 0
	for c := range 64 {
		if !s.Has(c) {
			continue
		}
		if n, ok := names[c]; ok {
			list = append(list, n)
		} else {
			others++
		}
	}
	slices.Sort(list)
	if others > 0 {
		list = append(list, fmt.Sprintf("%d others", others))
	}
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

// Effective returns the calling process's effective capabilities.
func Effective() (Set, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return 0, fmt.Errorf("read capabilities: %w", err)
	}
	return Set(data[0].Effective) | Set(data[1].Effective)<<32, nil
}

// Drop gives up every capability that is not in keep, in all threads, and forbids to gain any by executing a program. Those in keep that
// the process does not have are left out. What was dropped cannot be had again.
//
// It needs a program without cgo (syscall.AllThreadsSyscall); otherwise it returns an error that wraps errors.ErrUnsupported.
func Drop(keep Set) (kept Set, err error) {
	have, err := Effective()
	if err != nil {
		return 0, err
	}
	kept = have & keep
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		if errno == syscall.ENOTSUP {
			return have, fmt.Errorf("drop capabilities: %w", errors.ErrUnsupported)
		}
		return have, fmt.Errorf("set no_new_privs: %w", errno)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{
		{Effective: uint32(kept), Permitted: uint32(kept)},
		{Effective: uint32(kept >> 32), Permitted: uint32(kept >> 32)},
	}
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0)
	if errno != 0 {
		return have, fmt.Errorf("drop capabilities: %w", errno)
	}
	return kept, nil
}
