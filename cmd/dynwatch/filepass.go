package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/dynwatch/dynwatch/capture"
	"github.com/dynwatch/dynwatch/capture/pcapfile"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// filePass opens the capture files of a run: once to judge, and with -w once more to write the packets of what was reported, because
// only the end of a session tells whether it is reported, and no memory holds the packets of all until then.
type filePass struct {
	stdin  io.Reader
	stderr io.Writer
	names  []string
	expr   string
	count  uint64
	spool  string // a temporary copy of standard input
}

func (p *filePass) readsStdin() bool { return slices.Contains(p.names, "-") }

// makeRepeatable copies standard input to a temporary file that only this user can read, because it cannot be read twice.
func (p *filePass) makeRepeatable() error {
	i := slices.Index(p.names, "-")
	if i < 0 {
		return nil
	}
	tmp, err := os.CreateTemp("", "dynwatch-stdin-*.pcap")
	if err != nil {
		return fmt.Errorf("keep standard input for --write: %w", err)
	}
	p.spool = tmp.Name()
	_, err = io.Copy(tmp, p.stdin)
	if err = errors.Join(err, tmp.Close()); err != nil {
		return fmt.Errorf("keep standard input for --write: %w", err)
	}
	p.names = slices.Clone(p.names)
	p.names[i] = p.spool
	return nil
}

func (p *filePass) cleanUp() {
	if p.spool != "" {
		os.Remove(p.spool)
	}
}

func (p *filePass) open(secrets func(uint32, []byte), progress func(read, total int64)) (*capture.File, error) {
	return capture.OpenFile(capture.FileOptions{
		Names: p.names, Stdin: p.stdin, Filter: p.expr, Count: p.count, Secrets: secrets, Progress: progress,
	})
}

// write copies the packets of the selected sessions to a pcapng file, "-" being standard output.
func (p *filePass) write(ctx context.Context, name string, selected *selection) (err error) {
	src, err := p.open(nil, nil)
	if err != nil {
		return err
	}
	defer src.Close()
	file, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("--write: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	w := pcapfile.NewWriter(file, pcapfile.WriterOptions{Application: "dynwatch " + version})
	var seg flow.Segment
	for n := 0; ; n++ {
		if n&0xfff == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := src.Next(&seg); err != nil {
			if errors.Is(err, io.EOF) {
				break
			}
			return err
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
