package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/dynwatch/dynwatch/capture"
	"github.com/dynwatch/dynwatch/capture/pcapfile"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// filePass opens the capture files of a run: once to judge, and with -w once more to write the packets of what was reported, because
// only the end of a session tells whether it is reported, and no memory holds the packets of all until then.
type filePass struct {
	stdin io.Reader
	names []string
	expr  string
	count uint64
	spool *os.File // a temporary copy of what was read from standard input
}

func (p *filePass) readsStdin() bool { return slices.Contains(p.names, "-") }

// keepStdin has what is read from standard input copied to a temporary file that only this user can read, because it cannot be read twice.
func (p *filePass) keepStdin() error {
	if !p.readsStdin() {
		return nil
	}
	var err error
	if p.spool, err = os.CreateTemp("", "dynwatch-stdin-*.pcap"); err != nil {
		return fmt.Errorf("keep standard input for --write: %w", err)
	}
	p.stdin = &tee{p.stdin, p.spool}
	return nil
}

// cleanUp removes the copy of standard input.
func (p *filePass) cleanUp() {
	if p.spool != nil {
		p.spool.Close()
		os.Remove(p.spool.Name())
	}
}

// tee copies what is read.
type tee struct {
	r io.Reader
	w io.Writer
}

func (t *tee) Read(b []byte) (int, error) {
	n, err := t.r.Read(b)
	if n > 0 {
		if _, werr := t.w.Write(b[:n]); werr != nil {
			return n, fmt.Errorf("keep standard input for --write: %w", werr)
		}
	}
	return n, err
}

// SetReadDeadline lets a read that waits be interrupted where that is possible.
func (t *tee) SetReadDeadline(at time.Time) error {
	if r, ok := t.r.(interface{ SetReadDeadline(time.Time) error }); ok {
		return r.SetReadDeadline(at)
	}
	return os.ErrNoDeadline
}

// open begins the first reading.
func (p *filePass) open(secrets func(uint32, []byte), prepare func(*flow.Segment), bar *progress) (*capture.Ahead, error) {
	return capture.OpenAhead(capture.FileOptions{
		Names: p.names, Stdin: p.stdin, Filter: p.expr, Count: p.count, Secrets: secrets, Prepare: prepare, Progress: bar.update,
	})
}

// createCopy opens what -w writes to: "-" is standard output. It refuses to overwrite what is read.
func (p *filePass) createCopy(name string, stdout io.Writer) (io.WriteCloser, error) {
	if name == "-" {
		if isTerminal(stdout) {
			return nil, &hinted{usagef("--write -: standard output is a terminal, and the packets are binary"), "redirect it to a file, or name a file"}
		}
		return unclosed{stdout}, nil
	}
	if old, err := os.Stat(name); err == nil && old.Mode().IsRegular() {
		for _, in := range p.names {
			if info, err := os.Stat(in); in != "-" && err == nil && os.SameFile(old, info) {
				return nil, &hinted{usagef("--write %s: it is being read (-r %s)", name, in), "write to another file"}
			}
		}
	}
	file, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("--write: %w", err)
	}
	return file, nil
}

type unclosed struct{ io.Writer }

func (unclosed) Close() error { return nil }

// write copies the packets of the selected sessions, among the first so many packets, as pcapng.
func (p *filePass) write(ctx context.Context, to io.Writer, selected *selection, packets uint64) error {
	names := slices.Clone(p.names)
	if i := slices.Index(names, "-"); i >= 0 {
		names[i] = p.spool.Name()
	}
	src, err := capture.OpenFile(capture.FileOptions{Names: names, Filter: p.expr, Count: p.count})
	if err != nil {
		return fmt.Errorf("read again for --write: %w", err)
	}
	defer src.Close()
	w := pcapfile.NewWriter(to, pcapfile.WriterOptions{Application: "dynwatch " + version})
	var seg flow.Segment
	for n := 0; ; n++ {
		if n&0xfff == 0 && ctx.Err() != nil {
			return errors.Join(w.Flush(), errors.New("--write: interrupted: the copy is incomplete"))
		}
		if err := src.Next(&seg); errors.Is(err, io.EOF) || err == nil && src.Packet().Number > packets {
			break
		} else if err != nil {
			return fmt.Errorf("read again for --write: %w", err)
		}
		packet := src.Packet()
		data, comment, ok := selected.cut(&seg, packet)
		if !ok {
			continue
		}
		kept := *packet
		kept.Data = data
		if err := w.WritePacket(&kept, src.InterfaceName(), comment...); err != nil {
			return fmt.Errorf("--write: %w", err)
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("--write: %w", err)
	}
	return nil
}
