package httpwire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/testenv"
)

// talk is one TCP connection of a capture: its segments in order of their sequence numbers, interleaved as captured.
type talk struct {
	name  string
	units []unit
	syn   bool
	next  [2]uint32
	known [2]bool
	held  [2]map[uint32][]byte
}

func readCapture(t *testing.T, name string) []*talk {
	t.Helper()
	talks, err := parseCapture(testenv.Shared(t, "corpus", name))
	if err != nil {
		t.Fatal(err)
	}
	return talks
}

// parseCapture is a plain reassembler, good enough for tests: no sequence wrap, gaps only at the end.
func parseCapture(file string) ([]*talk, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var source gopacket.PacketDataSource
	var link layers.LinkType
	if r, err := pcapgo.NewReader(bytes.NewReader(raw)); err == nil {
		source, link = r, r.LinkType()
	} else if r, err := pcapgo.NewNgReader(bytes.NewReader(raw), pcapgo.DefaultNgReaderOptions); err == nil {
		source, link = r, r.LinkType()
	} else {
		return nil, err
	}
	talks := map[string]*talk{}
	var order []*talk
	for {
		data, _, err := source.ReadPacketData()
		if err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
		p := gopacket.NewPacket(data, link, gopacket.DecodeOptions{NoCopy: true})
		tcp, _ := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
		if tcp == nil || p.NetworkLayer() == nil {
			continue
		}
		nf := p.NetworkLayer().NetworkFlow()
		src := fmt.Sprintf("%v:%d", nf.Src(), tcp.SrcPort)
		dst := fmt.Sprintf("%v:%d", nf.Dst(), tcp.DstPort)
		k, from := talks[src+" "+dst], session.Client
		if k == nil {
			k, from = talks[dst+" "+src], session.Server
		}
		if k == nil || tcp.SYN && !tcp.ACK {
			from = session.Client
			if tcp.SYN && tcp.ACK || !tcp.SYN && tcp.SrcPort < tcp.DstPort {
				from = session.Server
				src, dst = dst, src
			}
			k = &talk{name: src + " " + dst, syn: tcp.SYN}
			talks[k.name] = k
			order = append(order, k)
		}
		k.segment(from, tcp.Seq, tcp.SYN, tcp.Payload)
	}
	for _, k := range order {
		for from := range k.held {
			for len(k.held[from]) > 0 {
				seqs := []uint32{}
				for seq := range k.held[from] {
					seqs = append(seqs, seq)
				}
				k.units = append(k.units, unit{from: session.Side(from), gap: int(slices.Min(seqs) - k.next[from])})
				k.next[from] = slices.Min(seqs)
				k.segment(session.Side(from), k.next[from], false, nil)
			}
		}
	}
	return order, nil
}

func (k *talk) segment(from session.Side, seq uint32, syn bool, payload []byte) {
	if syn {
		seq++
	}
	if !k.known[from] {
		k.known[from], k.next[from], k.held[from] = true, seq, map[uint32][]byte{}
	}
	if len(payload) > 0 && int32(seq-k.next[from]) >= 0 {
		k.held[from][seq] = bytes.Clone(payload)
	} else if over := int(int32(k.next[from] - seq)); over > 0 && over < len(payload) {
		k.held[from][k.next[from]] = bytes.Clone(payload[over:])
	}
	for {
		data, ok := k.held[from][k.next[from]]
		if !ok {
			return
		}
		delete(k.held[from], k.next[from])
		k.next[from] += uint32(len(data))
		k.units = append(k.units, unit{from: from, data: string(data)})
	}
}

// TestCorpus reads whole captures and compares the requests of every connection, written as
// "METHOD asked path service operation by credentials".
func TestCorpus(t *testing.T) {
	const east = "dynamodb.us-east-1.amazonaws.com"
	json := func(host, op string, more string) string {
		return "POST " + host + " / dynamodb " + op + " target,scope signed" + more
	}
	for _, tt := range []struct {
		file string
		want [][]string
	}{
		{"dynamodb/http-boto3-use-ssl-false.pcap", [][]string{{json(east, "ListTables", ""), json(east, "PutItem", ""), json(east, "GetItem", ""), json(east, "Query", "")}}},
		{"dynamodb/awsaddr6-http-boto3-use-ssl-false.pcap", [][]string{{json(east, "ListTables", ""), json(east, "PutItem", ""), json(east, "GetItem", ""), json(east, "Query", "")}}},
		{"dynamodb/http-boto3-endpoint-url-sts-token.pcap", [][]string{{json(east, "DescribeTable", ",token"), json(east, "GetItem", ",token")}}},
		{"dynamodb/http-local-emulator.pcap", [][]string{{json("localhost:8000", "ListTables", ""), json("localhost:8000", "Scan", "")}}},
		{"dynamodb/http-js-v3.pcap", [][]string{{json(east, "ListTables", ""), json(east, "GetItem", ""), json(east, "Query", "")}}},
		{"dynamodb/http-go-v2.pcap", [][]string{{json(east, "ListTables", ""), json(east, "GetItem", "")}}},
		{"dynamodb/http-streams.pcap", [][]string{{"POST streams." + east + " / dynamodb-streams ListStreams target,scope signed"}}},
		{"dynamodb/http-forward-proxy-absolute-uri.pcap", [][]string{{json(east, "GetItem", "")}}},
		{"dynamodb/http-on-port-443.pcap", [][]string{{json(east+":443", "PutItem", ""), json(east+":443", "GetItem", "")}}},
		{"dynamodb/http-odd-port.pcap", [][]string{{json(east+":8888", "Scan", "")}}},
		{"dynamodb/http-large-batchwrite.pcap", [][]string{{json(east, "BatchWriteItem", ""), json(east, "GetItem", "")}}},
		{"dynamodb/http-privatelink-name.pcap", [][]string{{json("vpce-0d5107b23891af2b9-sow3v4uq.dynamodb.us-east-1.vpce.amazonaws.com", "GetItem", "")}}},
		{"dynamodb/http-rpcv2-cbor.pcap", [][]string{{
			"POST " + east + " /service/DynamoDB_20120810/operation/ListTables dynamodb ListTables path,scope signed",
			"POST " + east + " /service/DynamoDB_20120810/operation/GetItem dynamodb GetItem path,scope signed"}}},
		{"dynamodb/http-not-dynamodb.pcap", [][]string{{"POST kinesis.us-east-1.amazonaws.com /    signed"}, {"GET s3.us-east-1.amazonaws.com /    signed"}}},
		{"dynamodb/midstream-http.pcap", [][]string{{json(east, "PutItem", ""), json(east, "GetItem", ""), json(east, "Query", "")}}},
		{"dynamodb/connect-proxy-password.pcap", [][]string{{"CONNECT " + east + ":443     proxy:Basic"}}},
		{"dynamodb/connect-passthrough.pcap", [][]string{{"CONNECT " + east + ":443"}}},
		{"dynamodb/connect-mitmproxy-tls12.pcap", nil},
		{"dynamodb/connect-mitmproxy-noverify.pcap", nil},
		{"dynamodb/connect-mitmproxy-refused.pcap", nil},
		{"dynamodb/connect-mitmproxy-trusted.pcap", nil},
		{"tls/ndpi-http_connect.pcap", nil},
		{"tls/sv-bug-2769-issue_no_icmp.pcap", nil},
		{"tls/arkime-https-connect.pcap", nil},
		{"tls/zeek-http-connect-with-header.pcap", nil},
		{"tls/sv-http-connect-tls.pcap", nil},
		{"tls/pt-healthcheck.pcap", [][]string{{"GET " + east + " /"}}},
		{"tls/pt-large-body-second-request.pcap", [][]string{{json(east, "BatchWriteItem", ""), json(east, "GetItem", "")}}},
		{"tls/pt-local8000-lowercase.pcap", [][]string{{json("localhost:8000", "Scan", "")}}},
		{"tls/pt-pipelined.pcap", [][]string{{json(east, "GetItem", ""), json(east, "PutItem", ""), json(east, "Query", "")}}},
		{"tls/pt-port80-keepalive.pcap", [][]string{{json(east, "GetItem", ""), json(east, "PutItem", ""), json(east, "Query", "")}}},
		{"tls/pt-proxy-absolute-uri.pcap", [][]string{{json("dynamodb.us-west-2.amazonaws.com", "GetItem", "")}}},
		{"tls/pt-server-side-only.pcap", [][]string{{}}},
		{"tls/pt-split5.pcap", [][]string{{json(east, "UpdateItem", "")}}},
		{"tls/pt-streams-target.pcap", [][]string{{"POST streams." + east + " / dynamodb-streams GetRecords target,scope signed"}}},
		{"tls/pt-trap-body-mentions.pcap", [][]string{{"POST wiki.example.internal /wiki/save"}}},
		{"tls/pt-trap-other-aws.pcap", [][]string{{"POST kinesis.us-east-1.amazonaws.com /    signed", "POST logs.us-east-1.amazonaws.com /    signed"}}},
		{"tls/pt-trap-s3-and-response.pcap", [][]string{{"GET my-dynamodb-backups.s3.amazonaws.com /dynamodb.us-east-1.amazonaws.com/export.json    signed"}}},
		{"tls/pt-trap-user-agent.pcap", [][]string{{"GET metrics.example.internal /"}}},
	} {
		t.Run(strings.TrimSuffix(filepath.Base(tt.file), ".pcap"), func(t *testing.T) {
			var got [][]string
			for _, k := range readCapture(t, tt.file) {
				if k.first() != Yes {
					continue
				}
				v := drive(Options{Midstream: !k.syn}, k.units, 0, false)
				lines := []string{}
				for _, r := range v.requests {
					lines = append(lines, line(&r))
				}
				got = append(got, lines)
				if err := errors.Join(v.conn.Err(session.Client), v.conn.Err(session.Server)); err != nil {
					t.Errorf("%s: %v", k.name, err)
				}
				if other := drive(Options{Midstream: !k.syn}, k.units, 0, true); other.summary() != v.summary() {
					t.Errorf("%s: skipping bodies changes the result:\n%s\n%s", k.name, v.summary(), other.summary())
				}
				if k.syn {
					if other := drive(Options{}, k.units, 3, false); other.summary() != v.summary() {
						t.Errorf("%s: pieces of 3 change the result:\n%s\n%s", k.name, v.summary(), other.summary())
					}
				}
				for i, r := range v.requests {
					if r.Form != AuthorityForm {
						continue
					}
					if !v.conn.Tunnel() || i != len(v.requests)-1 || !v.responses[len(v.responses)-1].ToConnect {
						t.Errorf("%s: the tunnel did not open: %s", k.name, v.summary())
					}
					if b := v.tunnel[0]; !bytes.HasPrefix(b, []byte("\x16\x03")) && !strings.Contains(tt.file, "zeek") {
						t.Errorf("%s: the tunnel begins %.10q", k.name, b)
					}
				}
				t.Logf("%s: %q %d responses, tunnel %d/%d", k.name, lines, len(v.responses), len(v.tunnel[0]), len(v.tunnel[1]))
			}
			if tt.want != nil && !slices.EqualFunc(got, tt.want, slices.Equal) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

// first is Yes if Sniff says so of the first bytes of either side, or the flow's beginning is not in the capture.
func (k *talk) first() Answer {
	for from := range session.Side(2) {
		var data string
		for _, u := range k.units {
			if u.from == from && Sniff([]byte(data), from) == NeedMore {
				data += u.data
			}
		}
		if Sniff([]byte(data), from) == Yes || !k.syn {
			return Yes
		}
	}
	return No
}

// TestCorpusTLSIsNotHTTP: no connection of the corpus that begins with a TLS handshake is taken for HTTP, whatever its bytes say.
func TestCorpusTLSIsNotHTTP(t *testing.T) {
	testenv.Shared(t, "corpus")
	flows := 0
	for _, file := range testenv.SharedFiles(t, "corpus", "*", "*.pcap") {
		if stat, err := os.Stat(file); err != nil || stat.Size() > 1<<20 {
			continue
		}
		talks, err := parseCapture(file)
		if err != nil {
			continue // a damaged capture, which is another package's test
		}
		name := filepath.Base(file)
		for _, k := range talks {
			i := slices.IndexFunc(k.units, func(u unit) bool { return u.from == session.Client && u.gap == 0 })
			if i < 0 || !k.syn || !strings.HasPrefix(k.units[i].data, "\x16\x03") {
				continue
			}
			flows++
			if answer := Sniff([]byte(k.units[i].data), session.Client); answer != No {
				t.Errorf("%s %s: sniffed as %d", name, k.name, answer)
			}
			if v := drive(Options{}, k.units, 0, false); len(v.requests) != 0 {
				t.Errorf("%s %s: %q", name, k.name, v.asks())
			}
		}
	}
	if flows == 0 {
		t.Error("no connection that begins with a TLS handshake")
	}
	t.Logf("%d flows", flows)
}

func line(r *Request) string {
	operation, service, by := r.DynamoDB()
	var credentials []string
	if r.Credentials.Signature {
		credentials = append(credentials, "signed")
	}
	if r.Credentials.SessionToken {
		credentials = append(credentials, "token")
	}
	if r.Credentials.Proxy {
		credentials = append(credentials, "proxy:"+r.Credentials.ProxyScheme)
	}
	return strings.TrimSpace(strings.Join([]string{r.Method, r.Asked(), r.Path, service, operation, strings.Join(by, ","), strings.Join(credentials, ",")}, " "))
}

func TestCorpusServerSideOnly(t *testing.T) {
	for _, k := range readCapture(t, "tls/pt-server-side-only.pcap") {
		v := drive(Options{Midstream: !k.syn}, k.units, 0, false)
		for _, r := range v.responses {
			if !r.DynamoDB() {
				t.Errorf("%+v", r)
			}
		}
		if len(v.responses) != 2 {
			t.Errorf("%d responses, want 2", len(v.responses))
		}
	}
}
