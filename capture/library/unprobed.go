package library

import (
	"bufio"
	"bytes"
	"cmp"
	"debug/elf"
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/dynwatch/dynwatch/bpf"
)

// Unprobed are running processes with a TLS library that can have no probes, all of the same library and for the same reason.
type Unprobed struct {
	// Library is in words, "" if it is not known which.
	Library string `json:"library,omitempty"`
	Reason  string `json:"reason"`
	// Processes is how many there are; Examples are the first of them.
	Processes int       `json:"processes"`
	Examples  []Example `json:"examples"`
}

// Example is one process. What it calls itself and its files may be chosen by somebody hostile.
type Example struct {
	PID     int    `json:"pid"`
	Program string `json:"program,omitempty"`
	// File is where its mount namespace has the library, or the program with the library in it.
	File string `json:"file,omitempty"`
}

// Survey is what Look found.
type Survey struct {
	// Processes were looked at, kernel threads aside; Without have a library that can have no probes, or may not be looked at.
	Processes, Without int
	// Unprobed has the most frequent first. Others counts processes of kinds beyond the bound on these.
	Unprobed []Unprobed
	Others   int
}

const (
	maxKinds    = 32
	maxExamples = 3
	// maxConstants bounds what is searched of a file for the words of a library, in bytes.
	maxConstants = 256 << 20
)

// The closed set of reasons, but for what is wrong with a file that should have probes.
const (
	reasonClosed = "it may not be looked at"
	reasonNone   = "no probes are known for it"
	reasonInside = "it is linked in, and exports nothing that probes could be set in"
	reasonParts  = "functions that probes need are not in it"
)

// Look looks at what all processes have mapped, by the files alone: nothing is attached, and no rights are needed but to read.
func Look() (*Survey, error) {
	pids, err := bpf.Processes("/proc")
	if err != nil {
		return nil, err
	}
	x := survey{kinds: map[kind]*Unprobed{}, files: map[[2]uint64]kind{}}
	for _, pid := range pids {
		x.process(pid)
	}
	for _, u := range x.kinds {
		x.Unprobed = append(x.Unprobed, *u)
	}
	slices.SortFunc(x.Unprobed, func(a, b Unprobed) int {
		return cmp.Or(b.Processes-a.Processes, strings.Compare(a.Library, b.Library), strings.Compare(a.Reason, b.Reason))
	})
	return &x.Survey, nil
}

// kind is a library that has no probes, and why; the zero one has them, or is none.
type kind struct{ library, reason string }

type survey struct {
	Survey
	kinds map[kind]*Unprobed
	// files are those that were looked at, by device and inode.
	files map[[2]uint64]kind
}

func (x *survey) process(pid int) {
	exe, err := os.Readlink(procPath(pid, "exe"))
	if errors.Is(err, fs.ErrNotExist) || err != nil && !hasProgram(pid) {
		return // a kernel thread, or gone; who may not look at others' processes is refused instead
	}
	x.Processes++
	told := map[kind]bool{}
	defer func() {
		if len(told) > 0 {
			x.Without++
		}
	}()
	add := func(k kind, file string) {
		if k.reason != "" && !told[k] {
			told[k] = true
			x.add(k, Example{pid, command(pid), file})
		}
	}
	r, rootErr := openRoot(pid)
	if err = errors.Join(err, rootErr); err != nil {
		if errors.Is(err, fs.ErrPermission) {
			add(kind{"", reasonClosed}, "")
		}
		return
	}
	defer r.close()
	add(x.file(r, exe, procPath(pid, "exe")), exe)
	err = executable(pid, func(m mapped) {
		if m.name != exe {
			add(x.file(r, m.name, m.link(pid)), m.name)
		}
	})
	if errors.Is(err, fs.ErrPermission) {
		add(kind{"", reasonClosed}, "")
	}
}

// kernelThread is PF_KTHREAD of include/linux/sched.h.
const kernelThread = 0x00200000

// hasProgram reports whether a process runs a program, as kernel threads and the ended do not. Everybody may read that.
func hasProgram(pid int) bool {
	b, err := os.ReadFile(procPath(pid, "stat"))
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	return statTellsProgram(string(b))
}

// statTellsProgram reads the state and the flags of /proc/PID/stat, fields 3 and 9 (proc(5)). The name before them may hold anything.
func statTellsProgram(stat string) bool {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 7 {
		return true
	}
	flags, err := strconv.ParseUint(fields[6], 10, 64)
	return err != nil || flags&kernelThread == 0 && fields[0] != "Z" && fields[0] != "X"
}

func (x *survey) add(k kind, e Example) {
	u := x.kinds[k]
	if u == nil {
		if len(x.kinds) == maxKinds {
			x.Others++
			return
		}
		u = &Unprobed{Library: k.library, Reason: k.reason}
		x.kinds[k] = u
	}
	u.Processes++
	if len(u.Examples) < maxExamples {
		u.Examples = append(u.Examples, e)
	}
}

// command is what a process calls itself.
func command(pid int) string {
	b, _ := os.ReadFile(procPath(pid, "comm"))
	return strings.TrimSuffix(string(b), "\n")
}

// file finds out what is in a file, unless it is known.
func (x *survey) file(r *root, name, link string) kind {
	f, err := r.open(name)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = os.Open(link)
	}
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return kind{"", reasonClosed}
		}
		return kind{}
	}
	defer f.Close()
	id, ok := statID(f)
	if !ok {
		return kind{}
	}
	k, known := x.files[id]
	if !known {
		k = unprobed(f, path.Base(name))
		x.files[id] = k
	}
	return k
}

// unprobed tells what TLS library is in a file that can have no probes. It is careful with names: a library that it does not know is none.
func unprobed(f *os.File, base string) kind {
	c, err := examine(f, base)
	switch {
	case err == nil && len(c.crypto) > 0 && len(c.ssl)+len(c.others)+len(c.gnuTLS) == 0 && !isLibrary(base):
		// OpenSSL's functions of X.509 alone: what uses them may be inside.
	case err == nil:
		return kind{}
	case !errors.Is(err, errNothing):
		return kind{familyOf(f, base), err.Error()}
	case base == "libjvm.so":
		return kind{"Java", reasonNone}
	case base == "libssl3.so":
		return kind{"NSS", reasonNone}
	case strings.HasPrefix(base, "libssl") && isLibrary(base):
		return kind{familyOf(f, base), reasonParts}
	case isLibrary(base) && !isS2N(base):
		return kind{}
	}
	return linkedIn(f)
}

// familyOf names the library of a file that should have probes.
func familyOf(f *os.File, base string) string {
	switch {
	case strings.HasPrefix(base, "libgnutls"):
		return "GnuTLS"
	case isS2N(base):
		return "s2n"
	case isLibrary(base):
		return "OpenSSL"
	}
	if file, err := elf.NewFile(f); err == nil && file.Section(".go.buildinfo") != nil {
		return "Go"
	}
	return "OpenSSL"
}

// words are what libraries have among their constants, and who only calls them has not.
var words = []struct{ library, text string }{
	{"OpenSSL", "tls_process_server_certificate"}, // the function, by which errors are told
	{"BoringSSL or AWS-LC", "TLS client read_server_certificate"},
}

// linkedIn looks for libraries in a file that exports nothing of them.
func linkedIn(f *os.File) (k kind) {
	defer func() {
		if recover() != nil { // package debug/elf was not made for hostile files
			k = kind{}
		}
	}()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() || st.Size() > maxFile {
		return kind{}
	}
	file, err := elf.NewFile(f)
	if err != nil || file.Machine != machine {
		return kind{}
	}
	if _, ok := exported(file)["s2n_connection_new"]; ok {
		return kind{"s2n", reasonNone}
	}
	s := file.Section(".rodata")
	if s == nil || s.Type == elf.SHT_NOBITS || s.ReaderAt == nil {
		return kind{}
	}
	const piece, overlap = 1 << 20, 64 // longer than any of the words
	in := bufio.NewReaderSize(s.Open(), piece)
	for n := 0; n < maxConstants; n += piece - overlap {
		b, err := in.Peek(piece)
		for _, w := range words {
			if bytes.Contains(b, []byte(w.text)) {
				return kind{w.library, reasonInside}
			}
		}
		if err != nil {
			break
		}
		_, _ = in.Discard(piece - overlap)
	}
	return kind{}
}
