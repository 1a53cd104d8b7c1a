package traffic

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Create makes a capture file of that name, its manifest (NAME.json) and its authority's certificate (NAME.ca.pem). A file that could not
// be finished is removed.
func Create(name string, o Options) (m *Manifest, err error) {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close() // the error that counts is another
			os.Remove(f.Name())
		}
	}()
	if m, err = Generate(f, o); err != nil {
		return nil, err
	}
	if err = f.Chmod(0o644); err != nil {
		return nil, err
	}
	if err = f.Close(); err != nil {
		return nil, err
	}
	if err = os.WriteFile(name+".ca.pem", []byte(m.CA), 0o644); err != nil {
		return nil, err
	}
	if err = m.Write(name + ".json"); err != nil {
		return nil, err
	}
	return m, os.Rename(f.Name(), name)
}

// version is part of the names of cached files: it changes when the generator makes other files from the same options.
const version = 1

// Ensure gives the name of a capture file with those options in the folder dir, and its manifest; it makes the file if it is not there.
func Ensure(dir string, o Options) (name string, m *Manifest, err error) {
	flows := ""
	if o.Kind == Mixed {
		flows = fmt.Sprintf("-%d", o.Flows)
	}
	name = filepath.Join(dir, fmt.Sprintf("%s-%d%s-seed%d-v%d.pcap", o.Kind, o.Size, flows, o.Seed, version))
	if _, err := os.Stat(name); err == nil {
		m, err := ReadManifest(name + ".json")
		return name, m, err
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", nil, err
	}
	m, err = Create(name, o)
	return name, m, err
}

// ParseSize reads a number of bytes: 1000, 100kB, 100MB, 1GB.
func ParseSize(s string) (int64, error) {
	digits, unit := s, int64(1)
	for i, suffix := range []string{"kB", "MB", "GB"} {
		if rest, ok := strings.CutSuffix(s, suffix); ok {
			digits = rest
			for range i + 1 {
				unit *= 1000
			}
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n <= 0 || n > 1<<40/unit {
		return 0, fmt.Errorf("size %q: want a number of bytes up to 1000GB, as 500MB", s)
	}
	return n * unit, nil
}
