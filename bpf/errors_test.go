package bpf

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

func TestErrorsSayWhatToDo(t *testing.T) {
	verifier := &ebpf.VerifierError{Cause: unix.EINVAL, Log: []string{"program of this type cannot use helper bpf_get_current_comm#16", "processed 9 insns"}}
	for name, test := range map[string]struct {
		err                  error
		lacking              []string
		permitted, supported bool
		says                 string
	}{
		"refused for want of a right":   {fmt.Errorf("map create: %w (MEMLOCK may be too low)", unix.EPERM), []string{"CAP_BPF"}, false, true, "missing: CAP_BPF): operation not permitted"},
		"refused with all rights":       {fmt.Errorf("map: %w", unix.EPERM), nil, false, true, "needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, or CAP_SYS_ADMIN): map: "},
		"a helper that wants a right":   {verifier, []string{"CAP_PERFMON"}, false, true, "missing: CAP_PERFMON): invalid argument: program of this type"},
		"a helper that does not exist":  {verifier, nil, true, false, "needs Linux 5.10): invalid argument: program of this type"},
		"a feature that does not exist": {ebpf.ErrNotSupported, []string{"CAP_BPF"}, true, false, "needs Linux 5.10"},
		"another error":                 {unix.ENOMEM, []string{"CAP_BPF"}, true, true, "load: cannot allocate memory"},
	} {
		t.Run(name, func(t *testing.T) {
			err := explainTo("load", "Linux 5.10", test.err, test.lacking)
			var denied *PermissionError
			var unsupported *NotSupportedError
			if errors.As(err, &denied) == test.permitted || errors.As(err, &unsupported) == test.supported || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%T %v, want %q in it", err, err, test.says)
			}
			if denied != nil && !slices.Equal(denied.Missing, test.lacking) {
				t.Errorf("missing %q, want %q", denied.Missing, test.lacking)
			}
			if !errors.Is(err, test.err) {
				t.Error("the cause is lost")
			}
		})
	}
	if err := explain("load", "Linux 5.10", nil); err != nil {
		t.Error(err)
	}
}

func TestRightsThatAreLacking(t *testing.T) {
	for effective, want := range map[uint64]string{
		0:                                     "CAP_BPF CAP_NET_ADMIN CAP_PERFMON",
		1 << unix.CAP_BPF:                     "CAP_NET_ADMIN CAP_PERFMON",
		1<<unix.CAP_BPF | 1<<unix.CAP_PERFMON: "CAP_NET_ADMIN",
		1<<unix.CAP_BPF | 1<<unix.CAP_PERFMON | 1<<unix.CAP_NET_ADMIN: "",
		1 << unix.CAP_SYS_ADMIN: "",
		1 << unix.CAP_NET_RAW:   "CAP_BPF CAP_NET_ADMIN CAP_PERFMON",
	} {
		if got := strings.Join(lackingOf(effective), " "); got != want {
			t.Errorf("%x: %q, want %q", effective, got, want)
		}
	}
}
