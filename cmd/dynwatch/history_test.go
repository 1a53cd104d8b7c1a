package main

import (
	"testing"
	"time"
)

func TestPointInTime(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		in   string
		end  bool
		want string // RFC 3339 with fraction, "" for an error
	}{
		{"2h", false, "2026-11-22T10:00:00Z"},
		{"90m", true, "2026-11-22T10:30:00Z"},
		{"7d", false, "2026-11-15T12:00:00Z"},
		{"0s", false, "2026-11-22T12:00:00Z"},
		{"2026-11-21", false, "2026-11-21T00:00:00Z"},
		{"2026-11-21", true, "2026-11-21T23:59:59.999999999Z"},
		{"2026-11-21T10:00:00Z", true, "2026-11-21T10:00:00Z"},
		{"2026-11-21T10:00:00+02:00", false, "2026-11-21T08:00:00Z"},
		{"2026-11-21T10:00", false, "2026-11-21T10:00:00Z"},
		{"2026-11-21 10:00:05", false, "2026-11-21T10:00:05Z"},
		{"-2h", false, ""},
		{"d", false, ""},
		{"99999d", false, ""},
		{"tomorrow", false, ""},
		{"2026-13-01", false, ""},
	} {
		got, err := pointInTime(tt.in, now, tt.end)
		if tt.want == "" {
			if err == nil {
				t.Errorf("%s: %s, want an error", tt.in, got)
			}
			continue
		}
		if err != nil || got.UTC().Format(time.RFC3339Nano) != tt.want {
			t.Errorf("%s: %s, %v, want %s", tt.in, got.UTC().Format(time.RFC3339Nano), err, tt.want)
		}
	}
	if got, err := pointInTime("", now, false); err != nil || !got.IsZero() {
		t.Errorf("nothing: %s, %v", got, err)
	}
}
