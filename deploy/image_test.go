package deploy

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"debug/elf"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/internal/synth"
	"github.com/dynwatch/dynwatch/internal/testenv"
	"github.com/dynwatch/dynwatch/internal/testnet"
)

// storage is where a test keeps its images, apart from the host's. The driver works on any file system.
func storage(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	return []string{"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--storage-driver", "vfs"}
}

// buildImages runs scripts/image and returns the archive.
func buildImages(t *testing.T, store []string) string {
	t.Helper()
	testenv.Root(t)
	buildah := testenv.Tool(t, "buildah")
	testenv.Tool(t, "runc")
	cmd := testenv.Command(t, filepath.Join(testenv.Module(t), "scripts/image"), "test", t.TempDir())
	cmd.Env = append(os.Environ(), "BUILDAH="+strings.Join(append([]string{buildah}, store...), " "), "SOURCE_DATE_EPOCH=1790000000")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("scripts/image: %v\n%s", err, &stderr)
	}
	return strings.TrimSpace(string(out))
}

// index is the list of images in an OCI archive, which names everything else by its digest.
func index(t *testing.T, archive string) (string, []string) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var top struct{ Manifests []struct{ Digest string } }
	blobs := make(map[string][]byte)
	r := tar.NewReader(f)
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Size > 1<<20 {
			continue
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if name := filepath.Base(h.Name); name == "index.json" {
			if err := json.Unmarshal(b, &top); err != nil {
				t.Fatal(err)
			}
		} else {
			blobs["sha256:"+name] = b
		}
	}
	if len(top.Manifests) != 1 {
		t.Fatalf("%d entries in index.json", len(top.Manifests))
	}
	var list struct {
		Manifests []struct {
			Platform struct{ Architecture, OS string }
		}
	}
	if err := json.Unmarshal(blobs[top.Manifests[0].Digest], &list); err != nil {
		t.Fatal(err)
	}
	var platforms []string
	for _, m := range list.Manifests {
		platforms = append(platforms, m.Platform.OS+"/"+m.Platform.Architecture)
	}
	slices.Sort(platforms)
	return top.Manifests[0].Digest, platforms
}

// TestImages: both architectures, each with a program for it and nothing else, and the same bytes if built again.
func TestImages(t *testing.T) {
	testenv.Slow(t, "builds two images twice")
	store := storage(t)
	first, platforms := index(t, buildImages(t, store))
	second, _ := index(t, buildImages(t, storage(t)))
	if first != second {
		t.Errorf("built twice, and got %s and %s", first, second)
	}
	if !slices.Equal(platforms, []string{"linux/amd64", "linux/arm64"}) {
		t.Errorf("the archive is for %v", platforms)
	}
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		container, err := testenv.Command(t, "buildah", append(store, "from", "--pull-never", "localhost/dynwatch:test-"+arch)...).Output()
		if err != nil {
			t.Fatalf("%s: %v", arch, err)
		}
		mount, err := testenv.Command(t, "buildah", append(store, "mount", strings.TrimSpace(string(container)))...).Output()
		if err != nil {
			t.Fatalf("%s: %v", arch, err)
		}
		root := strings.TrimSpace(string(mount))
		var files []string
		filepath.WalkDir(root, func(path string, d os.DirEntry, _ error) error {
			if !d.IsDir() {
				files = append(files, strings.TrimPrefix(path, root))
			}
			return nil
		})
		if !slices.Equal(files, []string{"/usr/bin/dynwatch"}) {
			t.Errorf("%s: the image holds %v", arch, files)
		}
		program, err := elf.Open(filepath.Join(root, "usr/bin/dynwatch"))
		if err != nil {
			t.Fatal(err)
		}
		if program.Machine != machine || program.Section(".interp") != nil {
			t.Errorf("%s: a program for %s, with .interp %v", arch, program.Machine, program.Section(".interp"))
		}
		program.Close()
		testenv.Command(t, "buildah", append(store, "rm", strings.TrimSpace(string(container)))...).Run()
	}
}

// agentInTheImage: with the least rights it becomes ready, gets its library probes attached, which may take longer, and an interrupt ends it.
func agentInTheImage(t *testing.T, podman string, store []string) {
	at := testnet.Free(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	agent := exec.CommandContext(ctx, podman, append(slices.Clone(store), "--runtime", "runc", "--cgroup-manager", "cgroupfs", "run", "--rm",
		"--ulimit", "nofile=20000:20000", "--ulimit", "nproc=30000:30000", "--network=host", "--pid=host", "-v", "/sys/fs/cgroup:/sys/fs/cgroup:ro",
		"--cap-drop", "all", "--cap-add", "BPF,PERFMON,NET_ADMIN,SYS_PTRACE", "--read-only", "--tmpfs", "/var/lib/dynwatch:mode=0700",
		"--security-opt", "seccomp=unconfined", "--security-opt", "no-new-privileges",
		"localhost/dynwatch:test-amd64", "agent", "--source", "ebpf", "--listen", at)...)
	agent.Cancel = func() error { return agent.Process.Signal(os.Interrupt) }
	agent.WaitDelay = 10 * time.Second
	var log bytes.Buffer
	agent.Stdout, agent.Stderr = &log, &log
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	ready, said := false, []byte(nil)
	for !ready && ctx.Err() == nil {
		if r, err := http.Get("http://" + at + "/readyz"); err == nil {
			said, _ = io.ReadAll(r.Body)
			r.Body.Close()
			ready = r.StatusCode == http.StatusOK && bytes.Contains(said, []byte("library probes: in "))
		}
		time.Sleep(100 * time.Millisecond)
	}
	agent.Process.Signal(os.Interrupt)
	if err := agent.Wait(); err != nil || !ready {
		t.Errorf("ready %v, ended with %v:\n%s", ready, err, &log)
	}
	// The image has no TLS library: these are of the host's processes.
	if !ready || bytes.Contains(said, []byte("in 0 files")) {
		t.Errorf("/readyz says %s", said)
	}
}

const name = "dynamodb.us-east-1.amazonaws.com"

// endpointHere is a TLS server on loopback. It answers late, so that a client is still there when its process is looked at.
func endpointHere(t *testing.T) string {
	t.Helper()
	_, cert, err := synth.NewHost("Test CA", name)
	if err != nil {
		t.Fatal(err)
	}
	handshake := testnet.Handshakes(&tls.Config{Certificates: []tls.Certificate{cert}})
	return testnet.Listen(t, "127.0.0.1", func(c net.Conn) {
		time.Sleep(300 * time.Millisecond)
		handshake(c)
	}).String()
}

// event is what a test reads of a line of JSON.
type event struct {
	Type string
	Flow struct {
		ServerPort int `json:"server_port"`
	}
	TLS     struct{ SNI string }
	Process struct {
		PID         int
		Comm, Exe   string
		ContainerID string `json:"container_id"`
		Runtime     string
	}
}

// TestImageSeesTheHost runs the image as it is meant to be run, with the least rights and with all, and has it tell of a connection that this
// process makes, and of one that another container makes.
func TestImageSeesTheHost(t *testing.T) {
	testenv.Slow(t, "builds images, and runs containers")
	podman := testenv.Tool(t, "podman")
	store := storage(t)
	buildImages(t, store)
	const image = "localhost/dynwatch:test-amd64"
	t.Run("the agent becomes ready", func(t *testing.T) { agentInTheImage(t, podman, store) })
	// Where the limits of the machine are low, the defaults of the runtime are above them.
	limits := []string{"--ulimit", "nofile=20000:20000", "--ulimit", "nproc=30000:30000", "--network=host"}
	container := func(ctx context.Context, args ...string) *exec.Cmd {
		all := append(append(slices.Clone(store), "--runtime", "runc", "--cgroup-manager", "cgroupfs", "run", "--rm"), limits...)
		return exec.CommandContext(ctx, podman, append(all, args...)...)
	}
	for _, mode := range []struct {
		name string
		args []string
	}{
		{"with the least rights", []string{
			"--cap-drop", "all", "--cap-add", "BPF,PERFMON,NET_ADMIN,SYS_PTRACE", "--read-only", "--security-opt", "seccomp=unconfined", "--security-opt", "no-new-privileges",
		}},
		{"privileged", []string{"--privileged"}},
	} {
		t.Run(mode.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			var clients sync.WaitGroup
			defer clients.Wait() // a container that is still being removed would be in the way of removing the storage
			at := endpointHere(t)
			_, portText, _ := net.SplitHostPort(at)
			port, _ := strconv.Atoi(portText)
			observer := container(ctx, append(append([]string{"--pid=host", "-v", "/sys/fs/cgroup:/sys/fs/cgroup:ro"}, mode.args...),
				image, "capture", "--source", "ebpf", "-o", "json")...)
			observer.Cancel = func() error { return observer.Process.Signal(os.Interrupt) }
			observer.WaitDelay = 10 * time.Second
			var stderr bytes.Buffer
			observer.Stderr = &stderr
			out, err := observer.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := observer.Start(); err != nil {
				t.Fatal(err)
			}
			events := make(chan event, 256)
			go func() {
				defer close(events)
				in := bufio.NewScanner(out)
				in.Buffer(nil, 1<<20)
				for in.Scan() {
					var e event
					if json.Unmarshal(in.Bytes(), &e) == nil && e.Type == "session" && e.Flow.ServerPort == port {
						events <- e
					}
				}
			}()
			var host, inside *event
			var running atomic.Bool // the other container; more at once would only be in each other's way
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
		wait:
			for host == nil || inside == nil {
				select {
				case e, ok := <-events:
					switch {
					case !ok:
						break wait
					case e.Process.PID == os.Getpid():
						host = &e
					case e.Process.ContainerID != "":
						inside = &e
					}
				case <-tick.C:
					// Until the hooks are attached nobody sees these.
					clients.Go(func() {
						if c, err := tls.Dial("tcp", at, &tls.Config{ServerName: name, InsecureSkipVerify: true}); err == nil {
							c.Write([]byte("POST / HTTP/1.1\r\n\r\n"))
							c.Close()
						}
					})
					if running.CompareAndSwap(false, true) {
						clients.Go(func() {
							defer running.Store(false)
							container(ctx, image, "probe", fmt.Sprintf("%s:%d", name, port), "--address", "127.0.0.1", "--brief").Run()
						})
					}
				case <-ctx.Done():
					break wait
				}
			}
			observer.Process.Signal(os.Interrupt)
			go func() {
				for range events {
				}
			}()
			if err := observer.Wait(); err != nil {
				t.Logf("the observer: %v", err)
			}
			if host == nil || inside == nil {
				t.Fatalf("of this process: %v, of the container: %v\n%s", host, inside, &stderr)
			}
			self, _ := os.Executable()
			if host.TLS.SNI != name || host.Process.Exe != self {
				t.Errorf("of this process (%s): %+v", self, host)
			}
			if inside.TLS.SNI != name || inside.Process.Exe != "/usr/bin/dynwatch" || len(inside.Process.ContainerID) != 64 || inside.Process.Runtime != "podman" {
				t.Errorf("of the container: %+v", inside)
			}
		})
	}
}
