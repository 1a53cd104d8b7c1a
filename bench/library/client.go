package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// workload is a client and what it does.
type workload struct {
	name string
	// start runs the client.
	start func(dir, address string) (*client, error)
	// dear: one takes about so many times what a plain handshake takes.
	dear int
	// handshakes: it makes as many as it is told; else it makes few.
	handshakes bool
}

var workloads = []workload{
	{"boto3", python(boto3Program, rootFile, ""), 1, true},
	{"boto3, all roots", python(boto3Program, bundleFile, ""), 10, true},
	{"curl", python(curlProgram, rootFile, "/"), 1, true},
	{"curl, 64 MiB", python(curlProgram, rootFile, dataPath), 10, false},
}

// client is a program that makes handshakes when it is told how many, and says how many seconds they took, and how many of the processor's.
type client struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func start(name string, args ...string) (*client, error) {
	c := &client{cmd: exec.Command(name, args...)}
	c.cmd.Stderr = os.Stderr
	c.cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x", "AWS_EC2_METADATA_DISABLED=true")
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReader(out)
	return c, c.cmd.Start()
}

// took are the time and the processor's time.
type took [2]time.Duration

// round has the client do its work n times.
func (c *client) round(n int) (t took, err error) {
	if _, err := fmt.Fprintln(c.in, n); err != nil {
		return t, err
	}
	line, err := c.out.ReadString('\n')
	if err != nil {
		return t, err
	}
	var seconds [2]float64
	if _, err := fmt.Sscan(line, &seconds[0], &seconds[1]); err != nil {
		return t, fmt.Errorf("the client says %q: %w", line, err)
	}
	for k := range t {
		t[k] = time.Duration(seconds[k] * float64(time.Second))
	}
	return t, nil
}

func (c *client) end() {
	c.in.Close()
	_ = c.cmd.Wait()
}

const boto3Program = `
import sys, time, resource, boto3
client = boto3.client("dynamodb", region_name="us-east-1", endpoint_url="https://" + sys.argv[2], verify=sys.argv[1])
def used():
    u = resource.getrusage(resource.RUSAGE_SELF)
    return u.ru_utime + u.ru_stime
for line in sys.stdin:
    begin, cpu = time.monotonic(), used()
    for _ in range(int(line)):
        client.list_tables()
    print(time.monotonic() - begin, used() - cpu, flush=True)
`

// curl makes all connections of a round in one process; how long it takes to start is a part of the round, with and without probes.
const curlProgram = `
import subprocess, sys, time, resource
def used():
    u = resource.getrusage(resource.RUSAGE_CHILDREN)
    return u.ru_utime + u.ru_stime
for line in sys.stdin:
    command = ["curl", "--silent", "--fail", "--cacert", sys.argv[1]]
    for i in range(int(line)):
        command += ["--output", "/dev/null", "https://%s%s?%d" % (sys.argv[2], sys.argv[3], i)]
    begin, cpu = time.monotonic(), used()
    subprocess.run(command, check=True)
    print(time.monotonic() - begin, used() - cpu, flush=True)
`

func python(program, roots, path string) func(dir, address string) (*client, error) {
	return func(dir, address string) (*client, error) {
		return start("/usr/bin/python3", "-c", program, filepath.Join(dir, roots), address, path)
	}
}
