package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/internal/testenv"
	"github.com/dynwatch/dynwatch/internal/testnet"
)

// owner is how much is known of who has a connection open.
type owner int

const (
	userOnly    owner = iota // and its cgroup and network namespace
	processName              // the process, and its name
	programPath              // and its path
)

// The rights that docs/ebpf.md tells of: sets that are enough for a source, with nothing else, and what is then known of a connection's owner.
var enough = []struct {
	source string
	caps   []string
	owner  owner
}{
	{"ebpf", []string{"bpf", "net_admin", "perfmon"}, processName},
	{"ebpf", []string{"sys_admin"}, processName},
	{"ebpf", []string{"bpf", "net_admin", "perfmon", "sys_ptrace"}, programPath},
	{"packet", []string{"net_raw"}, userOnly},
	{"packet", []string{"net_raw", "sys_ptrace", "dac_read_search"}, programPath},
}

// users are one without rights of its own, and a root, whose number alone gives none here.
var users = []string{"65534", "0"}

// TestRightsThatAreEnough runs dynwatch with exactly the rights that are documented, and has it see a connection.
func TestRightsThatAreEnough(t *testing.T) {
	r := needRig(t)
	for _, e := range enough {
		for _, u := range users {
			t.Run(fmt.Sprintf("%s, user %s, %s", e.source, u, strings.Join(e.caps, " ")), func(t *testing.T) {
				testnet.Enter(t)
				line, messages, status := r.withRights(t, e.source, u, e.caps, cleartext)
				if status != 0 || bytes.Contains(messages, []byte("warning")) {
					t.Errorf("status %d, it says %s", status, messages)
				}
				var v seen
				if err := json.Unmarshal(line, &v); err != nil {
					t.Fatalf("no session: %v: %s", err, messages)
				}
				if v.Source != e.source || v.Transport != "http" || v.Endpoint.Service != "dynamodb" || v.Process == nil {
					t.Fatalf("%s", line)
				}
				if p := v.Process; (p.PID == os.Getpid()) != (e.owner >= processName) || (p.Comm != "") != (e.owner >= processName) || (p.Exe != "") != (e.owner == programPath) {
					t.Errorf("process %+v, own %d", p, os.Getpid())
				}
			})
		}
	}
}

// TestRightsThatAreMissing takes one of the rights away: dynwatch says which, and names no other.
func TestRightsThatAreMissing(t *testing.T) {
	r := needRig(t)
	for source, all := range map[string][]string{"ebpf": enough[0].caps, "packet": {"net_raw"}} {
		for i, missing := range all {
			for _, u := range users {
				t.Run(fmt.Sprintf("%s, user %s, without %s", source, u, missing), func(t *testing.T) {
					testnet.Enter(t)
					_, messages, status := r.withRights(t, source, u, slices.Delete(slices.Clone(all), i, i+1), nil)
					_, hint, _ := strings.Cut(string(messages), "dynwatch: hint: ")
					hint, _, _ = strings.Cut(hint, ";")
					if want := "run it as root, or give it CAP_" + strings.ToUpper(missing); status != 1 || hint != want {
						t.Errorf("status %d, hint %q, want 1, %q, in %s", status, hint, want, messages)
					}
				})
			}
		}
	}
}

// rightsAddress is where the tests of rights connect to, and nobody else on this host.
const rightsAddress = "127.77.0.1"

// withRights runs dynwatch in the present network namespace, as a user with some capabilities and no way to others. Once it watches, it calls
// whenReady, and ends it when it has told of a session with rightsAddress.
func (r *rig) withRights(t *testing.T, source, user string, caps []string, whenReady func(*testing.T)) (session, messages []byte, status int) {
	t.Helper()
	set := "-all"
	for _, c := range caps {
		set += ",+" + c
	}
	// setpriv clears what the user's number gave, so that a root has no more than a nobody.
	cmd := testenv.Command(t, "setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--bounding-set", set, "--inh-caps", set,
		"--ambient-caps", set, "--", filepath.Join(r.dir, "dynwatch"), "capture", "--source", source, "-o", "json",
		"--endpoint", rightsAddress+"/32", "--duration", "30s")
	cmd.Env = baseEnv("/")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(40*time.Second, func() { cmd.Process.Kill() }).Stop()
	found := make(chan []byte, 1)
	go func() {
		defer close(found)
		lines := bufio.NewScanner(stdout)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() { // sessions of others on this host are none of ours
			if line := lines.Bytes(); len(found) == 0 && bytes.Contains(line, []byte(`"type":"session"`)) &&
				bytes.Contains(line, []byte(`"server_ip":"`+rightsAddress+`"`)) {
				found <- bytes.Clone(line)
				cmd.Process.Signal(os.Interrupt)
			}
		}
	}()
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		messages = append(append(messages, lines.Bytes()...), '\n')
		if whenReady != nil && bytes.Contains(lines.Bytes(), []byte("watching this host")) {
			whenReady(t)
			whenReady = nil
		}
	}
	session = <-found
	cmd.Wait() // its status tells
	return session, messages, cmd.ProcessState.ExitCode()
}

// cleartext makes a connection on loopback that is DynamoDB's by its Host, and keeps it until the end of the test.
func cleartext(t *testing.T) {
	ln, err := net.Listen("tcp", rightsAddress+":80")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	for _, m := range []struct {
		from, to net.Conn
		text     string
	}{
		{c, s, "POST / HTTP/1.1\r\nHost: " + regional("us-east-1") + "\r\nX-Amz-Target: DynamoDB_20120810.ListTables\r\nContent-Length: 2\r\n\r\n{}"},
		{s, c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"},
	} {
		m.to.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(m.from, m.text)
		if _, err := io.ReadFull(m.to, make([]byte, len(m.text))); err != nil {
			t.Fatal(err)
		}
	}
}
