package main

import (
	"slices"
	"testing"
)

func TestSkippedPartsAreCountedAndNamed(t *testing.T) {
	for _, tt := range []struct {
		name, out, detail string
		skipped           []string
	}{
		{"all pass", "=== RUN   TestA\n--- PASS: TestA (0.00s)\n=== RUN   TestB\n--- PASS: TestB (0.10s)\nPASS\n", "2 passed, 0 skipped", nil},
		{"one is skipped", "--- PASS: TestA (0.00s)\n--- SKIP: TestB (0.00s)\n    b_test.go:3: why\nPASS\n", "1 passed, 1 skipped", []string{"TestB"}},
		{"parts are skipped", "--- PASS: TestA (0.00s)\n    --- PASS: TestA/one (0.00s)\n    --- SKIP: TestA/the_other (0.00s)\n        --- SKIP: TestA/the_other/again (0.00s)\n" +
			"--- SKIP: TestB (0.00s)\n--- FAIL: TestC (0.00s)\n", "1 passed, 1 skipped, and 2 parts of others", []string{"TestA/the_other", "TestA/the_other/again", "TestB"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if detail, skipped := tally(tt.out); detail != tt.detail || !slices.Equal(skipped, tt.skipped) {
				t.Errorf("%q, %q", detail, skipped)
			}
		})
	}
}
