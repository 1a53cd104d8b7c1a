package main

import (
	"os"
	"testing"
)

func TestWhatIsMissingMustBeCounted(t *testing.T) {
	seen := func(change func(*line)) line {
		l := line{Type: "session", Verdict: "ok", Process: &struct{ PID int }{os.Getpid()}}
		l.TLS.Version, l.TLS.SNI, l.TLS.Established = "TLS 1.2", name, true
		if change != nil {
			change(&l)
		}
		return l
	}
	whole := seen(nil)
	for what, test := range map[string]struct {
		sessions []line
		loss     map[string]int64
		missing  int
		wrong    bool
	}{
		"all are there":                           {[]line{whole, whole}, nil, 0, false},
		"one is missing, and counted":             {[]line{whole}, map[string]int64{"ebpf.ring_full": 3}, 1, false},
		"one is missing":                          {[]line{whole}, map[string]int64{"ebpf.ring_full": 0}, 0, true},
		"one is incomplete, and counted":          {[]line{whole, seen(func(l *line) { l.Verdict = "incomplete" })}, map[string]int64{"analyze.gap_bytes": 9}, 1, false},
		"one is not established":                  {[]line{whole, seen(func(l *line) { l.TLS.Established = false })}, nil, 0, true},
		"one too many":                            {[]line{whole, whole, whole}, nil, 0, true},
		"one has another name":                    {[]line{whole, seen(func(l *line) { l.TLS.SNI = "example.com" })}, nil, 0, true},
		"one has another owner":                   {[]line{whole, seen(func(l *line) { l.Process.PID = 1 })}, nil, 0, true},
		"one has no owner":                        {[]line{whole, seen(func(l *line) { l.Process = nil })}, nil, 0, true},
		"one deserves another verdict":            {[]line{whole, seen(func(l *line) { l.Verdict = "finding" })}, nil, 0, true},
		"another verdict, though loss is counted": {[]line{whole, seen(func(l *line) { l.Verdict = "finding" })}, map[string]int64{"ebpf.ring_full": 3}, 0, true},
	} {
		e := &ended{sessions: test.sessions, summary: line{Loss: test.loss}}
		missing, err := e.check(map[string]int{"TLS 1.2 ok": 2})
		if (err != nil) != test.wrong || err == nil && missing != test.missing {
			t.Errorf("%s: missing %d, error %v", what, missing, err)
		}
	}
}

func TestRecordingsHaveTheirHandshakesEnd(t *testing.T) {
	r, err := record()
	if err != nil {
		t.Fatal(err)
	}
	if len(r.all) != 2*different || len(r.root) == 0 {
		t.Errorf("%d recordings, %d bytes of root", len(r.all), len(r.root))
	}
}
