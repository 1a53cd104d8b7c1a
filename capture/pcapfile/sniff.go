package pcapfile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Magic numbers at the begin of a file. pcapng's is a palindrome; the others tell the byte order by the way they stand.
const (
	magicMicro     = 0xa1b2c3d4 // pcap, microseconds
	magicNano      = 0xa1b23c4d // pcap, nanoseconds
	magicKuznetzov = 0xa1b2cd34 // pcap of a patched libpcap with longer record headers
	magicIxiaHW    = 0x1c0001ac // IXIA "lcap", hardware ports
	magicIxiaSW    = 0x1c0001ab // IXIA "lcap", software ports
	magicSection   = 0x0a0d0d0a // pcapng: the type of a section header block
)

// sniffLen is how many bytes of a file are looked at to say what it is, textLen how many of a text are shown.
const (
	sniffLen = 24
	textLen  = 16
)

// isMagic reports whether b begins a file that this package reads (decompressed), and if it is pcapng.
func isMagic(b []byte) (known, ng bool) {
	if len(b) < 4 {
		return false, false
	}
	le, be := binary.LittleEndian.Uint32(b), binary.BigEndian.Uint32(b)
	for _, m := range [...]uint32{magicMicro, magicNano, magicKuznetzov, magicIxiaHW, magicIxiaSW} {
		if le == m || be == m {
			return true, false
		}
	}
	return le == magicSection, le == magicSection
}

// beginsMagic reports whether b is shorter than a magic number and could become one.
func beginsMagic(b []byte) bool {
	if len(b) == 0 || len(b) >= 4 {
		return false
	}
	for _, m := range [...]uint32{magicMicro, magicNano, magicKuznetzov, magicIxiaHW, magicIxiaSW, magicSection, 0x1f8b0800, 0x28b52ffd} {
		be := binary.BigEndian.AppendUint32(nil, m)
		le := binary.LittleEndian.AppendUint32(nil, m)
		if bytes.HasPrefix(be, b) || bytes.HasPrefix(le, b) {
			return true
		}
	}
	return false
}

// foreign are the first bytes of files that people hand to a capture reader by mistake.
var foreign = []struct{ prefix, what string }{
	{"snoop\x00\x00\x00", "it is a snoop file; editcap -F pcapng converts it"},
	{"GMBU", "it is a Network Monitor file; editcap -F pcapng converts it"},
	{"RTSS", "it is a Network Monitor file; editcap -F pcapng converts it"},
	{"iptrace ", "it is an AIX iptrace file; editcap -F pcapng converts it"},
	{"TRSNIFF data", "it is a Sniffer file; editcap -F pcapng converts it"},
	{"XCP\x00", "it is a NetXRay file; editcap -F pcapng converts it"},
	{"\xfd7zXZ\x00", "it is compressed by xz; only gzip and zstd are read"},
	{"BZh", "it is compressed by bzip2; only gzip and zstd are read"},
	{"\x04\x22\x4d\x18", "it is compressed by lz4; only gzip and zstd are read"},
	{"PK\x03\x04", "it is a zip archive"},
	{"\x7fELF", "it is a program (ELF)"},
	{"CLIENT_RANDOM ", "it looks like a TLS key log"},
	{"# SSL/TLS secrets", "it looks like a TLS key log"},
	{"-----BEGIN ", "it looks like PEM"},
}

// describe says what the first bytes, up to sniffLen, of a file that is no capture look like. inside is what the file was
// compressed with, or "".
func describe(b []byte, inside string) string {
	if len(b) == 0 {
		if inside != "" {
			return "the " + inside + " data is empty"
		}
		return "it is empty"
	}
	if kind := compression(b); kind != "" {
		return fmt.Sprintf("%s inside %s is not read; unpack it once", kind, inside)
	}
	for _, f := range foreign {
		if strings.HasPrefix(string(b), f.prefix) {
			return f.what
		}
	}
	head := b[:min(len(b), textLen)]
	switch {
	case looksLikeText(head):
		return fmt.Sprintf("it looks like text, %q", head)
	case looksLikeERF(b):
		return "it looks like an ERF file; editcap -F pcapng converts it"
	}
	return fmt.Sprintf("it begins with % x", head)
}

// looksLikeText reports whether all of b is printable UTF-8, white space or the begin of a further rune.
func looksLikeText(b []byte) bool {
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && utf8.FullRune(b) || r < ' ' && r != '\n' && r != '\r' && r != '\t' || r == 0x7f {
			return false
		}
		b = b[n:]
	}
	return true
}

// looksLikeERF guesses, for ERF has no magic number: a record begins with a 64-bit little-endian time whose upper half is seconds
// since 1970, a type below 50 (and a flag bit), flags, and a big-endian length of at least the header.
func looksLikeERF(b []byte) bool {
	if len(b) < 16 {
		return false
	}
	sec, kind, length := binary.LittleEndian.Uint32(b[4:]), b[8]&0x7f, binary.BigEndian.Uint16(b[10:])
	return sec > 631152000 && sec < 4102444800 && kind > 0 && kind < 50 && length >= 16
}
