package library

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"sync"

	"github.com/dynwatch/dynwatch/bpf"
)

// maxFiles bounds the files that have probes at a time: each has about ten, and a file descriptor for each.
const maxFiles = 1024

// probed is a file that was looked at.
type probed struct {
	id fileID
	// contents is nil if there is nothing to probe.
	contents *contents
	links    []io.Closer
	// attached tells which halves of OpenSSL have their probes; crypto's need offsets that only ssl's half tells.
	attached struct{ crypto, ssl, others bool }
	// err is why it has no probes, or not all.
	err error
	// scan is the last full scan that found it in use, names the paths under which it was.
	scan  uint64
	names []string
}

// namespace is a mount namespace whose usual directories were looked at.
type namespace struct {
	files []*probed
	scan  uint64
}

// attacher keeps probes where they are needed. One goroutine uses it, but for the counts and names.
type attacher struct {
	kernel     *bpf.Library
	files      map[fileID]*probed
	namespaces map[uint64]*namespace
	scan       uint64 // the number of the full scan that is under way, or the last

	// mu guards what follows, and the names of contents.
	mu sync.Mutex
	// names are the files that have probes, by the path that processes map them under.
	names map[string]*probed
	stats attachStats
}

// attachStats are counts of files.
type attachStats struct {
	// Files that have probes, and Probes in them; Refused are files that should have and do not, Detached those that nobody uses any more.
	Files, Probes, Refused, Detached int
	// Over are files beyond maxFiles.
	Over int
	// Problems are the first errors in words.
	Problems []string
}

const maxProblems = 8

func newAttacher(kernel *bpf.Library) *attacher {
	return &attacher{kernel: kernel, files: make(map[fileID]*probed), namespaces: make(map[uint64]*namespace), names: make(map[string]*probed)}
}

// found is a file in hand: open until its probes are set.
type found struct {
	*probed
	open *os.File
}

// process attaches to what a process has mapped, and to its program; to what is in the usual directories too, if its mount namespace is new.
func (a *attacher) process(pid int) error {
	r, err := openRoot(pid)
	if err != nil {
		return err
	}
	defer r.close()
	ns, known := a.namespaces[r.ns]
	if !known {
		ns = &namespace{files: a.directories(r)}
		a.namespaces[r.ns] = ns
	}
	ns.scan = a.scan
	a.program(r)
	var group []found
	err = mappedLibraries(pid, func(name, link string) {
		if f, ok := a.file(r, name, link); ok {
			group = append(group, f)
		}
	})
	a.attach(group)
	return err
}

// program attaches to the executable of a process.
func (a *attacher) program(r *root) {
	link := procPath(r.pid, "exe")
	name, err := os.Readlink(link)
	if err != nil {
		return // a kernel thread, or gone
	}
	if f, ok := a.file(r, name, link); ok {
		a.attach([]found{f})
	}
}

// directories attaches to the libraries in the usual directories, for the programs that will start with them.
func (a *attacher) directories(r *root) (all []*probed) {
	groups := map[string][]found{}
	for _, name := range r.libraries() {
		if f, ok := a.file(r, name, ""); ok {
			groups[path.Dir(name)] = append(groups[path.Dir(name)], f)
			all = append(all, f.probed)
		}
	}
	for _, g := range groups {
		a.attach(g)
	}
	return all
}

// fullScan looks at every process, and detaches from files that nobody has mapped or installed in the last two scans.
func (a *attacher) fullScan() error {
	a.scan++
	d, err := os.Open("/proc")
	if err != nil {
		return err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, n := range names {
		if pid, err := strconv.Atoi(n); err == nil {
			_ = a.process(pid) // it may be gone
		}
	}
	for ns, x := range a.namespaces {
		if x.scan != a.scan {
			delete(a.namespaces, ns)
			continue
		}
		for _, p := range x.files {
			p.scan = a.scan
		}
	}
	for id, p := range a.files {
		if p.scan+1 < a.scan {
			a.detach(p)
			delete(a.files, id)
		}
	}
	return nil
}

// detach takes a file's probes away.
func (a *attacher) detach(p *probed) {
	for _, l := range p.links {
		l.Close()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(p.links) > 0 {
		a.stats.Files--
		a.stats.Probes -= len(p.links)
		a.stats.Detached++
	}
	p.links = nil
	for _, n := range p.names {
		delete(a.names, n)
	}
}

// close detaches from everything, in parallel: each probe's removal waits for the kernel (RCU).
func (a *attacher) close() {
	var wg sync.WaitGroup
	for _, p := range a.files {
		for _, l := range p.links {
			wg.Go(func() { l.Close() })
		}
		p.links = nil
	}
	wg.Wait()
	clear(a.files)
}

// file finds out what is in a file, unless it is known. link leads to it where its name does not any more.
func (a *attacher) file(r *root, name, link string) (found, bool) {
	f, err := r.open(name)
	if errors.Is(err, fs.ErrNotExist) && link != "" {
		f, err = os.Open(link)
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) && link != "" {
			a.problem(fmt.Errorf("%s of process %d: %w", name, r.pid, err))
		}
		return found{}, false
	}
	id, err := identify(f, name, r.pid)
	if err != nil {
		f.Close()
		return found{}, false
	}
	p := a.files[id]
	if p == nil {
		p = &probed{id: id}
		if len(a.files) >= maxKnown {
			a.forgetUseless()
		}
		a.files[id] = p
		if p.contents, err = examine(f); err != nil && !errors.Is(err, errNothing) {
			a.refuse(name, p, err)
		}
	}
	p.scan = a.scan
	if p.contents == nil || p.err != nil {
		f.Close()
		return found{}, false
	}
	a.name(name, p)
	return found{p, f}, true
}

// name notes under which path processes have a file.
func (a *attacher) name(name string, p *probed) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.names[name]; !ok && len(p.names) < maxNames {
		p.names = append(p.names, name)
		a.names[name] = p
	}
}

// maxNames bounds the paths that are remembered of one file: containers have the same file under a few.
const maxNames = 16

// library is the library that is probed in a file, "" if there is none of that path.
func (a *attacher) library(name string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p := a.names[name]; p != nil {
		return p.contents.name
	}
	return ""
}

// maxKnown bounds what is remembered of files, most of which have nothing to probe.
const maxKnown = 16 << 10

// forgetUseless forgets files without probes: they will be looked at again.
func (a *attacher) forgetUseless() {
	for id, p := range a.files {
		if len(p.links) == 0 {
			delete(a.files, id)
		}
	}
}

// attach sets the probes of files that belong together: those of one process, or of one directory. It closes the files.
func (a *attacher) attach(group []found) {
	var offsets bpf.SSLOffsets
	version := ""
	for _, f := range group {
		defer f.open.Close()
		if len(f.contents.ssl) > 0 {
			offsets = f.contents.offsets
		}
		if len(f.contents.crypto) > 0 {
			version = f.contents.name
		}
	}
	for _, f := range group {
		p, c := f.probed, f.contents
		if !p.attached.others {
			p.attached.others = true
			a.set(f, c.others, offsets)
		}
		if offsets.ClientRandom == 0 {
			continue // libcrypto without libssl: no TLS, or not OpenSSL's
		}
		if !p.attached.ssl {
			p.attached.ssl = true
			if len(c.crypto) == 0 && version != "" {
				a.mu.Lock()
				c.name = version // libssl does not bear its own
				a.mu.Unlock()
			}
			a.set(f, c.ssl, offsets)
		}
		if !p.attached.crypto {
			p.attached.crypto = true
			a.set(f, c.crypto, offsets)
		}
	}
}

// set attaches probes to a file.
func (a *attacher) set(f found, places []place, offsets bpf.SSLOffsets) {
	if len(places) == 0 || f.err != nil {
		return
	}
	first := len(f.links) == 0
	a.mu.Lock()
	if first && a.stats.Files >= maxFiles {
		a.stats.Over++
		a.mu.Unlock()
		return
	}
	a.mu.Unlock()
	for _, x := range places {
		l, err := a.kernel.Attach(f.open, x.probe, x.offset, offsets)
		if err != nil {
			a.refuse(f.open.Name(), f.probed, err)
			break
		}
		f.links = append(f.links, l)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stats.Probes += len(places)
	if first && len(f.links) > 0 {
		a.stats.Files++
	}
}

// refuse notes that a file that should have probes does not.
func (a *attacher) refuse(name string, p *probed, err error) {
	p.err = err
	a.mu.Lock()
	a.stats.Refused++
	a.mu.Unlock()
	a.problem(fmt.Errorf("%s: %w", name, err))
}

func (a *attacher) problem(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.stats.Problems) < maxProblems {
		a.stats.Problems = append(a.stats.Problems, err.Error())
	}
}
