package pcapfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"
)

// input is one opened file, decompressed. Its methods belong to one goroutine at a time, except interrupt.
type input struct {
	raw     io.Reader
	file    *os.File      // closed by close; nil for standard input
	regular bool          // a regular file: reads do not hang
	size    int64         // of a regular file, in bytes
	window  uint64        // largest zstd window in bytes that is accepted
	total   *atomic.Int64 // counts what was read, over all files

	// Set by the first read.
	rd          io.Reader
	compression string

	rawErr  error  // what reading raw ended with, io.EOF aside
	note    string // a warning; read it after the end of the file only
	release func() // gives back what the decompressor holds; may be nil
	begun   bool
}

// Read reads raw bytes, counting.
func (in *input) Read(p []byte) (int, error) {
	n, err := in.raw.Read(p)
	in.total.Add(int64(n))
	if err != nil && err != io.EOF {
		in.rawErr = err
	}
	return n, err
}

// fill reads into dst. A regular file fills it whole or up to the end, so that a short file is known to be complete with its
// first block; a pipe gives what is there, so that its packets are not held back.
func (in *input) fill(dst []byte) (int, error) {
	n, empty := 0, 0
	for {
		k, err := in.read(dst[n:])
		n += k
		switch {
		case err == io.EOF:
			return n, io.EOF
		case err != nil:
			return n, in.cause(err)
		case n == len(dst), n > 0 && !in.regular:
			return n, nil
		}
		if k == 0 {
			if empty++; empty == 100 {
				return n, io.ErrNoProgress
			}
		}
	}
}

// read is one read of decompressed bytes. The first one looks what the file is compressed with, by its first bytes.
func (in *input) read(p []byte) (int, error) {
	if in.begun {
		return in.rd.Read(p)
	}
	in.begun = true
	in.rd = in
	n, err := io.ReadAtLeast(in, p, 4)
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	kind := compression(p[:n])
	if kind == "" {
		return n, err
	}
	in.compression = kind
	// The bytes read so far are gone from the file, and p is about to be overwritten.
	all := io.MultiReader(bytes.NewReader(bytes.Clone(p[:n])), in)
	if kind == "gzip" {
		in.rd = &gunzip{in: in, br: newByteReader(all)}
		return in.rd.Read(p)
	}
	d, err := zstd.NewReader(all, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(in.window))
	if err != nil {
		return 0, err
	}
	in.rd, in.release = d, d.Close
	return d.Read(p)
}

// cause says what an error of read means: the system's own errors stay as they are, a decompressor's become this package's.
func (in *input) cause(err error) error {
	switch {
	case in.rawErr != nil:
		return fmt.Errorf("read: %w", in.rawErr)
	case in.compression == "":
		return err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: the %s data ends early", ErrTruncated, in.compression)
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		return fmt.Errorf("%w: its zstd window is larger than %d MiB", ErrFormat, in.window>>20)
	case errors.Is(err, zstd.ErrUnknownDictionary):
		return fmt.Errorf("%w: its zstd frame needs a dictionary", ErrFormat)
	}
	return fmt.Errorf("%w: %s: %v", ErrCorrupt, in.compression, err)
}

// interrupt makes a read under way return soon, and reports whether it can. With false it allows reads again, for who owns
// standard input may want it back.
func (in *input) interrupt(on bool) bool {
	if in.regular {
		return true
	}
	var deadline time.Time
	if on {
		deadline = time.Unix(1, 0)
	}
	d, ok := in.raw.(interface{ SetReadDeadline(time.Time) error })
	return ok && d.SetReadDeadline(deadline) == nil
}

func (in *input) close() {
	if in.release != nil {
		in.release()
		in.release = nil
	}
	if in.file != nil {
		in.file.Close() // nothing was written: there is nothing to lose
		in.file = nil
	}
}

// compression tells by a file's first bytes how it is compressed: "gzip" (RFC 1952), "zstd" (RFC 8878; it may begin with a
// skippable frame), or "".
func compression(b []byte) string {
	switch {
	case len(b) >= 2 && b[0] == 0x1f && b[1] == 0x8b:
		return "gzip"
	case len(b) >= 4 && b[0] == 0x28 && b[1] == 0xb5 && b[2] == 0x2f && b[3] == 0xfd,
		len(b) >= 4 && b[0]&0xf0 == 0x50 && b[1] == 0x2a && b[2] == 0x4d && b[3] == 0x18:
		return "zstd"
	}
	return ""
}
