package soak

import (
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/dynwatch/dynwatch/bpf"
)

// kubelet makes pods of one container and removes them, as far as a process shows of them: cgroups, and folders and links of logs.
type kubelet struct {
	t *testing.T
	// logs stands in for /var/log; cgroups is a cgroup of the test's own.
	logs, cgroups string
}

func newKubelet(t *testing.T, dir string) *kubelet {
	t.Helper()
	root, err := bpf.FindCgroup()
	if err != nil {
		t.Fatal(err)
	}
	cgroups, err := os.MkdirTemp(root, "dynwatch-soak-")
	if err != nil {
		t.Fatal(err)
	}
	k := &kubelet{t, filepath.Join(dir, "logs"), cgroups}
	if err := os.Chmod(cgroups, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{filepath.Join(k.logs, "pods"), filepath.Join(k.logs, "containers")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(k.cgroups, "kubepods", "burstable"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, d := range []string{"kubepods/burstable", "kubepods", "."} {
			if err := os.Remove(filepath.Join(k.cgroups, d)); err != nil {
				t.Error(err)
			}
		}
	})
	return k
}

// run runs a client in a pod of its own, one of many deployments.
func (k *kubelet) run(c *exec.Cmd) (err error) {
	id := func(n int) string {
		var b strings.Builder
		for range n {
			b.WriteByte("0123456789abcdef"[mathrand.IntN(16)])
		}
		return b.String()
	}
	uid := fmt.Sprintf("%s-%s-4%s-8%s-%s", id(8), id(4), id(3), id(3), id(12))
	// The parts of a name that are made up have a kubelet's alphabet.
	suffix := strings.NewReplacer("0", "x", "1", "z", "3", "q", "a", "w", "e", "t")
	pod := fmt.Sprintf("service-%d-%s-%s", mathrand.IntN(400), suffix.Replace(id(10)), suffix.Replace(id(5)))
	namespace, container := fmt.Sprintf("team-%d", mathrand.IntN(20)), id(64)

	folder := filepath.Join(k.logs, "pods", namespace+"_"+pod+"_"+uid)
	link := filepath.Join(k.logs, "containers", pod+"_"+namespace+"_app-"+container+".log")
	podGroup := filepath.Join(k.cgroups, "kubepods", "burstable", "pod"+uid)
	group := filepath.Join(podGroup, container)
	for _, d := range []string{filepath.Join(folder, "app"), group} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	if err := os.Symlink(filepath.Join("..", "pods", filepath.Base(folder), "app", "0.log"), link); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, os.Remove(group), os.Remove(podGroup), os.RemoveAll(folder), os.Remove(link))
	}()
	dir, err := os.Open(group)
	if err != nil {
		return err
	}
	defer dir.Close()
	c.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	return c.Run()
}

// isEmpty looks whether all pods are gone: else the churn was none.
func (k *kubelet) isEmpty() {
	k.t.Helper()
	for _, d := range []string{filepath.Join(k.logs, "pods"), filepath.Join(k.logs, "containers")} {
		if left, err := os.ReadDir(d); err != nil || len(left) > 0 {
			k.t.Errorf("%d in %s: %v", len(left), d, err)
		}
	}
}
