package agent

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/dynwatch/dynwatch/bpf"
	"github.com/dynwatch/dynwatch/internal/testenv"
)

// A pod, as the kubelet names what belongs to it.
const (
	podNamespace = "shop"
	podName      = "orders-6d9c7b5f4d-x2x7k"
	podUID       = "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d"
)

// inPod runs commands one after the other in the cgroup of a container of the pod, which it makes below its own.
func inPod(t *testing.T, commands ...[]string) {
	t.Helper()
	cgroup, remove := makeCgroup(t, podCgroup(podUID))
	defer remove()
	dir, err := os.Open(cgroup)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for _, c := range commands {
		cmd := exec.Command(testenv.Tool(t, c[0]), c[1:]...)
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%q in a pod: %v: %s", c, err, out)
		}
	}
}

// podCgroup is that of a container of a pod, below kubelet's root.
func podCgroup(uid string) string {
	return filepath.Join("kubepods", "burstable", "pod"+uid, strings.Repeat("c0ffee00", 8))
}

// makeCgroup makes a cgroup below its own; remove takes away again what it made of it.
func makeCgroup(t *testing.T, path string) (dir string, remove func()) {
	t.Helper()
	dir = ownCgroup(t)
	var made []string
	for name := range strings.SplitSeq(path, "/") {
		dir = filepath.Join(dir, name)
		if err := os.Mkdir(dir, 0o755); err == nil {
			made = append(made, dir)
		} else if !errors.Is(err, os.ErrExist) {
			t.Fatal(err)
		}
	}
	return dir, func() {
		for i := len(made) - 1; i >= 0; i-- {
			if err := os.Remove(made[i]); err != nil {
				t.Error(err)
			}
		}
	}
}

// ownCgroup is this process's in the hierarchy of version 2.
func ownCgroup(t *testing.T) string {
	t.Helper()
	read := func(name string) string {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for line := range strings.Lines(read("/proc/self/cgroup")) {
		dir, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::")
		if mounts := bpf.Cgroup2Mounts(read("/proc/self/mounts")); ok && len(mounts) > 0 {
			return filepath.Join(mounts[0], dir)
		}
	}
	testenv.Lacks(t, "no cgroup2")
	return ""
}
