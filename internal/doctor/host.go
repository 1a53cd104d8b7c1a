package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/bpf"
	processes "github.com/dynwatch/dynwatch/internal/host"
)

// host reads what is to be known of this host from the files below root.
type host struct{ root string }

func (h host) path(name string) string { return filepath.Join("/", h.root, name) }

func (h host) read(name string) (string, error) {
	b, err := os.ReadFile(h.path(name))
	return strings.TrimSpace(string(b)), err
}

// version is a kernel's, as far as it matters.
type version struct{ major, minor int }

func (v version) atLeast(major, minor int) bool {
	return v.major > major || v.major == major && v.minor >= minor
}

// parseRelease reads the beginning of a release such as 5.10.223-1-cloud.
func parseRelease(s string) (version, bool) {
	var v version
	if n, _ := fmt.Sscanf(s, "%d.%d", &v.major, &v.minor); n != 2 {
		return version{}, false
	}
	return v, true
}

func (h host) release() (version, string, bool) {
	s, err := h.read("proc/sys/kernel/osrelease")
	if err != nil {
		return version{}, err.Error(), false
	}
	v, ok := parseRelease(s)
	return v, s, ok
}

// kernel: ring buffers, which the eBPF source needs, came with 5.8; 5.10 is the oldest that was tried.
func (h host) kernel() Check {
	c := Check{Name: "kernel", Source: "ebpf", Status: OK}
	v, text, ok := h.release()
	c.Detail = text
	switch {
	case !ok:
		c.Status = Degraded
		c.Detail = "version not known: " + text
	case !v.atLeast(5, 8):
		c.Status, c.Remedy = Missing, "boot Linux 5.10 or later, or capture with --source packet"
	case !v.atLeast(5, 10):
		c.Status, c.Remedy = Degraded, "boot Linux 5.10 or later: older ones were never tried"
	}
	return c
}

func (h host) btf() Check {
	c := Check{Name: "btf", Source: "ebpf", Status: OK, Detail: "/sys/kernel/btf/vmlinux"}
	if f, err := os.Open(h.path("sys/kernel/btf/vmlinux")); err == nil {
		f.Close()
	} else {
		c.Status, c.Detail, c.Remedy = Degraded, err.Error(), "boot a kernel with CONFIG_DEBUG_INFO_BTF=y"
	}
	return c
}

// mounts yields mount point, type and options of each line of /proc/self/mounts.
func (h host) mounts(f func(point, kind, options string)) error {
	s, err := h.read("proc/self/mounts")
	if err != nil {
		return err
	}
	for line := range strings.Lines(s) {
		if fields := strings.Fields(line); len(fields) >= 4 {
			f(fields[1], fields[2], fields[3])
		}
	}
	return nil
}

const (
	mountRemedy     = "mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified"
	namespaceRemedy = "docker run --cgroupns=host; in Kubernetes mount the host's /sys/fs/cgroup by hostPath"
)

// cgroup2: the hooks are attached to the root of the hierarchy, whose inode is 1 (kernfs). Another one is the root of a private cgroup
// namespace, or of a mount of a part; a container may have that beside the host's, and then bpf.FindCgroup takes the host's.
func (h host) cgroup2() Check {
	c := Check{Name: "cgroup2", Source: "ebpf", Status: Missing}
	mounts, err := h.read("proc/self/mounts")
	if err != nil {
		c.Detail = err.Error()
		return c
	}
	for _, point := range bpf.Cgroup2Mounts(mounts) {
		var st unix.Stat_t
		err := unix.Stat(h.path(point), &st)
		if err == nil && st.Ino == 1 {
			c.Status, c.Detail, c.Remedy = OK, point, ""
			return c
		}
		switch {
		case c.Detail != "": // the first says what is wrong
		case err != nil:
			c.Detail = fmt.Sprintf("%s: %v", point, err)
		default:
			c.Detail = fmt.Sprintf("%s is not the root of the hierarchy (inode %d): a private cgroup namespace", point, st.Ino)
			c.Remedy = namespaceRemedy
		}
	}
	if c.Detail == "" {
		c.Detail = "not mounted"
		c.Remedy = mountRemedy
	}
	return c
}

// lockdown: in confidentiality mode programs may not read kernel or user memory (kernel_lockdown(7)).
func (h host) lockdown() Check {
	c := Check{Name: "lockdown", Source: "ebpf", Status: OK}
	s, err := h.read("sys/kernel/security/lockdown")
	if err != nil {
		c.Detail = "not known: securityfs is not mounted, or the kernel has no lockdown"
		return c
	}
	_, rest, _ := strings.Cut(s, "[")
	mode, _, _ := strings.Cut(rest, "]")
	if c.Detail = mode; mode == "confidentiality" {
		c.Status = Degraded
		c.Detail += ": captures work; start times of processes come from /proc, and programs that read memory, such as probes in TLS libraries, are refused"
		c.Remedy = "boot with lockdown=integrity, where that is enough"
	}
	return c
}

// wanted capabilities; anyOf holds alternatives.
var wanted = []struct {
	source string
	anyOf  []int
	names  string
	effect Status
	why    string
}{
	{"ebpf", []int{unix.CAP_BPF, unix.CAP_SYS_ADMIN}, "CAP_BPF", Missing, "to load programs"},
	{"ebpf", []int{unix.CAP_PERFMON, unix.CAP_SYS_ADMIN}, "CAP_PERFMON", Missing, "to load programs that compare pointers"},
	{"ebpf", []int{unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN}, "CAP_NET_ADMIN", Missing, "to attach to cgroups"},
	{"packet", []int{unix.CAP_NET_RAW}, "CAP_NET_RAW", Missing, "to open packet sockets"},
	{"owners", []int{unix.CAP_SYS_PTRACE}, "CAP_SYS_PTRACE", Degraded, "to see programs and files of other users' processes"},
	{"owners", []int{unix.CAP_DAC_READ_SEARCH}, "CAP_DAC_READ_SEARCH", Degraded, "to find cgroups by their number and to read /proc"},
	{"owners", []int{unix.CAP_SYS_ADMIN}, "CAP_SYS_ADMIN", Degraded, "to look for sockets in other network namespaces (packet source)"},
}

// rightsRemedy gives a program all that it wants at once, for setcap replaces what was set before. CAP_SYS_ADMIN is not among it: it is nearly
// all that root may do.
var rightsRemedy = func() string {
	var names []string
	for _, w := range wanted {
		if w.names != "CAP_SYS_ADMIN" {
			names = append(names, strings.ToLower(w.names))
		}
	}
	return "run as root, or setcap " + strings.Join(names, ",") + "+ep on the program"
}()

func (h host) capabilities() []Check {
	effective, err := h.effective()
	var out []Check
	for _, w := range wanted {
		c := Check{Name: strings.ToLower(w.names), Source: w.source, Status: OK, Detail: "effective"}
		have := false
		for _, n := range w.anyOf {
			have = have || effective&(1<<n) != 0
		}
		switch {
		case err != nil:
			c.Status, c.Detail = Degraded, err.Error()
		case !have:
			c.Status, c.Detail = w.effect, "not effective; needed "+w.why
			c.Remedy = rightsRemedy
			if w.names == "CAP_SYS_ADMIN" {
				c.Remedy = "run as root, or capture with --source ebpf, which does not need it"
			}
		}
		out = append(out, c)
	}
	return out
}

func (h host) effective() (uint64, error) {
	s, err := h.read("proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(s) {
		if rest, ok := strings.CutPrefix(line, "CapEff:"); ok {
			return strconv.ParseUint(strings.TrimSpace(rest), 16, 64)
		}
	}
	return 0, fmt.Errorf("%s: no CapEff", h.path("proc/self/status"))
}

// memlock: before 5.11 memory of maps counts against RLIMIT_MEMLOCK, which the source raises as far as it may.
func (h host) memlock() Check {
	c := Check{Name: "memlock", Source: "ebpf", Status: OK, Detail: "not counted by this kernel"}
	if v, _, ok := h.release(); ok && v.atLeast(5, 11) {
		return c
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		c.Status, c.Detail = Degraded, err.Error()
		return c
	}
	effective, _ := h.effective()
	const need = 16 << 20 // as measured on 5.10
	switch {
	case limit.Max == unix.RLIM_INFINITY:
		c.Detail = "may be raised without limit"
	case effective&(1<<unix.CAP_SYS_RESOURCE) != 0:
		c.Detail = fmt.Sprintf("%d bytes, and may be raised (CAP_SYS_RESOURCE)", limit.Cur)
	default:
		c.Detail = fmt.Sprintf("%d bytes, and may be raised to %d", limit.Cur, limit.Max)
		if limit.Max < need {
			c.Status, c.Remedy = Missing, "ulimit -l unlimited, or LimitMEMLOCK=infinity in the unit"
		}
	}
	return c
}

func (h host) pidNamespace() Check {
	c := Check{Name: "pid namespace", Source: "owners", Status: OK, Detail: "the host's"}
	if hosts, why := processes.PIDNamespace(h.path("proc")); !hosts {
		c.Status, c.Detail, c.Remedy = Degraded, why, "docker run --pid=host; in Kubernetes hostPID: true"
	}
	return c
}

func (h host) hidepid() Check {
	c := Check{Name: "proc", Source: "owners", Status: OK, Detail: "all processes are visible"}
	err := h.mounts(func(point, kind, options string) {
		if kind != "proc" || point != "/proc" {
			return
		}
		for option := range strings.SplitSeq(options, ",") {
			if v, ok := strings.CutPrefix(option, "hidepid="); ok && v != "0" && v != "off" {
				c.Status, c.Detail = Degraded, "mounted with "+option+": other users' processes may be hidden"
				c.Remedy = "mount -o remount,hidepid=0 /proc, or run as root with CAP_SYS_PTRACE"
			}
		}
	})
	if err != nil {
		c.Status, c.Detail = Degraded, err.Error()
	}
	return c
}

// mounted looks for a file system that is good to have.
func (h host) mounted(name, kind, where, use string) Check {
	c := Check{Name: name, Source: "ebpf", Status: Degraded, Detail: "not mounted; " + use, Remedy: "mount -t " + kind + " " + kind + " " + where}
	err := h.mounts(func(point, k, _ string) {
		if k == kind {
			c = Check{Name: name, Source: "ebpf", Status: OK, Detail: point}
		}
	})
	if err != nil {
		c.Detail = err.Error()
	}
	return c
}
