package pcapfile

import (
	"errors"
	"fmt"
)

// What a FileError wraps. An error of the operating system (no such file, input/output error) is wrapped as it is.
var (
	// ErrTruncated says that the file ends inside a header, record, block or compressed frame.
	ErrTruncated = errors.New("truncated")
	// ErrCorrupt says that bytes contradict the format, so that the rest of the file (or this one block) cannot be read.
	ErrCorrupt = errors.New("corrupt")
	// ErrFormat says that the file is no capture file, or one of a kind that this package does not read.
	ErrFormat = errors.New("not a readable capture file")
)

// FileError says what could not be read, and where.
type FileError struct {
	// File is the name as given to Open; "-" is standard input.
	File string
	// Offset counts bytes from the begin of the capture data to the begin of the header, record or block that could not be read.
	Offset int64
	// Compression is "gzip" or "zstd" if Offset counts decompressed bytes, else empty.
	Compression string
	// Err wraps ErrTruncated, ErrCorrupt, ErrFormat or an error of the operating system.
	Err error
}

// Error names file and offset; an error at offset 0 concerns the file as a whole and names no offset.
func (e *FileError) Error() string {
	name := e.File
	if name == "-" {
		name = "standard input"
	}
	switch {
	case e.Offset == 0:
		return fmt.Sprintf("%s: %v", name, e.Err)
	case e.Compression != "":
		return fmt.Sprintf("%s: offset %d of the data inside %s: %v", name, e.Offset, e.Compression, e.Err)
	}
	return fmt.Sprintf("%s: offset %d: %v", name, e.Offset, e.Err)
}

// Unwrap gives Err.
func (e *FileError) Unwrap() error { return e.Err }
