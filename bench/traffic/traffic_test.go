package traffic

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/dynwatch/dynwatch/analyze"
	"github.com/dynwatch/dynwatch/analyze/endpoint"
	"github.com/dynwatch/dynwatch/analyze/rules"
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/analyze/trust"
	"github.com/dynwatch/dynwatch/capture"
	"github.com/dynwatch/dynwatch/internal/flow"
)

var small = []struct {
	name string
	o    Options
	// least and most are the average length of a packet.
	least, most float64
}{
	{"mixed", Options{Kind: Mixed, Size: 10e6, Flows: 2000, Seed: 1}, 400, 600},
	{"dense", Options{Kind: Dense, Size: 5e6, Seed: 1}, 340, 370},
}

// generate makes a capture.
func generate(t *testing.T, o Options) ([]byte, *Manifest) {
	t.Helper()
	var b bytes.Buffer
	m, err := Generate(&b, o)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), m
}

type made struct {
	file []byte
	m    *Manifest
}

var captures = make(map[Options]made)

// generated makes a capture once for all tests of a run, which share it.
func generated(t *testing.T, o Options) ([]byte, *Manifest) {
	t.Helper()
	c, ok := captures[o]
	if !ok {
		c.file, c.m = generate(t, o)
		captures[o] = c
	}
	return c.file, c.m
}

// gopacket reads the file and knows nothing of how it was made.
func TestManifestSaysWhatIsInTheFile(t *testing.T) {
	for _, test := range small {
		t.Run(test.name, func(t *testing.T) {
			file, m := generated(t, test.o)
			if m.Bytes != int64(len(file)) || m.Bytes < test.o.Size*9/10 || m.Bytes > test.o.Size*11/10 {
				t.Errorf("%d bytes, the manifest says %d, wanted were %d", len(file), m.Bytes, test.o.Size)
			}
			r, err := pcapgo.NewReader(bytes.NewReader(file))
			if err != nil {
				t.Fatal(err)
			}
			var packets, wire, https int64
			last := int64(0)
			flows, withPayload := make(map[[2]gopacket.Flow]bool), 0
			for {
				data, info, err := r.ReadPacketData()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				packets++
				wire += int64(len(data))
				if now := info.Timestamp.UnixNano(); now < last {
					t.Fatalf("packet %d goes back in time", packets)
				} else {
					last = now
				}
				p := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
				seg, ok := p.TransportLayer().(*layers.TCP)
				if !ok {
					continue
				}
				if seg.SrcPort == 443 || seg.DstPort == 443 {
					https++
				}
				checkSum(t, p, seg)
				k := [2]gopacket.Flow{p.NetworkLayer().NetworkFlow(), seg.TransportFlow()}
				if back := ([2]gopacket.Flow{k[0].Reverse(), k[1].Reverse()}); !flows[k] {
					if _, known := flows[back]; known {
						k = back
					}
				}
				had, known := flows[k]
				if !known || !had {
					flows[k] = len(seg.Payload) > 0
					if flows[k] {
						withPayload++
					}
				}
			}
			if packets != m.Packets || wire != m.Wire || https != m.TCPPort443 || len(flows) != m.Flows || withPayload != m.Payload {
				t.Errorf("%d packets, %d bytes, %d of port 443, %d flows, %d with payload; the manifest says %d, %d, %d, %d, %d",
					packets, wire, https, len(flows), withPayload, m.Packets, m.Wire, m.TCPPort443, m.Flows, m.Payload)
			}
			if average := float64(wire) / float64(packets); average < test.least || average > test.most {
				t.Errorf("packets have %.0f bytes on average, want %.0f to %.0f", average, test.least, test.most)
			}
			if m.Retransmitted == 0 || m.Reordered == 0 || m.Lost == 0 || m.MaxOpen < 20 {
				t.Errorf("too tame: %+v", m)
			}
			if test.o.Kind == Mixed && m.Sessions() != m.Flows/100 {
				t.Errorf("%d of %d flows are DynamoDB's, want one in a hundred", m.Sessions(), m.Flows)
			}
			if per := float64(packets) / float64(m.TLS); test.o.Kind == Dense && (per < 120 || per > 135) {
				t.Errorf("a TLS session in %.0f packets, want one in 127", per)
			}
		})
	}
}

// checkSum compares a segment's checksum with gopacket's.
func checkSum(t *testing.T, p gopacket.Packet, seg *layers.TCP) {
	t.Helper()
	want := seg.Checksum
	network, ok := p.NetworkLayer().(gopacket.SerializableLayer)
	if !ok {
		t.Fatal("a segment without IP")
	}
	if err := seg.SetNetworkLayerForChecksum(p.NetworkLayer()); err != nil {
		t.Fatal(err)
	}
	b := gopacket.NewSerializeBuffer()
	payload := gopacket.Payload(seg.Payload)
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{ComputeChecksums: true}, network, seg, payload); err != nil {
		t.Fatal(err)
	}
	if seg.Checksum != want {
		t.Fatalf("checksum %04x, want %04x: %v", want, seg.Checksum, seg)
	}
}

// The verdicts that the manifest promises are dynwatch's.
func TestVerdictsAreThoseOfTheManifest(t *testing.T) {
	for _, test := range small {
		t.Run(test.name, func(t *testing.T) {
			file, m := generated(t, test.o)
			cas, err := trust.ParseCAFile("ca.pem", []byte(m.CA))
			if err != nil {
				t.Fatal(err)
			}
			store, err := trust.NewStore(trust.Policy{AllowCA: cas})
			if err != nil {
				t.Fatal(err)
			}
			set, err := endpoint.NewSet(endpoint.Embedded(), nil)
			if err != nil {
				t.Fatal(err)
			}
			src, err := capture.OpenFile(capture.FileOptions{Names: []string{"-"}, Stdin: bytes.NewReader(file)})
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			verdicts, tls := make(map[string]int), 0
			a := analyze.New(analyze.Options{
				Source: "file", All: true, Endpoints: set, Trust: store, Policy: &rules.Policy{MinVersion: session.TLS12, OwnIssuers: true},
				Emit: func(s *session.Session) {
					if s.TLS != nil {
						tls++
					}
					if s.Endpoint.Known() {
						verdicts[string(s.Verdict)]++
					}
				},
			})
			var seg flow.Segment
			for {
				if err := src.Next(&seg); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatal(err)
				}
				a.Segment(&seg)
			}
			a.Flush()
			if !maps.Equal(verdicts, m.Verdicts) || tls != m.TLS {
				t.Errorf("%d TLS sessions, verdicts %v; the manifest says %d, %v", tls, verdicts, m.TLS, m.Verdicts)
			}
		})
	}
}

// Keys and signatures are fresh each time, and a byte longer or shorter, and what fills a dense capture up depends on that a little.
func TestTheSameSeedMakesTheSameTraffic(t *testing.T) {
	for _, test := range small {
		t.Run(test.name, func(t *testing.T) {
			_, a := generated(t, test.o)
			_, b := generate(t, test.o)
			same := a.TLS == b.TLS && maps.Equal(a.DynamoDB, b.DynamoDB) && maps.Equal(a.Verdicts, b.Verdicts) && near(a.Bytes, b.Bytes) &&
				near(a.Packets, b.Packets)
			if test.o.Kind == Mixed {
				same = same && a.Flows == b.Flows && a.Payload == b.Payload
			}
			if !same {
				t.Errorf("%v\nand\n%v", a, b)
			}
		})
	}
}

// near reports whether two numbers differ by less than 2 %.
func near(a, b int64) bool { return 50*max(a-b, b-a) < a }

func TestEnsureMakesAFileOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	o := Options{Kind: Dense, Size: 5e6, Seed: 2}
	name, first, err := Ensure(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	_, second, err := Ensure(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(name)
	if err != nil || !os.SameFile(before, after) || before.Size() != first.Bytes || second.String() != first.String() {
		t.Errorf("made twice, or not what the manifest says: %v, %v, %v", first, second, err)
	}
	if ca, err := os.ReadFile(name + ".ca.pem"); err != nil || string(ca) != first.CA {
		t.Errorf("the authority's file: %v", err)
	}
}

func TestOptionsThatDoNotGoTogether(t *testing.T) {
	for name, o := range map[string]Options{
		"no kind":        {Size: 1e6, Flows: 1000},
		"too few flows":  {Kind: Mixed, Size: 1e6, Flows: 10},
		"too many flows": {Kind: Mixed, Size: 1e6, Flows: 5000},
		"too small":      {Kind: Dense, Size: 1e6},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "x.pcap")
			if m, err := Create(file, o); !errors.Is(err, ErrOptions) || m != nil {
				t.Errorf("%v, %v", m, err)
			}
			if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int64{"1": 1, "100kB": 100_000, "60MB": 60_000_000, "1GB": 1_000_000_000, "1000GB": 1_000_000_000_000} {
		if got, err := ParseSize(in); err != nil || got != want {
			t.Errorf("%s: %d, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "0", "-1MB", "MB", "1TB", "9999999999999GB", "1.5GB"} {
		if got, err := ParseSize(in); err == nil {
			t.Errorf("%q: %d, want an error", in, got)
		}
	}
}
