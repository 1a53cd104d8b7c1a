package tlswire

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/testenv"
)

// indexRow is a row of the corpus' INDEX.tsv by column name; "-" is a value that is not known or does not apply.
type indexRow map[string]string

func readIndex(tb testing.TB, path string) []indexRow {
	tb.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	names := strings.Split(lines[0], "\t")
	var rows []indexRow
	for _, l := range lines[1:] {
		row := indexRow{}
		for i, v := range strings.Split(l, "\t") {
			row[names[i]] = v
		}
		rows = append(rows, row)
	}
	return rows
}

// indexVersion prints a version as the index does.
func indexVersion(v session.Version) string {
	switch {
	case v == 0:
		return "-"
	case v>>8 == 0x7f:
		return "TLSv1.3-draft" + strconv.Itoa(int(v&0xff))
	case v>>8 == 0xfb:
		return "TLSv1.3-fb" + strconv.Itoa(int(v&0xff))
	case v == session.SSL20:
		return "SSLv2"
	case v == session.SSL30:
		return "SSLv3"
	}
	return strings.Replace(v.String(), "TLS ", "TLSv", 1)
}

func indexTri(t session.Tri) string {
	if t == session.Yes {
		return "T"
	}
	return "F"
}

// beyondReader reports whether the test's reader cannot give the stream of a row: TLS does not begin it (an upgrade, a proxy, another
// protocol below), or the packets need more than a simple reassembly.
func beyondReader(row indexRow) bool {
	for _, p := range []string{
		"starttls", "mysql", "pgsql", "psql", "ldap", "openvpn", "socks", "connect", "haproxy", "bug-2769", "backwards", "globus",
		"forticlient", "ack_payload", "ipv6-ext", "ipfrag", "frag-ip", "multiple_synack", "pppoe",
	} {
		if strings.Contains(row["file"], p) {
			return true
		}
	}
	return false
}

func TestCorpus(t *testing.T) {
	dir := testenv.Shared(t, "corpus", "tls")
	flows := map[string][]*tcpFlow{}
	used := map[*tcpFlow]bool{}
	checked, skipped := 0, 0
	for _, row := range readIndex(t, filepath.Join(dir, "INDEX.tsv")) {
		if row["kind"] != "tls" {
			continue
		}
		file := row["file"]
		if _, ok := flows[file]; !ok {
			fl, err := readFlows(filepath.Join(dir, file))
			if err != nil {
				t.Logf("%s: %v", file, err)
			}
			flows[file] = fl
		}
		var flow *tcpFlow
		for _, f := range flows[file] {
			if !used[f] && f.client.Addr().String() == row["client"] && strconv.Itoa(int(f.client.Port())) == row["cport"] &&
				f.server.Addr().String() == row["server"] && strconv.Itoa(int(f.server.Port())) == row["sport"] {
				flow = f
				break
			}
		}
		if flow == nil {
			t.Logf("%s %s: flow not found by the test's reader", file, row["n"])
			skipped++
			continue
		}
		used[flow] = true
		if beyondReader(row) {
			skipped++
			continue
		}
		c := New(Options{})
		if err := flow.feed(c); err != nil && !c.Facts().Seen() {
			t.Errorf("%s %s: %v", file, row["n"], err)
			continue
		}
		checked++
		f := c.Facts()
		issuer := "F"
		if len(f.Chain.Certificates) > 0 {
			issuer = "T"
		}
		wantIssuer := "F"
		if row["issuer"] != "-" {
			wantIssuer = "T"
		}
		hello := f.ClientHello
		sni := hello.SNI
		if sni == "" {
			sni = "-"
		}
		got := map[string]string{
			"version": indexVersion(f.Version), "cipher": f.CipherName(), "sni": sni, "resumed": indexTri(f.Resumed),
			"established": indexTri(f.Established), "offered_max": indexVersion(f.OfferedMax), "leaf": issuer,
			"hrr": indexTri(session.TriOf(f.HelloRetryRequest != nil)), "alpn": f.ALPN,
			"sentinel": [...]string{"-", "DOWNGRD01", "DOWNGRD00"}[f.ServerHello.Sentinel],
		}
		if got["cipher"] == "" {
			got["cipher"] = "-"
		}
		if got["alpn"] == "" {
			got["alpn"] = "-"
		}
		if len(f.Chain.Certificates) > 0 && row["ncerts"] != "-" {
			got["ncerts"] = strconv.Itoa(len(f.Chain.Certificates))
		}
		if row["fallback_scsv"] != "-" {
			got["fallback_scsv"] = indexTri(session.TriOf(hello.FallbackSCSV))
		}
		if row["psk_offered"] != "-" {
			got["psk_offered"] = indexTri(session.TriOf(hello.PSKOffered))
		}
		if row["ech"] != "-" {
			got["ech"] = indexTri(session.TriOf(hello.ECH))
		}
		for k, g := range got {
			w := row[k]
			if k == "leaf" {
				w = wantIssuer
				if g == "T" && len(f.Chain.Certificates[0]) < 32 {
					g = "F" // eight bytes are no certificate
				}
			}
			switch {
			case w == "-" && (k == "established" || k == "resumed" || k == "hrr"), k == "cipher" && w == "Unknown":
				continue
			case k == "sni" && w == "-" && hello.State == Partial:
				continue // the index's tool reads no hello that is not whole; what stands before the hole is there all the same
			case w == "-" && strings.Contains(file, "4in6"), k == "leaf" && strings.Contains(file, "tls_port_80"):
				continue // nor a message whose record is not whole
			}
			if g != w {
				t.Errorf("%s %s (%s): %s = %q, index says %q [%s]", file, row["n"], row["cport"], k, g, w, row["truth"])
			}
		}
	}
	if checked < 600 {
		t.Errorf("only %d sessions were checked", checked)
	}
	t.Logf("%d sessions checked, %d skipped", checked, skipped)
}

func readKeys(t *testing.T, k *KeyLog, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := k.Read(f); err != nil {
		t.Fatal(err)
	}
}

func TestDecryptedCorpus(t *testing.T) {
	dir := testenv.Shared(t, "corpus", "dynamodb")
	checked := 0
	logs, _ := filepath.Glob(filepath.Join(dir, "keys", "*.keylog"))
	for _, log := range logs {
		name := strings.TrimSuffix(filepath.Base(log), ".keylog")
		flows, err := readFlows(filepath.Join(dir, name+".pcap"))
		if err != nil {
			continue
		}
		keys := NewKeyLog(0)
		readKeys(t, keys, log)
		for _, fl := range flows {
			c := New(Options{Secrets: keys})
			fl.feed(c)
			f := c.Facts()
			if f.Version != session.TLS13 || f.Resumed == session.Yes {
				continue
			}
			if _, ok := keys.Lookup(f.ClientHello.Random); !ok {
				continue
			}
			checked++
			if !f.Chain.Decrypted || f.Chain.State != Complete || len(f.Chain.Certificates) == 0 || f.Decryption.State[session.Server] != DecryptFinished {
				t.Errorf("%s %v: chain %v, decryption %v", name, fl.client, f.Chain.State, f.Decryption)
				continue
			}
			if err := verifyProof(f); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	for file, log := range map[string]string{"ws-tls13-rfc8446.pcap": "ws-tls13-rfc8446.keys", "dw-tls13-forged-dn.pcap": "dw-tls13-forged-dn.keys"} {
		dir := testenv.Shared(t, "corpus", "tls")
		keys := NewKeyLog(0)
		readKeys(t, keys, filepath.Join(dir, log))
		flows, err := readFlows(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		for i, fl := range flows {
			c := New(Options{Secrets: keys})
			fl.feed(c)
			f := c.Facts()
			checked++
			if f.Decryption.State[session.Server] != DecryptFinished || f.Chain.Decrypted == (f.Resumed == session.Yes) {
				t.Errorf("%s %d: %v, chain %v", file, i, f.Decryption, f.Chain.State)
			}
		}
	}
	if checked < 20 {
		t.Errorf("only %d sessions were decrypted", checked)
	}
}
