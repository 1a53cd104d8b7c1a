package pcapfile

import (
	"container/heap"
	"errors"
	"io"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"
)

// Options say how to read. The zero value is good.
type Options struct {
	// Stdin is what the name "-" reads; nil is os.Stdin.
	Stdin io.Reader
	// Secrets gets the content of pcapng's decryption secrets blocks, as soon as one is reached, from inside Next. data aliases a
	// buffer and is valid until Secrets returns. kind is SecretsTLSKeyLog or what else the file has.
	Secrets func(kind uint32, data []byte)
	// Progress gets, from inside Next and once per block of at most 512 KiB, how many bytes of the files (as stored) were read, and
	// how many there are: 0 if a pipe is among them.
	Progress func(read, total int64)

	// Passed, if set, makes the data of packets valid beyond the next Next. It is called from inside Next whenever a block of a file has
	// been gone through, before Next waits for another one: what Next delivered so far stays valid until giveBack is called, from whatever
	// goroutine. Packets that are Passing are the exception. Who keeps too many blocks makes Next wait.
	Passed func(giveBack func())

	// block is the block size for tests; reading is then ahead, in two blocks.
	block int
}

// maxWindows bounds the zstd windows of all files, in bytes; one file alone may have 128 MiB as the zstd program allows, and each
// may have 8 MiB as RFC 8878, Section 3.1.1.1.2 recommends.
const (
	maxWindows = 1 << 30
	maxWindow  = 128 << 20
	minWindow  = 8 << 20
)

// Reader reads packets from one or several capture files, in the order of time. Make one with Open.
//
// It belongs to one goroutine; only Close may be called from another.
type Reader struct {
	o       Options
	reports []report
	window  uint64

	waiting    []waiting  // files not opened yet, the earliest first
	heap       sourceHeap // open files with their next packet
	cur        *source    // the one whose packet was delivered last; not in heap
	limit      int64      // cur stays current while its time is below
	limitIndex int        // and, at the same time, its index
	last       int64      // the latest time that a picked source had

	number uint64       // of packets delivered
	read   atomic.Int64 // bytes read, of files as stored
	total  int64        // bytes of all files; -1 if a pipe is among them

	mu     sync.Mutex
	open   map[*source]struct{} // guarded by mu
	closed bool                 // guarded by mu
	ended  atomic.Bool          // the same as closed, for Next
}

// Open prepares to read capture files: pcap or pcapng, each plain or compressed by gzip or zstd, recognised by content and not by
// name. "-" is standard input.
//
// Packets of several files come merged in the order of their times, equal times in the order of names; within a file the order is
// the file's. For this, Open reads the begin of every regular file; pipes are not touched before the first Next. Files are then
// opened when the merge comes to their time, so that a thousand rotated files need no more memory than one.
//
// A file that cannot be read is noted, see Errs, and the others are read. If this is the case for all names, Open returns the
// error or errors, each a *FileError.
func Open(names []string, o Options) (*Reader, error) {
	if len(names) == 0 {
		return nil, errors.New("no capture file named")
	}
	r := &Reader{o: o, reports: make([]report, len(names)), open: make(map[*source]struct{}), last: noTime}
	r.window = min(max(maxWindows/uint64(len(names)), minWindow), maxWindow)
	stdin := false
	for i, name := range names {
		if name == "-" {
			if stdin {
				return nil, errors.New("standard input is named twice")
			}
			stdin = true
		}
		r.reports[i].Name = name
	}
	var peek []byte
	for i := range names {
		w, err := r.look(i, &peek)
		if err != nil {
			continue
		}
		r.waiting = append(r.waiting, w)
	}
	slices.SortFunc(r.waiting, compareWaiting)
	if len(r.waiting) == 0 {
		var errs []error
		for _, e := range r.Errs() {
			errs = append(errs, e)
		}
		if len(errs) == 1 {
			return nil, errs[0]
		}
		return nil, errors.Join(errs...)
	}
	return r, nil
}

// look finds the start time of a file. If it cannot be read at all it notes why. peek is a buffer that it may use and keep for
// the next.
func (r *Reader) look(i int, peek *[]byte) (waiting, error) {
	w, rep := waiting{index: i, start: noTime}, &r.reports[i]
	regular, size, err := isRegular(rep.Name)
	if err != nil {
		rep.fail(0, err)
		return w, err
	}
	if !regular {
		r.total = -1
		return w, nil
	}
	if r.total >= 0 {
		r.total += size
	}
	var ignored atomic.Int64
	in, err := openInput(rep.Name, &r.o, r.window, &ignored)
	if err != nil {
		rep.fail(0, err)
		return w, err
	}
	b := newBlocks(in, shape{size: smallBlock, count: 1})
	<-b.free
	b.free <- *peek
	defer func() { b.stop(); *peek = b.held }()
	scratch := report{FileStats: FileStats{Name: rep.Name}}
	s := newSource(i, in, b, &scratch, &Options{})
	w.start, err = s.startTime()
	w.plain = in.compression == ""
	if err != nil {
		scratch.Skipped = size
		scratch.fail(s.off, err)
		*rep = scratch
	}
	return w, err
}

// start opens a file for reading. The source is nil if this fails, which is noted; the error is fs.ErrClosed only.
func (r *Reader) start(w waiting) (*source, error) {
	i, rep := w.index, &r.reports[w.index]
	in, err := openInput(rep.Name, &r.o, r.window, &r.read)
	if err != nil {
		rep.fail(0, err)
		return nil, nil
	}
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		in.close()
		return nil, fs.ErrClosed
	}
	b := newBlocks(in, r.shape(in, w.plain))
	b.passed = r.o.Passed
	s := newSource(i, in, b, rep, &r.o)
	r.open[s] = struct{}{}
	r.mu.Unlock()
	if r.o.Progress != nil {
		s.onBlock = func() { r.o.Progress(r.read.Load(), max(r.total, 0)) }
	}
	if err := s.begin(); err != nil {
		return nil, r.finish(s, err)
	}
	return s, nil
}

// shape is how a further file is read: through large blocks for a few files, small ones for many. With three, one block is analysed, one is filled,
// and one takes up the difference in pace; where blocks are given back late there are more. Who has blocks given back is a goroutine of its own
// already, and reads a plain file itself: handing blocks over costs more than it gains then. The caller holds mu.
func (r *Reader) shape(in *input, plain bool) shape {
	ahead := r.o.Passed == nil || !plain
	switch {
	case r.o.block > 0:
		return shape{r.o.block, 2, ahead}
	case in.regular && in.size < smallBlock:
		return shape{smallBlock, 2, false} // read at once, so there is nothing to overlap
	case len(r.open) < 8 && r.o.Passed != nil:
		return shape{hugeBlock, 8, ahead}
	case len(r.open) < 8:
		return shape{largeBlock, 3, true}
	}
	return shape{smallBlock, 2, ahead}
}

// finish closes a source that ended by err, and notes what that means. It returns fs.ErrClosed if the Reader was closed, else
// nil.
func (r *Reader) finish(s *source, err error) error {
	s.src.stop()
	r.mu.Lock()
	delete(r.open, s)
	closed := r.closed
	r.mu.Unlock()
	if closed {
		return fs.ErrClosed
	}
	s.rep.Compression = s.in.compression
	if s.err == io.EOF && s.in.note != "" {
		s.rep.warn(s.in.note)
	}
	if err != io.EOF {
		s.rep.fail(s.off, err)
		if s.in.regular && s.in.compression == "" {
			s.rep.Skipped = max(s.in.size-s.off, 0)
		}
	}
	return nil
}

// Next reads the next packet into p; p.Data is valid until the next call. It allocates nothing in the long run.
//
// The error is io.EOF when all files are at their end, and then Errs says what could not be read; or fs.ErrClosed after Close.
// p is undefined then.
func (r *Reader) Next(p *Packet) error {
	if r.ended.Load() {
		return fs.ErrClosed
	}
	s := r.cur
	if s == nil {
		if err := r.pick(p); err != nil {
			return err
		}
		s = r.cur
	} else {
		if err := s.next(p); err != nil {
			return r.replace(s, err, p)
		}
		if p.TimeKnown {
			s.key = p.Time
		}
		if s.key >= r.limit && (s.key > r.limit || s.index > r.limitIndex) {
			s.head = *p
			heap.Push(&r.heap, s)
			if err := r.pick(p); err != nil {
				return err
			}
			s = r.cur
		}
	}
	r.number++
	p.Number = r.number
	p.File = s.index
	p.Passing = s.inSpill
	s.rep.Packets++
	s.rep.Bytes += uint64(len(p.Data))
	if len(p.Data) < p.Length {
		s.rep.Cut++
	}
	return nil
}

// replace goes on with another source when s has ended by err.
func (r *Reader) replace(s *source, err error, p *Packet) error {
	r.cur = nil
	if err := r.finish(s, err); err != nil {
		return err
	}
	return r.Next(p)
}

// Errs are the errors of the files so far, each file's in the order of its bytes: at most one that ended the file, and the first
// few that made a block of it unreadable (FileStats.BadBlocks counts them all). It is complete once Next has returned io.EOF.
func (r *Reader) Errs() []*FileError {
	var errs []*FileError
	for i := range r.reports {
		errs = append(errs, r.reports[i].errs...)
	}
	return errs
}

// Stats are the counts so far. It belongs to the goroutine that calls Next.
func (r *Reader) Stats() Stats {
	s := Stats{Packets: r.number, Files: make([]FileStats, len(r.reports))}
	for i := range r.reports {
		s.Files[i] = r.reports[i].clone()
		s.Bytes += s.Files[i].Bytes
	}
	return s
}

// InterfaceName is the name that the file gives to the interface of the packet that Next delivered last; empty if it has none.
func (r *Reader) InterfaceName(p *Packet) string {
	if r.cur == nil || !r.cur.ng || r.cur.index != p.File {
		return ""
	}
	return r.cur.png.interfaceName(p.Interface)
}

// Close ends reading and closes the files; it is safe to call it twice, and from another goroutine while Next waits for a pipe,
// which then returns fs.ErrClosed. Close waits for the reading goroutines, except for one that hangs in a read that cannot be
// interrupted (a terminal, or an Options.Stdin without SetReadDeadline); that one ends when its read returns.
func (r *Reader) Close() error {
	r.mu.Lock()
	r.closed = true
	r.ended.Store(true)
	open := make([]*source, 0, len(r.open))
	for s := range r.open {
		open = append(open, s)
	}
	clear(r.open)
	r.mu.Unlock()
	for _, s := range open {
		s.src.stop()
	}
	return nil
}
