package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/dynwatch/dynwatch/internal/testchains"
)

// place is a network namespace.
type place int

// The namespaces. Clients are here, servers are there, except those on loopback.
const (
	here place = iota
	there
)

// rig is the two namespaces and everything that runs in them.
type rig struct {
	dir       string
	modules   string // npm's
	scenarios []*placed
	// farPID is a process that holds the servers' namespace.
	farPID int
	// netNS is the inode number of the clients' namespace.
	netNS uint64
	// earlyConnected is closed when the client that is there before the observers has its connection, observing when they watch.
	earlyConnected, observing chan struct{}
	// dns answers the clients' questions.
	dns net.PacketConn
	// processes in the order of their start.
	processes []*process
}

// placed is a scenario with its address and, once it ran, its outcome.
type placed struct {
	scenario
	addr netip.Addr
	// from is the client's address.
	from netip.Addr
	// hosts is the client's /etc/hosts.
	hosts string
	// ready and until are the files by which a client that stays is led.
	ready, until string

	outcome outcome
	// told are the live sources that had put the session out while its client was still there.
	told map[string]bool
}

type process struct {
	*exec.Cmd
	name string
	log  string
	done chan struct{}
	// ending is set once the rig itself has asked it to.
	ending bool
}

// firstAddress leaves room below the scenarios' addresses for the rig's own.
const firstAddress = 10

// origin is a server that the proxies reach, by the name that a client asks them for.
type origin struct {
	last   byte
	region string
	server server
}

func (o origin) address() netip.Addr { return far.address(int(o.last)) }

var origins = []origin{
	{250, "us-east-1", server{chain: good, versions: "TLSv1.2 TLSv1.3"}},
	{251, "us-west-2", server{chain: good, versions: "TLSv1.2"}},
	{252, "eu-north-1", server{chain: forged, versions: "TLSv1.2"}},
}

// markerAddress gets a request in clear when all clients are done. An observer that has seen it has seen everything.
var markerAddress = far.address(249)

func newRig(dir string) (*rig, error) {
	r := &rig{dir: dir, earlyConnected: make(chan struct{}), observing: make(chan struct{})}
	var err error
	if r.modules, err = nodeModules(); err != nil {
		return nil, err
	}
	taken := map[network]int{}
	for _, s := range scenarios() {
		p := &placed{scenario: *s, addr: s.at.address(firstAddress + taken[s.at])}
		taken[s.at]++
		r.scenarios = append(r.scenarios, p)
	}
	if far.address(firstAddress+taken[far]).Compare(markerAddress) >= 0 || taken[unlisted] > 100 || taken[aws] > 100 || len(r.scenarios) > 240 {
		return nil, errors.New("more scenarios than addresses")
	}
	return r, nil
}

// start makes the namespaces and files and starts the servers.
func (r *rig) start() error {
	names := []string{regional("us-east-1")}
	for _, s := range r.scenarios {
		if !slices.Contains(names, s.host) && s.host != "localhost" && !strings.HasSuffix(s.host, ".invalid") {
			names = append(names, s.host)
		}
	}
	for _, o := range origins {
		if !slices.Contains(names, regional(o.region)) {
			names = append(names, regional(o.region))
		}
	}
	for _, sub := range []string{"mitm", "logs", "hosts"} {
		if err := os.Mkdir(filepath.Join(r.dir, sub), 0o755); err != nil {
			return err
		}
	}
	if err := testchains.Write(r.dir, names); err != nil {
		return err
	}
	if err := r.makeNamespaces(); err != nil {
		return err
	}
	if err := r.writeClientFiles(); err != nil {
		return err
	}
	// Clients that verify by the system's store find the test's root there.
	if err := syscall.Mount(filepath.Join(r.dir, "roots.pem"), "/etc/ssl/certs/ca-certificates.crt", "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount the roots: %w", err)
	}
	if err := r.answerDNS(); err != nil {
		return err
	}
	return r.startServers()
}

// startIn starts a command in a namespace, with hosts for its /etc/hosts unless that is empty. Its output goes to a file of that name. The
// process id is the command's own: each program on the way to it becomes the next.
func (r *rig) startIn(where place, hosts, name string, arguments, env []string) (*process, error) {
	p, err := r.launchIn(where, hosts, name, arguments, env, nil)
	if err == nil {
		r.processes = append(r.processes, p)
	}
	return p, err
}

// launch starts a client, whose end is its caller's business.
func (r *rig) launch(hosts, name string, arguments, env []string, in io.Reader) (*process, error) {
	return r.launchIn(here, hosts, name, arguments, env, in)
}

func (r *rig) launchIn(where place, hosts, name string, arguments, env []string, in io.Reader) (*process, error) {
	if name := arguments[0]; !slices.ContainsFunc(programs, func(p program) bool { return p.path == name }) && filepath.Dir(name) != r.dir {
		return nil, fmt.Errorf("start %s: not among the programs of requirements_test.go", name)
	}
	arguments = r.wrapped(where, hosts, arguments)
	log := filepath.Join(r.dir, "logs", name)
	if err := os.MkdirAll(filepath.Dir(log), 0o755); err != nil {
		return nil, err
	}
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p := &process{Cmd: command(arguments), name: name, log: log, done: make(chan struct{})}
	p.Stdin, p.Stdout, p.Stderr = in, f, f
	p.Env = append(baseEnv(r.dir), env...)
	p.Dir = r.dir
	p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.Wait()
		close(p.done)
	}()
	return p, nil
}

// wrapped is the command that runs another in a namespace with a hosts file.
func (r *rig) wrapped(where place, hosts string, arguments []string) []string {
	if hosts != "" {
		const mount = `mount --bind "$1" /etc/hosts && shift && exec "$@"`
		arguments = append([]string{"unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", mount, "sh", hosts}, arguments...)
	}
	if where == there {
		arguments = append(r.inFar(), arguments...)
	}
	return arguments
}

// baseEnv is the environment of everything that the rig runs.
func baseEnv(home string) []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + home, "LANG=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1",
		"AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY=" + secretKey, "AWS_EC2_METADATA_DISABLED=true", "E2E_NOTE=" + secretNote,
	}
}

// stop ends every process, the latest first.
func (r *rig) stop() {
	if r.dns != nil {
		r.dns.Close()
	}
	for _, p := range slices.Backward(r.processes) {
		p.end(syscall.SIGTERM, 3*time.Second)
	}
}

// end asks a process to end, and makes it after a while. It reports whether the process went by itself.
func (p *process) end(ask syscall.Signal, patience time.Duration) bool {
	p.ending = true
	p.Process.Signal(ask)
	select {
	case <-p.done:
		return true
	case <-time.After(patience):
	}
	p.Process.Kill()
	<-p.done
	return false
}

// running reports an error that holds the end of the log once the process has gone by itself.
func (p *process) running() error {
	if p.ending {
		return nil
	}
	select {
	case <-p.done:
		return fmt.Errorf("%s ended: %s\n%s", p.name, p.ProcessState, tail(p.log))
	default:
		return nil
	}
}

func tail(name string) []byte {
	b, err := os.ReadFile(name)
	if err != nil {
		return []byte(err.Error())
	}
	return b[max(0, len(b)-2000):]
}

// wait polls until ready gives nil, and says what it waited for when that takes too long.
func (r *rig) wait(what string, ready func() error) error {
	deadline := time.Now().Add(40 * time.Second)
	for {
		err := ready()
		if err == nil {
			return nil
		}
		for _, p := range r.processes {
			if gone := p.running(); gone != nil {
				return fmt.Errorf("waiting for %s: %w", what, gone)
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waiting for %s: %w", what, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// listening waits until something accepts connections.
func (r *rig) listening(network, address string) error {
	return r.wait(address, func() error {
		c, err := net.DialTimeout(network, address, time.Second)
		if err == nil {
			c.Close()
		}
		return err
	})
}

// says waits until a file contains a word.
func (r *rig) says(name, word string) error {
	return r.wait(fmt.Sprintf("%q in %s", word, name), func() error {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		b, err := io.ReadAll(f)
		if err == nil && !bytes.Contains(b, []byte(word)) {
			err = fmt.Errorf("it says %q", b)
		}
		return err
	})
}
