package host

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/bpf"
	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/testenv"
)

// fakeHost is a root directory with a proc file system, users and the kubelet's directories, and a clock.
type fakeHost struct {
	t    *testing.T
	root string
	now  time.Time
}

func newFakeHost(t *testing.T) *fakeHost {
	h := &fakeHost{t: t, root: t.TempDir(), now: time.Now()}
	h.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n# comment\nweb:x:1000:1000::/:/bin/sh\nalias:x:1000:1000::/:/bin/sh\nbroken\n:x:7:7\n")
	h.mkdir("var/log/pods")
	h.mkdir("var/log/containers")
	h.link("proc/self/ns/pid", initialPIDNamespace)
	return h
}

func (h *fakeHost) resolver(o Options) *Resolver {
	o.Root, o.Now = h.root, func() time.Time { return h.now }
	if o.Patience == 0 {
		o.Patience = time.Minute // a busy machine is no failure
	}
	return New(o)
}

func (h *fakeHost) mkdir(name string) {
	h.t.Helper()
	if err := os.MkdirAll(filepath.Join(h.root, name), 0o755); err != nil {
		h.t.Fatal(err)
	}
}

func (h *fakeHost) write(name, content string) {
	h.t.Helper()
	h.mkdir(filepath.Dir(name))
	if err := os.WriteFile(filepath.Join(h.root, name), []byte(content), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

func (h *fakeHost) link(name, target string) {
	h.t.Helper()
	h.mkdir(filepath.Dir(name))
	os.Remove(filepath.Join(h.root, name))
	if err := os.Symlink(target, filepath.Join(h.root, name)); err != nil {
		h.t.Fatal(err)
	}
}

func (h *fakeHost) remove(name string) {
	h.t.Helper()
	if err := os.RemoveAll(filepath.Join(h.root, name)); err != nil {
		h.t.Fatal(err)
	}
}

// process makes a /proc directory.
func (h *fakeHost) process(pid, parent int, start uint64, comm, exe, cmdline, cgroup string) {
	dir := "proc/" + strconv.Itoa(pid) + "/"
	h.write(dir+"stat", fmt.Sprintf("%d (%s) S %d 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 %d 0 0", pid, comm, parent, start))
	h.write(dir+"status", "Name:\tx\nUid:\t1000\t0\t0\t0\n")
	h.write(dir+"cgroup", cgroup)
	h.write(dir+"cmdline", cmdline)
	h.write(dir+"maps", "")
	h.link(dir+"exe", exe)
	h.link(dir+"ns/net", "net:[4026531840]")
}

func TestLookupFillsWhatIsMissing(t *testing.T) {
	h := newFakeHost(t)
	h.process(1, 0, 0, "systemd", "/sbin/init", "", "0::/init.scope\n")
	h.process(50, 1, 500, "gunicorn (main)", "/usr/bin/python3.11", "", "0::/\n")
	h.process(60, 50, 600, "gunicorn", "/usr/bin/python3.11", "gunicorn\x00--password=x\x00app\x00", "0::/system.slice/web.service\n")
	p := flow.Process{PID: 60, StartTime: 600*tick + 12345, Comm: "worker"}
	if !h.resolver(Options{}).Lookup(&p) {
		t.Error("not complete")
	}
	want := flow.Process{PID: 60, StartTime: 600*tick + 12345, Comm: "worker", Exe: "/usr/bin/python3.11", UID: 1000, UIDKnown: true, User: "web",
		Cmdline: "gunicorn --password=*** app", Parents: []string{"gunicorn (main)", "systemd"}, NetNS: 4026531840, SDK: "python", SDKBy: "program", Unit: "web.service"}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("\n got %+v\nwant %+v", p, want)
	}
}

func TestLookupTellsAReusedPid(t *testing.T) {
	h := newFakeHost(t)
	h.process(60, 1, 9000, "other", "/bin/other", "other", "0::/system.slice/other.service")
	p := flow.Process{PID: 60, StartTime: 600 * tick, Comm: "worker", UID: 0, UIDKnown: true}
	r := h.resolver(Options{})
	r.Lookup(&p)
	want := flow.Process{PID: 60, StartTime: 600 * tick, Comm: "worker", UIDKnown: true, User: "root", Exited: true}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("\n got %+v\nwant %+v", p, want)
	}
	if s := r.Stats(); s.Reused != 1 {
		t.Errorf("stats %+v", s)
	}
}

// TestLookupInAnotherPIDNamespace: the numbers are others there, so what is not found lives perhaps, and what is found may be another.
func TestLookupInAnotherPIDNamespace(t *testing.T) {
	h := newFakeHost(t)
	h.link("proc/self/ns/pid", "pid:[4026532000]")
	h.process(60, 1, 9000, "other", "/bin/other", "other", "0::/system.slice/other.service")
	r := h.resolver(Options{})
	if got := r.Foreign(); !strings.HasPrefix(got, "pid:[4026532000] is not the host's: ") {
		t.Errorf("%q", got)
	}
	for _, given := range []flow.Process{
		{PID: 60, StartTime: 600 * tick, Comm: "worker"}, {PID: 60, Comm: "worker"}, {PID: 61, StartTime: 600 * tick, Comm: "worker"},
	} {
		p := given
		if r.Lookup(&p); !reflect.DeepEqual(p, given) {
			t.Errorf("\n got %+v\nwant %+v", p, given)
		}
	}
	if s := r.Stats(); s.Unreadable != 3 || s.Gone != 0 || s.Reused != 0 {
		t.Errorf("stats %+v", s)
	}
	p := flow.Process{PID: 60, StartTime: 9000 * tick} // the packet source found it by these numbers
	if r.Lookup(&p); p.Exe != "/bin/other" {
		t.Errorf("%+v", p)
	}
}

// TestLookupOfAProcessThatIsNotShown: one that lives is not said to have exited because it is in another PID namespace, or hidden.
func TestLookupOfAProcessThatIsNotShown(t *testing.T) {
	const child = "DYNWATCH_TEST_PID"
	if pid, err := strconv.Atoi(os.Getenv(child)); err == nil {
		p := flow.Process{PID: pid, StartTime: 600 * tick}
		r := New(Options{Patience: time.Minute})
		r.Lookup(&p)
		fmt.Printf("exited %t, foreign %t, %q.\n", p.Exited, r.Foreign() != "", p.Exe)
		return
	}
	testenv.Root(t)
	hostsProcesses(t)
	test := filepath.Join(t.TempDir(), "test")
	if b, err := os.ReadFile(os.Args[0]); err != nil || os.WriteFile(test, b, 0o755) != nil || os.Chmod(filepath.Dir(test), 0o755) != nil ||
		os.Chmod(filepath.Dir(filepath.Dir(test)), 0o755) != nil {
		t.Fatal("the test cannot be copied to where everybody may run it")
	}
	const run = ` "$0" -test.run "^TestLookupOfAProcessThatIsNotShown$" -test.count 1`
	for name, tt := range map[string]struct {
		script, want string
		pid          int
	}{
		"another PID namespace": {`exec unshare -p -f -m --propagation private --mount-proc` + run, `exited false, foreign true, "".`, os.Getpid()},
		"hidden": {`exec unshare -m --propagation private sh -c 'mount -t proc -o hidepid=2 none /proc && exec setpriv --reuid 65534 --regid 65534 --clear-groups` +
			run + `' "$0"`, `exited false, foreign false, "".`, os.Getpid()},
		"gone": {`exec` + run, `exited true, foreign false, "".`, 1 << 30},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := testenv.Command(t, "sh", "-c", tt.script, test)
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", child, tt.pid))
			if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), tt.want) {
				t.Errorf("want %s: %v\n%s", tt.want, err, out)
			}
		})
	}
}

func TestLookupRemembersAProcessThatIsGone(t *testing.T) {
	h := newFakeHost(t)
	h.process(60, 1, 600, "app", "/bin/app", "app", "0::/system.slice/app.service")
	r := h.resolver(Options{})
	first := flow.Process{PID: 60, StartTime: 600 * tick}
	r.Lookup(&first)
	h.remove("proc/60")
	for _, later := range []time.Duration{0, time.Hour} {
		h.now = h.now.Add(later)
		p := flow.Process{PID: 60, StartTime: 600 * tick}
		r.Lookup(&p)
		if !reflect.DeepEqual(p, first) || p.Exited {
			t.Errorf("after %v: %+v", later, p)
		}
	}
	p := flow.Process{PID: 61, StartTime: 600 * tick, Comm: "x"}
	r.Lookup(&p)
	if !p.Exited || p.Comm != "x" || r.Stats().Gone != 1 {
		t.Errorf("%+v, stats %+v", p, r.Stats())
	}
}

func TestLookupNamesTheProcessOfAnIOURing(t *testing.T) {
	h := newFakeHost(t)
	h.process(60, 1, 600, "app", "/bin/app", "app", "0::/")
	r := h.resolver(Options{})
	for comm, want := range map[string]string{"iou-sqp-61": "app", "iou-wrk-61": "app", "": "app", "worker": "worker"} {
		p := flow.Process{PID: 60, StartTime: 600 * tick, Comm: comm}
		if r.Lookup(&p); p.Comm != want {
			t.Errorf("%q: %q, want %q", comm, p.Comm, want)
		}
	}
	p := flow.Process{PID: 61, StartTime: 600 * tick, Comm: "iou-sqp-62"}
	if r.Lookup(&p); p.Comm != "iou-sqp-62" {
		t.Errorf("of a process that is gone: %q", p.Comm)
	}
}

// TestLookupTellsAProcessThatNobodyWaitedFor: a zombie has a number and a name, but no program any more, and may become one while it is read.
func TestLookupTellsAProcessThatNobodyWaitedFor(t *testing.T) {
	h := newFakeHost(t)
	zombie := func(pid int, state string) {
		dir := fmt.Sprintf("proc/%d/", pid)
		h.write(dir+"stat", fmt.Sprintf("%d (app) %s 1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 600 0 0", pid, state))
		h.remove(dir + "exe")
		h.write(dir+"cmdline", "")
	}
	for _, pid := range []int{60, 61, 62} {
		h.process(pid, 1, 600, "app", "/bin/app", "app", "0::/system.slice/app.service")
	}
	r := h.resolver(Options{})
	known := flow.Process{PID: 60, StartTime: 600 * tick}
	r.Lookup(&known)
	zombie(60, "Z")
	zombie(61, "Z")
	h.remove("proc/62/exe") // a kernel thread, say
	h.now = h.now.Add(time.Hour)
	for pid, want := range map[int]flow.Process{
		60: known,
		61: {PID: 61, StartTime: 600 * tick, Comm: "kernel's", Exited: true, UID: 1000, UIDKnown: true, User: "web", NetNS: 4026531840, Unit: "app.service"},
	} {
		p := flow.Process{PID: pid, StartTime: 600 * tick}
		if pid == 61 {
			p.Comm = "kernel's"
		}
		if r.Lookup(&p); !reflect.DeepEqual(p, want) {
			t.Errorf("\n got %+v\nwant %+v", p, want)
		}
	}
	p := flow.Process{PID: 62, StartTime: 600 * tick}
	if r.Lookup(&p); p.Exited || p.Comm != "app" || p.Exe != "" {
		t.Errorf("without a program, but alive: %+v", p)
	}
	if s := r.Stats(); s.Gone != 0 || s.Reused != 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestLookupSeesExec(t *testing.T) {
	h := newFakeHost(t)
	h.process(60, 1, 600, "sh", "/bin/sh", "sh", "0::/")
	r := h.resolver(Options{})
	ask := func() string {
		p := flow.Process{PID: 60, StartTime: 600 * tick}
		r.Lookup(&p)
		return p.Exe
	}
	if got := ask(); got != "/bin/sh" {
		t.Fatal(got)
	}
	h.process(60, 1, 600, "curl", "/usr/bin/curl", "curl", "0::/")
	if got := ask(); got != "/bin/sh" {
		t.Errorf("at once: %s: a fresh entry is read again", got)
	}
	h.now = h.now.Add(2 * time.Second)
	if got := ask(); got != "/usr/bin/curl" {
		t.Errorf("later: %s", got)
	}
	if n := r.Stats().Read; n != 2 {
		t.Errorf("%d readings", n)
	}
	h.now = h.now.Add(2 * time.Second)
	ask()
	if n := r.Stats().Read; n != 2 {
		t.Errorf("an unchanged process was read again: %d", n)
	}
}

// TestLookupSeesExecAtOnceByTheName: a shell that is looked up and then becomes the program, as wait-for-it.sh does.
func TestLookupSeesExecAtOnceByTheName(t *testing.T) {
	h := newFakeHost(t)
	h.process(60, 1, 600, "sh", "/bin/sh", "sh", "0::/")
	r := h.resolver(Options{})
	ask := func(comm, want string, readings uint64) {
		t.Helper()
		p := flow.Process{PID: 60, StartTime: 600 * tick, Comm: comm}
		if r.Lookup(&p); p.Comm != comm || p.Exe != want || r.Stats().Read != readings {
			t.Errorf("%s: %s, want %s; %d readings, want %d", comm, p.Exe, want, r.Stats().Read, readings)
		}
	}
	ask("sh", "/bin/sh", 1)
	h.process(60, 1, 600, "curl", "/usr/bin/curl", "curl", "0::/")
	ask("sh", "/bin/sh", 1) // it connected before
	ask("curl", "/usr/bin/curl", 2)
	ask("worker", "/usr/bin/curl", 2) // a thread
}

func TestParentsEndWhereTheChainIsNotSure(t *testing.T) {
	h := newFakeHost(t)
	h.process(10, 20, 100, "a", "/a", "", "0::/")
	h.process(20, 30, 50, "b", "/b", "", "0::/")
	h.process(30, 1, 60, "young", "/c", "", "0::/") // has the number of b's parent, but is younger
	p := flow.Process{PID: 10}
	h.resolver(Options{}).Lookup(&p)
	if want := []string{"b"}; !reflect.DeepEqual(p.Parents, want) {
		t.Errorf("got %q, want %q", p.Parents, want)
	}

	h.process(70, 70, 100, "loop", "/a", "", "0::/")
	p = flow.Process{PID: 70}
	h.resolver(Options{}).Lookup(&p)
	if len(p.Parents) != maxParents {
		t.Errorf("a loop gives %d parents", len(p.Parents))
	}
}

// TestLookupDoesNotWaitForEver: who lets the memory of processes hang holds up nobody for long, and hides but their command lines.
func TestLookupDoesNotWaitForEver(t *testing.T) {
	h := newFakeHost(t)
	r := h.resolver(Options{Patience: time.Millisecond})
	release, started := make(chan struct{}), make(chan int, 100)
	finish := r.finish
	r.finish = func(pid int, dir procDir, d *details) {
		started <- pid
		<-release
		finish(pid, dir, d)
	}
	ask := func(pid int) flow.Process {
		t.Helper()
		p := flow.Process{PID: pid, StartTime: 600 * tick}
		if r.Lookup(&p) || p.Exited || p.Comm != "stuck" || p.Exe != "/bin/stuck" || p.Unit != "stuck.service" || !p.UIDKnown || p.Cmdline != "" {
			t.Errorf("%+v", p)
		}
		return p
	}
	const pids = 3 * maxReaders
	for n := range pids {
		h.process(60+n, 1, 600, "stuck", "/bin/stuck", "stuck here", "0::/system.slice/stuck.service")
		if n >= pids/2 {
			h.write(fmt.Sprintf("proc/%d/status", 60+n), "Uid:\t1001\t0\t0\t0\n")
		}
		ask(60 + n)
	}
	var readers []int
	for range maxReaders {
		readers = append(readers, <-started)
	}
	slices.Sort(readers)
	if want := []int{60, 61, 60 + pids/2, 61 + pids/2}; !slices.Equal(readers, want) {
		t.Errorf("readers for %d, want %d", readers, want)
	}
	if len(started) != 0 {
		t.Error("more readers than allowed")
	}
	r.o.Patience = time.Hour // nobody waits for a reader that there is not
	ask(60)
	h.now = h.now.Add(2 * fresh)
	ask(60)
	h.process(90, 1, 600, "stuck", "/bin/stuck", "stuck here", "0::/system.slice/stuck.service")
	ask(90)
	if s := r.Stats(); s.Slow != pids+3 {
		t.Errorf("stats %+v", s)
	}
	close(release)
	for busy := true; busy; time.Sleep(time.Millisecond) {
		r.mu.Lock()
		busy = len(r.reading) > 0
		r.mu.Unlock()
	}
	h.now = h.now.Add(2 * fresh)
	p := flow.Process{PID: 60, StartTime: 600 * tick}
	if !r.Lookup(&p) || p.Cmdline != "stuck here" {
		t.Errorf("later: %+v", p)
	}
}

// TestACommandLineThatHangsLaterIsTheOneReadBefore: a process is read anew now and then.
func TestACommandLineThatHangsLaterIsTheOneReadBefore(t *testing.T) {
	h := newFakeHost(t)
	h.process(60, 1, 600, "app", "/bin/app", "app --serve", "0::/")
	r := h.resolver(Options{})
	ask := func(want string) {
		t.Helper()
		p := flow.Process{PID: 60, StartTime: 600 * tick}
		if r.Lookup(&p); p.Cmdline != want {
			t.Errorf("%q, want %q", p.Cmdline, want)
		}
	}
	ask("app --serve")
	release := make(chan struct{})
	defer close(release)
	r.o.Patience, r.finish = time.Millisecond, func(int, procDir, *details) { <-release }
	h.now = h.now.Add(2 * stale)
	ask("app --serve")
	h.process(60, 1, 600, "other", "/bin/other", "other", "0::/")
	h.now = h.now.Add(2 * fresh)
	ask("")
}

const podDir = "var/log/pods/shop_cart-6d9c_" + uid

func TestLookupNamesPods(t *testing.T) {
	cgroup := "0::/kubepods.slice/kubepods-pod" + und + ".slice/cri-containerd-" + idA + ".scope"
	cases := []struct {
		name                      string
		prepare                   func(*fakeHost)
		namespace, pod, container string
		complete                  bool
	}{
		{"nothing there", func(*fakeHost) {}, "", "", "", false},
		{"no kubelet", func(h *fakeHost) { h.remove("var/log") }, "", "", "", false},
		{"one container", func(h *fakeHost) { h.mkdir(podDir + "/app") }, "shop", "cart-6d9c", "app", true},
		{"two containers", func(h *fakeHost) { h.mkdir(podDir + "/app"); h.mkdir(podDir + "/proxy") }, "shop", "cart-6d9c", "", false},
		{"two containers and the link", func(h *fakeHost) {
			h.mkdir(podDir + "/app")
			h.mkdir(podDir + "/proxy")
			h.link("var/log/containers/cart-6d9c_shop_proxy-"+idA+".log", "x")
		}, "shop", "cart-6d9c", "proxy", true},
		{"the link alone", func(h *fakeHost) { h.link("var/log/containers/cart-6d9c_shop_proxy-"+idA+".log", "x") },
			"shop", "cart-6d9c", "proxy", true},
		{"names of another form", func(h *fakeHost) {
			h.mkdir("var/log/pods/" + uid)
			h.mkdir("var/log/pods/a_b")
			h.mkdir("var/log/pods/__" + uid)
			h.link("var/log/containers/"+idA+".log", "x")
			h.link("var/log/containers/a_b-"+idA+".log", "x")
		}, "", "", "", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := newFakeHost(t)
			h.process(60, 1, 600, "app", "/bin/app", "app", cgroup)
			c.prepare(h)
			p := flow.Process{PID: 60}
			complete := h.resolver(Options{}).Lookup(&p)
			if p.Namespace != c.namespace || p.Pod != c.pod || p.ContainerName != c.container || complete != c.complete {
				t.Errorf("namespace %q, pod %q, container %q, complete %v", p.Namespace, p.Pod, p.ContainerName, complete)
			}
			if p.PodUID != uid || p.ContainerID != idA || p.Runtime != "containerd" {
				t.Errorf("%+v", p)
			}
		})
	}
}

func TestLookupFindsAPodThatAppearsLate(t *testing.T) {
	h := newFakeHost(t)
	h.process(60, 1, 600, "app", "/bin/app", "app", "0::/kubepods/pod"+uid+"/"+idA)
	r := h.resolver(Options{})
	p := flow.Process{PID: 60}
	if r.Lookup(&p) {
		t.Fatal("complete without a directory")
	}
	h.mkdir(podDir + "/app")
	h.now = h.now.Add(scanPause)
	if !r.Lookup(&p) || p.Pod != "cart-6d9c" || p.Namespace != "shop" || p.ContainerName != "app" {
		t.Errorf("%+v", p)
	}
	h.remove(podDir)
	again := flow.Process{PID: 60}
	if !r.Lookup(&again) || again.Pod != "cart-6d9c" {
		t.Errorf("forgotten: %+v", again)
	}
	if s := r.Stats(); s.Late != 1 {
		t.Errorf("stats %+v", s)
	}
}

func TestTenThousandPodsStayBounded(t *testing.T) {
	h := newFakeHost(t)
	if dir, err := os.MkdirTemp("/dev/shm", "pods"); err == nil { // memory: a disk takes its time for so many directories
		t.Cleanup(func() { os.RemoveAll(dir) })
		h.root = dir
	}
	const bound, rounds, pods = 500, 20, 500
	r := h.resolver(Options{MaxProcesses: bound, MaxPods: bound, MaxCgroups: bound})
	podOf := func(key processKey) string { return fmt.Sprintf("%08x-0000-4000-8000-%012x", key.start, key.pid) }
	r.load = func(key processKey) (*details, error) {
		return &details{stat: procStat{start: key.start}, identity: ParseCgroupPath("/kubepods/pod" + podOf(key))}, nil
	}
	for round := range rounds {
		for n := range pods {
			h.mkdir("var/log/pods/ns_pod_" + podOf(processKey{1 + n, uint64(1 + round)}))
		}
		h.now = h.now.Add(time.Second)
		for n := range pods {
			p := flow.Process{PID: 1 + n, StartTime: uint64(1+round) * tick}
			if !r.Lookup(&p) || p.Pod != "pod" || p.Namespace != "ns" || p.PodUID != podOf(processKey{p.PID, uint64(1 + round)}) {
				t.Fatalf("round %d: %+v", round, p)
			}
		}
		h.remove("var/log/pods")
		h.mkdir("var/log/pods")
		if a, b, c, d := len(r.processes.entries), len(r.pods.known.entries), len(r.cgroups.entries), len(r.pods.byUID.names); a > bound || b > bound || c > bound || d > pods {
			t.Fatalf("round %d: %d processes, %d pods, %d cgroups, %d names", round, a, b, c, d)
		}
	}
	s := r.Stats()
	if want := uint64(2 * (rounds*pods - bound)); s.Evicted != want || s.Late != 0 {
		t.Errorf("stats %+v, want %d evicted", s, want)
	}
}

func TestLookupOfThisProcess(t *testing.T) {
	p := flow.Process{PID: os.Getpid()}
	New(Options{Patience: time.Minute}).Lookup(&p)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if p.Exe != exe || !p.UIDKnown || p.UID != uint32(os.Getuid()) || !strings.Contains(p.Cmdline, "-test.") || len(p.Parents) == 0 || p.NetNS == 0 ||
		p.Exited || p.SDK != "go" || p.StartTime == 0 {
		t.Errorf("%+v", p)
	}
}

// hostsProcesses skips where it would not be known that a process has exited.
func hostsProcesses(t *testing.T) {
	t.Helper()
	if hosts, why := PIDNamespace("/proc"); !hosts {
		testenv.Lacks(t, "the processes of the host: %s", why)
	}
}

func TestLookupOfAProcessThatHasExited(t *testing.T) {
	hostsProcesses(t)
	cmd := testenv.Command(t, "sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := New(Options{Patience: time.Minute})
	p := flow.Process{PID: cmd.Process.Pid}
	r.Lookup(&p)
	if p.Exited || p.StartTime == 0 {
		t.Errorf("alive: %+v", p)
	}
	cmd.Process.Kill()
	cmd.Wait()
	fresh := flow.Process{PID: cmd.Process.Pid, StartTime: p.StartTime, Comm: "sleep"}
	New(Options{Patience: time.Minute}).Lookup(&fresh)
	if !fresh.Exited || fresh.Exe != "" || fresh.Comm != "sleep" {
		t.Errorf("gone: %+v", fresh)
	}
}

// makeCgroup makes a cgroup of a container with a random id, and returns that, its folder and its number.
func makeCgroup(t *testing.T) (id, dir string, inode uint64) {
	t.Helper()
	testenv.Root(t)
	root, err := bpf.FindCgroup()
	if err != nil {
		testenv.Lacks(t, "%v", err)
	}
	random := make([]byte, 32)
	rand.Read(random)
	id = fmt.Sprintf("%x", random) // what a run that was killed has left is in nobody's way
	dir = filepath.Join(root, "docker-"+id+".scope")
	if err := os.Mkdir(dir, 0o755); err != nil {
		testenv.Lacks(t, "cgroup2 is not writable: %v", err)
	}
	t.Cleanup(func() { syscall.Rmdir(dir) })
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	return id, dir, info.Sys().(*syscall.Stat_t).Ino
}

// TestACgroupIsNotRememberedAsAnother: a socket is of the cgroup in which it was made, and its process may be in another by now.
func TestACgroupIsNotRememberedAsAnother(t *testing.T) {
	ofSocket, _, inode := makeCgroup(t)
	ofProcess, dir, _ := makeCgroup(t)
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := testenv.Command(t, "sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(f.Fd())}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	r := New(Options{Patience: time.Minute})
	p := flow.Process{PID: cmd.Process.Pid, CgroupID: inode}
	if r.Lookup(&p); p.ContainerID != ofProcess {
		t.Errorf("of a process in the one with a socket of the other: %+v", p)
	}
	p = flow.Process{PID: 1 << 30, CgroupID: inode}
	if r.Lookup(&p); p.ContainerID != ofSocket {
		t.Errorf("of another process of the other, which is gone: %+v", p)
	}
}

// TestCgroupsAreSoughtWhereTheHooksAre: a container with a cgroup namespace of its own has its own hierarchy mounted, and may have the host's beside it.
func TestCgroupsAreSoughtWhereTheHooksAre(t *testing.T) {
	const child = "DYNWATCH_TEST_CGROUP"
	if inode, err := strconv.ParseUint(os.Getenv(child), 10, 64); err == nil {
		p := flow.Process{PID: 1 << 30, CgroupID: inode}
		New(Options{Patience: time.Minute}).Lookup(&p)
		fmt.Printf("container %s.\n", p.ContainerID)
		return
	}
	own, ownDir, _ := makeCgroup(t)
	other, _, inode := makeCgroup(t)
	root := filepath.Dir(ownDir)
	// In a mount namespace of its own: the host's hierarchy is put aside, so that a mount of its own part comes first.
	script := `echo $$ > "$1"/cgroup.procs && exec unshare -C -m --propagation private sh -ec '
mount --bind "$1" "$2"; umount -l "$1"; mount -t cgroup2 none "$1"; mount --bind "$2" "$3"; umount "$2"; exec "$4" -test.run "^TestCgroupsAreSought" -test.count 1' sh "$2" "$3" "$4" "$5"`
	cmd := testenv.Command(t, "sh", "-c", script, "sh", ownDir, root, t.TempDir(), t.TempDir(), os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", child, inode))
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "container "+other+".") {
		t.Errorf("want container %s, of a process in %s: %v\n%s", other, own, err, out)
	}
}

// TestCgroupOutlivesItsProcesses makes a cgroup with the name of a container's and asks by its id alone.
func TestCgroupOutlivesItsProcesses(t *testing.T) {
	hostsProcesses(t)
	id, _, inode := makeCgroup(t)
	p := flow.Process{PID: 1 << 30, CgroupID: inode}
	r := New(Options{Patience: time.Minute})
	r.Lookup(&p)
	if p.ContainerID != id || p.Runtime != "docker" || !p.Exited {
		t.Errorf("%+v", p)
	}
	p = flow.Process{PID: 1 << 30, CgroupID: 1 << 40}
	r.Lookup(&p)
	if p.ContainerID != "" {
		t.Errorf("a cgroup that does not exist: %+v", p)
	}
}

func TestUserNamesFollowTheFile(t *testing.T) {
	h := newFakeHost(t)
	r := h.resolver(Options{})
	ask := func(uid uint32) string {
		p := flow.Process{UID: uid, UIDKnown: true}
		r.Lookup(&p)
		return p.User
	}
	if got := ask(1000); got != "web" {
		t.Errorf("got %q", got)
	}
	if got := ask(5); got != "" {
		t.Errorf("got %q", got)
	}
	h.write("etc/passwd", "new:x:5:5:a longer file than before, and again longer than before:/:/bin/sh\n")
	h.now = h.now.Add(usersRecheck)
	if got := ask(5); got != "new" {
		t.Errorf("after the change: %q", got)
	}
	h.remove("etc/passwd")
	h.now = h.now.Add(usersRecheck)
	if got := ask(5); got != "new" {
		t.Errorf("after the file went: %q", got)
	}
}

func TestParseStat(t *testing.T) {
	const tail = " S 7 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 0 0"
	for _, comm := range []string{"a", "a b", "a) S 9 (b", "((", "))", ""} {
		got, err := parseStat([]byte("12 (" + comm + ")" + tail))
		if want := (procStat{comm, 'S', 7, 4242, false}); err != nil || got != want {
			t.Errorf("%q: %+v, %v", comm, got, err)
		}
	}
	if got, err := parseStat([]byte("12 (a)" + strings.Replace(tail, "4194560", "4194564", 1))); err != nil || !got.exiting || !got.ended() {
		t.Errorf("one that is about to end: %+v, %v", got, err)
	}
	for _, bad := range []string{"", "12", "12 (a)", "12 (a" + tail, "12 )a(" + tail, "12 (a) S x" + tail[4:], "12 (a) S 7 1 1"} {
		if got, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}

// FuzzParseStat holds that any name comes back, and that an error comes with no result.
func FuzzParseStat(f *testing.F) {
	f.Add("a) S 1 (b", 7, uint64(4242), []byte("12 (a) S 7"))
	f.Fuzz(func(t *testing.T, comm string, parent int, start uint64, raw []byte) {
		b := fmt.Appendf(nil, "12 (%s) S %d 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 %d 0 0\n", comm, parent, start)
		if got, err := parseStat(b); err != nil || got != (procStat{comm, 'S', parent, start, false}) {
			t.Errorf("%q: %+v, %v", b, got, err)
		}
		if got, err := parseStat(raw); err != nil && got != (procStat{}) {
			t.Errorf("%q: %+v with %v", raw, got, err)
		}
	})
}

func BenchmarkLookup(b *testing.B) {
	b.Run("remembered", func(b *testing.B) {
		r := New(Options{Patience: time.Minute})
		first := flow.Process{PID: os.Getpid()}
		r.Lookup(&first)
		b.ReportAllocs()
		for b.Loop() {
			p := flow.Process{PID: first.PID, StartTime: first.StartTime}
			r.Lookup(&p)
		}
	})
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		r := New(Options{Patience: time.Minute})
		for b.Loop() {
			r.processes = newLRU[processKey, remembered](10)
			p := flow.Process{PID: os.Getpid()}
			r.Lookup(&p)
		}
	})
}
