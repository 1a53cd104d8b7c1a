package doctor

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/bpf"
	"github.com/dynwatch/dynwatch/capture/afpacket"
	"github.com/dynwatch/dynwatch/capture/library"
)

// madeHost makes a host of the given files.
func madeHost(t *testing.T, files map[string]string) host {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if target, ok := cutLink(content); ok {
			if err := os.Symlink(target, path); err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return host{root}
}

func cutLink(s string) (target string, ok bool) {
	if len(s) > 3 && s[:3] == "-> " {
		return s[3:], true
	}
	return "", false
}

const (
	release  = "proc/sys/kernel/osrelease"
	mounts   = "proc/self/mounts"
	status   = "proc/self/status"
	lockdown = "sys/kernel/security/lockdown"
)

func TestChecks(t *testing.T) {
	tracefs := func(h host) Check { return h.mounted("tracefs", "tracefs", "/sys/kernel/tracing", "x") }
	for _, c := range []struct {
		name  string
		files map[string]string
		check func(host) Check
		want  Status
	}{
		{"kernel 6.18", map[string]string{release: "6.18.44-fc\n"}, host.kernel, OK},
		{"kernel 5.10", map[string]string{release: "5.10.223"}, host.kernel, OK},
		{"kernel 5.9", map[string]string{release: "5.9.0-1"}, host.kernel, Degraded},
		{"kernel 5.4", map[string]string{release: "5.4.0"}, host.kernel, Missing},
		{"kernel 4.19", map[string]string{release: "4.19.1"}, host.kernel, Missing},
		{"kernel not known", map[string]string{release: "x"}, host.kernel, Degraded},
		{"kernel not readable", nil, host.kernel, Degraded},
		{"BTF", map[string]string{"sys/kernel/btf/vmlinux": "x"}, host.btf, OK},
		{"no BTF", nil, host.btf, Degraded},
		{"no cgroup2", map[string]string{mounts: "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n"}, host.cgroup2, Missing},
		{"cgroup2 that is no root", map[string]string{mounts: "cgroup2 /c cgroup2 rw 0 0\n", "c/x": ""}, host.cgroup2, Missing},
		{"cgroup2 that is not there", map[string]string{mounts: "cgroup2 /c cgroup2 rw 0 0\n"}, host.cgroup2, Missing},
		{"no mounts", nil, host.cgroup2, Missing},
		{"no lockdown", nil, host.lockdown, OK},
		{"lockdown off", map[string]string{lockdown: "[none] integrity confidentiality"}, host.lockdown, OK},
		{"lockdown integrity", map[string]string{lockdown: "none [integrity] confidentiality"}, host.lockdown, OK},
		{"lockdown confidentiality", map[string]string{lockdown: "none integrity [confidentiality]"}, host.lockdown, Degraded},
		{"memlock not counted", map[string]string{release: "5.15.0"}, host.memlock, OK},
		{"PID namespace", map[string]string{"proc/self/ns/pid": "-> pid:[4026531836]"}, host.pidNamespace, OK},
		{"other PID namespace", map[string]string{"proc/self/ns/pid": "-> pid:[4026532000]"}, host.pidNamespace, Degraded},
		{"no PID namespace", nil, host.pidNamespace, Degraded},
		{"proc", map[string]string{mounts: "proc /proc proc rw,relatime 0 0\n"}, host.hidepid, OK},
		{"proc hidden", map[string]string{mounts: "proc /proc proc rw,hidepid=invisible 0 0\n"}, host.hidepid, Degraded},
		{"proc not hidden", map[string]string{mounts: "proc /proc proc rw,hidepid=0 0 0\n"}, host.hidepid, OK},
		{"tracefs", map[string]string{mounts: "tracefs /sys/kernel/tracing tracefs rw 0 0\n"}, tracefs, OK},
		{"no tracefs", map[string]string{mounts: "proc /proc proc rw 0 0\n"}, tracefs, Degraded},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := c.check(madeHost(t, c.files))
			if got.Status != c.want || got.Name == "" || got.Detail == "" || got.Status == OK && got.Remedy != "" {
				t.Errorf("%+v, want %s", got, c.want)
			}
		})
	}
}

// TestTheHostsCgroupsMayBeMountedSecond: a container has its own first, and the host's where somebody mounted them. Like the root of a hierarchy, that
// of a proc file system has the inode 1.
func TestTheHostsCgroupsMayBeMountedSecond(t *testing.T) {
	h := madeHost(t, map[string]string{
		mounts:      "none /own\\040one cgroup2 ro 0 0\nnone /host cgroup2 rw 0 0\n",
		"own one/x": "", "host": "-> /proc",
	})
	if c := h.cgroup2(); c.Status != OK || c.Detail != "/host" || c.Remedy != "" {
		t.Errorf("%+v", c)
	}
}

func TestCapabilities(t *testing.T) {
	for _, c := range []struct {
		name, effective string
		missing         []string
	}{
		{"all", "000001ffffffffff", nil},
		{"none", "0000000000000000", []string{"cap_bpf", "cap_perfmon", "cap_net_admin", "cap_net_raw", "cap_sys_ptrace", "cap_dac_read_search", "cap_sys_admin"}},
		{"CAP_SYS_ADMIN stands for three more", "0000000000200000", []string{"cap_net_raw", "cap_sys_ptrace", "cap_dac_read_search"}},
		{"CAP_NET_RAW", "0000000000002000", []string{"cap_bpf", "cap_perfmon", "cap_net_admin", "cap_sys_ptrace", "cap_dac_read_search", "cap_sys_admin"}},
	} {
		var missing []string
		for _, check := range madeHost(t, map[string]string{status: "Name:\tx\nCapEff:\t" + c.effective + "\n"}).capabilities() {
			if check.Status != OK {
				missing = append(missing, check.Name)
			}
		}
		a, _ := json.Marshal(missing)
		b, _ := json.Marshal(c.missing)
		if string(a) != string(b) {
			t.Errorf("%s: %s, want %s", c.name, a, b)
		}
	}
	for _, check := range madeHost(t, nil).capabilities() {
		if check.Status != Degraded {
			t.Errorf("not readable: %+v", check)
		}
	}
}

func TestSourcesWorkByTrial(t *testing.T) {
	fails, works := func() error { return errors.New("refused") }, func() error { return nil }
	for _, c := range []struct {
		name         string
		o            Options
		ebpf, packet bool
	}{
		{"no hooks known", Options{Packet: works, Owners: works}, false, true},
		{"all work", Options{Packet: works, Owners: works, Hooks: []Hook{{Name: "a", Try: works}}}, true, true},
		{"one fails", Options{Packet: works, Owners: fails, Hooks: []Hook{{Name: "a", Try: works}, {Name: "b", Try: fails}}}, false, true},
		{"an optional one fails", Options{Packet: fails, Owners: works, Hooks: []Hook{{Name: "a", Try: works}, {Name: "b", Try: fails, Optional: true}}}, true, false},
		{"none works", Options{Packet: fails, Owners: fails, Hooks: []Hook{{Name: "a", Try: fails}}}, false, false},
	} {
		c.o.Root = t.TempDir()
		r := Run(c.o)
		if r.EBPF != c.ebpf || r.Packet != c.packet || r.Usable() != (c.ebpf || c.packet) {
			t.Errorf("%s: %+v", c.name, r)
		}
		if !c.packet && len(r.Problems("packet")) == 0 {
			t.Errorf("%s: no problem is told", c.name)
		}
	}
}

func TestThisHost(t *testing.T) {
	r := Run(Options{})
	for _, c := range r.Checks {
		t.Logf("%-20s %-9s %-7s %s  %s", c.Name, c.Status, c.Source, c.Detail, c.Remedy)
	}
	if os.Geteuid() == 0 && !r.Packet {
		t.Error("packet sockets do not work for root")
	}
}

func TestLibrariesWithoutProbesAreTold(t *testing.T) {
	works := func() error { return nil }
	for _, c := range []struct {
		name   string
		survey *library.Survey
		err    error
		want   Status
	}{
		{"all have probes", &library.Survey{Processes: 9}, nil, OK},
		{"one has not", &library.Survey{Processes: 9, Without: 1, Unprobed: []library.Unprobed{{Library: "Java", Processes: 1}}}, nil, Degraded},
		{"nobody can look", nil, errors.New("no /proc"), Degraded},
	} {
		o := Options{Root: t.TempDir(), Packet: works, Owners: works, Look: func() (*library.Survey, error) { return c.survey, c.err }}
		r := Run(o)
		told := 0
		for _, check := range r.Checks {
			if check.Name == "tls libraries" {
				told++
				if check.Status != c.want || check.Detail == "" || check.Status == OK && check.Remedy != "" {
					t.Errorf("%s: %+v", c.name, check)
				}
			}
		}
		if told != 1 || (r.Libraries == nil) != (c.survey == nil) || !r.Packet {
			t.Errorf("%s: %d checks, %+v", c.name, told, r)
		}
		if r.Libraries != nil && (r.Libraries.Unprobed == nil || r.Libraries.Processes != 9 || r.Libraries.Without != c.survey.Without) {
			t.Errorf("%s: %+v", c.name, r.Libraries)
		}
	}
	if r := Run(Options{Root: t.TempDir(), Packet: works, Owners: works}); r.Libraries != nil {
		t.Errorf("nobody looked: %+v", r.Libraries)
	}
}

// TestSetcapIsToldAllCapabilitiesAtOnce: it replaces those that a program has, so that a command for each would leave the last alone.
func TestSetcapIsToldAllCapabilitiesAtOnce(t *testing.T) {
	const all = "run as root, or setcap cap_bpf,cap_perfmon,cap_net_admin,cap_net_raw,cap_sys_ptrace,cap_dac_read_search+ep on the program"
	refused := func() error { return &bpf.PermissionError{Missing: []string{"CAP_BPF"}, Err: os.ErrPermission} }
	r := Run(Options{
		Root: madeHost(t, map[string]string{status: "CapEff:\t0000000000000000\n"}).root, Hooks: []Hook{{Name: "x", Try: refused}}, Owners: func() error { return nil },
		Packet: func() error { return &afpacket.PermissionError{Capability: "CAP_NET_RAW", Err: os.ErrPermission} },
	})
	told := 0
	for _, c := range r.Checks {
		if strings.Contains(c.Remedy, "setcap") {
			told++
			if c.Remedy != all {
				t.Errorf("%s: %s", c.Name, c.Remedy)
			}
		}
	}
	if told != 8 {
		t.Errorf("%d remedies with setcap, want those of six capabilities, a hook and the packet socket: %+v", told, r.Checks)
	}
}

func TestTheRemedyIsThatOfTheCause(t *testing.T) {
	h := Hook{Name: "x", Optional: true, Remedy: "a newer kernel", Without: "nothing is seen"}
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"no rights", fmt.Errorf("open: %w", &bpf.PermissionError{Missing: []string{"CAP_BPF"}}), rightsRemedy},
		{"no right to set probes", &bpf.PermissionError{Missing: []string{"CAP_BPF", "CAP_SYS_ADMIN"}}, "run as root: this kernel wants CAP_SYS_ADMIN for it"},
		{"all rights", &bpf.PermissionError{}, "it has the capabilities that it needs: a user namespace, a seccomp profile or the kernel's lockdown may forbid it"},
		{"no cgroup2", fmt.Errorf("open: %w", bpf.ErrNoCgroup2), mountRemedy},
		{"a part of cgroup2", &bpf.NotRootError{Dir: "/x", Inode: 7}, namespaceRemedy},
		{"an old kernel", &bpf.NotSupportedError{Needs: "Linux 5.10"}, "a newer kernel"},
	} {
		h.Try = func() error { return c.err }
		r := Run(Options{Root: t.TempDir(), Hooks: []Hook{h}, Packet: func() error { return nil }, Owners: func() error { return nil }})
		for _, check := range r.Checks {
			if want := c.want + "; without the hook nothing is seen"; check.Name == "hook x" && (check.Remedy != want || check.Status != Degraded) {
				t.Errorf("%s: %s: %s, want %s", c.name, check.Status, check.Remedy, want)
			}
		}
	}
}
