package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrLocked says that another process writes the journal.
var ErrLocked = errors.New("in use by another process")

// keepAside is how many damaged or foreign files stay beside a journal; older ones are removed.
const keepAside = 3

// Options are what a journal is opened with. Kind and Schema are required.
type Options struct {
	// Kind and Schema stand in the first line. A file of another kind or schema is set aside.
	Kind   string
	Schema int
	// Reserve is how many bytes are allocated ahead of the end, for the time when the disk is full; 0 is none.
	Reserve int64
	// Now names what is set aside; nil is time.Now.
	Now func() time.Time
}

// Recovery is what Open found.
type Recovery struct {
	// Records were read, Damaged lines were not.
	Records, Damaged int
	// TornBytes were cut off the end: the last append before a crash.
	TornBytes int64
	// SetAside is where the file that could not be read whole is now, "" if all was well; Reason says what was wrong with it.
	SetAside, Reason string
}

// Journal is a file that is open for writing.
type Journal struct {
	o        Options
	path     string
	lock     *os.File
	f        *os.File
	size     int64 // of whole lines
	reserved int64 // end of what is allocated
	broken   bool  // the file's end is unknown: only a Rewrite helps
	tooLong  uint64
}

type header struct {
	Journal string `json:"journal"`
	Schema  int    `json:"schema"`
}

// Open opens or creates a journal, readable by its owner alone, and calls replay with each record, which is valid until replay returns.
// A record that replay refuses counts as damaged. The error is ErrLocked while another process writes the same journal.
func Open(path string, o Options, replay func(record []byte) error) (*Journal, Recovery, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	j := &Journal{o: o, path: path}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, Recovery{}, err
	}
	lock, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, Recovery{}, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, Recovery{}, fmt.Errorf("%s: %w", path, ErrLocked)
		}
		return nil, Recovery{}, fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	j.lock = lock
	rec, err := j.load(replay)
	if err != nil {
		j.Close()
		return nil, rec, err
	}
	return j, rec, nil
}

// load reads the file and leaves it open, its end behind the last whole line.
func (j *Journal) load(replay func([]byte) error) (Recovery, error) {
	f, err := os.OpenFile(j.path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return Recovery{}, j.Rewrite(Lines())
	}
	if err != nil {
		return Recovery{}, err
	}
	j.f = f
	refused, n := make(map[int]bool), 0 // by number among the whole lines
	got, err := scan(f, j.o.Kind, j.o.Schema, func(r []byte) error {
		err := replay(r)
		if err != nil {
			refused[n] = true
		}
		n++
		return err
	})
	rec := Recovery{Records: got.Records, Damaged: got.Damaged, TornBytes: got.torn}
	var foreign *ForeignError
	switch {
	case errors.As(err, &foreign):
		rec.Reason = err.Error()
	case err != nil:
		return rec, fmt.Errorf("read %s: %w", j.path, err)
	case got.Damaged > 0:
		rec.Reason = fmt.Sprintf("%d of %d records cannot be read", got.Damaged, got.Records+got.Damaged)
	}
	if rec.Reason == "" {
		j.size = got.end
		if rec.TornBytes > 0 {
			if err := f.Truncate(j.size); err != nil {
				return rec, fmt.Errorf("cut off the torn end: %w", err)
			}
		}
		j.reserve()
		return rec, nil
	}
	// The good records go into a new file; the old one stays for whoever wants to know what happened.
	if rec.SetAside, err = j.setAside(); err != nil {
		return rec, fmt.Errorf("set %s aside: %w", j.path, err)
	}
	var kept [][]byte
	if foreign == nil {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return rec, err
		}
		n = 0
		if _, err := scan(f, j.o.Kind, j.o.Schema, func(r []byte) error {
			if !refused[n] {
				kept = append(kept, bytes.Clone(r))
			}
			n++
			return nil
		}); err != nil {
			return rec, err
		}
	}
	return rec, j.Rewrite(Lines(kept...))
}

// setAside gives the file a second name, and removes the oldest of those if there are many.
func (j *Journal) setAside() (string, error) {
	stamp := j.o.Now().UTC().Format("20060102T150405Z")
	name := j.path + ".damaged-" + stamp
	for i := 1; ; i++ {
		err := os.Link(j.path, name)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrExist) || i == 100 {
			return "", err
		}
		name = fmt.Sprintf("%s.damaged-%s-%d", j.path, stamp, i)
	}
	if old, err := filepath.Glob(j.path + ".damaged-*"); err == nil && len(old) > keepAside {
		slices.Sort(old) // the names bear times
		for _, o := range old[:len(old)-keepAside] {
			if o != name {
				_ = os.Remove(o) // at worst it stays
			}
		}
	}
	return name, nil
}

// step is how many bytes are gathered before they are written.
const step = 64 << 10

// Records are what is written: each is one line, which nothing keeps, and an error ends the writing.
type Records = iter.Seq2[[]byte, error]

// Lines are records that are there already.
func Lines(records ...[]byte) Records {
	return func(yield func([]byte, error) bool) {
		for _, r := range records {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// Encode gives values as records, each valid until the next: one buffer serves them all, however many there are. They are not for a page of HTML:
// <, > and & take one byte each, as they do where callers bound what they keep, not six.
func Encode[T any](values iter.Seq[T]) Records {
	return func(yield func([]byte, error) bool) {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		for v := range values {
			b.Reset()
			if err := enc.Encode(v); !yield(bytes.TrimSuffix(b.Bytes(), []byte("\n")), err) {
				return
			}
		}
	}
}

// Append adds records and returns once they are on the disk, but for those over MaxRecord, which are left out and counted by TooLong: none may hold
// up all that come after it. After an error nothing was added; where the file may have been left in between,
// every further Append is an error until a Rewrite was done.
func (j *Journal) Append(records Records) error {
	if j.f == nil {
		return fmt.Errorf("append to %s: %w", j.path, os.ErrClosed)
	}
	if j.broken {
		return fmt.Errorf("append to %s: an earlier write failed, a rewrite is due", j.path)
	}
	n, err := j.write(io.NewOffsetWriter(j.f, j.size), nil, records)
	if n == 0 && err == nil {
		return nil
	}
	if err == nil {
		err = unix.Fdatasync(int(j.f.Fd()))
	}
	if err != nil {
		if terr := j.f.Truncate(j.size); terr != nil {
			j.broken = true
		}
		j.reserved = j.size // truncation gave the reserve up
		return fmt.Errorf("append to %s: %w", j.path, err)
	}
	j.size += n
	if j.reserved-j.size < j.o.Reserve/2 {
		j.reserve()
	}
	return nil
}

// write writes a head of whole lines, and the records behind it. What it gathers takes memory as it comes: most batches are small.
func (j *Journal) write(w io.Writer, head []byte, records Records) (size int64, err error) {
	buf := head
	flush := func() error {
		n, err := w.Write(buf)
		size += int64(n)
		buf = buf[:0]
		return err
	}
	for r, err := range records {
		if err != nil {
			return size, err
		}
		if len(r) > MaxRecord {
			j.tooLong++
			continue
		}
		if bytes.IndexByte(r, '\n') >= 0 {
			return size, fmt.Errorf("a record of %d bytes is not one line", len(r))
		}
		if buf = appendLine(buf, r); len(buf) >= step {
			if err := flush(); err != nil {
				return size, err
			}
		}
	}
	if len(buf) == 0 {
		return size, nil
	}
	err = flush()
	return size, err
}

// reserve allocates blocks behind the end without moving it. A file system that cannot, or is full, is no error: then appends may fail.
func (j *Journal) reserve() {
	if j.o.Reserve <= 0 {
		return
	}
	if unix.Fallocate(int(j.f.Fd()), unix.FALLOC_FL_KEEP_SIZE, j.size, j.o.Reserve) == nil {
		j.reserved = j.size + j.o.Reserve
	}
}

// Rewrite replaces the content by the records, in one step: after an error or a crash the old content stands. Of records over MaxRecord see Append.
func (j *Journal) Rewrite(records Records) (err error) {
	tmp := j.path + ".new"
	f, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("rewrite %s: %w", j.path, err)
	}
	defer func() {
		if err != nil {
			f.Close()
			_ = os.Remove(tmp)
			err = fmt.Errorf("rewrite %s: %w", j.path, err)
		}
	}()
	head, err := json.Marshal(header{j.o.Kind, j.o.Schema})
	if err != nil {
		return err
	}
	size, err := j.write(f, appendLine(nil, head), records)
	if err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(tmp, j.path); err != nil {
		return err
	}
	if j.f != nil {
		j.f.Close()
	}
	j.f, j.size, j.reserved, j.broken = f, size, size, false
	j.reserve()
	return syncDir(filepath.Dir(j.path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Size is the length of the file in bytes.
func (j *Journal) Size() int64 { return j.size }

// TooLong is how often a record was left out.
func (j *Journal) TooLong() uint64 { return j.tooLong }

// Close gives the file and the lock back. A second Close does nothing.
func (j *Journal) Close() error {
	var err error
	if j.f != nil {
		_ = j.f.Truncate(j.size) // gives the reserve back; at worst it stays allocated
		err = j.f.Close()
		j.f = nil
	}
	if j.lock != nil {
		j.lock.Close()
		j.lock = nil
	}
	return err
}
