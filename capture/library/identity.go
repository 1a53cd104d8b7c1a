package library

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/bpf"
)

// fileID tells files apart. The kernel sets probes by inode, so a file that is reached by two ways must have one id, or it would be probed twice.
type fileID struct {
	dev, ino uint64
	// size and mtime tell a file from a later one with the same number. loose: dev is not known.
	size, mtime int64
	loose       bool
	// ctime is known where dev is not: a copy that a container's upper layer has of an image's file keeps number, size and mtime.
	ctime int64
}

// identify gives a file's id. Each container's overlay shows a file of the image under a device of its own; the kernel probes the image's, so that
// one is looked for, in the overlay's layers. Where they cannot be reached from here, files of overlays count as one if number, size
// and time of change are the same. It fails if the process is gone before its mounts could be read: what the file is then is not known.
func identify(f *os.File, name string, pid int) (fileID, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return fileID{}, err
	}
	id := fileID{dev: st.Dev, ino: st.Ino, size: st.Size, mtime: st.Mtim.Nano()}
	var in unix.Statfs_t
	if unix.Fstatfs(int(f.Fd()), &in) != nil || in.Type != unix.OVERLAYFS_SUPER_MAGIC {
		return id, nil
	}
	layers, below, err := overlayLayers(pid, f, name)
	if err != nil {
		return fileID{}, err
	}
	for _, l := range layers {
		var real unix.Stat_t
		if unix.Stat(path.Join(l, below), &real) != nil {
			continue
		}
		if real.Size == st.Size && real.Mtim == st.Mtim && real.Ctim == st.Ctim {
			id.dev, id.ino = real.Dev, real.Ino
			return id, nil
		}
	}
	id.dev, id.loose, id.ctime = 0, true, st.Ctim.Nano()
	return id, nil
}

// overlayLayers gives the directories that an overlay is made of, the upper one first, and where in it the file is.
func overlayLayers(pid int, f *os.File, name string) (layers []string, below string, err error) {
	// The file's own name has no links in it any more. It begins at the root of the process's mount namespace, mountinfo's names at the process's
	// own root, which is below that after chroot.
	real, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(f.Fd())))
	if err != nil {
		return nil, "", err
	}
	root, err := os.Readlink(procPath(pid, "root"))
	if err != nil {
		return nil, "", err
	}
	if below, ok := strings.CutPrefix(real, strings.TrimSuffix(root, "/")); ok && strings.HasPrefix(below, "/") {
		name = below
	}
	m, err := os.Open(procPath(pid, "mountinfo"))
	if err != nil {
		return nil, "", err
	}
	defer m.Close()
	longest := -1
	lines := bufio.NewScanner(m)
	lines.Buffer(nil, 1<<20) // an overlay of 127 layers has a long line
	for lines.Scan() {
		// 36 35 98:0 /below /mount/point rw,noatime master:1 - overlay overlay rw,lowerdir=…
		head, tail, ok := strings.Cut(lines.Text(), " - ")
		fields, kind := strings.Fields(head), strings.Fields(tail)
		if !ok || len(fields) < 5 || len(kind) < 3 {
			continue
		}
		point := bpf.UnescapeMount(fields[4])
		rest, ok := strings.CutPrefix(name, strings.TrimSuffix(point, "/"))
		if !ok || rest != "" && rest[0] != '/' || len(point) < longest {
			continue
		}
		longest, layers = len(point), nil
		if kind[0] == "overlay" {
			layers, below = layersOf(kind[2]), path.Join(bpf.UnescapeMount(fields[3]), rest)
		}
	}
	if longest < 0 { // it is about to end, and has no mounts any more
		return nil, "", errors.Join(fs.ErrNotExist, lines.Err())
	}
	return layers, below, nil
}

// layersOf reads the options of an overlay's mount.
func layersOf(options string) []string {
	var upper, lower []string
	for option := range strings.SplitSeq(options, ",") {
		key, value, _ := strings.Cut(option, "=")
		switch key {
		case "upperdir":
			upper = append(upper, bpf.UnescapeMount(value))
		case "lowerdir":
			for l := range strings.SplitSeq(value, ":") {
				lower = append(lower, bpf.UnescapeMount(l))
			}
		case "lowerdir+": // Linux 6.8: one option for each layer
			lower = append(lower, bpf.UnescapeMount(value))
		}
	}
	return append(upper, lower...)
}
