package library

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/dynwatch/dynwatch/bpf"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// s2nParts are what a file with s2n is made of here: functions at every 256 bytes of its code, texts at every 256 bytes of its constants.
type s2nParts struct{ text, constants, index []byte }

const (
	s2nText, s2nConstants, s2nIndex = 0x1000, 0x3000, 0x4000
	s2nSlot                         = 0x100
)

// The functions of s2nParts, by their slots, and those that it exports.
const (
	slotJudge = iota
	slotServerCertificate
	slotClientCertificate
	slotKeyLog13
	slotKeyLog12
	slotClientHello
	slotNegotiate
	slotSetServerName
	slotGetConfig
	slotDisable
	slotSetCallback
	slotPeer
	slotSpare
	slots
)

var s2nExported = map[int]string{
	slotNegotiate: "s2n_negotiate", slotSetServerName: "s2n_set_server_name", slotGetConfig: "s2n_connection_get_config",
	slotDisable: "s2n_config_disable_x509_verification", slotSetCallback: "s2n_config_set_cert_validation_cb",
	slotPeer: "s2n_connection_get_peer_cert_chain",
}

// The texts, by their slots.
var s2nTexts = []string{"x509_validator", "server_cert", "client_cert", "key_log", "client_hello"}

const (
	textValidator = iota
	textServerCertificate
	textClientCertificate
	textKeyLog
	textClientHello
)

// set puts a function into a slot.
func (p *s2nParts) set(slot int, pieces ...[]byte) {
	at := p.text[slot*s2nSlot:][:s2nSlot]
	for i := range at {
		at[i] = 0x90
	}
	n := 0
	for _, b := range pieces {
		n += copy(at[n:], b)
		switch { // what is relative to where it is
		case len(b) == 7 && bytes.HasPrefix(b, []byte{0x48, 0x8d, 0x3d}):
			to := s2nConstants + uint32(b[3])*s2nSlot
			binary.LittleEndian.PutUint32(at[n-4:], to-uint32(s2nText+slot*s2nSlot+n))
		case len(b) == 5 && b[0] == 0xe8:
			binary.LittleEndian.PutUint32(at[n-4:], uint32(int(b[1])*s2nSlot-(slot*s2nSlot+n)))
		}
	}
}

// says is lea TEXT(%rip),%rdi, calls is call FUNCTION.
func says(text byte) []byte  { return []byte{0x48, 0x8d, 0x3d, text, 0, 0, 0} }
func calls(slot byte) []byte { return []byte{0xe8, slot, 0, 0, 0} }

// gives is lea AT(%rbx),%rsi; mov $32,%edx, and a call.
func gives(at byte) []byte {
	return []byte{0x48, 0x8d, 0x73, at, 0xba, 32, 0, 0, 0, 0xe8, 0, 0, 0, 0}
}

func newS2NParts() *s2nParts {
	p := &s2nParts{text: make([]byte, slots*s2nSlot), constants: make([]byte, len(s2nTexts)*s2nSlot), index: []byte{1, 0x1b, 3, 0x3b, 0, 0, 0, 0}}
	ret := []byte{0xc3}
	p.set(slotJudge, []byte{0x55}, says(textValidator), []byte{0x5d}, ret)
	p.set(slotServerCertificate, says(textServerCertificate), calls(slotJudge), ret)
	p.set(slotClientCertificate, says(textClientCertificate), calls(slotJudge), ret)
	p.set(slotKeyLog13, says(textKeyLog), gives(0x50), ret)
	p.set(slotKeyLog12, says(textKeyLog), gives(0x50), ret)
	p.set(slotClientHello, says(textClientHello), gives(0x70), gives(0x50), ret)
	p.set(slotNegotiate, ret)
	p.set(slotSetServerName, []byte{0x83, 0x7f, 0x5c, 1}, ret)                                  // cmpl $1,0x5c(%rdi)
	p.set(slotGetConfig, []byte{0x48, 0x8b, 0x47, 8}, []byte{0x48, 0x89, 6}, ret)               // mov 8(%rdi),%rax; mov %rax,(%rsi)
	p.set(slotDisable, []byte{0x80, 0x4f, 1, 1}, ret)                                           // orb $1,1(%rdi)
	p.set(slotSetCallback, []byte{0x48, 0x89, 0x77, 0x18}, []byte{0x48, 0x89, 0x57, 0x20}, ret) // mov %rsi,0x18(%rdi); mov %rdx,0x20(%rdi)
	p.set(slotPeer, []byte{0x55, 0x5d}, ret)
	p.set(slotSpare, ret)
	for i, name := range s2nTexts {
		copy(p.constants[i*s2nSlot:], "Error encountered in /build/s2n/tls/s2n_"+name+".c:1")
	}
	p.index = binary.LittleEndian.AppendUint32(p.index, slots)
	for i := range slots {
		p.index = binary.LittleEndian.AppendUint32(p.index, uint32(s2nText+i*s2nSlot-s2nIndex))
		p.index = binary.LittleEndian.AppendUint32(p.index, 0)
	}
	return p
}

// file is an ELF file of the parts, whose addresses are where its bytes are.
func (p *s2nParts) file(t testing.TB) *elf.File {
	t.Helper()
	names := []byte{0}
	var symbols, sections bytes.Buffer
	write := func(to *bytes.Buffer, x any) {
		if err := binary.Write(to, binary.LittleEndian, x); err != nil {
			t.Fatal(err)
		}
	}
	named := func(name string) uint32 {
		at := uint32(len(names))
		names = append(append(names, name...), 0)
		return at
	}
	write(&symbols, elf.Sym64{})
	for slot := range slots {
		if name, ok := s2nExported[slot]; ok {
			write(&symbols, elf.Sym64{Name: named(name), Info: elf.ST_INFO(elf.STB_GLOBAL, elf.STT_FUNC), Shndx: 1, Value: s2nText + uint64(slot)*s2nSlot, Size: s2nSlot})
		}
	}
	const nameAt = 0x200 // behind the headers
	image := make([]byte, s2nIndex)
	type section struct {
		name          string
		of            elf.SectionType
		at            uint64
		data          []byte
		link, entries uint64
	}
	end := uint64(s2nIndex + (len(p.index)+7)&^7)
	list := []section{
		{}, {".text", elf.SHT_PROGBITS, s2nText, p.text, 0, 0}, {".rodata", elf.SHT_PROGBITS, s2nConstants, p.constants, 0, 0},
		{".eh_frame_hdr", elf.SHT_PROGBITS, s2nIndex, p.index, 0, 0}, {".dynsym", elf.SHT_DYNSYM, end, symbols.Bytes(), 5, 24},
		{".dynstr", elf.SHT_STRTAB, nameAt, nil, 0, 0},
	}
	for i, s := range list {
		h := elf.Section64{Type: uint32(s.of), Addr: s.at, Off: s.at, Size: uint64(len(s.data)), Link: uint32(s.link), Entsize: s.entries}
		if i > 0 {
			h.Name = named(s.name)
		}
		if s.of == elf.SHT_STRTAB {
			h.Size = uint64(len(names))
		}
		write(&sections, h)
	}
	for _, s := range list[1:5] {
		if n := int(s.at) + len(s.data); n > len(image) {
			image = append(image, make([]byte, n-len(image))...)
		}
		copy(image[s.at:], s.data)
	}
	copy(image[nameAt:], names)
	var head bytes.Buffer
	size := uint64(len(image))
	write(&head, elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)}, Type: uint16(elf.ET_DYN),
		Machine: uint16(elf.EM_X86_64), Version: 1, Phoff: 64, Shoff: size, Ehsize: 64, Phentsize: 56, Phnum: 1, Shentsize: 64,
		Shnum: uint16(len(list)), Shstrndx: 5,
	})
	write(&head, elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Filesz: size, Memsz: size})
	copy(image, head.Bytes())
	file, err := elf.NewFile(bytes.NewReader(append(image, sections.Bytes()...)))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestS2NIsFoundByItsTextsAndCallers(t *testing.T) {
	want := &contents{
		name:       "s2n-tls",
		s2nPlaces:  []place{{bpf.S2NPeer, s2nText + slotPeer*s2nSlot}, {bpf.S2NCertificates, s2nText + slotJudge*s2nSlot}},
		s2nOffsets: bpf.S2NOffsets{ClientRandom: 0x50, Mode: 0x5c, Config: 8, Off: 1, OffBit: 1, Callback: 0x18},
	}
	for _, c := range []struct {
		name    string
		change  func(*s2nParts)
		refused bool
	}{
		{"as it should be", func(*s2nParts) {}, false},
		{"another function of the validator, called by one", func(p *s2nParts) {
			p.set(slotSpare, says(textValidator), []byte{0xc3})
			p.set(slotServerCertificate, says(textServerCertificate), calls(slotSpare), calls(slotJudge), []byte{0xc3})
		}, false},
		{"two that both call", func(p *s2nParts) {
			p.set(slotSpare, says(textValidator), []byte{0xc3})
			p.set(slotServerCertificate, says(textServerCertificate), calls(slotSpare), calls(slotJudge), []byte{0xc3})
			p.set(slotClientCertificate, says(textClientCertificate), calls(slotSpare), calls(slotJudge), []byte{0xc3})
		}, true},
		{"none that both call", func(p *s2nParts) { p.set(slotClientCertificate, says(textClientCertificate), []byte{0xc3}) }, true},
		{"the judge has also texts of another file", func(p *s2nParts) {
			p.set(slotJudge, says(textValidator), says(textServerCertificate), []byte{0xc3})
		}, true},
		{"key logs differ", func(p *s2nParts) { p.set(slotKeyLog12, says(textKeyLog), gives(0x60), []byte{0xc3}) }, true},
		{"one key log", func(p *s2nParts) { p.set(slotKeyLog12, []byte{0xc3}) }, true},
		{"no ClientHello has it", func(p *s2nParts) { p.set(slotClientHello, says(textClientHello), gives(0x70), []byte{0xc3}) }, true},
		{"the role is not compared", func(p *s2nParts) { p.set(slotSetServerName, []byte{0xc3}) }, true},
		{"the role is compared with the server's", func(p *s2nParts) { p.set(slotSetServerName, []byte{0x83, 0x7f, 0x5c, 0, 0xc3}) }, true},
		{"two things are compared", func(p *s2nParts) { p.set(slotSetServerName, []byte{0x83, 0x7f, 0x5c, 1, 0x83, 0x7f, 0x60, 1, 0xc3}) }, true},
		{"no configuration", func(p *s2nParts) { p.set(slotGetConfig, []byte{0xc3}) }, true},
		{"no switch", func(p *s2nParts) { p.set(slotDisable, []byte{0xc3}) }, true},
		{"a switch behind what may have changed the register", func(p *s2nParts) { p.set(slotDisable, []byte{0xf3, 0x48, 0xab, 0x80, 0x4f, 1, 1, 0xc3}) }, true},
		{"no place for a judge of the program's own", func(p *s2nParts) { p.set(slotSetCallback, []byte{0xc3}) }, true},
		{"no index", func(p *s2nParts) { p.index = nil }, true},
		{"an index out of order", func(p *s2nParts) { copy(p.index[12:16], p.index[20:24]) }, true},
		{"an index that says that it is longer", func(p *s2nParts) { p.index[8]++ }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newS2NParts()
			c.change(p)
			file := p.file(t)
			var got contents
			err := got.s2n(file, exported(file))
			if c.refused {
				if err == nil || !got.empty() {
					t.Errorf("%+v, %v", got, err)
				}
				return
			}
			if err != nil || got.name != want.name || !slices.Equal(got.s2nPlaces, want.s2nPlaces) || got.s2nOffsets != want.s2nOffsets {
				t.Errorf("%v\n%+v, want\n%+v", err, got, *want)
			}
		})
	}
}

func TestWhatIsCompressedIsNotUnpacked(t *testing.T) {
	for range windows(&elf.Section{SectionHeader: elf.SectionHeader{Flags: elf.SHF_COMPRESSED, Size: 1 << 40}}, 64) {
		t.Error("it was read")
	}
}

// FuzzS2N: whatever a file has, what is found in it is plausible, and inside of it.
func FuzzS2N(f *testing.F) {
	p := newS2NParts()
	f.Add(p.text, p.constants, p.index)
	f.Fuzz(func(t *testing.T, text, constants, index []byte) {
		const room = s2nConstants - s2nText
		p := &s2nParts{text[:min(len(text), room)], constants[:min(len(constants), s2nIndex-s2nConstants)], index}
		file := p.file(t)
		var c contents
		if err := c.s2n(file, exported(file)); err != nil {
			if !c.empty() {
				t.Errorf("%v, and %+v", err, c)
			}
			return
		}
		for _, x := range c.s2nPlaces {
			if _, ok := offsetOf(file, x.offset); !ok {
				t.Errorf("%+v", x)
			}
		}
		o := c.s2nOffsets
		if len(c.s2nPlaces) != 2 || min(o.ClientRandom, o.Mode, o.Callback) < minField || o.OffBit == 0 || o.OffBit&(o.OffBit-1) != 0 || o.Config == 0 ||
			max(o.ClientRandom, o.Mode, o.Config, o.Off, o.Callback) >= maxField {
			t.Errorf("%+v", c)
		}
	})
}

func TestS2NConfigurationIsReadFromItsGetter(t *testing.T) {
	for _, c := range []struct {
		name, code string
		want       uint32
	}{
		{"aws-crt 1.33.2", "55 53 4889fb 4883ec08 4885ff 7471 4885f6 4889f5 7422 e815 5bffff 2e488b5308 4839d0 747d 48895500 31c0 4883c408 5b 5d c3", 8},
		{"two writes", "488b4708 488906 488b4f10 48890e c3", 0},
		{"what a call returned", "55 4889f5 e800000000 48894500 5d c3", 0},
		{"the argument itself", "48893e c3", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := s2nConfig(code(t, c.code)); got != c.want {
				t.Errorf("%#x, want %#x", got, c.want)
			}
		})
	}
}

func TestS2NSwitchIsReadFromItsSetter(t *testing.T) {
	for _, c := range []struct {
		name, code  string
		offset, bit uint32
	}{
		{"aws-crt 1.33.2: orb $1,1(%rbx)", "4885ff 53 4889fb 7417 488dbf40010000 e84ba30300 804b0101 31c0 5b c3", 1, 1},
		{"aws-crt 1.26.2: orb $0x80,(%rbx)", "4885ff 53 4889fb 7417 488dbf30010000 e87b750300 800b80 31c0 5b c3", 0, 0x80},
		{"two bits", "800f03 31c0 c3", 0, 0},
		{"two bytes", "800f01 804f0101 31c0 c3", 0, 0},
		{"none", "31c0 c3", 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if offset, bit := s2nOff(code(t, c.code)); offset != c.offset || bit != c.bit {
				t.Errorf("%#x %#x, want %#x %#x", offset, bit, c.offset, c.bit)
			}
		})
	}
}

func TestS2NCallbackIsReadFromItsSetter(t *testing.T) {
	if got := s2nCallback(code(t, "4885ff 7411 4889b718010000 48899720010000 31c0 c3")); got != 0x118 {
		t.Errorf("%#x", got)
	}
}

func TestWhatS2NTellsIsJudged(t *testing.T) {
	inspected := bpf.LibraryEvent{PID: 7, TID: 8, Strand: 8, Kind: bpf.LibraryInspected, Random: ours, Flags: bpf.LibraryRandomKnown | bpf.LibrarySession}
	unknown := begins(0, bpf.LibraryS2N)
	unknown.Flags &^= bpf.LibraryValueKnown
	for _, c := range []struct {
		name   string
		events []bpf.LibraryEvent
		want   flow.Verification
	}{
		{"it verifies", []bpf.LibraryEvent{begins(1, bpf.LibraryS2N)}, flow.VerificationOn},
		{"it does not", []bpf.LibraryEvent{begins(0, bpf.LibraryS2N)}, flow.VerificationOff},
		{"the program has a judge of its own", []bpf.LibraryEvent{begins(0, bpf.LibraryS2N|bpf.LibraryCallback)}, flow.VerificationUnknown},
		{"the program looks by itself", []bpf.LibraryEvent{begins(0, bpf.LibraryS2N), inspected}, flow.VerificationUnknown},
		{"its configuration could not be read", []bpf.LibraryEvent{unknown}, flow.VerificationUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := told(t, false, c.events...).Verification; got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

func TestAChainOfS2NIsToldWholeOrNotAtAll(t *testing.T) {
	handshake := begins(1, bpf.LibraryS2N)
	handshake.Length = 2
	leaf, issuer := certificate(true, "leaf"), certificate(false, "issuer")
	for _, c := range []struct {
		name   string
		events []bpf.LibraryEvent
		want   int
	}{
		{"whole", []bpf.LibraryEvent{leaf, issuer, handshake}, 2},
		{"the issuer was lost, or not read", []bpf.LibraryEvent{leaf, handshake}, 0},
		{"the leaf was lost", []bpf.LibraryEvent{issuer, handshake}, 0},
		{"all were lost", []bpf.LibraryEvent{handshake}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if l := told(t, false, c.events...); len(l.Chain) != c.want {
				t.Errorf("%d certificates, want %d", len(l.Chain), c.want)
			}
		})
	}
}
