package pcapfile

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/pcapgo"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

// oracle reads a file by gopacket, up to the first error.
func oracle(t *testing.T, file []byte) (packets []Packet, err error) {
	t.Helper()
	if compression(file) == "gzip" {
		z, err := gzip.NewReader(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		if file, err = io.ReadAll(z); err != nil {
			t.Fatal(err)
		}
	}
	var r interface {
		ReadPacketData() ([]byte, gopacket.CaptureInfo, error)
	}
	known, ng := isMagic(file)
	switch {
	case !known:
		return nil, io.EOF
	case ng:
		r, err = pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.NgReaderOptions{WantMixedLinkType: true})
	default:
		r, err = pcapgo.NewReader(bytes.NewReader(file))
	}
	for err == nil {
		var data []byte
		var ci gopacket.CaptureInfo
		if data, ci, err = r.ReadPacketData(); err != nil {
			break
		}
		p := Packet{Time: ci.Timestamp.UnixNano(), Data: data, Length: ci.Length, Interface: ci.InterfaceIndex}
		packets = append(packets, p)
	}
	if err == io.EOF {
		err = nil
	}
	return packets, err
}

// agree compares with the oracle; a packet that the oracle did not reach because it gave up is not compared.
func agree(t *testing.T, g got, want []Packet, err error) {
	t.Helper()
	if len(g.packets) < len(want) || err == nil && len(g.packets) != len(want) {
		t.Errorf("%d packets, gopacket has %d (%v); %v", len(g.packets), len(want), err, g.errs)
		return
	}
	for i, w := range want {
		p := g.packets[i]
		if p.TimeKnown && p.Time != w.Time || p.Length != max(w.Length, len(w.Data)) || !bytes.Equal(p.Data, w.Data) || p.Interface != w.Interface {
			t.Fatalf("packet %d: time %d, length %d of %d, interface %d; gopacket says %d, %d of %d, %d", i+1,
				p.Time, len(p.Data), p.Length, p.Interface, w.Time, len(w.Data), w.Length, w.Interface)
		}
	}
}

func TestSamplesAgreeWithGopacket(t *testing.T) {
	for name, file := range samples() {
		if name == "pcap modified" || name == "pcap IXIA" || name == "pcap joined" || name == "pcapng" {
			continue // not known to it; and it guesses a time for simple packets
		}
		t.Run(name, func(t *testing.T) {
			want, err := oracle(t, file)
			agree(t, readBytes(t, file, Options{}), want, err)
		})
	}
}

func TestCorpusAgreesWithGopacket(t *testing.T) {
	corpus := testenv.Shared(t, "corpus")
	// A count in the index is tshark's.
	index := map[string]int{}
	if f, err := os.Open(filepath.Join(corpus, "tls", "INDEX.tsv")); err == nil {
		defer f.Close()
		count := regexp.MustCompile(`\[(\d+) packets`)
		for s := bufio.NewScanner(f); s.Scan(); {
			name, rest, _ := strings.Cut(s.Text(), "\t")
			if m := count.FindStringSubmatch(rest); m != nil {
				index[name], _ = strconv.Atoi(m[1])
			}
		}
	}
	files, indexed, refused := 0, 0, 0
	filepath.WalkDir(corpus, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if !strings.Contains(d.Name(), ".pcap") {
			return nil
		}
		files++
		file, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		g := readAll(t, []string{path}, Options{})
		want, err := oracle(t, file)
		if err != nil {
			refused++
			t.Logf("%s: gopacket gives up: %v (we: %v)", d.Name(), err, g.errs)
		} else if len(g.errs) > 0 {
			t.Errorf("%v", g.errs)
		}
		t.Run(d.Name(), func(t *testing.T) { agree(t, g, want, err) })
		if n, ok := index[d.Name()]; ok {
			indexed++
			if n != len(g.packets) {
				t.Errorf("%s: %d packets, tshark has %d (%v)", d.Name(), len(g.packets), n, g.errs)
			}
		}
		return nil
	})
	if files < 300 || indexed < 100 {
		t.Errorf("only %d files, %d of them with a count", files, indexed)
	}
	t.Logf("%d files, %d with tshark's count, %d that gopacket does not read to the end", files, indexed, refused)
}
