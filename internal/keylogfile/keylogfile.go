// Package keylogfile follows TLS key logs (SSLKEYLOGFILE, draft-ietf-tls-keylogfile) while programs write them: files that grow, are not there
// yet, are truncated or replaced, and named pipes.
//
//	files, err := keylogfile.Follow(names, 0)
//	secrets, ok := files.Lookup(clientRandom) // reads what was appended, if it has to
//
// What is read goes into a tlswire.KeyLog, which is bounded and never prints a secret; nothing is written anywhere.
package keylogfile

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/analyze/tlswire"
)

const (
	// DefaultLimit is how many sessions are held unless told otherwise, at about 400 bytes each: a live capture asks for the latest.
	DefaultLimit = 1 << 14
	// pause is the shortest time between two readings.
	pause = 2 * time.Millisecond
	// maxReading is how much is read of one file at a time. The rest comes with the next reading.
	maxReading = 1 << 20
	// maxWarnings bounds what is kept for people to read.
	maxWarnings = 16
)

// Files are key logs that are followed. Their methods must be called by one goroutine at a time.
type Files struct {
	log      *tlswire.KeyLog
	files    []*file
	read     time.Time // when they were read last
	buf      []byte
	warnings []string
}

// file is one of them.
type file struct {
	name   string
	stream *tlswire.KeyLogStream
	fd     int // -1: it is not there, or not yet
	dev    uint64
	ino    uint64
	// regular: it can be truncated. offset is how much of it was read.
	regular bool
	offset  int64
}

// Follow reads what key logs hold, and remembers where. Those that do not exist yet are waited for; see Absent. At most limit sessions are held,
// the latest; limit <= 0 means DefaultLimit.
func Follow(names []string, limit int) (*Files, error) {
	if limit <= 0 {
		limit = DefaultLimit
	}
	k := &Files{log: tlswire.NewKeyLog(limit), buf: make([]byte, 64<<10)}
	for _, name := range names {
		f := &file{name: name, stream: k.log.Stream(), fd: -1}
		if err := f.open(); err != nil && !errors.Is(err, fs.ErrNotExist) {
			k.Close()
			return nil, err
		}
		k.files = append(k.files, f)
	}
	// All that is there: somebody may have written for days.
	for _, f := range k.files {
		for f.regular && k.readOne(f) == maxReading {
		}
	}
	k.Poll()
	return k, nil
}

// Log is where the secrets are.
func (k *Files) Log() *tlswire.KeyLog { return k.log }

// Absent are the names of files that do not exist yet.
func (k *Files) Absent() []string {
	var names []string
	for _, f := range k.files {
		if f.fd < 0 {
			names = append(names, f.name)
		}
	}
	return names
}

// Warnings say what may have been missed.
func (k *Files) Warnings() []string { return slices.Clone(k.warnings) }

func (k *Files) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if len(k.warnings) < maxWarnings && !slices.Contains(k.warnings, text) {
		k.warnings = append(k.warnings, text)
	}
}

// Lookup implements tlswire.Secrets. Where nothing is known it reads the files on, unless it has done so within the last milliseconds.
func (k *Files) Lookup(clientRandom [32]byte) (*tlswire.SessionSecrets, bool) {
	if s, ok := k.log.Lookup(clientRandom); ok && s.ServerHandshake.Known() {
		return s, ok
	}
	if time.Since(k.read) >= pause {
		k.Poll()
	}
	return k.log.Lookup(clientRandom)
}

// Poll reads what was written since the last time.
func (k *Files) Poll() {
	for _, f := range k.files {
		if f.fd < 0 {
			if err := f.open(); err != nil {
				if !errors.Is(err, fs.ErrNotExist) {
					k.warn("%v", err)
				}
				continue
			}
		}
		if k.readOne(f) == 0 && f.replaced() {
			// What was written to the old one after its name was given away is lost, as it is to whoever reads it by its name.
			f.close()
			if f.open() == nil {
				k.readOne(f)
			}
		}
	}
	k.read = time.Now()
}

// readOne reads a file on, at most maxReading bytes, and returns how many.
func (k *Files) readOne(f *file) (n int) {
	if f.fd < 0 {
		return 0
	}
	if f.truncated() {
		k.warn("key log %s was truncated while it was read: secrets may be missing", f.name)
		if _, err := unix.Seek(f.fd, 0, unix.SEEK_SET); err != nil {
			k.warn("key log %s: %v", f.name, err)
		}
		f.offset = 0
		f.stream.Reset()
	}
	for n < maxReading {
		m, err := unix.Read(f.fd, k.buf[:min(len(k.buf), maxReading-n)])
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return n
		case err != nil:
			k.warn("read key log %s: %v", f.name, err)
			f.close()
			return n
		case m <= 0:
			return n
		}
		f.stream.Write(k.buf[:m])
		clear(k.buf[:m])
		f.offset += int64(m)
		n += m
	}
	return n
}

// Close gives the files back.
func (k *Files) Close() {
	for _, f := range k.files {
		f.close()
	}
}

// open opens a file without ever waiting: not for somebody to write to a named pipe either.
func (f *file) open() error {
	fd, err := unix.Open(f.name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: f.name, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return &fs.PathError{Op: "stat", Path: f.name, Err: err}
	}
	kind := st.Mode & unix.S_IFMT
	if kind == unix.S_IFDIR {
		unix.Close(fd)
		return &fs.PathError{Op: "read", Path: f.name, Err: unix.EISDIR}
	}
	f.fd, f.dev, f.ino, f.regular, f.offset = fd, uint64(st.Dev), st.Ino, kind == unix.S_IFREG, 0
	f.stream.Reset()
	return nil
}

func (f *file) close() {
	if f.fd >= 0 {
		unix.Close(f.fd)
		f.fd = -1
	}
}

// truncated reports whether a file is shorter than what was read of it.
func (f *file) truncated() bool {
	var st unix.Stat_t
	return f.regular && f.offset > 0 && unix.Fstat(f.fd, &st) == nil && st.Size < f.offset
}

// replaced reports whether the name stands for another file by now. One that was only removed is still read.
func (f *file) replaced() bool {
	var st unix.Stat_t
	return f.fd >= 0 && unix.Stat(f.name, &st) == nil && (uint64(st.Dev) != f.dev || st.Ino != f.ino)
}
