package pcapfile

import (
	"bufio"
	"io"

	"github.com/klauspost/compress/gzip"
)

// gunzip reads a gzip file of any number of members (RFC 1952, Section 2.2).
//
// The library's own way through the members takes whatever follows one as a further member, and so fails on files that were
// padded with zeros (by tape and block tools) or have other bytes at the end. gzip(1) warns about these; so do we.
type gunzip struct {
	in *input
	br *bufio.Reader
	z  *gzip.Reader
}

func newByteReader(r io.Reader) *bufio.Reader { return bufio.NewReaderSize(r, 64<<10) }

func (g *gunzip) Read(p []byte) (int, error) {
	if g.z == nil {
		z, err := gzip.NewReader(g.br)
		if err != nil {
			return 0, early(err)
		}
		z.Multistream(false)
		g.z = z
	}
	for {
		n, err := g.z.Read(p)
		if err != io.EOF {
			return n, err
		}
		if n > 0 {
			return n, nil // and find the end again with the next call
		}
		next, err := g.br.Peek(2)
		switch {
		case len(next) == 0 && (err == nil || err == io.EOF):
			return 0, io.EOF
		case err != nil && err != io.EOF:
			return 0, err
		case compression(next) != "gzip":
			g.in.note = "bytes after the end of the gzip data were ignored"
			return 0, io.EOF
		}
		if err := g.z.Reset(g.br); err != nil {
			return 0, early(err)
		}
		g.z.Multistream(false)
	}
}

// early makes the end of the file inside a gzip header what it is.
func early(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
