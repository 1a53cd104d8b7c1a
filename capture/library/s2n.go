package library

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"iter"
	"maps"
	"regexp"
	"slices"

	"golang.org/x/arch/x86/x86asm"

	"github.com/dynwatch/dynwatch/bpf"
)

// s2n looks for s2n, which the AWS Common Runtime has in one file with whatever libcrypto. Its functions are exported, but for the one that
// judges chains; what it keeps where is read from their machine code, of amd64 alone.
func (c *contents) s2n(file *elf.File, s symbols) error {
	if _, ok := s["s2n_negotiate"]; !ok || file.Machine != elf.EM_X86_64 {
		return nil
	}
	o := &c.s2nOffsets
	if o.Mode = s2nMode(s.code(file, "s2n_set_server_name")); o.Mode == 0 {
		return errors.New("where s2n keeps a connection's role is not plain from s2n_set_server_name")
	}
	if o.Config = s2nConfig(s.code(file, "s2n_connection_get_config")); o.Config == 0 {
		return errors.New("where s2n keeps a connection's configuration is not plain from s2n_connection_get_config")
	}
	if o.Off, o.OffBit = s2nOff(s.code(file, "s2n_config_disable_x509_verification")); o.OffBit == 0 {
		return errors.New("where s2n keeps whether it verifies is not plain from s2n_config_disable_x509_verification")
	}
	if _, ok := s["s2n_config_set_cert_validation_cb"]; ok {
		if o.Callback = s2nCallback(s.code(file, "s2n_config_set_cert_validation_cb")); o.Callback == 0 {
			return errors.New("where s2n keeps a program's own judge is not plain from s2n_config_set_cert_validation_cb")
		}
	}
	sources, err := s2nSources(file)
	if err != nil {
		return err
	}
	if o.ClientRandom = s2nRandom(file, sources); o.ClientRandom == 0 {
		return errors.New("where s2n keeps the ClientHello's random is not plain from its code")
	}
	judge, ok := s2nJudge(file, sources)
	if !ok {
		return errors.New("which of s2n's functions judges chains is not plain")
	}
	at, ok := offsetOf(file, judge.begin)
	if !ok {
		return errors.New("s2n's function that judges chains is in no segment")
	}
	peer := s.places(file, []wanted{{"s2n_connection_get_peer_cert_chain", bpf.S2NPeer, true}})
	if peer == nil {
		return errors.New("s2n has no s2n_connection_get_peer_cert_chain")
	}
	c.s2nPlaces = append(peer, place{bpf.S2NCertificates, at + landingOf(bpf.S2NCertificates, codeAt(file, judge.begin, judge.size()))})
	if c.name == "" {
		c.name = "s2n-tls"
		if crypto := constant(file, awsLCPattern, ""); crypto != "" {
			c.name += " with " + crypto
		}
	}
	return nil
}

// value is what a register holds, as far as it matters: an argument of the function, by its number, or what the first one points to at an offset.
type value struct {
	argument int
	pointed  bool
	offset   int64
}

// store is an instruction that writes to memory at an offset from an argument: a value, or a constant that it sets bits with.
type store struct {
	to     int
	offset int64
	from   value
	set    uint8
	isSet  bool
}

// callClobbers are the registers that a function may change.
const callClobbers = rax | rcx | rdx | rsi | rdi | r8 | r9 | 1<<10 | 1<<11

// stores lists what a function of amd64 writes through its two arguments, up to its first return.
func stores(code []byte) (list []store) {
	held := map[registers]value{rdi: {argument: 1}, rsi: {argument: 2}}
	for _, in := range instructions(code) {
		if in.Op == x86asm.RET {
			return list
		}
		to, toReg := in.Args[0].(x86asm.Reg)
		toMem, isStore := in.Args[0].(x86asm.Mem)
		switch {
		case in.Op == x86asm.CALL:
			for r := range held {
				if r&callClobbers != 0 {
					delete(held, r)
				}
			}
		case isStore && (in.Op == x86asm.MOV || in.Op == x86asm.OR):
			base := held[registerOf(toMem.Base)]
			if base.argument == 0 || base.pointed || toMem.Index != 0 {
				continue
			}
			x := store{to: base.argument, offset: toMem.Disp}
			switch from := in.Args[1].(type) {
			case x86asm.Reg:
				if in.Op == x86asm.MOV && in.MemBytes == 8 {
					x.from = held[registerOf(from)]
				}
			case x86asm.Imm:
				x.set, x.isSet = uint8(from), in.Op == x86asm.OR && in.MemBytes == 1
			}
			list = append(list, x)
		case toReg && in.Op == x86asm.MOV && in.DataSize == 64:
			v := value{}
			switch from := in.Args[1].(type) {
			case x86asm.Reg:
				v = held[registerOf(from)]
			case x86asm.Mem:
				if base := held[registerOf(from.Base)]; base.argument == 1 && !base.pointed && from.Index == 0 {
					v = value{1, true, from.Disp}
				}
			}
			held[registerOf(to)] = v
		default:
			_, jumps := in.Args[0].(x86asm.Rel)
			switch changed := written(in); {
			case jumps:
			case changed == everything:
				clear(held)
			default:
				delete(held, changed)
			}
		}
	}
	return list
}

// s2nMode is the one field of 32 bits that a function for clients alone compares with S2N_CLIENT, before it calls another. It is 0 if that is not plain.
func s2nMode(code []byte) uint32 {
	const client = 1
	var found int64
	for _, in := range instructions(code) {
		if in.Op == x86asm.CALL {
			break
		}
		if to, ok := in.Args[0].(x86asm.Reg); ok && registerOf(to) == rdi && written(in) == rdi {
			break
		}
		m, isMem := in.Args[0].(x86asm.Mem)
		if in.Op != x86asm.CMP || !isMem || m.Base != x86asm.RDI || m.Index != 0 || in.MemBytes != 4 || in.Args[1] != x86asm.Imm(client) {
			continue
		}
		if found != 0 && found != m.Disp {
			return 0
		}
		found = m.Disp
	}
	return plausible(found)
}

// s2nConfig is the offset of the configuration in a connection, which the getter writes to its second argument. It is 0 if that is not plain.
func s2nConfig(code []byte) uint32 {
	list := slices.DeleteFunc(stores(code), func(s store) bool { return s.to != 2 })
	if len(list) != 1 || list[0].offset != 0 || !list[0].from.pointed || list[0].from.offset <= 0 || list[0].from.offset >= maxField {
		return 0
	}
	return uint32(list[0].from.offset)
}

// s2nOff is the one bit that a setter sets in the object of its argument. It is 0 if that is not plain.
func s2nOff(code []byte) (offset, bit uint32) {
	list := stores(code)
	if len(list) != 1 || list[0].to != 1 || !list[0].isSet || list[0].set&(list[0].set-1) != 0 || list[0].offset < 0 || list[0].offset >= maxField {
		return 0, 0
	}
	return uint32(list[0].offset), uint32(list[0].set)
}

// s2nCallback is where a setter puts its second argument.
func s2nCallback(code []byte) uint32 {
	list := slices.DeleteFunc(stores(code), func(s store) bool { return s.from != value{argument: 2} })
	if len(list) != 1 || list[0].to != 1 {
		return 0
	}
	return plausible(list[0].offset)
}

// source is a set of s2n's source files.
type source uint8

const (
	s2nValidator source = 1 << iota
	s2nServerCertificate
	s2nClientCertificate
	s2nKeyLog
	s2nClientHello
)

var s2nFiles = map[string]source{
	"x509_validator": s2nValidator, "server_cert": s2nServerCertificate, "client_cert": s2nClientCertificate, "key_log": s2nKeyLog,
	"client_hello": s2nClientHello,
}

// s2nLine is how s2n says where an error occurred. Each check in its source has a text of its own, so the texts that a function has tell what file it is
// of.
var s2nLine = regexp.MustCompile(`Error encountered in [^\x00]*/s2n_([0-9a-z_]+)\.c:[0-9]+\x00`)

// Bounds of what is looked at: aws-crt 1.33.2 has 1.4 MB of constants, 4.5 MB of code in 9,700 functions, and 35 KB of that in those with
// texts that matter.
const (
	maxS2NLine    = 4096 // bytes of a text
	maxS2NLines   = 1 << 14
	maxS2NSection = 64 << 20
	maxS2NCode    = 1 << 20 // bytes of code of functions whose source is known
	maxUnwound    = 1 << 18 // functions of a file
)

// function is one of a file, by its addresses; sources are the files whose texts it has.
type function struct {
	begin, end uint64
	sources    source
}

func (f *function) size() int { return int(min(f.end-f.begin, maxCode)) }

// s2nSources are a file's functions in order, with what tells their source.
func s2nSources(file *elf.File) ([]function, error) {
	functions, err := unwound(file)
	if err != nil {
		return nil, err
	}
	constants, text := file.Section(".rodata"), file.Section(".text")
	if constants == nil || text == nil || constants.Size > maxS2NSection || text.Size > maxS2NSection {
		return nil, errors.New("no .rodata and .text of usual sizes")
	}
	lines := map[uint64]source{}
	for at, b := range windows(constants, maxS2NLine) {
		for _, m := range s2nLine.FindAllSubmatchIndex(b, -1) {
			if of := s2nFiles[string(b[m[2]:m[3]])]; of != 0 {
				lines[constants.Addr+at+uint64(m[0])] = of
			}
		}
		if len(lines) > maxS2NLines {
			return nil, errors.New("too many texts of s2n's errors")
		}
	}
	const lea = 7 // bytes of lea x(%rip),%reg: REX.W, 8d, ModRM, x
	for at, b := range windows(text, lea) {
		for i := 0; i+lea <= len(b); i++ {
			n := bytes.IndexByte(b[i:], 0x8d)
			if n < 0 {
				break
			}
			i += n
			if i < 1 || i+6 > len(b) || b[i-1]&0xfb != 0x48 || b[i+1]&0xc7 != 0x05 {
				continue
			}
			address := text.Addr + at + uint64(i) - 1
			if of := lines[address+lea+uint64(int32(binary.LittleEndian.Uint32(b[i+2:])))]; of != 0 {
				if f := functionOf(functions, address); f != nil {
					f.sources |= of
				}
			}
		}
	}
	size := 0
	for _, f := range functions {
		if f.sources != 0 {
			size += f.size()
		}
	}
	if size > maxS2NCode {
		return nil, errors.New("too much code with texts of s2n's errors")
	}
	return functions, nil
}

// s2nJudge is the one function of the validator's source that is called both by those that take a server's certificates and by those that take a
// client's.
func s2nJudge(file *elf.File, functions []function) (judge *function, ok bool) {
	callers := map[*function]source{}
	for i := range functions {
		f := &functions[i]
		if f.sources != s2nServerCertificate && f.sources != s2nClientCertificate {
			continue
		}
		code := codeAt(file, f.begin, f.size())
		for at, in := range instructions(code) {
			if to, isRel := in.Args[0].(x86asm.Rel); isRel && in.Op == x86asm.CALL {
				address := f.begin + uint64(at) + uint64(int64(to))
				if called := functionOf(functions, address); called != nil && called.begin == address && called.sources == s2nValidator {
					callers[called] |= f.sources
				}
			}
		}
	}
	for f, by := range callers {
		if by == s2nServerCertificate|s2nClientCertificate {
			if judge != nil {
				return nil, false
			}
			judge = f
		}
	}
	return judge, judge != nil
}

// randomLength is that of a ClientHello's random.
const randomLength = 32

// s2nRandom is the offset of the ClientHello's random in a connection: the one thing of its length that is written to key logs, of TLS 1.3 and of
// earlier versions, and that is also filled when a ClientHello is made. It is 0 if that is not plain.
func s2nRandom(file *elf.File, functions []function) uint32 {
	var logged []int64 // by one function each
	filled := map[int64]bool{}
	for i := range functions {
		f := &functions[i]
		if f.sources != s2nKeyLog && f.sources != s2nClientHello {
			continue
		}
		passed, between := fields(codeAt(file, f.begin, f.size()), randomLength)
		switch {
		case f.sources == s2nClientHello:
			maps.Copy(filled, passed)
			continue
		case len(passed) == 0: // the loop over its bytes is in the function itself
			passed = between
		}
		if len(passed) > 1 {
			return 0
		}
		logged = slices.AppendSeq(logged, maps.Keys(passed))
	}
	if len(logged) != 2 || logged[0] != logged[1] || !filled[logged[0]] {
		return 0
	}
	return plausible(logged[0])
}

// fields are the offsets of fields of some length that code gives to functions as their second argument, with the length as the third; and of those
// where it makes the address of both ends.
func fields(code []byte, length int64) (passed, between map[int64]bool) {
	passed, between = map[int64]bool{}, map[int64]bool{}
	type end struct {
		base   x86asm.Reg
		offset int64
	}
	ends := map[end]bool{}
	var second, third int64
	for _, in := range instructions(code) {
		var made, constant int64
		switch from := in.Args[1].(type) {
		case x86asm.Mem:
			if in.Op == x86asm.LEA && from.Index == 0 && from.Base != x86asm.RIP && from.Base != x86asm.RSP {
				made = from.Disp
				ends[end{from.Base, from.Disp}] = true
			}
		case x86asm.Imm:
			if in.Op == x86asm.MOV {
				constant = int64(from)
			}
		}
		to, _ := in.Args[0].(x86asm.Reg)
		switch {
		case in.Op == x86asm.CALL:
			if second != 0 && third == length {
				passed[second] = true
			}
			second, third = 0, 0
		case in.Op == x86asm.CMP || in.Op == x86asm.TEST:
		case registerOf(to) == rsi:
			second = made
		case registerOf(to) == rdx:
			third = constant
		}
	}
	for e := range ends {
		if ends[end{e.base, e.offset + length}] {
			between[e.offset] = true
		}
	}
	return passed, between
}

// functionOf is the function that an address is in.
func functionOf(functions []function, address uint64) *function {
	i, exact := slices.BinarySearchFunc(functions, address, func(f function, a uint64) int {
		switch {
		case f.begin < a:
			return -1
		case f.begin > a:
			return 1
		}
		return 0
	})
	if !exact {
		i--
	}
	if i < 0 || address >= functions[i].end {
		return nil
	}
	return &functions[i]
}

// unwound are a file's functions in the order of their addresses, from the index of its unwind tables (Linux Standard Base, .eh_frame_hdr), which
// stripped files have, too. Each is taken to reach up to the next.
func unwound(file *elf.File) ([]function, error) {
	errIndex := errors.New("the index of its unwind tables cannot be read")
	s, text := file.Section(".eh_frame_hdr"), file.Section(".text")
	const head, entry = 12, 8
	if s == nil || text == nil || s.Size < head || s.Size > head+maxUnwound*entry {
		return nil, errIndex
	}
	b, err := s.Data()
	if err != nil || len(b) < head {
		return nil, errIndex
	}
	// Version 1; a pointer of 4 bytes; their number in 4 bytes; pairs of 4 bytes with signs, from the section's beginning on.
	n := int(binary.LittleEndian.Uint32(b[8:]))
	if b[0] != 1 || b[1] != 0x1b || b[2] != 0x03 || b[3] != 0x3b || n > (len(b)-head)/entry {
		return nil, errIndex
	}
	list := make([]function, 0, n)
	for i := range n {
		begin := s.Addr + uint64(int64(int32(binary.LittleEndian.Uint32(b[head+i*entry:]))))
		if i > 0 {
			last := &list[i-1]
			if begin <= last.begin {
				return nil, errIndex
			}
			last.end = begin
		}
		list = append(list, function{begin: begin, end: max(begin, text.Addr+text.Size)})
	}
	return list, nil
}

// windows yields a section bit by bit, each with where it begins, and with the last bytes of the one before: up to maxConstants, and nothing of one
// that has no bytes in the file as it has them in memory.
func windows(s *elf.Section, overlap int) iter.Seq2[uint64, []byte] {
	return func(yield func(uint64, []byte) bool) {
		const piece = 1 << 20
		if s.Type == elf.SHT_NOBITS || s.Flags&elf.SHF_COMPRESSED != 0 {
			return
		}
		r := s.Open()
		b, at := make([]byte, 0, min(s.FileSize, piece)+uint64(overlap)), uint64(0)
		for at < maxConstants {
			n, err := io.ReadFull(r, b[len(b):cap(b)])
			b = b[:len(b)+n]
			if !yield(at, b) || err != nil {
				return
			}
			at += uint64(len(b) - overlap)
			b = b[:copy(b, b[len(b)-overlap:])]
		}
	}
}
