package library

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dynwatch/dynwatch/bpf"
)

// judgement is the function by which a program asks OpenSSL what came of its verification. No other that has a probe is so dear: the kernel steps over an
// instruction of it by a trap, 17 µs on a virtual machine. Libcurl calls it for every connection, and up to 8.14 goes on as it would have without. So where it is in a
// shared library, it gets its probe when a process is seen with code that may call it and mean it; and where a process has such code that was not seen in time, what
// it did not ask is not known.
const judgement = "SSL_get_verify_result"

// Bounds of what is read to know which code may call it.
const (
	// maxCodeFiles bounds the files with code of one process: one with more may ask.
	maxCodeFiles = 1024
	// maxCodeRead bounds what is read of them at one look, in bytes: the next look goes on where it ended.
	maxCodeRead = 128 << 20
	// maxCodeText bounds what is searched of one file, in bytes: its names, constants and data. One with more may ask. Unicode's tables are 31 MB (ICU 72).
	maxCodeText = 64 << 20
	// maxAskers bounds the files that are remembered, each of two generations.
	maxAskers = 1 << 16
)

// asksForNothing: the code of a file calls the function, but goes on as it would have whatever it is told. CPython's module ssl words the error of a
// handshake that has ended by it, and so does OpenLDAP's libldap. The binding of Python's cryptography has all of OpenSSL's functions; nothing of pyOpenSSL
// leads to this one, and mitmproxy words errors by it.
func asksForNothing(file string) bool {
	return callerOf(file) == callerPython || strings.HasPrefix(path.Base(file), "libldap") ||
		strings.HasSuffix(path.Dir(file), "/cryptography/hazmat/bindings")
}

// libcurlVersion is how libcurl calls itself among its constants.
var libcurlVersion = regexp.MustCompile(`libcurl/([0-9]{1,3})\.([0-9]{1,3})\.[0-9]`)

// Libcurl up to this version has OpenSSL end the handshake by itself exactly if CURLOPT_SSL_VERIFYPEER is set, and else prints the answer at most. Later ones
// may be as 8.23: it always sets SSL_VERIFY_NONE, asks, and ends the connection by itself. 8.15 to 8.22 were not looked at.
const lastPlainLibcurl = 14 // 8.14

// isPlainLibcurl reports whether a file, which is libcurl by its name, is of such a version.
func isPlainLibcurl(file *elf.File) bool {
	m := libcurlVersion.FindStringSubmatch(constant(file, libcurlVersion, ""))
	if m == nil {
		return false
	}
	major, _ := strconv.Atoi(m[1]) // digits
	minor, _ := strconv.Atoi(m[2])
	return major == 7 || major == 8 && minor <= lastPlainLibcurl
}

// mayAsk reports whether the code of a file, which processes have under a name, may call another's SSL_get_verify_result: it is linked with it, or has its name,
// to look it up by, and is no plain libcurl. What cannot be read may. read is how much was read of the file at most, in bytes. The file is not trusted.
func mayAsk(name string, f io.ReaderAt) (may bool, read uint64) {
	defer func() { // package debug/elf was not made for hostile files
		if recover() != nil {
			may = true
		}
	}()
	file, err := openELF(f)
	if err != nil {
		return !errors.Is(err, errNothing), 0 // code that was made at run time is in no ELF file
	}
	if callerOf(name) == callerCurl && isPlainLibcurl(file) {
		return false, 0
	}
	if len(file.Sections) == 0 { // they were taken out, or it is packed
		return true, 0
	}
	for _, s := range file.Sections {
		if s.Flags&elf.SHF_ALLOC == 0 || s.Flags&elf.SHF_EXECINSTR != 0 || s.Type != elf.SHT_PROGBITS && s.Type != elf.SHT_STRTAB ||
			strings.HasPrefix(s.Name, ".eh_frame") { // which is long
			continue
		}
		if s.Flags&elf.SHF_COMPRESSED != 0 || s.Size > maxCodeText-read {
			return true, read
		}
		read += s.Size
		end := uint64(0)
		for at, b := range windows(s, len(judgement)) {
			if bytes.Contains(b, []byte(judgement)) {
				_, own := exported(file)[judgement] // a library's, which the program asks
				return !own, read
			}
			end = at + uint64(len(b))
		}
		if end < s.Size {
			return true, read
		}
	}
	return false, read
}

// codeFiles are files with code of one process: one more than maxCodeFiles at most.
type codeFiles []mapped

func (c *codeFiles) add(m mapped) {
	if len(*c) <= maxCodeFiles {
		*c = append(*c, m)
	}
}

// asks reports whether a process that has these files mapped may ask OpenSSL's shared library for its judgement, and mean it.
func (a *attacher) asks(r *root, has *programs, code codeFiles) bool {
	if len(has.ssl) == 0 {
		return false
	}
	exe := strings.TrimSuffix(has.exe, " (deleted)")
	if len(code) > maxCodeFiles || !slices.ContainsFunc(code, func(m mapped) bool { return m.name == exe }) { // a packed program is mapped as nobody's code
		return true
	}
	left := uint64(maxCodeRead)
	for _, m := range code {
		if asksForNothing(m.name) {
			continue
		}
		may, read := a.mayAsk(r, m)
		if may || read > left {
			return true
		}
		left -= read
	}
	return false
}

// mayAsk is mayAsk of a mapped file. What is known of it is not read again; of a file that cannot be had nothing is known.
func (a *attacher) mayAsk(r *root, m mapped) (may bool, read uint64) {
	var f *os.File
	times, err := m.times(r)
	if err != nil { // it was deleted or replaced, or is in a root of its own
		if f, err = os.Open(m.link(r.pid)); err == nil {
			defer f.Close()
			times, err = timesOf(f)
		}
	}
	if err != nil {
		return true, 0
	}
	key := m.key(times)
	a.mu.Lock()
	may, known := a.askers.get(key)
	a.mu.Unlock()
	if known {
		return may, 0
	}
	if f == nil {
		if f, err = r.open(m.name); err != nil {
			return true, 0
		}
		defer f.Close()
	}
	st, err := f.Stat()
	switch {
	case err != nil, !m.is(f), st.Mode().IsRegular() && st.Size() > maxFile:
		return true, 0
	case st.Mode().IsRegular():
		may, read = mayAsk(m.name, f)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.askers.put(key, may)
	return may, read
}

// asksAt is asks for a process whose root is not open.
func (a *attacher) asksAt(pid int, has *programs, code codeFiles) answer {
	r, err := openRoot(pid)
	if err != nil {
		return answer{err: err}
	}
	defer r.close()
	return answer{ssl: has.ssl, asks: a.asks(r, has, code)}
}

// hear has a file that has the probes of libssl tell of those who ask, too. If that fails the others stay: it is then known that it does not.
func (a *attacher) hear(f found) {
	if f.attached.asked || f.busy || a.closed || a.files[f.id] != f.probed {
		return
	}
	f.attached.asked, f.busy = true, true
	defer func() { f.busy = false }()
	for _, x := range f.contents.asked {
		if a.without != nil && a.without.MatchString(x.probe.Program) {
			continue
		}
		if err := a.setOne(f, x.probe, []uint64{x.offset}, f.contents.offsets); err != nil {
			a.problem(fmt.Errorf("%s: %s: %w", f.open.Name(), judgement, err))
			return
		}
	}
	now := bpf.Monotonic()
	a.mu.Lock()
	defer a.mu.Unlock()
	f.hears = now
}

// asked notes which files a process asks, of those that it has mapped.
func (a *attacher) asked(ssl []libssl, files []found) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, f := range files {
		i := slices.IndexFunc(ssl, func(s libssl) bool { return s.name == f.name })
		switch {
		case i < 0:
		case f.nothing():
			a.libssl.put(ssl[i].key, &probed{hears: 1}) // nobody can ask it
		default:
			a.libssl.put(ssl[i].key, f.probed)
		}
	}
}

// hears reports whether all of these files have told of those who ask since before a time (CLOCK_MONOTONIC).
func (a *attacher) hears(ssl []libssl, at uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range ssl {
		if p, ok := a.libssl.get(s.key); !ok || p.hears == 0 || p.hears >= at {
			return false
		}
	}
	return true
}

// answer is what a process has that matters to whether it asks; err: that is not known.
type answer struct {
	ssl  []libssl
	asks bool
	err  error
}

// asking is that of a process as it is now or, if it is gone or runs another program, as it was seen last with libssl. It fails if that is not known.
func (a *attacher) asking(pid int) answer {
	was, seen := a.remembered(pid)
	seen = seen && len(was.ssl) > 0
	var code codeFiles
	has, err := programsOf(pid, nil, code.add)
	switch {
	case err == nil && len(has.ssl) > 0:
		x := a.asksAt(pid, &has, code)
		if x.asks = x.asks || seen && was.asks; x.err == nil {
			return x
		}
		err = x.err
	case err == nil && a.hasBothHalves(has.exe): // which tells of those who ask
		return answer{}
	case err == nil:
		err = errNothing
	}
	if seen {
		return answer{ssl: was.ssl, asks: was.asks}
	}
	return answer{err: err}
}

// hasBothHalves reports whether OpenSSL is in a program itself.
func (a *attacher) hasBothHalves(exe string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.names[exe]
	return p != nil && len(p.contents.ssl) > 0 && len(p.contents.crypto) > 0
}

// errBusy: the answer takes too long. errFull: too many look already.
var (
	errBusy = errors.New("the files of processes cannot be read in time")
	errFull = fmt.Errorf("too many do not answer: %w", errBusy)
)

// within gives what a function gives, if it does so in time, and else fails with errBusy: it reads files of processes, which somebody else may have on a
// file system that never answers. Few wait for one at a time; where all do, there is no answer to the others (errFull), and the function is not run.
func within[T any](a *attacher, patience time.Duration, look func() T) (x T, err error) {
	select {
	case a.looking <- struct{}{}:
	default:
		return x, errFull
	}
	c := make(chan T, 1)
	go func() {
		c <- look()
		<-a.looking
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case x = <-c:
		return x, nil
	case <-timer.C:
		return x, errBusy
	}
}

// within is the same for an answer.
func (a *attacher) within(patience time.Duration, look func() answer) answer {
	x, err := within(a, patience, look)
	if err != nil {
		a.problem(err)
		return answer{err: err}
	}
	return x
}

const (
	// maxLooking bounds how many wait for files at a time.
	maxLooking = 16
	// attachPatience is how long others wait for somebody who attaches to a process, codePatience how long that one waits for the files with code.
	attachPatience, codePatience = 10 * time.Second, 2 * time.Second
)

// asking is what is known of a process's code that may ask.
type asking struct {
	answer
	// looked is when it was looked for last, and nudged when the process was last to be looked at for its sake (CLOCK_MONOTONIC, ns).
	looked, nudged uint64
	looks          budget
}

// budget bounds the time that looks for code take: a process chooses how often it makes handshakes, and how much it has mapped, and there may be many.
type budget struct {
	// debt is how much longer they took than their share until counted (CLOCK_MONOTONIC), in ns.
	debt, counted uint64
}

// allows reports whether there is time left for another look now. share is the part of the time that they may take in the long run, by its inverse.
func (b *budget) allows(now, share uint64) bool {
	b.debt -= min(b.debt, (now-b.counted)/share)
	b.counted = now
	return b.debt <= uint64(lookAhead)
}

const (
	// lookShare is for the looks at one process, allShare for all.
	lookShare, allShare = 20, 4
	// lookAhead is how much looks may take beyond their share; so long is each waited for.
	lookAhead = 100 * time.Millisecond
	// nudgeAgain is how long a process is not looked at again because it asks a file that does not tell of it yet.
	nudgeAgain = time.Second
)

// listen finds out whether the program of a handshake may ask for the judgement, and if that is told.
func (s *Source) listen(h *handshake, p *process) {
	a := &p.asking
	if a.looked <= h.time { // it may have more code than then
		now := bpf.Monotonic()
		if !a.looks.allows(now, lookShare) || !s.looks.allows(now, allShare) {
			h.unheard = true
			return
		}
		a.answer, a.looked = s.attach.within(lookAhead, func() answer { return s.attach.asking(h.PID) }), now
		took := bpf.Monotonic() - now
		a.looks.debt += took
		s.looks.debt += took
	}
	if a.err == nil && !a.asks {
		h.forNothing = len(a.ssl) > 0
		return
	}
	if a.err == nil && s.attach.hears(a.ssl, h.time) {
		return
	}
	h.unheard = true
	if now := bpf.Monotonic(); now-a.nudged > uint64(nudgeAgain) {
		a.nudged = now
		s.nudge(h.PID)
	}
}
