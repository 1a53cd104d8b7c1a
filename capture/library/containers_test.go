package library

import (
	"bufio"
	"debug/elf"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/bpf"
	"github.com/dynwatch/dynwatch/internal/testenv"
)

var containersWanted = flag.Int("containers", 20, "containers that share an image in TestContainersOfOneImageShareOneSetOfProbes")

// image makes a root directory with the openssl program and what it is linked with.
func image(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	put := func(path string) {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program := testenv.Tool(t, "/usr/bin/openssl")
	put(program)
	file, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	loader, err := io.ReadAll(file.Section(".interp").Open())
	if err != nil {
		t.Fatal(err)
	}
	put(strings.TrimRight(string(loader), "\x00"))
	needed, err := file.ImportedLibraries()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(needed, "libz.so.1", "libzstd.so.1", "libdl.so.2", "libpthread.so.0") { // what libcrypto may want, too
		paths, _ := filepath.Glob("/usr/lib/*-linux-gnu/" + name)
		for _, p := range paths {
			put(p)
		}
	}
	return dir
}

// container is a program in a mount namespace of its own, whose root is an overlay over an image.
type container struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	// pid is openssl's, which has its libraries mapped.
	pid int
}

// startContainer runs change in the container's root, then openssl, which waits for goOn, and then s_client with that address.
func startContainer(t *testing.T, image, change, address string) *container {
	t.Helper()
	c := beginContainer(t, image, change, address)
	c.await(t)
	return c
}

// beginContainer is startContainer that does not wait.
func beginContainer(t *testing.T, image, change, address string) *container {
	t.Helper()
	// The upper layer is on a file system of the namespace's own, as no other process can see it.
	script := `set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" "$1/root"
cd "$1/root"
eval "$3"
sh -c 'echo $$; exec chroot . /usr/bin/openssl dgst -sha256 >/dev/null'
set +e
chroot . /usr/bin/openssl s_client -quiet -connect "$4" </dev/null >/dev/null 2>&1
echo done
`
	c := &container{cmd: testenv.Command(t, "unshare", "--mount", "sh", "-c", script, "sh", t.TempDir(), image, change, address)}
	c.cmd.Stderr = os.Stderr
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.end)
	c.out = bufio.NewReader(out)
	return c
}

// await waits until openssl runs.
func (c *container) await(t *testing.T) {
	t.Helper()
	line, err := c.out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if c.pid, err = strconv.Atoi(strings.TrimSpace(line)); err != nil {
		t.Fatal(err)
	}
	for range 2000 {
		if has, err := programsOf(c.pid, nil, nil); err == nil && len(has.libraries) >= 2 {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("openssl does not run in the container")
}

// goOn ends the waiting, and waits for the rest.
func (c *container) goOn(t *testing.T) {
	t.Helper()
	c.in.Close()
	for {
		line, err := c.out.ReadString('\n')
		if line == "done\n" {
			return
		}
		if err != nil {
			t.Fatalf("the container's s_client did not end: %v", err)
		}
	}
}

func (c *container) end() {
	c.in.Close()
	_ = c.cmd.Wait()
}

// probes is an attacher that looks at the processes that it is told of and no others, so that nothing else on the host counts.
func probes(t *testing.T) (*bpf.Library, *attacher) {
	t.Helper()
	testenv.Root(t)
	kernel, err := bpf.LoadLibrary()
	if err != nil {
		testenv.Lacks(t, "library probes: %v", err)
	}
	a := newAttacher(kernel)
	t.Cleanup(func() {
		a.close()
		if err := kernel.Close(); err != nil {
			t.Error(err)
		}
	})
	return kernel, a
}

// eventsOf reads all events and counts those of handshakes and certificates.
func eventsOf(t *testing.T, kernel *bpf.Library) (handshakes, certificates int) {
	t.Helper()
	for {
		var e bpf.LibraryEvent
		ok, err := kernel.Read(&e)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return handshakes, certificates
		}
		switch e.Kind {
		case bpf.LibraryHandshake:
			handshakes++
		case bpf.LibraryCertificate:
			certificates++
		}
	}
}

// listen serves TLS with a chain of so many certificates.
func listen(t *testing.T) (address string, chain int) {
	t.Helper()
	_, leaf := newHost(t)
	return serveTLS(t, leaf), len(leaf.Certificate)
}

// links counts what holds probes: this process's descriptors of links and perf events.
func links(t *testing.T) (n int) {
	t.Helper()
	list, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range list {
		if to, _ := os.Readlink(fd); strings.Contains(to, "bpf_link") || strings.Contains(to, "bpf-link") || strings.Contains(to, "perf_event") {
			n++
		}
	}
	return n
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func pidsOf(all []*container) (pids []int) {
	for _, c := range all {
		pids = append(pids, c.pid)
	}
	return pids
}

func TestContainersOfOneImageShareOneSetOfProbes(t *testing.T) {
	kernel, a := probes(t)
	address, chain := listen(t)
	lower := image(t)
	all := []*container{startContainer(t, lower, "", address)}
	a.scanOf(pidsOf(all))
	files, places, held := a.stats.Files, a.stats.Probes, links(t)
	if files != 2 || places < 8 || held < 6 || len(a.stats.Problems) > 0 {
		t.Fatalf("%d files with %d probes in %d links for libssl and libcrypto; problems %q", files, places, held, a.stats.Problems)
	}
	used := heap()
	for len(all) < *containersWanted {
		begun := len(all)
		for len(all) < min(begun+8, *containersWanted) {
			all = append(all, beginContainer(t, lower, "", address))
		}
		for _, c := range all[begun:] {
			c.await(t)
		}
	}
	usedByTest := heap() - used
	start := time.Now()
	a.scanOf(pidsOf(all))
	first := time.Since(start)
	start = time.Now()
	a.scanOf(pidsOf(all))
	t.Logf("%d containers: first scan %v, second %v, %d files, %d probes, %d links, %d KiB of heap more", len(all), first, time.Since(start),
		a.stats.Files, a.stats.Probes, links(t), (int64(heap())-int64(used)-int64(usedByTest))/1024)
	if a.stats.Files != files || a.stats.Probes != places || a.stats.Over+a.stats.Refused > 0 {
		t.Errorf("%d containers: %d files with %d probes, one has %d with %d", len(all), a.stats.Files, a.stats.Probes, files, places)
	}
	if n := links(t); n != held {
		t.Errorf("%d containers: %d links, one has %d", len(all), n, held)
	}
	if len(a.namespaces) != len(all) {
		t.Errorf("%d namespaces of %d containers", len(a.namespaces), len(all))
	}
	last := all[len(all)-1]
	last.goOn(t)
	if handshakes, certificates := eventsOf(t, kernel); handshakes != 1 || certificates != chain {
		t.Errorf("%d handshakes with %d certificates told of one with %d", handshakes, certificates, chain)
	}
	a.scanOf(nil)
	if a.stats.Files != files {
		t.Error("files lost their probes at the first scan that did not find them in use")
	}
	a.scanOf(nil)
	if a.stats.Files != 0 || a.stats.Probes != 0 || a.stats.Detached != files || len(a.files)+len(a.namespaces)+len(a.names) != 0 {
		t.Errorf("in use by nobody: %+v, %d files and %d namespaces known", a.stats, len(a.files), len(a.namespaces))
	}
	if n := links(t); n != 0 {
		t.Errorf("%d links are left", n)
	}
}

// TestAContainersOwnCopyOfALibraryHasItsOwnProbes changes libcrypto in a container's upper layer, which nobody else can see: a file of its own with the
// number, size and time of change of the image's. Taken for the image's it would have no probes; taken for two it would have them twice.
func TestAContainersOwnCopyOfALibraryHasItsOwnProbes(t *testing.T) {
	kernel, a := probes(t)
	address, chain := listen(t)
	lower := image(t)
	all := []*container{startContainer(t, lower, "", address)}
	a.scanOf(pidsOf(all))
	a.max = a.stats.Files
	for _, change := range []string{"chmod 700 usr/lib/*/libcrypto.so.3", "touch usr/lib/*/libcrypto.so.3"} {
		all = append(all, startContainer(t, lower, change, address))
		a.scanOf(pidsOf(all))
		a.scanOf(pidsOf(all))
		if want := len(all) - 1; a.stats.Over != want || a.stats.Files != a.max {
			t.Errorf("%s: %d files over the limit, want %d; %d have probes", change, a.stats.Over, want, a.stats.Files)
		}
		a.max++
		a.scanOf(pidsOf(all))
		if a.stats.Files != a.max {
			t.Errorf("%s: %d files have probes, want %d", change, a.stats.Files, a.max)
		}
	}
	for i, c := range all {
		c.goOn(t)
		if handshakes, certificates := eventsOf(t, kernel); handshakes != 1 || certificates != chain {
			t.Errorf("container %d: %d handshakes with %d certificates told of one with %d", i, handshakes, certificates, chain)
		}
	}
}
