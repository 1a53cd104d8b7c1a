package host

import (
	"bytes"
	"debug/buildinfo"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// details are what /proc tells of a process. They do not change once made.
type details struct {
	stat         procStat
	exe, cmdline string
	parents      []string
	uid          uint32
	uidKnown     bool
	netNS        uint64
	identity     Identity
	sdk, sdkBy   string
	exited       bool // it had no program any more
	partial      bool // without cmdline, sdk and sdkBy: see readProgram
	// since is when it was read, and is set once by the reader.
	since time.Time
}

const (
	maxCmdlineRead = maxMaskInput + 1 // a byte more, so that it shows when the last argument was cut
	maxMapsRead    = 256 << 10
	maxParents     = 8
)

// readDetails reads a process from /proc, through its open directory, but for what readProgram does.
func readDetails(root string, dir procDir, stat procStat) (*details, error) {
	d := &details{stat: stat}
	// A process that ends meanwhile leaves what was read so far.
	cgroup, err := dir.read("cgroup", 16<<10)
	if err != nil {
		return nil, err
	}
	d.identity = ParseCgroup(string(cgroup))
	if d.exe = dir.exe(); d.exe == "" {
		now, err := dir.stat()
		d.exited = err != nil || now.ended()
	}
	if uid, err := dir.realUID(); err == nil {
		d.uid, d.uidKnown = uid, true
	}
	d.netNS, _ = dir.namespaceInode("net")
	d.parents = ancestors(root, d.stat)
	return d, nil
}

// readProgram adds command line and SDK. The program may be a file of a file system that the owner runs (FUSE) and lets hang when it is opened; for
// command line and list of files the kernel waits for the lock on the process's memory, and before 4.17 the former could be such a file as well.
func (d *details) readProgram(root string, pid int, dir procDir) {
	cmdline, _ := dir.read("cmdline", maxCmdlineRead)
	args := splitCmdline(cmdline)
	d.cmdline = MaskSecrets(args, maxCmdline)
	if d.exe != "" {
		d.sdk, d.sdkBy = guessSDK(root, pid, dir, d.exe, args)
	}
}

// sameStart compares start times in ticks. The kernel's own, in nanoseconds, was rounded down to ticks, as it does itself for
// /proc; a neighbour is let pass so that a rounding elsewhere does not tear a process from its details.
func sameStart(a, b uint64) bool { return b == 0 || a == b || a+1 == b || a == b+1 }

// splitCmdline splits the NUL-terminated arguments of /proc/PID/cmdline. A process that set its title has one, padded with NULs.
func splitCmdline(b []byte) []string {
	b = bytes.TrimRight(b, "\x00")
	if len(b) == 0 {
		return nil
	}
	return strings.Split(string(b), "\x00")
}

// exe is the path of the program as the process's mount namespace names it, "" for kernel threads.
func (d procDir) exe() string {
	path, _ := d.readlink("exe")
	return flow.Printable(path)
}

// ancestors returns the names of the parent, its parent, and so on. A parent that started after its child is another process, which was given the
// number when the parent had ended: the chain ends there.
func ancestors(root string, child procStat) []string {
	var names []string
	for len(names) < maxParents && child.parent > 0 {
		dir, err := openProcDir(root, child.parent)
		if err != nil {
			break
		}
		stat, err := dir.stat()
		dir.close()
		if err != nil || stat.start > child.start {
			break
		}
		names = append(names, flow.Printable(stat.comm))
		child = stat
	}
	return names
}

// guessSDK looks at the program and its libraries, and, where neither tells, whether it is a Go program, which lists its modules.
func guessSDK(root string, pid int, dir procDir, exe string, args []string) (sdk, by string) {
	if sdk := SDKFromProgram(exe, args, nil); sdk != "" {
		return sdk, "program"
	}
	if sdk := SDKFromProgram(exe, args, dir.libraries(maxMapsRead)); sdk != "" {
		return sdk, "libraries"
	}
	f, err := os.Open(filepath.Join(root, strconv.Itoa(pid), "exe"))
	if err != nil {
		return "", ""
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", ""
	}
	build, err := buildinfo.Read(f)
	if err != nil {
		return "", ""
	}
	modules := make([]string, 0, len(build.Deps))
	for _, m := range build.Deps {
		modules = append(modules, m.Path)
	}
	return SDKFromModules(modules), "modules"
}
