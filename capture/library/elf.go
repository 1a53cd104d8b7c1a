package library

import (
	"bufio"
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"

	"github.com/dynwatch/dynwatch/bpf"
)

// Bounds of what is read of a file that somebody else wrote.
const (
	maxFile    = 1 << 30
	maxSymbols = 16 << 20 // bytes of a symbol table
	maxStrings = 64 << 20 // bytes of its names
	maxGetter  = 512      // bytes of a getter's code
)

// place is a probe and where in the file it goes.
type place struct {
	probe  bpf.Probe
	offset uint64
}

// contents is what an ELF file has that is worth a probe.
type contents struct {
	// name is the library in words.
	name string
	// crypto and ssl are the two halves of OpenSSL, which a program that has it linked in has both of.
	crypto, ssl []place
	// asked is the place of SSL_get_verify_result in a file that has ssl alone; else ssl has it.
	asked []place
	// boring: it is BoringSSL's, or of a library made of it.
	boring bool
	// offsets hold for objects that ssl makes, also where crypto's functions get them.
	offsets bpf.SSLOffsets
	// others need nobody's offsets.
	others []place
	// gnuTLS goes with gnuTLSOffsets.
	gnuTLS        []place
	gnuTLSOffsets bpf.GnuTLSOffsets
	// s2nPlaces go with s2nOffsets.
	s2nPlaces  []place
	s2nOffsets bpf.S2NOffsets
}

func (c *contents) empty() bool {
	return len(c.crypto)+len(c.ssl)+len(c.others)+len(c.gnuTLS)+len(c.s2nPlaces) == 0
}

// errNothing: the file is none that probes are known for.
var errNothing = errors.New("nothing to probe")

// examine finds out what a file has that processes have under a name. The file is not trusted.
func examine(f *os.File, base string) (c *contents, err error) {
	// Package debug/elf was not made for hostile files.
	defer func() {
		if r := recover(); r != nil {
			c, err = nil, fmt.Errorf("read ELF: %v", r)
		}
	}()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() || st.Size() > maxFile {
		return nil, errNothing
	}
	file, err := openELF(f)
	if err != nil {
		return nil, errNothing
	}
	if file.Machine != machine || file.Class != elf.ELFCLASS64 || file.Type != elf.ET_DYN && file.Type != elf.ET_EXEC {
		return nil, errNothing
	}
	for _, s := range file.Sections {
		if s.Type == elf.SHT_DYNSYM && s.Size > maxSymbols || s.Type == elf.SHT_STRTAB && s.Size > maxStrings {
			return nil, fmt.Errorf("a symbol table of %d bytes", s.Size)
		}
	}
	c = &contents{}
	s := exported(file)
	if err := c.openSSL(file, s); err != nil {
		return nil, err
	}
	if err := c.gnutls(file, s); err != nil {
		return nil, err
	}
	if isS2N(base) {
		if err := c.s2n(file, s); err != nil {
			return nil, err
		}
	}
	if err := c.golang(file); err != nil {
		return nil, err
	}
	if c.empty() {
		return nil, errNothing
	}
	return c, nil
}

// Bounds of a file's sections, whose headers are read as a whole: package debug/elf makes a string of each name, up to the end of all names if it has no end.
const (
	maxSections     = 1024
	maxSectionNames = 16 << 10 // bytes
)

// openELF reads the headers of an ELF file of 64 bits. It fails with errNothing if it is none, and before package debug/elf would take much memory for it.
func openELF(f io.ReaderAt) (*elf.File, error) {
	var h [64]byte // Elf64_Ehdr
	switch _, err := f.ReadAt(h[:], 0); {
	case errors.Is(err, io.EOF):
		return nil, errNothing
	case err != nil:
		return nil, fmt.Errorf("read ELF: %w", err)
	}
	if string(h[:4]) != elf.ELFMAG || elf.Class(h[4]) != elf.ELFCLASS64 || elf.Data(h[5]) != elf.ELFDATA2LSB {
		return nil, errNothing
	}
	sections, size := binary.LittleEndian.Uint64(h[40:]), uint64(binary.LittleEndian.Uint16(h[58:]))
	count, names := uint64(binary.LittleEndian.Uint16(h[60:])), uint64(binary.LittleEndian.Uint16(h[62:]))
	if sections != 0 {
		var s [64]byte // Elf64_Shdr of the names
		if count == 0 || count > maxSections || names >= count || sections > maxFile {
			return nil, errors.New("read ELF: a section table that no linker makes")
		}
		if _, err := f.ReadAt(s[:], int64(sections+names*size)); err != nil {
			return nil, fmt.Errorf("read ELF: section names: %w", err)
		}
		flags, n := elf.SectionFlag(binary.LittleEndian.Uint64(s[8:])), binary.LittleEndian.Uint64(s[32:])
		if flags&elf.SHF_COMPRESSED != 0 || n > maxSectionNames {
			return nil, fmt.Errorf("read ELF: section names of %d bytes, or compressed", n)
		}
	}
	file, err := elf.NewFile(f)
	if err != nil {
		return nil, fmt.Errorf("read ELF: %w", err)
	}
	return file, nil
}

// symbols are functions that a file exports, those of TLS libraries that is.
type symbols map[string]elf.Symbol

// prefixes are what the names of all functions begin with that are asked for.
var prefixes = [...]string{"SSL_", "X509_", "d2i_X509", "i2d_", "CRYPTO_BUFFER_", "gnutls_", "s2n_"}

// longestName is more than any of those names has.
const longestName = 64

// exported lists the functions of TLS libraries that a file exports. Some files export much else: node 75,000 symbols with 5 MB of names. So neither symbols
// nor names are read as a whole.
func exported(file *elf.File) symbols {
	table := file.SectionByType(elf.SHT_DYNSYM)
	if table == nil || table.Link == 0 || int(table.Link) >= len(file.Sections) {
		return nil // none
	}
	names := file.Sections[table.Link]
	if table.Flags&elf.SHF_COMPRESSED != 0 || names.Flags&elf.SHF_COMPRESSED != 0 || table.Type == elf.SHT_NOBITS || names.Type == elf.SHT_NOBITS {
		return nil
	}
	// Functions in the order of their names' places, which is how the names are read.
	type function struct{ name, number uint32 }
	var list []function
	r := bufio.NewReaderSize(table.Open(), 64<<10)
	b := make([]byte, elf.Sym64Size)
	for number := uint32(0); ; number++ {
		if _, err := io.ReadFull(r, b); err != nil {
			break
		}
		if x := symbolOf(file.ByteOrder, b); elf.ST_TYPE(x.Info) == elf.STT_FUNC && x.Section != elf.SHN_UNDEF && x.Value != 0 {
			list = append(list, function{file.ByteOrder.Uint32(b), number})
		}
	}
	slices.SortFunc(list, func(x, y function) int { return cmp.Or(cmp.Compare(x.name, y.name), cmp.Compare(x.number, y.number)) })
	s := symbols{}
	next := 0
	for at, text := range windows(names, longestName) {
		// The names that begin in this window, and end in it if they are no longer than those that are asked for.
		for ; next < len(list) && uint64(list[next].name) < at+uint64(len(text)); next++ {
			if uint64(list[next].name) < at {
				continue
			}
			name := text[uint64(list[next].name)-at:]
			if len(name) <= longestName && at+uint64(len(text)) < names.Size {
				break // it is whole in the next window
			}
			end := bytes.IndexByte(name[:min(len(name), longestName)], 0)
			if end < 0 || !slices.ContainsFunc(prefixes[:], func(p string) bool { return bytes.HasPrefix(name, []byte(p)) }) {
				continue
			}
			if _, err := table.ReadAt(b, int64(list[next].number)*elf.Sym64Size); err != nil {
				continue
			}
			x := symbolOf(file.ByteOrder, b)
			x.Name = string(name[:end])
			s[x.Name] = x
		}
	}
	return s
}

// symbolOf takes an Elf64_Sym apart, but for its name (System V ABI, Chapter 4).
func symbolOf(order binary.ByteOrder, b []byte) elf.Symbol {
	return elf.Symbol{Info: b[4], Other: b[5], Section: elf.SectionIndex(order.Uint16(b[6:])), Value: order.Uint64(b[8:]), Size: order.Uint64(b[16:])}
}

// offsetOf is where in the file a virtual address is, in an executable segment.
func offsetOf(file *elf.File, address uint64) (uint64, bool) {
	for _, p := range file.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 && address >= p.Vaddr && address-p.Vaddr < p.Filesz {
			return address - p.Vaddr + p.Off, true
		}
	}
	return 0, false
}

// places finds functions; none if one is missing that must be there.
func (s symbols) places(file *elf.File, wanted []wanted) (list []place) {
	for _, w := range wanted {
		x, ok := s[w.function]
		if ok {
			var at uint64
			if at, ok = offsetOf(file, x.Value); ok {
				var code []byte
				if x.Size <= maxCode {
					code = codeAt(file, x.Value, int(x.Size))
				}
				list = append(list, place{w.probe, at + landingOf(w.probe, code)})
			}
		}
		if !ok && w.must {
			return nil
		}
	}
	return list
}

// code is a function's machine code.
func (s symbols) code(file *elf.File, function string) []byte {
	x, ok := s[function]
	if !ok || x.Size == 0 || x.Size > maxGetter {
		return nil
	}
	return codeAt(file, x.Value, int(x.Size))
}

type wanted struct {
	function string
	probe    bpf.Probe
	must     bool
}

// These are in the order in which they are attached: the handshake becomes known by the last, for what is not told of a known one counts as not done.
var (
	// wantedSSL are attached before wantedCrypto. Of the ways to a peer's certificate each version has some.
	wantedSSL = []wanted{
		{judgement, bpf.OpenSSLAsked, true},
		{"SSL_get_peer_certificate", bpf.OpenSSLPeer, false},
		{"SSL_get0_peer_certificate", bpf.OpenSSLPeer, false},
		{"SSL_get1_peer_certificate", bpf.OpenSSLPeer, false},
		{"SSL_get_peer_cert_chain", bpf.OpenSSLChain, true},
		{"SSL_get0_verified_chain", bpf.OpenSSLChain, false},
		{"SSL_get_peer_full_cert_chain", bpf.OpenSSLChain, false}, // BoringSSL's
		{"SSL_get0_peer_certificates", bpf.OpenSSLChain, false},   // the same
		{"SSL_SESSION_get0_peer", bpf.OpenSSLInspected, false},
		{"SSL_SESSION_get0_peer_certificates", bpf.OpenSSLInspected, false}, // BoringSSL's
	}
	wantedCrypto = []wanted{
		{"X509_verify_cert", bpf.OpenSSLVerified, true},
		{"X509_check_host", bpf.OpenSSLHost, false},
		// What those do with a certificate that are known to get it for other ends, too.
		{"i2d_X509", bpf.OpenSSLInspected, false},
		{"i2d_X509_PUBKEY", bpf.OpenSSLInspected, false},
		{"d2i_X509", bpf.OpenSSLCertificate, true},
		{"X509_STORE_CTX_set_ex_data", bpf.OpenSSLHandshake, true},
	}
	// wantedInside are beside wantedCrypto where both halves are in a program, and it cannot be told whose code gets a certificate.
	wantedInside = []wanted{
		{"i2d_PUBKEY", bpf.OpenSSLInspected, false},
		{"X509_digest", bpf.OpenSSLInspected, false},
		{"X509_pubkey_digest", bpf.OpenSSLInspected, false},
	}
)

// halves finds OpenSSL's.
func (c *contents) halves(file *elf.File, s symbols, crypto []wanted) {
	c.ssl, c.crypto = s.places(file, wantedSSL), s.places(file, crypto)
	if len(c.ssl) > 0 && len(c.crypto) > 0 {
		c.crypto = append(s.places(file, wantedInside), c.crypto...)
	} else if !c.boring {
		isAsked := func(p place) bool { return p.probe == bpf.OpenSSLAsked }
		if i := slices.IndexFunc(c.ssl, isAsked); i >= 0 {
			c.asked, c.ssl = c.ssl[i:i+1:i+1], slices.Delete(slices.Clone(c.ssl), i, i+1)
		}
	}
}

// openSSL looks for OpenSSL's halves.
func (c *contents) openSSL(file *elf.File, s symbols) error {
	if s.boring() {
		return c.boringSSL(file, s)
	}
	c.halves(file, s, wantedCrypto)
	if len(c.ssl) > 0 {
		o := &c.offsets
		o.VerifyMode = field(machine, s.code(file, "SSL_get_verify_mode"))
		o.VerifyCallback = field(machine, s.code(file, "SSL_get_verify_callback"))
		o.VerifyResult = field(machine, s.code(file, "SSL_get_verify_result"))
		o.Server = field(machine, s.code(file, "SSL_is_server"))
		o.ClientRandom, o.ClientRandomIn = randomField(machine, s.code(file, "SSL_get_client_random"))
		o.ServerName = returnedField(machine, s.code(file, "SSL_get_servername"))
		if o.ClientRandom == 0 {
			return errors.New("where OpenSSL keeps the ClientHello's random is not plain from SSL_get_client_random")
		}
	}
	if len(c.crypto)+len(c.ssl) > 0 {
		c.name = constant(file, openSSLVersion, "OpenSSL")
	}
	return nil
}

// openSSLVersion is OpenSSL's name and version, as it stands among its constants.
var openSSLVersion = regexp.MustCompile(`(OpenSSL|LibreSSL) [0-9]+\.[0-9]+\.[0-9]+[0-9a-z.-]*`)

// constant finds a text among a file's constants.
func constant(file *elf.File, pattern *regexp.Regexp, otherwise string) string {
	s := file.Section(".rodata")
	if s == nil {
		return otherwise
	}
	for _, b := range windows(s, 64) {
		// The match is followed by more; without that, it may be cut.
		if m := pattern.Find(b); m != nil && !bytes.HasSuffix(b, m) {
			return string(m)
		}
	}
	return otherwise
}
