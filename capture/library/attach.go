package library

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dynwatch/dynwatch/bpf"
)

// maxFiles bounds the files that have probes at a time: each has about ten, and up to as many file descriptors.
const maxFiles = 1024

// probed is a file that was looked at.
type probed struct {
	id fileID
	// contents is nil if there is nothing to probe.
	contents *contents
	// probes are what detaches; places counts where they are, by library as attachStats does.
	probes []io.Closer
	places map[string]int
	// attached tells which halves of OpenSSL have their probes; crypto's need offsets that only ssl's half tells.
	attached struct{ crypto, ssl, others, gnuTLS, s2n, asked bool }
	// hears is since when (CLOCK_MONOTONIC) its probes tell of those who ask for the judgement, 0 if they do not; guarded as names are.
	hears uint64
	// named: it bears the version of the libcrypto beside it. A process that is looked at while it is loaded may have libssl alone.
	named bool
	// err is why it has no probes that it should have; over: there were too many others.
	err  error
	over bool
	// scan is the last full scan that found it in use, names the paths under which it was.
	scan  uint64
	names []string
	// busy: somebody examines it, or sets its probes, and may be away.
	busy bool
}

// nothing: it is none that probes are known for, as NSS's libssl3.so.
func (p *probed) nothing() bool { return p.contents == nil && p.err == nil }

// namespace is a mount namespace whose usual directories were looked at.
type namespace struct {
	files []*probed
	scan  uint64
}

// attacher keeps probes where they are needed. It does not trust the files of processes to answer: who reads them is away, and others go on.
type attacher struct {
	kernel  *bpf.Library
	max     int // of files that have probes
	without *regexp.Regexp
	// patience is how long others wait for somebody who looks at a process.
	patience time.Duration

	// turn guards what follows, and all of probed but what mu guards. Who has it lets it go while away. It is taken before mu.
	turn       sync.Mutex
	files      map[fileID]*probed
	namespaces map[uint64]*namespace
	scan       uint64 // the number of the full scan that is under way, or the last
	denied     int    // files that could not be opened since it began
	closed     bool

	// mu guards what follows, and the names of contents.
	mu sync.Mutex
	// under are the processes that somebody looks at.
	under map[int]bool
	// names are the files that have probes, by the path that processes map them under.
	names map[string]*probed
	// started are processes as they were when they were looked at.
	started generations[int, started]
	// askers are files whose code may ask for the judgement, or not, and libssl the files that processes with such code ask, both by mapped.key.
	askers generations[uint64, bool]
	libssl generations[uint64, *probed]
	stats  attachStats

	// looking has one for each that reads files of processes beside.
	looking chan struct{}
}

// started is what a process had when it was looked at, for those that are gone when something is told of them.
type started struct {
	at time.Time
	programs
}

// programs are the files with code that matters in a process.
type programs struct {
	exe string
	// libraries are the paths of TLS libraries.
	libraries []string
	callers   []codeRange
	// ssl are those of libraries that may be OpenSSL's libssl. asks: there is code that may ask it for the judgement, and mean it.
	ssl  []libssl
	asks bool
}

// libssl is a file that a process has mapped.
type libssl struct {
	name string
	key  uint64
}

// files is how many it has of both kinds.
func (p *programs) files() int { return len(p.libraries) + len(p.callers) }

// maxLibraries bounds the TLS libraries of one process. It has one or two, or a few copies in Python's wheels; more is somebody who wants to be looked at for long.
const maxLibraries = 64

// startedFor is how long what was seen of a process is taken for it: its number may be another's later.
const startedFor = 5 * time.Second

// programsOf lists what a process has mapped. library, if it is not nil, is given each TLS library, and code all that it has code of: a name as the
// process's mount namespace has it, and a path that leads to the file from here even if it was deleted. It fails if the process is gone, and for a kernel
// thread, which has no program; also if the process went while it was looked at, with what was seen until then: to read on gives no error, but nothing more.
func programsOf(pid int, library, code func(mapped)) (programs, error) {
	exe, err := os.Readlink(procPath(pid, "exe"))
	if err != nil {
		return programs{}, err
	}
	p := programs{exe: exe}
	err = executable(pid, func(m mapped) {
		base, by := path.Base(m.name), callerOf(m.name)
		if code != nil {
			code(m)
		}
		switch {
		case !isLibrary(base):
		case len(p.libraries) < maxLibraries && !slices.Contains(p.libraries, m.name):
			p.libraries = append(p.libraries, m.name)
			if strings.HasPrefix(base, "libssl") {
				p.ssl = append(p.ssl, libssl{m.name, m.keyIn(pid)})
			}
			if library != nil {
				library(m)
			}
		}
		if by == callerUnknown || len(p.callers) >= maxNames {
			return
		}
		if from, to, ok := addresses(m.span); ok {
			p.callers = append(p.callers, codeRange{from, to, by})
		}
	})
	if err == nil {
		_, err = os.Readlink(procPath(pid, "exe"))
	}
	return p, err
}

// remember notes what a process was seen to have.
func (a *attacher) remember(pid int, p programs) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.started.put(pid, started{time.Now(), p})
}

// remembered is what a process was seen to have a moment ago.
func (a *attacher) remembered(pid int) (programs, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	x, ok := a.started.get(pid)
	return x.programs, ok && time.Since(x.at) < startedFor
}

// programs lists what a process has mapped, or had a moment ago if it is gone: as much as was ever seen of it.
func (a *attacher) programs(pid int) (programs, error) {
	p, err := programsOf(pid, nil, nil)
	if err == nil {
		return p, nil
	}
	if x, ok := a.remembered(pid); ok && x.files() >= p.files() {
		return x, nil
	}
	if p.exe != "" {
		return p, nil
	}
	return programs{}, err
}

// attachStats are counts of files.
type attachStats struct {
	// Files that have probes, and Probes in them; Refused are files that should have and do not, Detached those that nobody uses any more.
	Files, Probes, Refused, Detached int
	// Over are files beyond maxFiles.
	Over int
	// Kinds are Probes by library: openssl, go.
	Kinds map[string]int
	// Unread are files that could not be read, or have not what probes need; the others of Refused the kernel refused.
	Unread int
	// Closed are processes, and files of processes, that the last full scan was not let look at.
	Closed int
	// Problems are the first errors in words.
	Problems []string
}

const maxProblems = 8

func newAttacher(kernel *bpf.Library) *attacher {
	return &attacher{
		kernel: kernel, max: maxFiles, patience: attachPatience, files: make(map[fileID]*probed), namespaces: make(map[uint64]*namespace), names: make(map[string]*probed),
		started: newGenerations[int, started](maxProcesses, startedFor), askers: newGenerations[uint64, bool](maxAskers, 0),
		libssl: newGenerations[uint64, *probed](maxAskers, 0), stats: attachStats{Kinds: make(map[string]int)},
		looking: make(chan struct{}, maxLooking), under: make(map[int]bool),
	}
}

// away does what may take for ever, as reading somebody's files may, while others have their turn. The caller has it before and after.
func (a *attacher) away(do func()) {
	a.turn.Unlock()
	defer a.turn.Lock()
	do()
}

// shut closes a file, which asks its file system too.
func (a *attacher) shut(f *os.File) { a.away(func() { f.Close() }) }

// found is a file in hand: open until its probes are set.
type found struct {
	*probed
	open *os.File
	name string // the path under which it was found
}

// process attaches to what a process has mapped, and to its program; to what is in the usual directories too, if its mount namespace is new. It gives
// what it saw. It fails with errBusy if the files do not answer; what is left is done when they do.
func (a *attacher) process(pid int) (programs, error) {
	a.mu.Lock()
	again := a.under[pid]
	a.under[pid] = true
	a.mu.Unlock()
	if again {
		return programs{}, errBusy
	}
	type result struct {
		programs
		err error
	}
	x, err := within(a, a.patience, func() result {
		a.turn.Lock()
		defer a.turn.Unlock()
		has, err := a.processInTurn(pid)
		a.passed(pid)
		return result{has, err}
	})
	switch {
	case errors.Is(err, errFull):
		a.passed(pid)
		fallthrough
	case err != nil:
		a.problem(fmt.Errorf("process %d: %w", pid, err))
		return programs{}, err
	}
	return x.programs, x.err
}

// passed notes that a process is not looked at any more.
func (a *attacher) passed(pid int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.under, pid)
}

// processInTurn is process without a bound.
func (a *attacher) processInTurn(pid int) (has programs, err error) {
	var r *root
	var libraries []mapped
	var code codeFiles
	a.away(func() {
		if r, err = openRoot(pid); err == nil {
			has, err = programsOf(pid, func(m mapped) { libraries = append(libraries, m) }, code.add)
		}
	})
	if r == nil {
		return programs{}, err
	}
	defer r.close()
	ns, known := a.namespaces[r.ns]
	if !known {
		ns = &namespace{files: a.directories(r)}
		a.namespaces[r.ns] = ns
	}
	ns.scan = a.scan
	var group, nothing []found
	replaced := map[string]bool{} // the name leads to another file than the one that is mapped
	for _, m := range libraries {
		f, ok := a.file(r, m.name, m.link(pid))
		if ok {
			group = append(group, f)
			a.away(func() { replaced[m.name] = !m.is(f.open) })
		} else if f.probed != nil && f.nothing() {
			nothing = append(nothing, f)
		}
	}
	if has.exe != "" {
		if f, ok := a.file(r, has.exe, procPath(pid, "exe")); ok {
			a.attach([]found{f}, true)
		}
	}
	if seen := has; len(has.ssl) > 0 {
		a.away(func() {
			x := a.within(codePatience, func() answer { return a.asksAt(pid, &seen, code) })
			has.asks = x.asks || x.err != nil
		})
	}
	a.attach(group, has.asks)
	if has.asks {
		a.asked(has.ssl, slices.DeleteFunc(append(group, nothing...), func(f found) bool { return replaced[f.name] }))
	}
	return has, err
}

// directories attaches to the libraries in the usual directories, for the programs that will start with them.
func (a *attacher) directories(r *root) (all []*probed) {
	var names []string
	a.away(func() { names = r.libraries() })
	groups := map[string][]found{}
	for _, name := range names {
		if f, ok := a.file(r, name, ""); ok {
			groups[path.Dir(name)] = append(groups[path.Dir(name)], f)
			all = append(all, f.probed)
		}
	}
	for _, g := range groups {
		a.attach(g, false)
	}
	return all
}

// fullScan looks at every process, and detaches from files that nobody has mapped or installed in the last two scans.
func (a *attacher) fullScan() error {
	pids, err := bpf.Processes("/proc")
	if err != nil {
		return err
	}
	a.scanOf(pids)
	return nil
}

// scanOf is a full scan when these are all processes.
func (a *attacher) scanOf(pids []int) {
	a.turn.Lock()
	a.scan++
	a.denied = 0
	a.turn.Unlock()
	closed := 0
	for _, pid := range pids {
		if _, err := a.process(pid); errors.Is(err, fs.ErrPermission) || errors.Is(err, errBusy) {
			closed++
		} // else it may be gone
	}
	a.turn.Lock()
	defer a.turn.Unlock()
	a.mu.Lock()
	a.stats.Closed = closed + a.denied
	a.mu.Unlock()
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
		if p.scan+1 < a.scan && !p.busy {
			a.detach(p)
			delete(a.files, id)
		}
	}
}

// detach takes a file's probes away.
func (a *attacher) detach(p *probed) {
	closeAll(p.probes)
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(p.probes) > 0 {
		a.stats.Files--
		a.stats.Detached++
	}
	a.uncount(p)
	p.probes, p.hears = nil, 0
	for _, n := range p.names {
		delete(a.names, n)
	}
}

// close detaches from everything.
func (a *attacher) close() {
	a.turn.Lock()
	defer a.turn.Unlock()
	a.closed = true
	var all []io.Closer
	for _, p := range a.files {
		all = append(all, p.probes...)
	}
	closeAll(all)
	clear(a.files)
}

// closeAll closes in parallel: each probe's removal waits for the kernel (RCU).
func closeAll(all []io.Closer) {
	var wg sync.WaitGroup
	for _, c := range all {
		wg.Go(func() { c.Close() })
	}
	wg.Wait()
}

// file finds out what is in a file, unless it is known, and whether it may have probes. link leads to it where its name does not any more.
func (a *attacher) file(r *root, name, link string) (found, bool) {
	var f *os.File
	var id fileID
	var err, unidentified error
	a.away(func() {
		f, err = r.open(name)
		if errors.Is(err, fs.ErrNotExist) && link != "" {
			f, err = os.Open(link)
		}
		if err == nil {
			id, unidentified = identify(f, name, r.pid)
		}
	})
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) && link != "" {
			a.denied++
			a.problem(fmt.Errorf("%s of process %d: %w", name, r.pid, err))
		}
		return found{}, false
	}
	if unidentified != nil {
		a.shut(f)
		return found{}, false
	}
	p := a.files[id]
	if p == nil {
		p = &probed{id: id, busy: true}
		if len(a.files) >= maxKnown {
			a.forgetUseless()
		}
		a.files[id] = p
		var c *contents
		a.away(func() { c, err = examine(f, path.Base(name)) })
		p.contents, p.busy = c, false
		if err != nil && !errors.Is(err, errNothing) {
			a.refuse(name, p, err)
			a.mu.Lock()
			a.stats.Unread++
			a.mu.Unlock()
		}
	}
	p.scan = a.scan
	if p.contents == nil && p.busy { // another look found it first, and is not done
		a.shut(f)
		return found{}, false
	}
	if p.contents == nil || p.err != nil {
		a.shut(f)
		return found{probed: p, name: name}, false
	}
	a.name(name, p)
	return found{p, f, name}, true
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
		if len(p.probes) == 0 && !p.busy {
			delete(a.files, id)
		}
	}
}

// versions splits files into those of one version each, where there are several of libssl: by what stands behind ".so" in their names, as
// ".1.1" does. Others have names of their own for their two halves, which is why files are not split without need.
func versions(group []found) map[string][]found {
	split := make(map[string][]found)
	several := make(map[string]bool)
	for _, f := range group {
		_, version, _ := strings.Cut(path.Base(f.name), ".so")
		split[version] = append(split[version], f)
		if len(f.contents.ssl) > 0 && !f.contents.boring {
			several[version] = true
		}
	}
	if len(several) < 2 {
		return map[string][]found{"": group}
	}
	return split
}

// attach sets the probes of files that belong together: those of one process, or of one directory; asks is the process's. It closes the files.
func (a *attacher) attach(files []found, asks bool) {
	for _, group := range versions(files) {
		a.attachVersion(group, asks)
	}
}

// attachVersion is attach for files among which there is at most one version of OpenSSL.
func (a *attacher) attachVersion(group []found, asks bool) {
	// A process may have both families, whose halves must not be mixed.
	type family struct {
		offsets bpf.SSLOffsets
		version string
	}
	families := map[bool]*family{false: {}, true: {}}
	for _, f := range group {
		defer a.shut(f.open)
		of := families[f.contents.boring]
		if len(f.contents.ssl) > 0 {
			of.offsets = f.contents.offsets
		}
		if len(f.contents.crypto) > 0 {
			of.version = f.contents.name
		}
	}
	for _, f := range group {
		p, c, of := f.probed, f.contents, families[f.contents.boring]
		a.set(f, &p.attached.others, c.others, of.offsets)
		a.set(f, &p.attached.gnuTLS, c.gnuTLS, bpf.SSLOffsets{GnuTLS: c.gnuTLSOffsets})
		a.set(f, &p.attached.s2n, c.s2nPlaces, bpf.SSLOffsets{S2N: c.s2nOffsets})
		if len(c.ssl) == 0 {
			continue
		}
		if !p.named && len(c.crypto) == 0 && of.version != "" {
			p.named = true
			a.mu.Lock()
			c.name = of.version // libssl does not bear its own
			a.mu.Unlock()
		}
		// It goes before libcrypto, which tells of handshakes: without it, what a program does not do could not be known.
		if a.set(f, &p.attached.ssl, c.ssl, c.offsets); f.err != nil || !p.attached.ssl {
			of.offsets = bpf.SSLOffsets{}
		} else if asks || len(c.asked) == 0 {
			a.hear(f)
		}
	}
	for _, f := range group {
		if of := families[f.contents.boring]; of.offsets.ClientRandom != 0 { // else libcrypto without libssl: no TLS, or not OpenSSL's
			a.set(f, &f.attached.crypto, f.contents.crypto, of.offsets)
		}
	}
}

// set attaches probes to a file, if that is not done. A file has all of its probes or none: some would tell half of the truth.
func (a *attacher) set(f found, done *bool, places []place, offsets bpf.SSLOffsets) {
	if *done || f.busy || len(places) == 0 || f.err != nil || a.closed || a.files[f.id] != f.probed || !a.room(f.probed) {
		return
	}
	f.busy = true
	defer func() { f.busy = false }()
	first := len(f.probes) == 0
	var order []bpf.Probe // as places has them, which may matter
	at := map[bpf.Probe][]uint64{}
	for _, x := range places {
		if a.without != nil && a.without.MatchString(x.probe.Program) {
			continue
		}
		if at[x.probe] == nil {
			order = append(order, x.probe)
		}
		at[x.probe] = append(at[x.probe], x.offset)
	}
	for _, probe := range order {
		err := a.setOne(f, probe, at[probe], offsets)
		if a.closed { // the others were
			return
		}
		if err != nil {
			a.refuse(f.open.Name(), f.probed, err)
			closeAll(f.probes)
			a.mu.Lock()
			defer a.mu.Unlock()
			a.uncount(f.probed)
			if !first {
				a.stats.Files--
			}
			f.probes = nil
			return
		}
	}
	*done = true
	if first {
		a.mu.Lock()
		a.stats.Files++
		a.mu.Unlock()
	}
}

// setOne attaches one probe to a file, at all of its places there.
func (a *attacher) setOne(f found, probe bpf.Probe, at []uint64, offsets bpf.SSLOffsets) error {
	var c io.Closer
	var err error
	a.away(func() { c, err = a.kernel.Attach(f.open, probe, at, offsets) })
	if err != nil {
		return err
	}
	if a.closed { // by somebody who did not wait for this
		return c.Close()
	}
	f.probes = append(f.probes, c)
	a.mu.Lock()
	defer a.mu.Unlock()
	if f.places == nil {
		f.places = make(map[string]int)
	}
	f.places[kindOf(probe)] += len(at)
	a.stats.Kinds[kindOf(probe)] += len(at)
	a.stats.Probes += len(at)
	return nil
}

// room tells whether a file may have probes beside those that have, and counts it if not, once. It gets them when others lose theirs.
func (a *attacher) room(p *probed) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(p.probes) > 0 || a.stats.Files < a.max {
		return true
	}
	if !p.over {
		p.over = true
		a.stats.Over++
	}
	return false
}

// uncount takes a file's probes out of the counts. The caller holds mu.
func (a *attacher) uncount(p *probed) {
	for kind, n := range p.places {
		a.stats.Kinds[kind] -= n
		a.stats.Probes -= n
	}
	p.places = nil
}

// kindOf is the library that a probe is for, in one word: its program is dynwatch_KIND_WHAT.
func kindOf(p bpf.Probe) string {
	kind, _, _ := strings.Cut(strings.TrimPrefix(p.Program, "dynwatch_"), "_")
	return kind
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
