package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/bench/traffic"
)

func TestQuartiles(t *testing.T) {
	tests := []struct {
		values         []float64
		low, mid, high float64
	}{
		{[]float64{3}, 3, 3, 3},
		{[]float64{4, 2}, 2.5, 3, 3.5},
		{[]float64{5, 1, 3, 2, 4}, 2, 3, 4},
	}
	for _, test := range tests {
		if low, mid, high := quartiles(test.values); low != test.low || mid != test.mid || high != test.high {
			t.Errorf("%v: %v %v %v", test.values, low, mid, high)
		}
	}
}

func TestSpeedIsByBytesReadAndByRound(t *testing.T) {
	fast := tool{name: "fast", samples: []sample{{wall: 1}, {wall: 2}}}
	slow := tool{name: "slow", bytes: 10, samples: []sample{{wall: 5}}}
	c := table{file: &traffic.Manifest{Bytes: 100}, tools: []tool{fast, slow}}
	if got := c.speed(&fast, &slow, func(s sample) float64 { return s.wall }); len(got) != 2 || got[0] != 50 || got[1] != 25 {
		t.Errorf("%v, want 50 and 25: 100 B/s and 50 B/s beside 2 B/s", got)
	}
}

func TestCheckTellsWhatIsWrong(t *testing.T) {
	m := &traffic.Manifest{Packets: 10, TLS: 3, DynamoDB: map[string]int{"http": 1, "tls13": 1}, Verdicts: map[string]int{"finding": 1, "unverified": 1}}
	good := `{"type":"session","endpoint":{},"verdict":"finding"}
{"type":"session","endpoint":{},"tls":{},"verdict":"unverified"}
{"type":"session","tls":{},"verdict":"not-applicable"}
{"type":"session","tls":{},"verdict":"not-applicable"}
{"type":"dns"}
{"type":"summary","packets":10}
`
	tests := []struct{ name, old, new, want string }{
		{"as generated", "", "", ""},
		{"packets missing", `"packets":10`, `"packets":9`, "9 packets"},
		{"a verdict differs", `"unverified"`, `"ok"`, "verdicts"},
		{"a session too few", `"endpoint":{},"tls"`, `"tls"`, "found 1 sessions"},
		{"a TLS session too few", `{"type":"session","tls":{},"verdict":"not-applicable"}` + "\n{\"type\":\"dns", `{"type":"dns`, "2 TLS sessions"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := countLines(strings.NewReader(strings.Replace(good, test.old, test.new, 1)))
			if err != nil {
				t.Fatal(err)
			}
			err = check(m, got, true)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestSliceHasWholePackets(t *testing.T) {
	name := filepath.Join(t.TempDir(), "all.pcap")
	record := func(n int) string {
		return "\x01\x00\x00\x00\x00\x00\x00\x00" + string([]byte{byte(n), 0, 0, 0, byte(n), 0, 0, 0}) + strings.Repeat("x", n)
	}
	all := strings.Repeat("h", 24) + record(10) + record(20) + record(30)
	if err := os.WriteFile(name, []byte(all), 0o600); err != nil {
		t.Fatal(err)
	}
	for limit, want := range map[int64]int64{24: 24, 49: 24, 50: 50, 86: 86, 131: 86, 132: 132, 1000: 132} {
		part, size, err := slice(name, limit)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(part)
		if err != nil || size != want || string(got) != all[:want] {
			t.Errorf("limit %d: %d bytes, want %d (%v)", limit, size, want, err)
		}
	}
}
