package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// warm reads a file once, so that it is in the page cache.
func warm(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	// io.Copy to a file would let the kernel splice, which reads nothing.
	buf := make([]byte, 256<<10)
	for {
		if _, err := f.Read(buf); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// slice makes a file of the first whole packets of a classic pcap file, n bytes of them at most, beside it, and gives its name and size.
func slice(name string, n int64) (part string, size int64, err error) {
	f, err := os.Open(name)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	end := int64(24) // pcap's file header
	var header [16]byte
	for {
		if _, err := f.ReadAt(header[:], end); err == io.EOF {
			break
		} else if err != nil {
			return "", 0, err
		}
		next := end + int64(len(header)) + int64(binary.LittleEndian.Uint32(header[8:]))
		if next > n {
			break
		}
		end = next
	}
	part = fmt.Sprintf("%s.first-%d", name, end)
	if info, err := os.Stat(part); err == nil && info.Size() == end {
		return part, end, warm(part)
	}
	out, err := os.Create(part)
	if err != nil {
		return "", 0, err
	}
	if _, err = io.Copy(out, io.NewSectionReader(f, 0, end)); err != nil {
		out.Close()
		return "", 0, err
	}
	return part, end, out.Close()
}

// versionOf asks a program for its version.
func versionOf(binary string) string {
	out, err := exec.Command(binary, "version").Output()
	if err != nil {
		return "of unknown version"
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return strings.TrimSpace(strings.TrimPrefix(first, "dynwatch"))
}

// loadAverage is the machine's over the last minute, where the system tells.
func loadAverage() (float64, bool) {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, false
	}
	var load float64
	_, err = fmt.Sscan(string(b), &load)
	return load, err == nil
}
