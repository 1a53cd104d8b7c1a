package probe

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/dynwatch/dynwatch/analyze/rules"
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/testenv"
	"github.com/dynwatch/dynwatch/internal/testnet"
)

// elsewhere starts a process in network and mount namespaces of its own, with TEST-NET addresses on loopback and its own resolver files.
func elsewhere(t *testing.T, files map[string]string) *Namespace {
	t.Helper()
	testenv.Root(t)
	testenv.Tool(t, "ip")
	dir := t.TempDir()
	script := "set -e; ip link set lo up; ip addr add 192.0.2.7/32 dev lo; ip addr add 192.0.2.53/32 dev lo; mount --make-rprivate /\n"
	for name, text := range files {
		path := filepath.Join(dir, filepath.Base(name))
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		script += fmt.Sprintf("mount --bind %s %s\n", path, name)
	}
	cmd := testenv.Command(t, "unshare", "-n", "-m", "sh", "-c", script+"echo ready; exec sleep 600")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	line := make([]byte, 6)
	if n, _ := out.Read(line); string(line[:n]) != "ready\n" {
		cmd.Wait()
		testenv.Lacks(t, "no namespaces here: %s", &stderr)
	}
	ns, err := OpenNamespace(strconv.Itoa(cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ns.Close)
	return ns
}

// listenIn listens inside a namespace: the same trick as for dialling.
func listenIn(t *testing.T, ns *Namespace, listen func() error) {
	t.Helper()
	if err := ns.inside(listen); err != nil {
		t.Fatal(err)
	}
}

func TestFromAnotherNamespace(t *testing.T) {
	ns := elsewhere(t, map[string]string{
		"/etc/resolv.conf": "nameserver 192.0.2.53\nsearch cluster.local\n", "/etc/hosts": "192.0.2.7 hosted.example\n",
	})
	var l net.Listener
	var udp net.PacketConn
	listenIn(t, ns, func() (err error) {
		if l, err = net.Listen("tcp", "192.0.2.7:443"); err == nil {
			udp, err = net.ListenPacket("udp", "192.0.2.53:53")
		}
		return err
	})
	defer udp.Close()
	testnet.Serve(t, l, testnet.Handshakes(config("good")))
	go func() {
		b := make([]byte, 512)
		for {
			n, from, err := udp.ReadFrom(b)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(b[:n]) != nil {
				continue
			}
			m.Response = true
			if q := m.Questions[0]; q.Type == dnsmessage.TypeA && q.Name.String() == name+"." {
				m.Answers = []dnsmessage.Resource{rr(name+".", &dnsmessage.AResource{A: [4]byte{192, 0, 2, 7}}, q.Type)}
			}
			packed, _ := m.Pack()
			udp.WriteTo(packed, from)
		}
	}()
	o := options(t)
	o.Namespace = ns
	p := one(t, o, Target{Host: name, Port: 443})
	if p.Session == nil || p.Session.Trust != session.TrustAllowed || p.Server.String() != "192.0.2.7:443" {
		t.Fatalf("%s %+v", p.Err, p)
	}
	if r := p.Resolution; r.By != "dns" || r.Resolver.String() != "192.0.2.53:53" || len(r.Findings) != 1 || r.Findings[0].Rule != rules.UnexpectedDestination ||
		r.Findings[0].Severity != session.High {
		t.Errorf("resolution %+v", r)
	}
	if p.From != fmt.Sprintf("pid %d", ns.PID) {
		t.Errorf("from %q", p.From)
	}
	p = one(t, o, Target{Host: "hosted.example", Port: 443})
	if p.Resolution.By != "hosts" || p.Session == nil || p.Session.Trust != session.TrustNameMismatch {
		t.Errorf("%s %+v", p.Err, p)
	}
	// Our own namespace has no way there.
	o.Namespace, o.Timeout = nil, 200*time.Millisecond
	if p := one(t, o, Target{Host: name, Addr: p.Server.Addr(), Port: 443}); p.Session != nil {
		t.Error("reached the other namespace's address from here")
	}
}

// TestLinksStayInside: a link in the process's root that leads to the host's files leads nowhere.
func TestLinksStayInside(t *testing.T) {
	root := t.TempDir()
	for link, to := range map[string]string{"absolute": "/etc/passwd", "up": "../../../../../../etc/passwd", "inside": "/file"} {
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "file"), []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	ns := &Namespace{root: dir}
	for name, want := range map[string]string{"/file": "text", "/inside": "text", "/absolute": "", "/up": "", "/nothing": "", "/": ""} {
		if b, err := ns.readFile(name); string(b) != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q %v", name, b, err)
		}
	}
}

func TestContainerProcess(t *testing.T) {
	proc := t.TempDir()
	const id, other = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "01234567ffffcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for pid, cgroup := range map[int]string{
		1: "0::/init.scope\n", 90: "0::/system.slice/docker-" + id + ".scope\n", 80: "0::/system.slice/docker-" + id + ".scope\n",
		70: "0::/system.slice/docker-" + other + ".scope\n",
	} {
		dir := filepath.Join(proc, strconv.Itoa(pid))
		os.Mkdir(dir, 0o755)
		os.WriteFile(filepath.Join(dir, "cgroup"), []byte(cgroup), 0o644)
	}
	if pid, err := containerProcess(proc, id[:12]); pid != 80 || err != nil {
		t.Errorf("%d %v", pid, err)
	}
	for _, wrong := range []string{"0123456789", "0123456789zz", "ffffffffffff", id + "00"} {
		if pid, err := containerProcess(proc, wrong); err == nil {
			t.Errorf("%s is %d", wrong, pid)
		}
	}
	if _, err := OpenNamespace("999999999"); err == nil || !strings.Contains(err.Error(), "no process") {
		t.Errorf("error %v", err)
	}
	if _, err := OpenNamespace("-1"); err == nil {
		t.Error("process -1")
	}
}
