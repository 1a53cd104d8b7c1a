package bpf

import (
	"slices"
	"testing"
)

func TestCgroup2Mounts(t *testing.T) {
	const hybrid = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"
	for mounts, want := range map[string][]string{
		hybrid:                               {"/sys/fs/cgroup/unified"},
		hybrid + "none /run/c cgroup2 rw\n":  {"/sys/fs/cgroup/unified", "/run/c"},
		"none /run/a\\040b cgroup2 rw 0 0\n": {"/run/a b"},
		"proc /proc proc rw 0 0\n":           nil,
		"cgroup2":                            nil,
	} {
		if got := Cgroup2Mounts(mounts); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", mounts, got, want)
		}
	}
}

func TestUnescapeMount(t *testing.T) {
	for in, want := range map[string]string{`a`: "a", `\040`: " ", `a\134b`: `a\b`, `a\043`: "a#", `\04`: `\04`, `\999`: `\999`, `\`: `\`} {
		if got := UnescapeMount(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
