package tlswire

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

func parseHello(msg []byte) *ClientHello {
	h := &ClientHello{raw: msg}
	h.parse(true)
	return h
}

// extensionsOf gives bodies to the extensions that JA4 looks into, and none to others.
func extensionsOf(types, schemes, versions []uint16, alpn ...string) [][]byte {
	l := [][]byte{}
	for _, typ := range types {
		switch typ {
		case extServerName:
			l = append(l, extSNI("example.test"))
		case extALPN:
			l = append(l, extALPNOf(alpn...))
		case extSignatureAlgorithms:
			l = append(l, ext(typ, vec(2, u16s(schemes...))))
		case extSupportedVersions:
			l = append(l, ext(typ, vec(1, u16s(versions...))))
		default:
			l = append(l, ext(typ, nil))
		}
	}
	return l
}

func TestJA4(t *testing.T) {
	suites := []uint16{0x3a3a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035}
	schemes := []uint16{0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601}
	grease := []uint16{0xdada, 0x0304, 0x0303}
	many := make([]uint16, 120)
	for i := range many {
		many[i] = uint16(0x4000 + i)
	}
	for _, test := range []struct {
		name  string
		hello []byte
		want  string
	}{
		// The example of the specification, and one printed with its raw form by a public tool.
		{"the specification's example", clientHelloMsg(0x0303, nil, suites, extensionsOf(
			[]uint16{0x1a1a, 0x001b, 0, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023, 0x0012, 0x002b, 0xff01, 0x000b, 0x000a, 0x0015, 0x2a2a},
			schemes, grease, "h2", "http/1.1")...), "t13d1516h2_8daaf6152771_e5627efa2ab1"},
		{"Chrome with ECH and the new ALPS", clientHelloMsg(0x0303, nil, suites, extensionsOf(
			[]uint16{0x0000, 0x0010, 0x0005, 0x000a, 0x000b, 0x000d, 0x0012, 0x0017, 0x001b, 0x0023, 0x002b, 0x002d, 0x0033, 0x44cd, 0xfe0d, 0xff01},
			schemes, grease, "h2")...), "t13d1516h2_8daaf6152771_d8a2da3f94cd"},
		{"no extensions", clientHelloMsg(0x0301, nil, []uint16{0x0035}), "t10i010000_" + ja4Hash([]byte("0035")) + "_000000000000"},
		{"no suites", clientHelloMsg(0x0300, nil, nil), "ts3i000000_000000000000_000000000000"},
		{"a SCSV counts", clientHelloMsg(0x0303, nil, []uint16{0x00ff, 0x0035, 0x5600}), "t12i030000_" + ja4Hash([]byte("0035,00ff,5600")) + "_000000000000"},
		{"no signature algorithms, no underscore", clientHelloMsg(0x0303, nil, []uint16{0x0035}, ext(0x17, nil)),
			"t12i010100_" + ja4Hash([]byte("0035")) + "_" + ja4Hash([]byte("0017"))},
		{"counts end at 99", clientHelloMsg(0x0303, nil, many, extensionsOf(many, nil, nil)...), "t12i999900_"},
		{"a draft is an unknown version", clientHelloMsg(0x0303, nil, []uint16{0x1301}, extensionsOf([]uint16{0x2b}, nil, []uint16{0x7f1c, 0x0304})...), "t00i010100_"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := parseHello(test.hello)
			if h.Err != nil && !strings.Contains(test.name, "spec") && !strings.Contains(test.name, "Chrome") {
				t.Fatal(h.Err)
			}
			if got := h.JA4(); !strings.HasPrefix(got, test.want) || len(got) != 36 {
				t.Errorf("JA4 %s, want %s", got, test.want)
			}
		})
	}
	for alpn, want := range map[string]string{
		"h2": "h2", "http/1.1": "h1", "h": "hh", "": "00", "\xab": "ab", "\xab\xcd": "ad", "0\xab": "3b", "01\xab\xcd": "3d",
		"0\xab\xcd1": "01", " ": "20", "a ": "60", "h3-29": "h9",
	} {
		if got := parseHello(clientHelloMsg(0x0303, nil, []uint16{1}, extALPNOf(alpn))).JA4(); got[8:10] != want {
			t.Errorf("ALPN %q gives %s, want %s", alpn, got[8:10], want)
		}
	}
	v2 := &ClientHello{}
	v2.parseSSL2([]byte("\x01\x00\x02\x00\x06\x00\x00\x00\x10\x07\x00\xc0\x00\x00\x350123456789abcdef"), true)
	if got := v2.JA4(); !strings.HasPrefix(got, "ts2i010000_") || v2.JA3() != "" {
		t.Errorf("SSL 2.0 hello: %s, JA3 %q", got, v2.JA3())
	}
}

func TestJA3(t *testing.T) {
	// The two published examples of the method's authors.
	h := parseHello(clientHelloMsg(0x0301, nil, []uint16{47, 53, 5, 10, 49161, 49162, 49171, 49172, 50, 56, 19, 4},
		extSNI("x"), ext(10, vec(2, u16s(23, 24, 25))), ext(11, vec(1, []byte{0}))))
	if got, want := h.JA3String(), "769,47-53-5-10-49161-49162-49171-49172-50-56-19-4,0-10-11,23-24-25,0"; got != want {
		t.Errorf("JA3 string %s, want %s", got, want)
	}
	if got := h.JA3(); got != "ada70206e40642a3e4461f35503241d5" {
		t.Errorf("JA3 %s", got)
	}
	h = parseHello(clientHelloMsg(0x0301, nil, []uint16{4, 5, 10, 9, 100, 98, 3, 6, 19, 18, 99}))
	if got := h.JA3(); got != "de350869b8c85de67a350c8d186f11e6" {
		t.Errorf("JA3 %s of %s", got, h.JA3String())
	}
}

// TestJA3AgainstTshark takes files with many client stacks.
func TestJA3AgainstTshark(t *testing.T) {
	testenv.Slow(t, "runs tshark")
	dir := testenv.Shared(t, "corpus", "tls")
	compared := 0
	for _, file := range []string{"mercury-top_100_fingerprints.pcap", "ndpi-instagram.pcap", "ndpi-iphone.pcap", "sv-base64-decode-5885.pcap", "ndpi-tls_ech.pcapng"} {
		out, err := testenv.Command(t, "tshark", "-r", filepath.Join(dir, file), "-Y", "tls.handshake.ja3 && tcp", "-T", "fields",
			"-e", "tcp.srcport", "-e", "tls.handshake.ja3", "-e", "tls.handshake.ja3_full").Output()
		if err != nil {
			t.Fatalf("tshark: %v", err)
		}
		want := map[string]string{}
		for line := range strings.Lines(string(out)) {
			if f := strings.Split(strings.TrimSpace(line), "\t"); len(f) == 3 {
				want[f[0]] = f[1] + " " + f[2]
			}
		}
		flows, err := readFlows(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		for _, fl := range flows {
			c := New(Options{})
			fl.feed(c)
			h := c.Facts().ClientHello
			w, ok := want[fmt.Sprint(fl.client.Port())]
			if h.State != Complete || !ok {
				continue
			}
			compared++
			if got := h.JA3() + " " + h.JA3String(); got != w {
				t.Errorf("%s %v: %s, tshark says %s", file, fl.client, got, w)
			}
		}
	}
	if compared < 100 {
		t.Errorf("only %d hellos were compared", compared)
	}
}
