package library

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// procPath is a file of a process in /proc.
func procPath(pid int, name string) string { return fmt.Sprintf("/proc/%d/%s", pid, name) }

// maxMaps bounds the lines that are read of a process's maps: a kernel allows 65530 by default (vm.max_map_count).
const maxMaps = 1 << 17

// mapped is a file that a process has mapped to execute.
type mapped struct {
	// file is its device and inode number as the process's maps have them: another container's overlay shows the same file by another device.
	file, name string
	// span are the addresses, in hexadecimal and a hyphen between.
	span string
}

// link is a path that leads to the file from here even if it was deleted.
func (m mapped) link(pid int) string { return procPath(pid, "map_files/"+m.span) }

// mappedSeed is for the keys of this run.
var mappedSeed = maphash.MakeSeed()

// fileTimes tell a file from what it was before, and from one that had its number.
type fileTimes struct{ size, mtime, ctime int64 }

// key tells the file from others, as far as a process's maps do, and its content from others.
func (m mapped) key(t fileTimes) uint64 {
	return maphash.Comparable(mappedSeed, struct {
		file, name string
		t          fileTimes
	}{m.file, m.name, t})
}

// keyIn tells the file from others by name and mount namespace, too: what maps have for a device may be that of several (btrfs).
func (m mapped) keyIn(pid int) uint64 {
	ns, _ := mountNamespace(pid) // it is gone without
	return maphash.Comparable(mappedSeed, struct {
		file, name string
		ns         uint64
	}{m.file, m.name, ns})
}

// is reports whether an open file is the one that is mapped, by its number.
func (m mapped) is(f *os.File) bool {
	id, ok := statID(f)
	return ok && m.inode() == strconv.FormatUint(id[1], 10)
}

// inode is the file's number, in digits.
func (m mapped) inode() string {
	_, inode, _ := strings.Cut(m.file, " ")
	return inode
}

// times stats the file that the name leads to, without opening it. It fails if that is another one.
func (m mapped) times(r *root) (fileTimes, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(r.fd, strings.TrimLeft(m.name, "/"), &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fileTimes{}, err
	}
	if m.inode() != strconv.FormatUint(st.Ino, 10) {
		return fileTimes{}, fs.ErrNotExist
	}
	return timesIn(&st), nil
}

func timesIn(st *unix.Stat_t) fileTimes { return fileTimes{st.Size, st.Mtim.Nano(), st.Ctim.Nano()} }

// timesOf are an open file's.
func timesOf(f *os.File) (fileTimes, error) {
	var st unix.Stat_t
	err := unix.Fstat(int(f.Fd()), &st)
	return timesIn(&st), err
}

// executable yields the files that a process has mapped to execute, once for each place.
func executable(pid int, yield func(mapped)) error {
	f, err := os.Open(procPath(pid, "maps"))
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := 0; lines.Scan() && n < maxMaps; n++ {
		// 7f0c3c000000-7f0c3c021000 r-xp 00000000 08:01 1234   /usr/lib/libssl.so.3
		line := lines.Bytes() // a process has a hundred and more, most of them without code
		span := bytes.IndexByte(line, ' ')
		if span < 0 || len(line) < span+4 || line[span+3] != 'x' {
			continue
		}
		i := bytes.IndexByte(line, '/')
		if i < 0 {
			continue
		}
		_, file, _ := strings.Cut(string(line[span+1:i]), " ") // after the rights
		_, file, _ = strings.Cut(file, " ")                    // and the offset
		yield(mapped{strings.TrimRight(file, " "), strings.TrimSuffix(string(line[i:]), " (deleted)"), string(line[:span])})
	}
	return lines.Err()
}

// codeRange is where in a process a file's code is.
type codeRange struct {
	from, to uint64
	caller   caller
}

// addresses reads two of them in hexadecimal with a hyphen between.
func addresses(span string) (from, to uint64, ok bool) {
	first, last, _ := strings.Cut(span, "-")
	from, err := strconv.ParseUint(first, 16, 64)
	if err != nil {
		return 0, 0, false
	}
	to, err = strconv.ParseUint(last, 16, 64)
	return from, to, err == nil
}

// isLibrary tells by its name whether a file may be a TLS library. Wheels of Python's add a hash to it.
func isLibrary(name string) bool {
	if isS2N(name) {
		return true
	}
	if !strings.Contains(name, ".so") {
		return false
	}
	return strings.HasPrefix(name, "libssl") || strings.HasPrefix(name, "libcrypto") || strings.HasPrefix(name, "libgnutls.") ||
		strings.HasPrefix(name, "libgnutls-")
}

// isS2N tells by its name whether a file may have s2n: the AWS Common Runtime of npm's aws-crt, or of Python's awscrt.
func isS2N(name string) bool {
	return name == "aws-crt-nodejs.node" || strings.HasPrefix(name, "_awscrt.") && strings.HasSuffix(name, ".so")
}

// root is the root directory of a process's mount namespace.
type root struct {
	fd int
	// pid is the process; ns the namespace's inode number.
	pid int
	ns  uint64
}

// openRoot opens the root directory of a process.
func openRoot(pid int) (*root, error) {
	fd, err := unix.Open(procPath(pid, "root"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	r := &root{fd: fd, pid: pid}
	r.ns, err = mountNamespace(pid)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return r, nil
}

func mountNamespace(pid int) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(procPath(pid, "ns/mnt"), &st); err != nil {
		return 0, err
	}
	return st.Ino, nil
}

func (r *root) close() { unix.Close(r.fd) }

// How files of others are opened, and how many links a path may lead through (MAXSYMLINKS in include/linux/namei.h).
const (
	openFlags = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC | unix.O_NOCTTY
	maxLinks  = 40
)

// open opens a file as the process would: links lead nowhere outside its root. openat2 (Linux 5.6) sees to that; a seccomp filter may deny that there is one,
// as systemd's does with RestrictSUIDSGID, which DynamicUser implies.
func (r *root) open(name string) (*os.File, error) {
	fd, err := unix.Openat2(r.fd, name, &unix.OpenHow{Flags: openFlags, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if errors.Is(err, unix.ENOSYS) {
		fd, err = r.openByStep(name)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// openByStep is openat2 with RESOLVE_IN_ROOT: it opens each directory of the path by itself, reads links as the text that they are, and goes up by the
// way that it came down.
func (r *root) openByStep(name string) (int, error) {
	var way []int // directories, from the root's to the one that it is in
	up := func() {
		unix.Close(way[len(way)-1])
		way = way[:len(way)-1]
	}
	defer func() {
		for len(way) > 0 {
			up()
		}
	}()
	links := 0
	for left := name; ; {
		here := r.fd
		if len(way) > 0 {
			here = way[len(way)-1]
		}
		var next string
		var more bool // a slash, at least
		next, left, more = strings.Cut(strings.TrimLeft(left, "/"), "/")
		switch next {
		case "":
			return unix.Openat(here, ".", openFlags, 0)
		case ".":
			continue
		case "..":
			if len(way) > 0 {
				up()
			}
			continue
		}
		fd, err := unix.Openat(here, next, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, err
		}
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			unix.Close(fd)
			return -1, err
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			way = append(way, fd)
		case unix.S_IFLNK:
			text := make([]byte, unix.PathMax)
			n, err := unix.Readlinkat(fd, "", text)
			unix.Close(fd)
			if err != nil {
				return -1, err
			}
			if links++; links > maxLinks {
				return -1, unix.ELOOP
			}
			if text[0] == '/' {
				for len(way) > 0 {
					up()
				}
			}
			if more {
				left = "/" + left
			}
			left = string(text[:n]) + left
		default:
			unix.Close(fd)
			if more {
				return -1, unix.ENOTDIR
			}
			return unix.Openat(here, next, openFlags|unix.O_NOFOLLOW, 0)
		}
	}
}

// libraryDirectories are where packages put libraries.
var libraryDirectories = []string{"/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64"}

// maxEntries bounds what is read of a directory.
const maxEntries = 16 << 10

// libraries lists the TLS libraries in the usual directories, and in those below them that are an architecture's (Debian's multiarch).
func (r *root) libraries() []string {
	var list []string
	seen := map[[2]uint64]bool{}
	var look func(dir string, deeper bool)
	look = func(dir string, deeper bool) {
		d, err := r.open(dir)
		if err != nil {
			return
		}
		defer d.Close()
		id, ok := statID(d)
		if !ok || seen[id] { // /lib is mostly a link to /usr/lib
			return
		}
		seen[id] = true
		names, _ := d.Readdirnames(maxEntries)
		for _, n := range names {
			switch {
			case isLibrary(n):
				list = append(list, path.Join(dir, n))
			case deeper && (strings.HasSuffix(n, "-linux-gnu") || strings.HasSuffix(n, "-linux-musl")):
				look(path.Join(dir, n), false)
			}
		}
	}
	for _, dir := range libraryDirectories {
		look(dir, true)
	}
	return list
}

func statID(f *os.File) (id [2]uint64, ok bool) {
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil {
		return id, false
	}
	return [2]uint64{st.Dev, st.Ino}, true
}
