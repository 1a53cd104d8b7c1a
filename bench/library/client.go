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
	// handshakes: it makes one for each unit of work; else it transfers dataBytes for each.
	handshakes bool
	// timed: it is measured even if nobody asks for it by name.
	timed bool
	// library is what its probes are called by.
	library string
	// passedOver: it is measured as a client that opens no connections to DynamoDB.
	passedOver bool
}

var workloads = []workload{
	{name: "boto3", library: "openssl", start: python(boto3Program, rootFile, ""), handshakes: true, timed: true},
	{name: "curl", library: "openssl", start: python(curlProgram, rootFile, "/"), handshakes: true, timed: true},
	{name: "curl, 64 MiB", library: "openssl", start: python(curlProgram, rootFile, dataPath), timed: true},
	{name: "boto3, passed over", library: "openssl", start: python(boto3Program, rootFile, ""), handshakes: true, timed: true, passedOver: true},
	{name: "boto3, all roots", library: "openssl", start: python(boto3Program, bundleFile, ""), handshakes: true},
	{name: "curl, a process each", library: "openssl", start: python(curlEachProgram, rootFile, "/"), handshakes: true},
	{name: "curl, a process each, all roots", library: "openssl", start: python(curlEachProgram, bundleFile, "/"), handshakes: true},
	{name: "Python, 64 MiB", library: "openssl", start: python(pythonProgram, rootFile, dataPath)},
	{name: "Node.js", library: "openssl", start: node("/"), handshakes: true},
	{name: "Node.js, 64 MiB", library: "openssl", start: node(dataPath)},
	{name: "Go", library: "go", start: golang("/"), handshakes: true},
	{name: "Go, 64 MiB", library: "go", start: golang(dataPath)},
	{name: "pycurl (GnuTLS)", library: "gnutls", start: python(pycurlProgram, rootFile, "/"), handshakes: true},
	{name: "pycurl (GnuTLS), 64 MiB", library: "gnutls", start: python(pycurlProgram, rootFile, dataPath)},
}

// client is a program that does its work when it is told how often, and says how many seconds that took, and how many of the processor's.
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
		return t, fmt.Errorf("the client ended: %w", err)
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

// pythonLoop does work() as often as it is told; who is whose use of the processor counts.
const pythonLoop = `
import resource, sys, time
def used():
    u = resource.getrusage(who)
    return u.ru_utime + u.ru_stime
for line in sys.stdin:
    begin, cpu = time.monotonic(), used()
    work(int(line))
    print(time.monotonic() - begin, used() - cpu, flush=True)
`

const boto3Program = `
import boto3, resource, sys
who = resource.RUSAGE_SELF
client = boto3.client("dynamodb", region_name="us-east-1", endpoint_url="https://" + sys.argv[2], verify=sys.argv[1])
def work(n):
    for _ in range(n):
        client.list_tables()
` + pythonLoop

const pythonProgram = `
import resource, ssl, sys, urllib.request
who = resource.RUSAGE_SELF
context = ssl.create_default_context(cafile=sys.argv[1])
def work(n):
    for _ in range(n):
        with urllib.request.urlopen("https://" + sys.argv[2] + sys.argv[3], context=context) as answer:
            while answer.read(65536):
                pass
` + pythonLoop

// curl makes all connections of a round in one process; how long it takes to start is a part of the round, with and without probes.
const curlProgram = `
import resource, subprocess, sys
who = resource.RUSAGE_CHILDREN
def work(n):
    command = ["curl", "--silent", "--fail", "--cacert", sys.argv[1]]
    for i in range(n):
        command += ["--output", "/dev/null", "https://%s%s?%d" % (sys.argv[2], sys.argv[3], i)]
    subprocess.run(command, check=True)
` + pythonLoop

const curlEachProgram = `
import resource, subprocess, sys
who = resource.RUSAGE_CHILDREN
def work(n):
    for _ in range(n):
        subprocess.run(["curl", "--silent", "--fail", "--cacert", sys.argv[1], "--output", "/dev/null", "https://" + sys.argv[2] + sys.argv[3]], check=True)
` + pythonLoop

const pycurlProgram = `
import pycurl, resource, sys
who = resource.RUSAGE_SELF
def work(n):
    for _ in range(n):
        c = pycurl.Curl()
        c.setopt(pycurl.URL, "https://" + sys.argv[2] + sys.argv[3])
        c.setopt(pycurl.CAINFO, sys.argv[1])
        c.setopt(pycurl.WRITEFUNCTION, len)
        c.perform()
        c.close()
` + pythonLoop

func python(program, roots, path string) func(dir, address string) (*client, error) {
	return func(dir, address string) (*client, error) {
		return start("/usr/bin/python3", "-c", program, filepath.Join(dir, roots), address, path)
	}
}

const nodeProgram = `
const https = require("https")
const [, roots, address, path] = process.argv
const ca = require("fs").readFileSync(roots)
const agent = new https.Agent({keepAlive: false, maxCachedSessions: 0})
const get = () => new Promise((resolve, reject) =>
  https.get("https://" + address + path, {ca, agent}, r => r.on("data", () => {}).on("end", resolve)).on("error", reject))
async function main() {
  for await (const line of require("readline").createInterface({input: process.stdin})) {
    const begin = performance.now(), cpu = process.cpuUsage()
    for (let i = 0; i < Number(line); i++) await get()
    const used = process.cpuUsage(cpu)
    console.log((performance.now() - begin) / 1e3, (used.user + used.system) / 1e6)
  }
}
main()
`

func node(path string) func(dir, address string) (*client, error) {
	return func(dir, address string) (*client, error) {
		return start("/usr/bin/node", "-e", nodeProgram, filepath.Join(dir, rootFile), address, path)
	}
}

// golang runs this program again as a client.
func golang(path string) func(dir, address string) (*client, error) {
	return func(dir, address string) (*client, error) {
		return start("/proc/self/exe", "-client", filepath.Join(dir, rootFile), "https://"+address+path)
	}
}
