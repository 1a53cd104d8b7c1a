package deploy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

// exposure is the most that `systemd-analyze security` may rate the unit at, in tenths: 10.0 is a service without any limit.
const exposure = "30"

func TestUnit(t *testing.T) {
	text, err := os.ReadFile("systemd/dynwatch.service")
	if err != nil {
		t.Fatal(err)
	}
	// Neither the program nor its man page is installed here.
	there := strings.NewReplacer("/usr/bin/dynwatch", "/bin/true", "man:dynwatch(1) ", "").Replace(string(text))
	unit := filepath.Join(t.TempDir(), "dynwatch.service")
	if err := os.WriteFile(unit, []byte(there), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := testenv.Command(t, "systemd-analyze", "verify", "--man=no", unit).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	out, err := testenv.Command(t, "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold="+exposure, unit).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "Overall exposure") {
			t.Log(strings.TrimSpace(line))
		}
	}
	// What the hooks need, and no more (docs/ebpf.md).
	for _, line := range []string{
		"Type=notify\n", "WatchdogSec=", "DynamicUser=yes\n", "NoNewPrivileges=yes\n",
		"AmbientCapabilities=CAP_BPF CAP_PERFMON CAP_NET_ADMIN CAP_NET_RAW CAP_SYS_PTRACE\n",
		"CapabilityBoundingSet=CAP_BPF CAP_PERFMON CAP_NET_ADMIN CAP_NET_RAW CAP_SYS_PTRACE\n",
		"SystemCallFilter=@system-service bpf perf_event_open\n",
	} {
		if !strings.Contains(string(text), "\n"+line) && !strings.Contains(string(text), "\n"+strings.TrimSuffix(line, "\n")) {
			t.Errorf("the unit has no %q", line)
		}
	}
}
