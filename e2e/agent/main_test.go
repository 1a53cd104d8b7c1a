package agent

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/dynwatch/dynwatch/internal/testenv"
	"github.com/dynwatch/dynwatch/internal/testnet"
)

// insideEnv tells the process that runs in the namespace from the one that starts it; its value is the folder with the program.
const insideEnv = "DYNWATCH_AGENT_TEST_DIR"

// program is dynwatch, built as for use; empty where the tests cannot run.
var program string

// cable is an interface at whose other end, cableEnd, the tests put frames.
const cable, cableEnd = "cable", "cable-end"

// TestMain builds the program and starts this test binary again in a network namespace, where every goroutine is then at home, and in
// a mount namespace.
func TestMain(m *testing.M) {
	if which := os.Getenv(clientEnv); which != "" {
		if err := runClient(which); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
	if dir := os.Getenv(insideEnv); dir != "" {
		os.Unsetenv(insideEnv)
		program = filepath.Join(dir, "dynwatch")
		if err := furnish(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	flag.Parse()
	if listed := flag.Lookup("test.list"); os.Geteuid() != 0 || testing.Short() || listed != nil && listed.Value.String() != "" {
		os.Exit(m.Run()) // ready ends every test
	}
	status, err := runInside()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

func runInside() (status int, err error) {
	dir, err := os.MkdirTemp("", "dynwatch-agent-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-X main.version="+cmp.Or(os.Getenv("VERSION"), "unknown"), "-o", filepath.Join(dir, "dynwatch"), "./cmd/dynwatch")
	build.Dir, build.Env = filepath.Join("..", ".."), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("go build: %w\n%s", err, out)
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), insideEnv+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	signal.Ignore(os.Interrupt) // it reaches the inner process too, by the terminal
	err = cmd.Run()
	if cmd.ProcessState != nil && cmd.ProcessState.ExitCode() >= 0 {
		return cmd.ProcessState.ExitCode(), nil
	}
	return 1, err
}

// furnish gives the namespace its addresses, DynamoDB's and those of others, and a cable; a folder of logs
// in which a kubelet has left a pod's; and names.
func furnish() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := syscall.Mount("tmpfs", "/var/log", "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount /var/log: %w", err)
	}
	if err := os.MkdirAll("/var/log/pods/"+podNamespace+"_"+podName+"_"+podUID, 0o755); err != nil {
		return err
	}
	hosts := filepath.Join(filepath.Dir(program), "hosts")
	if err := os.WriteFile(hosts, []byte("127.0.0.1 localhost\n"+plantedServer+" "+regional("us-east-1")+"\n"), 0o644); err != nil {
		return err
	}
	if err := syscall.Mount(hosts, "/etc/hosts", "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount /etc/hosts: %w", err)
	}
	return testnet.Configure("link set lo up", "route add local 203.0.113.0/24 dev lo", "route add local 198.51.100.0/24 dev lo", "address add 192.0.2.1/32 dev lo",
		"link add "+cable+" type veth peer name "+cableEnd, "link set "+cable+" up", "link set "+cableEnd+" up")
}

// ready ends a test that cannot run.
func ready(t *testing.T) {
	t.Helper()
	testenv.Slow(t, "agents, Prometheus, Alertmanager")
	testenv.Root(t)
}
