package trust

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/csv"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

// handshake is what one TLS session in clear shows of the server's identity.
type handshake struct {
	file                 string
	at                   time.Time // of the first packet
	sni                  string
	clientRandom, random []byte
	version, cipher      uint16
	chain                [][]byte
	keyExchange          []byte // body of the ServerKeyExchange
	clientHello          bool
}

// handshakes reads a capture file with gopacket and the simplest reassembly that does: by sequence number, the first copy wins. It is the
// test's own reader, independent of the analyzer's.
func handshakes(t testing.TB, path string) []handshake {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(path, ".gz") {
		z, err := gzip.NewReader(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		if raw, err = io.ReadAll(z); err != nil {
			t.Fatal(err)
		}
	}
	var source *gopacket.PacketSource
	if r, err := pcapgo.NewReader(bytes.NewReader(raw)); err == nil {
		source = gopacket.NewPacketSource(r, r.LinkType())
	} else if r, err := pcapgo.NewNgReader(bytes.NewReader(raw), pcapgo.DefaultNgReaderOptions); err == nil {
		source = gopacket.NewPacketSource(r, r.LinkType())
	} else {
		t.Logf("%s: not read: %v", filepath.Base(path), err)
		return nil
	}
	type direction struct {
		net, tcp gopacket.Flow
	}
	type stream struct {
		segments map[uint32][]byte
		start    uint32
		syn      bool
		at       time.Time
	}
	streams := make(map[direction]*stream)
	var order []direction
	for packet := range source.Packets() {
		tcp, ok := packet.TransportLayer().(*layers.TCP)
		if !ok || packet.NetworkLayer() == nil {
			continue
		}
		d := direction{packet.NetworkLayer().NetworkFlow(), tcp.TransportFlow()}
		s := streams[d]
		if s == nil {
			s = &stream{segments: make(map[uint32][]byte), start: tcp.Seq, at: packet.Metadata().Timestamp}
			streams[d] = s
			order = append(order, d)
		}
		seq := tcp.Seq
		if tcp.SYN {
			if len(s.segments) == 0 { // a server may answer several times before one holds
				s.start, s.syn = seq+1, true
			}
			seq++
		} else if !s.syn && int32(seq-s.start) < 0 {
			s.start = seq
		}
		if len(tcp.Payload) > len(s.segments[seq]) {
			s.segments[seq] = tcp.Payload
		}
	}
	joined := func(s *stream) []byte {
		if s == nil {
			return nil
		}
		offsets := make([]int, 0, len(s.segments))
		byOffset := make(map[int][]byte)
		for seq, b := range s.segments {
			off := int(int32(seq - s.start))
			offsets, byOffset[off] = append(offsets, off), b
		}
		sort.Ints(offsets)
		var out []byte
		for _, off := range offsets {
			if off < 0 || off > len(out) {
				break
			}
			if b := byOffset[off]; off+len(b) > len(out) {
				out = append(out, b[len(out)-off:]...)
			}
		}
		return out
	}
	var found []handshake
	for _, d := range order {
		h := handshake{file: filepath.Base(path), at: streams[d].at}
		readServer(joined(streams[d]), &h)
		if h.chain == nil {
			continue
		}
		readClient(joined(streams[direction{d.net.Reverse(), d.tcp.Reverse()}]), &h)
		found = append(found, h)
	}
	return found
}

// messages gives the handshake messages of a stream up to the first that is encrypted.
func messages(b []byte) (out []struct {
	kind byte
	body []byte
}) {
	if bytes.HasPrefix(b, []byte("HTTP/1")) || bytes.HasPrefix(b, []byte("CONNECT ")) {
		if _, rest, ok := bytes.Cut(b, []byte("\r\n\r\n")); ok {
			b = rest
		}
	}
	var plain []byte
	for len(b) >= 5 && b[0] == 22 && b[1] == 3 {
		n := int(binary.BigEndian.Uint16(b[3:]))
		if len(b) < 5+n {
			break
		}
		plain = append(plain, b[5:5+n]...)
		b = b[5+n:]
	}
	for len(plain) >= 4 {
		n := int(plain[1])<<16 | int(plain[2])<<8 | int(plain[3])
		if len(plain) < 4+n {
			break
		}
		out = append(out, struct {
			kind byte
			body []byte
		}{plain[0], plain[4 : 4+n]})
		plain = plain[4+n:]
	}
	return out
}

func readServer(b []byte, h *handshake) {
	for _, m := range messages(b) {
		switch m.kind {
		case 2:
			if len(m.body) < 38 {
				return
			}
			h.version = binary.BigEndian.Uint16(m.body)
			h.random = m.body[2:34]
			if at := 35 + int(m.body[34]); len(m.body) >= at+2 {
				h.cipher = binary.BigEndian.Uint16(m.body[at:])
			}
		case 11:
			if h.version == 0 || len(m.body) < 3 {
				return
			}
			for rest := m.body[3:]; len(rest) >= 3; {
				n := int(rest[0])<<16 | int(rest[1])<<8 | int(rest[2])
				if len(rest) < 3+n {
					break
				}
				h.chain = append(h.chain, rest[3:3+n])
				rest = rest[3+n:]
			}
		case 12:
			h.keyExchange = m.body
		}
	}
}

func readClient(b []byte, h *handshake) {
	for _, m := range messages(b) {
		if m.kind != 1 || len(m.body) < 35 {
			continue
		}
		h.clientHello, h.clientRandom = true, m.body[2:34]
		rest := m.body[34:]
		skip := func(width int) bool {
			if len(rest) < width {
				return false
			}
			n := 0
			for _, c := range rest[:width] {
				n = n<<8 | int(c)
			}
			if len(rest) < width+n {
				return false
			}
			rest = rest[width+n:]
			return true
		}
		if !skip(1) || !skip(2) || !skip(1) || len(rest) < 2 {
			return
		}
		for rest = rest[2:]; len(rest) >= 4; {
			kind, body := binary.BigEndian.Uint16(rest), rest[4:]
			n := int(binary.BigEndian.Uint16(rest[2:]))
			if len(body) < n {
				return
			}
			if kind == 0 && n > 5 {
				h.sni = string(body[5:n])
			}
			rest = body[n:]
		}
		return
	}
}

// signedParams splits a ServerKeyExchange into what is signed, the scheme (TLS 1.2) and the signature; ok only if it fits to the last byte.
func (h *handshake) signedParams() (params []byte, scheme uint16, signature []byte, ok bool) {
	b := h.keyExchange
	n := 0
	switch {
	case len(b) > 4 && b[0] == 3: // named curve
		n = 4 + int(b[3])
	default:
		for range 3 { // p, g, Ys
			if len(b) < n+2 {
				return nil, 0, nil, false
			}
			n += 2 + int(binary.BigEndian.Uint16(b[n:]))
		}
	}
	if len(b) < n {
		return nil, 0, nil, false
	}
	params, rest := b[:n], b[n:]
	if h.version == 0x0303 {
		if len(rest) < 2 {
			return nil, 0, nil, false
		}
		scheme, rest = binary.BigEndian.Uint16(rest), rest[2:]
	}
	if len(rest) < 2 || len(rest) != 2+int(binary.BigEndian.Uint16(rest)) {
		return nil, 0, nil, false
	}
	return params, scheme, rest[2:], true
}

// index reads INDEX.tsv of the TLS corpus.
func index(t testing.TB) []map[string]string {
	t.Helper()
	f, err := os.Open(testenv.Shared(t, "corpus", "tls", "INDEX.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.Comma, r.LazyQuotes, r.FieldsPerRecord = '\t', true, -1
	rows, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var out []map[string]string
	for _, row := range rows[1:] {
		m := make(map[string]string)
		for i, name := range rows[0] {
			if i < len(row) {
				m[name] = row[i]
			}
		}
		out = append(out, m)
	}
	return out
}

// indexHandshakes are the handshakes of every capture of the TLS corpus, small ones only in short mode. They are read once.
func indexHandshakes(t testing.TB) []handshake {
	t.Helper()
	folder := testenv.Shared(t, "corpus", "tls")
	readOnce.Do(func() {
		entries, err := os.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil || !strings.Contains(e.Name(), ".pcap") || testing.Short() && info.Size() > 100_000 {
				continue
			}
			allHandshakes = append(allHandshakes, handshakes(t, filepath.Join(folder, e.Name()))...)
		}
	})
	return allHandshakes
}

var (
	readOnce      sync.Once
	allHandshakes []handshake
)
