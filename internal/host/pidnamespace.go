package host

import (
	"os"
	"path/filepath"
)

// initialPIDNamespace is the inode of the first PID namespace (PROC_PID_INIT_INO in include/linux/proc_ns.h).
const initialPIDNamespace = "pid:[4026531836]"

// PIDNamespace reports whether a proc file system shows the processes of the host's own PID namespace, by the numbers that the kernel gives in its
// events; reason says why not, or that it is not known.
func PIDNamespace(proc string) (hosts bool, reason string) {
	// The first process is of the namespace that is shown; who may not look at it sees that of their own, which only then differs when
	// another's proc file system is mounted.
	link, err := os.Readlink(filepath.Join(proc, "1/ns/pid"))
	if err != nil {
		link, err = os.Readlink(filepath.Join(proc, "self/ns/pid"))
	}
	switch {
	case err != nil:
		return false, err.Error()
	case link != initialPIDNamespace:
		return false, link + " is not the host's: processes cannot be looked up by the numbers that the kernel gives"
	}
	return true, ""
}
