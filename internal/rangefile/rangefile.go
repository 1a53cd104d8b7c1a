// Package rangefile keeps an edition of AWS's ip-ranges.json in a file: it loads one for --ranges, and replaces one with a downloaded
// edition in a way that never leaves a worse one in place.
//
// It stands apart from package endpoint because that, like all of the analysis, opens no files. It downloads nothing.
package rangefile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/dynwatch/dynwatch/analyze/endpoint"
)

// Why Install refuses an edition that can be read; force overrides all three.
var (
	// ErrOlder: the edition in use is newer.
	ErrOlder = errors.New("older than the ranges in use")
	// ErrUndated: it does not say when it was made, so nobody can tell if it is newer.
	ErrUndated = errors.New("has no createDate")
	// ErrShrunk: it has less than half as many DYNAMODB prefixes. Removals of eight at a time were seen.
	ErrShrunk = errors.New("more than half of the DYNAMODB prefixes are gone")
)

// Load reads the edition at path; its Source is path.
func Load(path string) (*endpoint.Ranges, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("ranges: %w", err)
	}
	defer f.Close()
	r, err := endpoint.ReadRanges(f)
	if err != nil {
		return nil, fmt.Errorf("ranges %s: %w", path, err)
	}
	r.Source = path
	return r, nil
}

// Install validates the edition that src holds and, if it is good, puts it at dst with mode 0644: written to a temporary file in the same
// directory, synced, renamed. Whoever reads dst sees the old edition or the new one, whole. The directory must exist.
//
// The edition in use is the one at dst; where that is missing or unreadable it is the built-in one. Install refuses what has no
// DYNAMODB prefix (endpoint.ErrNoDynamoDB) or is malformed in any case, and ErrOlder, ErrUndated and ErrShrunk unless force is set. The
// difference comes back with these three errors too, so that it can be shown; with any other error it is zero. The same edition again
// is no error.
func Install(dst string, src io.Reader, force bool) (endpoint.Diff, error) {
	var text bytes.Buffer
	edition, err := endpoint.ReadRanges(io.TeeReader(src, &text))
	if err != nil {
		return endpoint.Diff{}, err
	}
	edition.Source = dst

	inUse, err := Load(dst)
	if err != nil {
		// A damaged file is what an update should cure; one that we may not read is not ours to replace.
		if errors.Is(err, fs.ErrPermission) {
			return endpoint.Diff{}, err
		}
		inUse = endpoint.Embedded()
	}
	diff := endpoint.Compare(inUse, edition)
	if !force {
		if err := check(diff); err != nil {
			return diff, err
		}
	}
	if err := replace(dst, text.Bytes()); err != nil {
		return endpoint.Diff{}, fmt.Errorf("install ranges: %w", err)
	}
	return diff, nil
}

func check(d endpoint.Diff) error {
	if d.New.CreateDate.IsZero() {
		return ErrUndated
	}
	if d.New.CreateDate.Before(d.Old.CreateDate) {
		return fmt.Errorf("made %s: %w, made %s (%s)", d.New.CreateDate.Format(time.RFC3339), ErrOlder,
			d.Old.CreateDate.Format(time.RFC3339), d.Old.Source)
	}
	if was, is := len(d.Old.List("DYNAMODB")), len(d.New.List("DYNAMODB")); 2*is < was {
		return fmt.Errorf("%w: %d of %d are left", ErrShrunk, is, was)
	}
	return nil
}

// replace writes b to path atomically.
func replace(path string, b []byte) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".ranges-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close() // a second time does no harm
			os.Remove(f.Name())
		}
	}()
	if _, err := f.Write(b); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	// The rename is durable once the directory is. What stands at path is whole either way, so an error here is told and nothing undone.
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
