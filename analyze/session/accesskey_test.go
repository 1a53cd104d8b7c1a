package session

import "testing"

func TestMaskAccessKey(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"an absent id stays absent", "", ""},
		{"a long-term key shows four and four", "AKIAIOSFODNN7EXAMPLE", "AKIA…MPLE"},
		{"a temporary key shows four and four", "ASIAIOSFODNN7EXAMPLE", "ASIA…MPLE"},
		{"a short word shows nothing", "local", "…"},
		{"eleven characters show nothing", "AKIA1234567", "…"},
		{"a secret key with its slash shows nothing", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "…"},
		{"control bytes show nothing", "AKIA\x1b[31mXXXXXXXX", "…"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := MaskAccessKey([]byte(tt.in)); got != tt.want {
				t.Errorf("MaskAccessKey(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}
