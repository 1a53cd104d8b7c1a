package tlswire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/iotest"
)

const (
	randomHex = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	secretHex = "a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf"
)

func testRandom() (r [32]byte) {
	for i := range r {
		r[i] = byte(i)
	}
	return r
}

func TestKeyLogReadsLabels(t *testing.T) {
	text := "# a comment\r\n\n" +
		"CLIENT_RANDOM " + randomHex + " " + secretHex + secretHex[:32] + "\n" +
		"CLIENT_EARLY_TRAFFIC_SECRET " + randomHex + " " + secretHex + "\r\n" +
		"CLIENT_HANDSHAKE_TRAFFIC_SECRET\t" + strings.ToUpper(randomHex) + "  " + secretHex + " \n" +
		"SERVER_HANDSHAKE_TRAFFIC_SECRET " + randomHex + " " + secretHex + secretHex[:32] + "\n" +
		"EXPORTER_SECRET " + randomHex + " " + secretHex + "\n" +
		"RSA 0102 0304\n" +
		"CLIENT_TRAFFIC_SECRET_1 " + randomHex + " " + secretHex + "\n" +
		"CLIENT_TRAFFIC_SECRET_0 " + randomHex + " " + secretHex[2:] + "\n" + // 31 bytes
		"CLIENT_TRAFFIC_SECRET_0 " + randomHex + "\n" +
		"CLIENT_TRAFFIC_SECRET_0 " + randomHex + " " + secretHex + " more\n" +
		"\x00\x01\n" +
		"SERVER_TRAFFIC_SECRET_0 " + randomHex + " " + secretHex // no line end
	for _, chunk := range []int{1, 7, 1 << 20} {
		k := NewKeyLog(0)
		for rest := text; len(rest) > 0; {
			n := min(chunk, len(rest))
			k.Write([]byte(rest[:n]))
			rest = rest[n:]
		}
		k.Flush()
		want := KeyLogStats{Lines: 13, Secrets: 4, Sessions: 1, TLS12: 1, Unknown: 2, Malformed: 4, FirstMalformed: 10}
		if got := k.Stats(); got != want {
			t.Errorf("chunks of %d: %+v, want %+v", chunk, got, want)
		}
		s, ok := k.Lookup(testRandom())
		if !ok || !s.ClientEarly.Known() || !s.ClientHandshake.Known() || s.ServerHandshake.n != 48 || s.ClientTraffic.Known() || !s.ServerTraffic.Known() {
			t.Errorf("chunks of %d: found %v", chunk, ok)
		}
	}
}

func TestKeyLogGoesOnWithAnUnfinishedLine(t *testing.T) {
	line := "SERVER_TRAFFIC_SECRET_0 " + randomHex + " " + secretHex
	k := NewKeyLog(0)
	// The first 32 bytes of a 48-byte secret look whole; the rest corrects that.
	k.Read(strings.NewReader(line))
	if s, ok := k.Lookup(testRandom()); !ok || s.ServerTraffic.n != 32 {
		t.Fatal("a last line without end was not used")
	}
	k.Read(strings.NewReader(secretHex[:32] + "\n"))
	if s, _ := k.Lookup(testRandom()); s.ServerTraffic.n != 48 {
		t.Errorf("secret of %d bytes", s.ServerTraffic.n)
	}
	if err := k.Read(iotest.ErrReader(fmt.Errorf("broken"))); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("error %v", err)
	}
}

func TestKeyLogIsBounded(t *testing.T) {
	k := NewKeyLog(3)
	for i := range 5 {
		k.AddLine(fmt.Appendf(nil, "CLIENT_TRAFFIC_SECRET_0 %064x %s\n", i, secretHex))
	}
	if s := k.Stats(); s.Sessions != 3 || s.Evicted != 2 || len(k.order) != 3 {
		t.Errorf("%+v", s)
	}
	for i := range 5 {
		var r [32]byte
		r[31] = byte(i)
		if _, ok := k.Lookup(r); ok != (i >= 2) {
			t.Errorf("session %d: %v", i, ok)
		}
	}
	k.Write(bytes.Repeat([]byte("x"), 1<<20))
	k.Write([]byte("\n"))
	if cap(k.own.line) > 2*maxKeyLogLine || k.Stats().Malformed != 1 {
		t.Errorf("line buffer %d, %+v", cap(k.own.line), k.Stats())
	}
}

func TestSecretsNeverPrint(t *testing.T) {
	k := NewKeyLog(0)
	k.AddLine([]byte("SERVER_TRAFFIC_SECRET_0 " + randomHex + " " + secretHex))
	s, _ := k.Lookup(testRandom())
	c := New(Options{Secrets: k})
	c.keys = newEpochKeys(0x1301)
	c.keys.secrets = *s
	bytesText := fmt.Sprint(s.ServerTraffic.b[:32])
	for _, v := range []any{k, s, *s, s.ServerTraffic, &s.ServerTraffic, c, c.keys, []any{*s}, map[string]any{"a": s},
		struct{ S *SessionSecrets }{s}, c.Facts(), Options{Secrets: k}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			out := fmt.Sprintf(verb, v)
			if strings.Contains(strings.ToLower(out), secretHex[:16]) || strings.Contains(out, bytesText[1:40]) ||
				strings.Contains(out, "0xa0, 0xa1") {
				t.Errorf("%s of %T: %s", verb, v, out)
			}
		}
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
		j, _ := json.Marshal(v)
		if all := log.String() + string(j); strings.Contains(all, secretHex[:16]) || strings.Contains(all, "160,161") || strings.Contains(all, "[160 161") {
			t.Errorf("%T is logged as %s", v, all)
		}
	}
}

func FuzzKeyLog(f *testing.F) {
	f.Add([]byte("CLIENT_RANDOM "+randomHex+" "+secretHex+"\n# x\r\n"), uint16(3))
	f.Add([]byte("SERVER_TRAFFIC_SECRET_0 "+randomHex+" "+secretHex+"\nX"), uint16(40))
	f.Add(bytes.Repeat([]byte("a"), 600), uint16(599))
	f.Fuzz(func(t *testing.T, text []byte, cut uint16) {
		whole, parts := NewKeyLog(4), NewKeyLog(4)
		whole.Write(text)
		at := min(int(cut), len(text))
		parts.Write(text[:at])
		parts.Write(text[at:])
		a, b := whole.Stats(), parts.Stats()
		if a != b {
			t.Fatalf("%+v, in two parts %+v", a, b)
		}
		if a.Sessions > 4 || a.Malformed+a.Unknown+a.TLS12 > a.Lines || (a.Malformed > 0) != (a.FirstMalformed > 0) {
			t.Fatalf("%+v", a)
		}
		for r, s := range whole.sessions {
			o, ok := parts.Lookup(r)
			if !ok || *o != *s {
				t.Fatal("different secrets")
			}
		}
	})
}

func TestStreamsOfAKeyLogDoNotMix(t *testing.T) {
	k := NewKeyLog(0)
	a, b := k.Stream(), k.Stream()
	lines := [2]string{
		fmt.Sprintf("SERVER_HANDSHAKE_TRAFFIC_SECRET %064x %s\n", 1, secretHex),
		fmt.Sprintf("SERVER_HANDSHAKE_TRAFFIC_SECRET %064x %s\n", 2, secretHex),
	}
	for i := range lines[0] {
		a.Write([]byte{lines[0][i]})
		b.Write([]byte{lines[1][i]})
	}
	a.Write([]byte("half a line"))
	a.Reset()
	a.Write([]byte(strings.Replace(lines[0], "1 ", "3 ", 1)))
	b.Write([]byte(strings.Replace(strings.TrimSpace(lines[0]), "1 ", "4 ", 1)))
	b.Flush() // the last line may lack its end
	if s := k.Stats(); s.Sessions != 4 || s.Malformed != 0 {
		t.Errorf("%+v", s)
	}
}
