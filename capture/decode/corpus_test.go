package decode

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/testenv"
)

// corpusFiles lists the captures of the corpus, which is not part of this repository, or skips the test.
func corpusFiles(t testing.TB) []string {
	t.Helper()
	testenv.Shared(t, "corpus")
	files := testenv.SharedFiles(t, "corpus", "*", "*.pcap*")
	if len(files) == 0 {
		t.Fatal("a corpus without captures")
	}
	return files
}

// frame is one packet of a capture file.
type frame struct {
	link LinkType
	data []byte
	wire int
	ts   int64
}

// readCapture reads a file as far as it is whole. pcapng is gopacket's to read; its pcap reader refuses odd versions and lengths that the corpus
// has on purpose and keeps only eight bits of the link type, so pcap is read here.
func readCapture(t testing.TB, path string) []frame {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			t.Fatal(err)
		}
	}
	file, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if bytes.HasPrefix(file, []byte{0x0a, 0x0d, 0x0d, 0x0a}) {
		return readPcapng(t, file)
	}
	return readPcap(t, file)
}

func readPcapng(t testing.TB, file []byte) []frame {
	t.Helper()
	r, err := pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.NgReaderOptions{WantMixedLinkType: true, SkipUnknownVersion: true})
	if err != nil {
		t.Fatal(err)
	}
	var frames []frame
	for {
		data, ci, err := r.ReadPacketData()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Logf("pcapng ends after %d frames: %v", len(frames), err)
			}
			return frames
		}
		frames = append(frames, frame{LinkType(ci.AncillaryData[0].(layers.LinkType)), data, ci.Length, ci.Timestamp.UnixNano()})
	}
}

func readPcap(t testing.TB, file []byte) []frame {
	t.Helper()
	const fileHeader, recordHeader = 24, 16
	if len(file) < fileHeader {
		t.Fatalf("pcap of %d bytes", len(file))
	}
	var order binary.ByteOrder = binary.LittleEndian
	if file[0] == 0xa1 {
		order = binary.BigEndian
	}
	fraction := int64(1000)
	if order.Uint32(file) == 0xa1b23c4d {
		fraction = 1
	}
	link := order.Uint32(file[20:]) & 0xffff
	var frames []frame
	for file = file[fileHeader:]; len(file) >= recordHeader; {
		captured := int(order.Uint32(file[8:]))
		if captured > len(file)-recordHeader {
			t.Logf("pcap ends after %d frames, within a frame", len(frames))
			break
		}
		ts := int64(order.Uint32(file))*1e9 + int64(order.Uint32(file[4:]))*fraction
		frames = append(frames, frame{link, file[recordHeader : recordHeader+captured], int(order.Uint32(file[12:])), ts})
		file = file[recordHeader+captured:]
	}
	return frames
}

// A difference is a kind of frame about which the two decoders may disagree, and why.
type difference struct {
	reason string
	holds  func(r Result, seg *flow.Segment, v *gopacketView) bool
}

var knownDifferences = []difference{
	{"gopacket hands on IP fragments and never puts them together",
		func(r Result, seg *flow.Segment, v *gopacketView) bool {
			return r == Segment && !v.found && v.stack[len(v.stack)-1] == gopacket.LayerTypeFragment
		}},
	{"gopacket refuses the DNS message; that is for others to judge",
		func(r Result, seg *flow.Segment, v *gopacketView) bool {
			return r == Segment && seg.Proto == flow.UDP && v.found && v.err != nil && sameSegment(seg, &v.seg)
		}},
	{"the snap length cut the TCP options: gopacket refuses the header it has read",
		func(r Result, seg *flow.Segment, v *gopacketView) bool {
			return r == Segment && v.found && v.err != nil && v.err.Error() == "TCP data offset greater than packet length" && sameSegment(seg, &v.seg)
		}},
}

func TestCorpusAgreesWithGopacket(t *testing.T) {
	var total int
	met := make(map[string]int)
	for _, path := range corpusFiles(t) {
		d := New(Options{})
	frames:
		for i, f := range readCapture(t, path) {
			total++
			var seg flow.Segment
			r := d.Decode(f.link, f.data, f.wire, f.ts, &seg)
			v := gopacketDecode(f.link, f.data)
			if r == Segment && v.found && v.err == nil && sameSegment(&seg, &v.seg) || r != Segment && !v.found {
				continue
			}
			for _, k := range knownDifferences {
				if k.holds(r, &seg, &v) {
					met[k.reason]++
					continue frames
				}
			}
			t.Errorf("%s, frame %d, link type %d: %v %+v\ngopacket: found %v %+v, layers %v, error %v",
				filepath.Base(path), i+1, f.link, r, seg, v.found, v.seg, v.stack, v.err)
		}
	}
	t.Logf("%d frames; known differences: %v", total, met)
	for _, k := range knownDifferences {
		if met[k.reason] == 0 {
			t.Errorf("no frame differs because %s: delete the reason", k.reason)
		}
	}
}

// readIndex reads a tab-separated file with a header line.
func readIndex(t testing.TB, path string) []map[string]string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	names := strings.Split(lines[0], "\t")
	var rows []map[string]string
	for _, line := range lines[1:] {
		row := make(map[string]string)
		for i, v := range strings.Split(line, "\t") {
			row[names[i]] = v
		}
		rows = append(rows, row)
	}
	return rows
}

func TestCorpusFlowsAreAllSeen(t *testing.T) {
	dir := filepath.Dir(corpusFiles(t)[0])
	dir = filepath.Join(filepath.Dir(dir), "tls")
	seen := make(map[string]map[flow.FiveTuple]int)
	rows, encaps := 0, make(map[string]int)
	for _, row := range readIndex(t, filepath.Join(dir, "INDEX.tsv")) {
		if row["client"] == "-" || row["cport"] == "-" {
			continue // a file without sessions
		}
		if row["kind"] == "udp-tls" {
			continue // DTLS and QUIC are not handed on
		}
		file := row["file"]
		if seen[file] == nil {
			seen[file] = make(map[flow.FiveTuple]int)
			d := New(Options{})
			for _, f := range readCapture(t, filepath.Join(dir, file)) {
				var seg flow.Segment
				if d.Decode(f.link, f.data, f.wire, f.ts, &seg) == Segment {
					seen[file][seg.FiveTuple]++
				}
			}
		}
		want := flow.FiveTuple{SrcIP: parseIP(t, row["client"]), DstIP: parseIP(t, row["server"]), SrcPort: parsePort(t, row["cport"]),
			DstPort: parsePort(t, row["sport"]), Proto: flow.TCP}
		rows++
		encaps[row["encap"]]++
		if seen[file][want] == 0 && seen[file][want.Reverse()] == 0 {
			t.Errorf("%s: no segment of %s %v > %v", file, row["encap"], want.Src(), want.Dst())
		}
	}
	t.Logf("%d flows: %v", rows, encaps)
}

func parseIP(t testing.TB, s string) flow.IP {
	t.Helper()
	a, err := netip.ParseAddr(s)
	if err != nil {
		t.Fatal(err)
	}
	return flow.IPFrom(a)
}

func parsePort(t testing.TB, s string) uint16 {
	t.Helper()
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return uint16(n)
}

// The corpus has one session captured, sent and wrapped in many ways; what comes out of the wrapping is the same, segment by segment.
func TestWrappingsOfOneSessionDecodeAlike(t *testing.T) {
	session := func(file string) []flow.Segment {
		path := testenv.Shared(t, "corpus", "tls", file)
		d := New(Options{})
		var segs []flow.Segment
		for _, f := range readCapture(t, path) {
			var seg flow.Segment
			if d.Decode(f.link, f.data, f.wire, f.ts, &seg) == Segment {
				seg.FiveTuple, seg.Time, seg.Payload = flow.FiveTuple{}, 0, bytes.Clone(seg.Payload)
				segs = append(segs, seg)
			}
		}
		if n := d.PendingDatagrams(); n != 0 {
			t.Errorf("%s: %d datagrams incomplete", file, n)
		}
		return segs
	}
	want := session("mx-base.pcap")
	for _, file := range []string{
		"mx-badsum.pcap", "mx-fmt-be.pcap", "mx-fmt-nano.pcap", "mx-fmt-ng.pcapng", "mx-fmt-ng-2if.pcapng", "mx-fmt-ng-unknown.pcapng",
		"mx-ipfrag4.pcap", "mx-ipv6.pcap", "mx-ipv6-ext.pcap", "mx-link-null.pcap", "mx-link-raw.pcap", "mx-link-sll.pcap", "mx-link-sll2.pcap",
		"mx-link-vlan.pcap", "mx-snap96.pcap", "mx-time-back.pcap", "mx-tun-geneve.pcap", "mx-tun-gre.pcap", "mx-tun-ipip.pcap",
		"mx-tun-vxlan.pcap",
	} {
		t.Run(file, func(t *testing.T) {
			got := session(file)
			if len(got) != len(want) {
				t.Fatalf("%d segments, want %d", len(got), len(want))
			}
			for i := range got {
				if file == "mx-snap96.pcap" { // cut, so the lengths tell
					if !bytes.HasPrefix(want[i].Payload, got[i].Payload) {
						t.Errorf("segment %d: the captured part differs", i+1)
					}
					got[i].Payload = want[i].Payload
				}
				if !reflect.DeepEqual(got[i], want[i]) {
					t.Errorf("segment %d: got %+v, want %+v", i+1, got[i], want[i])
				}
			}
		})
	}
}
