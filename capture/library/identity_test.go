package library

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

func TestLayersOfAnOverlay(t *testing.T) {
	for _, c := range []struct {
		options string
		want    []string
	}{
		{"rw,lowerdir=/l/a:/l/b,upperdir=/u,workdir=/w", []string{"/u", "/l/a", "/l/b"}},
		{"rw,lowerdir=/only,index=off", []string{"/only"}},
		{"rw,lowerdir+=/a,lowerdir+=/b", []string{"/a", "/b"}},
		{`rw,lowerdir=/with\040space`, []string{"/with space"}},
		{"rw", nil},
	} {
		if got := layersOf(c.options); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q", c.options, got)
		}
	}
}

func TestOneFileOfAnImageIsOneInEveryContainer(t *testing.T) {
	testenv.Root(t) // mounts an overlay
	dir := t.TempDir()
	for _, d := range []string{"image/usr/lib", "other/usr/lib", "up1", "w1", "m1", "up2", "w2", "m2", "up3/usr/lib", "w3", "m3"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("image/usr/lib/libssl.so.3", "image")
	write("up3/usr/lib/libssl.so.3", "changed here")
	id := map[string]fileID{}
	identifyAt := func(name string) {
		t.Helper()
		path := filepath.Join(dir, name, "usr/lib/libssl.so.3")
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if id[name], err = identify(f, path, os.Getpid()); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []string{"1", "2", "3"} {
		options := "lowerdir=" + dir + "/other:" + dir + "/image,upperdir=" + dir + "/up" + n + ",workdir=" + dir + "/w" + n
		point := filepath.Join(dir, "m"+n)
		if err := unix.Mount("overlay", point, "overlay", 0, options); err != nil {
			t.Fatalf("mount an overlay: %v", err)
		}
		t.Cleanup(func() { unix.Unmount(point, unix.MNT_DETACH) })
		identifyAt("m" + n)
	}
	identifyAt("image")
	if id["m1"] != id["image"] || id["m2"] != id["image"] {
		t.Errorf("%+v and %+v are %+v", id["m1"], id["m2"], id["image"])
	}
	if id["m3"] == id["image"] {
		t.Errorf("a changed file is the image's: %+v", id["m3"])
	}
	// Without the mounts of its process nobody knows what a file of an overlay is: taken for another, it would be probed twice.
	gone := exec.Command("/proc/self/exe", "-test.run=^$")
	if err := gone.Start(); err != nil {
		t.Fatal(err)
	}
	defer gone.Wait()
	if err := unix.Waitid(unix.P_PID, gone.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "m1/usr/lib/libssl.so.3")
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if id, err := identify(f, path, gone.Process.Pid); err == nil {
		t.Errorf("of a process that has ended: %+v", id)
	}
}
