package soak

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/internal/metrics"
	"github.com/dynwatch/dynwatch/internal/synth"
	"github.com/dynwatch/dynwatch/internal/testenv"
	"github.com/dynwatch/dynwatch/internal/testnet"
)

// What the agent may take, and what counts as growth over the second half of a run.
const (
	maxResident   = 80 << 20
	maxSeries     = metrics.MaxSeries + metrics.MaxWorkloadSeries
	growthAllowed = 5  // file descriptors, and goroutines
	hooks         = 20 // programs on hooks of the kernel, at most
	perPlace      = 2  // objects for each place of library probes: a layout has 18 at most, and its libraries a dozen places
	shortest      = 15 * time.Second
	clientsAtOnce = 3
	perClient     = 25
	sampleEvery   = time.Second
	tellEvery     = time.Minute
	clientEnv     = "DYNWATCH_SOAK_CLIENT"
	address       = "127.0.8.1"
)

// TestMain has the test binary be a client where the test says so.
func TestMain(m *testing.M) {
	if servers := os.Getenv(clientEnv); servers != "" {
		client(strings.Fields(servers))
		return
	}
	os.Exit(m.Run())
}

// client speaks to the servers for a moment, in clear and over TLS, with ever new names.
func client(servers []string) {
	for range perClient {
		region := fmt.Sprintf("%c%c-churn-%d", 'a'+mathrand.IntN(26), 'a'+mathrand.IntN(26), mathrand.IntN(90))
		if mathrand.IntN(3) > 0 {
			region = "us-east-1"
		}
		host := "dynamodb." + region + ".amazonaws.com"
		server := servers[mathrand.IntN(len(servers))]
		c, err := net.DialTimeout("tcp", server[1:], 5*time.Second)
		if err != nil {
			continue
		}
		c.SetDeadline(time.Now().Add(5 * time.Second))
		if server[0] == 't' {
			versions := []uint16{tls.VersionTLS12, tls.VersionTLS13}
			c = tls.Client(c, &tls.Config{ServerName: host, InsecureSkipVerify: true, MaxVersion: versions[mathrand.IntN(2)]})
		}
		switch mathrand.IntN(10) {
		case 0: // gives up at once
		case 1:
			c.Write([]byte("\x16\x03\x01 is no hello"))
		default:
			fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: %s\r\nX-Amz-Target: DynamoDB_20120810.GetItem\r\nContent-Length: 2\r\n\r\n{}", host)
			bufio.NewReader(c).ReadString('\n')
		}
		c.Close()
	}
}

// answer reads a request up to its item and answers it.
func answer(c net.Conn) {
	if _, err := bufio.NewReader(c).ReadString('{'); err == nil {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
	}
}

// servers starts a server in clear and one over TLS, and says where they are: p and t before the address.
func servers(t *testing.T) string {
	t.Helper()
	_, certificate, err := synth.NewHost("Soak Root", "dynamodb.us-east-1.amazonaws.com")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, kind := range []string{"p", "t"} {
		l, err := net.Listen("tcp", address+":0")
		if err != nil {
			t.Fatal(err)
		}
		if kind == "t" {
			l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{certificate}})
		}
		list = append(list, kind+testnet.Serve(t, l, answer).String())
	}
	return strings.Join(list, " ")
}

// sample is what the agent takes at one moment.
//
// Links are those of descriptors that are of programs on hooks, objects those of programs, their types and maps; places are where library probes are in files,
// which come and go with what others run. With a library whose layout differs from that of all others come objects of its own.
type sample struct {
	resident, anonymous, descriptors, links, objects, places, goroutines, series, sessions, inPods, told, flows, reading int
}

func (s sample) String() string {
	return fmt.Sprintf("%d MiB resident, %d of them its own; %d series, %d descriptors, %d goroutines; %d sessions, %d of them in pods; %d flows of the whole host, %d KiB of which are being read",
		s.resident>>20, s.anonymous>>20, s.series, s.descriptors, s.goroutines, s.sessions, s.inPods, s.flows, s.reading>>10)
}

func take(pid int, url string) (s sample, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return s, err
	}
	for line := range strings.Lines(string(status)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch kb, _ := strconv.Atoi(f[1]); f[0] {
		case "VmRSS:":
			s.resident = kb << 10
		case "RssAnon:":
			s.anonymous = kb << 10
		}
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return s, err
	}
	s.descriptors = len(fds)
	for _, fd := range fds {
		switch to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd.Name())); to {
		case "anon_inode:bpf_link", "anon_inode:[perf_event]":
			s.links++
		case "anon_inode:bpf-prog", "anon_inode:bpf-map", "anon_inode:btf":
			s.objects++
		}
	}
	res, err := http.Get(url)
	if err != nil {
		return s, err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		i := strings.LastIndexByte(lines.Text(), ' ') // values of labels have spaces
		if i < 0 {
			continue
		}
		name, value := lines.Text()[:i], lines.Text()[i+1:]
		s.series++
		n, _ := strconv.ParseFloat(value, 64)
		switch {
		case name == "go_goroutines":
			s.goroutines = int(n)
		case strings.HasPrefix(name, "dynwatch_verdicts_total{"):
			s.sessions += int(n)
		case name == "dynwatch_flows_total":
			s.flows = int(n)
		case name == "dynwatch_flows_memory_bytes":
			s.reading = int(n)
		case strings.HasPrefix(name, "dynwatch_library_probes{"):
			s.places += int(n)
		case name == `dynwatch_attribution_total{result="pod"}`:
			s.inPods = int(n)
		case name == `dynwatch_sink_alerts_total{result="sent",sink="webhook"}`:
			s.told = int(n)
		}
	}
	return s, lines.Err()
}

func TestSoak(t *testing.T) {
	testenv.Root(t)
	long := shortest
	if text := os.Getenv("SOAK"); text != "" {
		var err error
		if long, err = time.ParseDuration(text); err != nil || long < shortest {
			t.Fatalf("SOAK=%s: use a time of %v or more", text, shortest)
		}
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "dynwatch")
	build := exec.Command("go", "build", "-trimpath", "-o", program, "./cmd/dynwatch") // without the race detector, which takes memory
	build.Dir, build.Env = testenv.Module(t), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	// A receiver that takes every other request.
	var told atomic.Int64
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if told.Add(1)%2 == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(hook.Close)
	config := filepath.Join(dir, "dynwatch.yaml")
	text := fmt.Sprintf("source: {kind: ebpf}\nstate_dir: %s\nweb: {listen: '127.0.0.1:0'}\nmetrics: {workloads: true}\n"+
		"policy: {endpoint: ['%s/32']}\nreceivers: [{webhook: {url: '%s'}}]\n", filepath.Join(dir, "state"), address, hook.URL)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	kubelet := newKubelet(t, dir)
	// In a mount namespace of its own, where the logs of pods are the test's.
	agent := testenv.Command(t, "unshare", "--mount", "--propagation", "private", "sh", "-c", `mount --bind "$0" /var/log && exec "$@"`,
		kubelet.logs, program, "agent", "--config", config)
	agent.Stderr, agent.SysProcAttr = log, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- agent.Wait() }()
	t.Cleanup(func() { agent.Process.Kill() })
	url := awaitReady(t, log.Name(), ended)

	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	where := servers(t)
	var clients sync.WaitGroup
	var started, pods atomic.Int64
	for range clientsAtOnce {
		clients.Go(func() {
			for ctx.Err() == nil {
				c := exec.Command("/proc/self/exe")
				c.Env = append(os.Environ(), clientEnv+"="+where)
				run := c.Run
				if mathrand.IntN(4) > 0 {
					run = func() error { return kubelet.run(c) }
					pods.Add(1)
				}
				if err := run(); err != nil {
					t.Error(err)
					return
				}
				started.Add(1)
			}
		})
	}
	var samples []sample
	for tick := time.NewTicker(sampleEvery); ctx.Err() == nil; {
		select {
		case <-ctx.Done():
		case err := <-ended:
			b, _ := os.ReadFile(log.Name())
			t.Fatalf("the agent has ended: %v\n%s", err, b[max(0, len(b)-4000):])
		case <-tick.C:
			s, err := take(agent.Process.Pid, url+"/metrics")
			if err != nil {
				t.Fatal(err)
			}
			samples = append(samples, s)
			if len(samples)%int(tellEvery/sampleEvery) == 0 {
				t.Log(s)
			}
		}
	}
	clients.Wait()
	judge(t, samples, int(started.Load()), int(pods.Load()))
	kubelet.isEmpty()

	agent.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the agent ended with %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("the agent did not end")
	}
}

// awaitReady gives the agent's address once it watches.
func awaitReady(t *testing.T, log string, ended chan error) (url string) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		b, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			var said struct{ Listen string }
			if json.Unmarshal([]byte(line), &said) == nil && said.Listen != "" {
				url = "http://" + said.Listen
			}
		}
		if url != "" {
			if res, err := http.Get(url + "/readyz"); err == nil {
				res.Body.Close()
				if res.StatusCode == http.StatusOK {
					return url
				}
			}
		}
		select {
		case err := <-ended:
			t.Fatalf("the agent has ended: %v\n%s", err, b)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("the agent is not ready\n%s", b)
		}
	}
}

// judge holds the samples to the bounds. The first quarter is for caches to fill.
func judge(t *testing.T, samples []sample, clients, pods int) {
	t.Helper()
	if len(samples) < 8 {
		t.Fatalf("only %d samples", len(samples))
	}
	of := func(list []sample, f func(sample) int) []int {
		var v []int
		for _, s := range list {
			v = append(v, f(s))
		}
		slices.Sort(v)
		return v
	}
	resident := of(samples, func(s sample) int { return s.resident })
	series := of(samples, func(s sample) int { return s.series })
	end := samples[len(samples)-1]
	t.Logf("%d client processes, %d of them in pods that came and went; resident %d MiB in the middle, %d MiB at most; at the end %v",
		clients, pods, resident[len(resident)/2]>>20, resident[len(resident)-1]>>20, end)
	if most := resident[len(resident)-1]; most > maxResident {
		i := slices.IndexFunc(samples, func(s sample) bool { return s.resident == most })
		t.Errorf("%d MiB resident, allowed are %d; sample %d was %v", most>>20, maxResident>>20, i, samples[i])
	}
	if most := series[len(series)-1]; most > maxSeries {
		t.Errorf("%d series, allowed are %d", most, maxSeries)
	}
	for name, f := range map[string]func(sample) int{
		"file descriptors": func(s sample) int { return s.descriptors - s.links - s.objects }, "goroutines": func(s sample) int { return s.goroutines },
	} {
		if before, after := floors(samples, f); after > before+growthAllowed {
			t.Errorf("%s grow: at least %d in the second quarter, %d in the last", name, before, after)
		}
	}
	if before, after, allowed := objects(samples); after > allowed {
		t.Errorf("programs and maps grow: at least %d in the second quarter, %d in the last, where the places of library probes account for %d", before, after, allowed)
	}
	if _, least := floors(samples, func(s sample) int { return s.links - s.places }); least > hooks {
		t.Errorf("in the last quarter there are at least %d links beyond those of library probes", least)
	}
	// Without sessions, pods and alerts all this says nothing.
	if end.sessions < clients*perClient/2 {
		t.Errorf("%d sessions of %d client processes were seen", end.sessions, clients)
	}
	if end.inPods*clients < end.sessions*pods/2 {
		t.Errorf("%d of %d sessions were told to be a pod's, and %d of %d client processes were in pods", end.inPods, end.sessions, pods, clients)
	}
	if end.told == 0 {
		t.Error("no alert was sent")
	}
}

// floors are the least of something in the second quarter and in the last. What leaks is there in quiet moments too, while a machine that is
// busy with something else makes peaks.
func floors(samples []sample, f func(sample) int) (before, after int) {
	quarter := len(samples) / 4
	least := func(list []sample) int {
		n := f(list[0])
		for _, s := range list {
			n = min(n, f(s))
		}
		return n
	}
	return least(samples[quarter : 2*quarter]), least(samples[len(samples)-quarter:])
}

// objects are the floors of programs and maps, and what the last quarter may have: more than before only as far as library probes came and went.
func objects(samples []sample) (before, after, allowed int) {
	before, after = floors(samples, func(s sample) int { return s.objects })
	fewest, most := samples[len(samples)-1].places, 0
	for _, s := range samples[len(samples)/4:] {
		fewest, most = min(fewest, s.places), max(most, s.places)
	}
	return before, after, before + growthAllowed + perPlace*(most-fewest)
}

func TestProgramsMayComeWithLibrariesAlone(t *testing.T) {
	for _, tt := range []struct {
		name   string
		at     func(i int) sample
		leaked bool
	}{
		{"steady", func(int) sample { return sample{objects: 107, places: 31} }, false},
		{"a library comes in the third quarter, with another layout", func(i int) sample {
			if i < 70 {
				return sample{objects: 107, places: 31}
			}
			return sample{objects: 125, places: 43}
		}, false},
		{"it came in the first quarter", func(i int) sample { return sample{objects: 107 + min(i, 18), places: 31 + min(i, 12)} }, false},
		{"there are more, and no library came", func(i int) sample { return sample{objects: 107 + i/10, places: 31} }, true},
		{"a library goes, and its programs stay, again and again", func(i int) sample { return sample{objects: 107 + 18*(i/12), places: 31 + 12*(i/6%2)} }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			samples := make([]sample, 120)
			for i := range samples {
				samples[i] = tt.at(i)
			}
			if before, after, allowed := objects(samples); (after > allowed) != tt.leaked {
				t.Errorf("from %d to %d, allowed are %d", before, after, allowed)
			}
		})
	}
}

func TestALeakIsTakenForGrowthAndAPeakIsNot(t *testing.T) {
	descriptors := func(s sample) int { return s.descriptors }
	for _, tt := range []struct {
		name  string
		at    func(i int) int
		grows bool
	}{
		{"steady", func(int) int { return 40 }, false},
		{"peaks, more of them towards the end", func(i int) int {
			if i%7 != 0 && i > 60 {
				return 90
			}
			return 40
		}, false},
		{"it fills in the first quarter", func(i int) int { return min(20+i, 45) }, false},
		{"one in ten samples leaks", func(i int) int { return 40 + i/10 }, true},
		{"a leak among peaks", func(i int) int { return 40 + i/8 + 30*(i%3) }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			samples := make([]sample, 120)
			for i := range samples {
				samples[i].descriptors = tt.at(i)
			}
			if before, after := floors(samples, descriptors); (after > before+growthAllowed) != tt.grows {
				t.Errorf("from %d to %d", before, after)
			}
		})
	}
}
