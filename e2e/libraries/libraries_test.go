package libraries

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/internal/testchains"
	"github.com/dynwatch/dynwatch/internal/testenv"
	"github.com/dynwatch/dynwatch/internal/testnet"
)

var (
	versions = flag.String("versions", "", "directory that scripts/test-libraries made")
	only     = flag.String("only", "", "try those clients alone whose name matches this `REGEXP`")
)

// cell is what one client meets: a server that shows a chain in one version, told to verify or not.
type cell struct {
	version uint16
	chain   testchains.Chain
	verify  bool
}

func (c cell) String() string {
	return fmt.Sprintf("%s %s verify=%t", tls.VersionName(c.version), c.chain, c.verify)
}

// host is a name of each version's own: a client that gets less than before from the same name would itself be a finding.
func (c cell) host() string {
	if c.version == tls.VersionTLS12 {
		return "dynamodb.us-west-2.amazonaws.com"
	}
	return "dynamodb.us-east-1.amazonaws.com"
}

// address is that of the server; the whole of 127.0.0.0/8 is loopback's.
func (c cell) address() string {
	return fmt.Sprintf("127.0.77.%d", 10*(c.version-tls.VersionTLS12)+uint16(slices.Index(chains, c.chain))+1)
}

var chains = []testchains.Chain{testchains.Good, testchains.Forged, testchains.SelfSigned, testchains.Expired, testchains.WrongName}

var trusts = map[testchains.Chain]string{
	testchains.Good: "allowed", testchains.Forged: "forged", testchains.SelfSigned: "self-signed", testchains.Expired: "expired",
	testchains.WrongName: "name-mismatch",
}

// cells are all of them, the good ones first: a client's very first handshake is no part of the test.
func cells() (all []cell) {
	for _, chain := range chains {
		for _, version := range []uint16{tls.VersionTLS13, tls.VersionTLS12} {
			for _, verify := range []bool{true, false} {
				all = append(all, cell{version, chain, verify})
			}
		}
	}
	return all
}

// client is a program of one version of one library.
type client struct {
	name string
	// library is what dynwatch calls it, or how that begins.
	library string
	// root is the directory that is its root, "" for this host's.
	root string
	// arguments make it do its work in a cell. roots is "-" where nothing shall be verified, files are where tests put them.
	arguments func(c cell, roots string, count int) []string
	// input goes to its standard input.
	input string
	// count is how many connections it makes at once.
	count int
	// found reports whether it can be known that it does not verify, from what it is shown.
	found func(testchains.Chain) bool
	// nameless: the name that its library was told is not known.
	nameless bool
	// slow: it takes its time to refuse a chain, and is spared it.
	slow bool
}

// Whether it shows that a client does not verify.
func always(testchains.Chain) bool            { return true }
func overAnyBadChain(c testchains.Chain) bool { return c != testchains.Good }

// overWhatNobodyAccepts: the chain alone tells, whatever the program has been told to trust.
func overWhatNobodyAccepts(c testchains.Chain) bool {
	return c == testchains.Expired || c == testchains.WrongName
}

// probe is where the files of the tests are in a client's root.
const probe = "/probe"

func (c client) file(name string) string {
	if c.root == "" {
		return filepath.Join(work, name)
	}
	return filepath.Join(probe, name)
}

// work is the directory of the tests' files.
var work string

func python(name, root, library, how string, count int) client {
	c := client{name: name + " " + how, library: library, root: root, count: count, found: always}
	c.arguments = func(x cell, roots string, count int) []string {
		return []string{"/usr/bin/python3", c.file("client.py"), how, "https://" + x.host() + "/", roots, strconv.Itoa(count)}
	}
	return c
}

func curl(name, root, library string) client {
	return client{name: name + " curl", library: library, root: root, count: 1, found: always, arguments: func(x cell, roots string, _ int) []string {
		trust := []string{"--cacert", roots}
		if roots == "-" {
			trust = []string{"--insecure"}
		}
		return append([]string{"/usr/bin/curl", "--silent", "--show-error", "--output", "/dev/null", "https://" + x.host() + "/"}, trust...)
	}}
}

func node(name, root, path string) client {
	c := client{name: name, library: "OpenSSL ", root: root, count: 16, found: overAnyBadChain}
	c.arguments = func(x cell, roots string, count int) []string {
		return []string{path, c.file("client.js"), "https://" + x.host() + "/", roots, strconv.Itoa(count)}
	}
	return c
}

// crt is npm's aws-crt, which has s2n and AWS-LC in a module of its own for Node.js. It verifies in the library, which waits for 10 to 30 s before it
// lets anybody know of a refusal.
func crt(dir string) client {
	c := client{name: filepath.Base(dir), library: "s2n-tls with AWS-LC ", count: 16, found: always, nameless: true, slow: true}
	c.arguments = func(x cell, roots string, count int) []string {
		return []string{"/usr/bin/node", c.file("client-crt.js"), dir, x.host(), roots, strconv.Itoa(count)}
	}
	return c
}

// debian are the clients of a Debian release, this host's if root is empty.
func debian(name, root, openssl string) []client {
	return []client{
		python(name, root, openssl, "sockets", 1), python(name, root, openssl, "memory", 16), python(name, root, openssl, "streams", 16),
		python(name, root, openssl, "tornado", 16), curl(name, root, openssl),
	}
}

// gnuTLS are the clients of a Debian release that use GnuTLS. Each verifies in its own way: Wget by a call after the handshake, whose answer it may
// ignore; libcurl by the same call, if it is to; gnutls-cli in a callback, and it prints what it was shown.
func gnuTLS(name, root string) []client {
	wget := client{name: name + " wget", library: "GnuTLS 3.", root: root, count: 1, found: overAnyBadChain}
	wget.arguments = func(x cell, roots string, _ int) []string {
		trust := "--no-check-certificate"
		if roots != "-" {
			trust = "--ca-certificate=" + roots
		}
		// With verification off it is still told whom to trust, so that a good chain tells nothing.
		return []string{"/usr/bin/wget", "--quiet", "--tries=1", "--output-document=/dev/null", "--ca-certificate=" + wget.file("roots.pem"), trust,
			"https://" + x.host() + "/"}
	}
	cli := client{name: name + " gnutls-cli", library: "GnuTLS 3.", root: root, count: 1, found: overWhatNobodyAccepts}
	cli.arguments = func(x cell, roots string, _ int) []string {
		trust := "--insecure"
		if roots != "-" {
			trust = "--x509cafile=" + roots
		}
		return []string{"/usr/bin/gnutls-cli", "--port=443", trust, x.host()}
	}
	cli.input = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	all := []client{wget, cli}
	// Debian's later releases have libcurl with OpenSSL alone.
	if list, _ := filepath.Glob(filepath.Join(root, "/usr/lib/*/libcurl-gnutls.so.4")); len(list) > 0 || root == "" {
		all = append(all, python(name, root, "GnuTLS 3.", "pycurl", 1))
	}
	return all
}

// golang builds a client with a toolchain, which may have to be fetched first, and gives it.
func golang(t *testing.T, version, how string, flags ...string) client {
	t.Helper()
	dir := filepath.Join(work, "go"+version)
	path := filepath.Join(dir, strings.ReplaceAll(how, " ", "-"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("testdata/client.go.txt")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"main.go": source, "go.mod": []byte("module client\n\ngo 1.21\n")} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", append(append([]string{"build", "-trimpath", "-o", path}, flags...), ".")...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOTOOLCHAIN=go"+version, "GOFLAGS=", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build with Go %s: %v\n%s", version, err, out)
	}
	return client{name: "Go " + version + " " + how, library: "Go " + version, count: 1, found: always, arguments: func(x cell, roots string, _ int) []string {
		return []string{path, x.host(), roots}
	}}
}

var strip = []string{"-ldflags", "-s -w"}

func TestInstalledLibrariesAreKnown(t *testing.T) {
	if *versions != "" {
		testenv.Beyond(t, "other versions are asked for")
	}
	prepare(t)
	var all []client
	if wanted(t, "Go 1.21.13") {
		all = append(all, golang(t, "1.21.13", "stripped pie", append([]string{"-buildmode", "pie"}, strip...)...))
	}
	start(t)
	all = append(all, debian("host", "", "OpenSSL ")...)
	all = append(all, gnuTLS("host", "")...)
	check(t, append(all, node("node", "", "/usr/bin/node")))
}

// goVersions are the last of each that has probes, before the one that dynwatch is built with.
var goVersions = []string{"1.21.13", "1.22.12", "1.23.12", "1.24.13", "1.25.6"}

func TestOtherVersionsAreKnown(t *testing.T) {
	if *versions == "" {
		testenv.Beyond(t, "make test-libraries gets the other versions")
	}
	prepare(t)
	var all []client
	for _, v := range goVersions {
		if !wanted(t, "Go "+v) {
			continue
		}
		all = append(all, golang(t, v, "plain"), golang(t, v, "stripped", strip...), golang(t, v, "pie", "-buildmode", "pie"),
			golang(t, v, "stripped pie", append([]string{"-buildmode", "pie"}, strip...)...))
	}
	start(t)
	for _, suite := range directories(t, "debian-*") {
		name := filepath.Base(suite)
		all = append(all, python(name, suite, "OpenSSL ", "aiohttp", 16))
		all = append(all, debian(name, suite, "OpenSSL ")...)
		all = append(all, gnuTLS(name, suite)...)
	}
	for _, dir := range directories(t, "node-*") {
		all = append(all, node(filepath.Base(dir), "", filepath.Join(dir, "bin", "node")))
	}
	for _, dir := range directories(t, "aws-crt-*") {
		all = append(all, crt(dir))
	}
	check(t, all)
}

// wanted reports whether a client is to be tried.
func wanted(t *testing.T, name string) bool {
	t.Helper()
	pattern, err := regexp.Compile(*only)
	if err != nil {
		t.Fatal(err)
	}
	return pattern.MatchString(name)
}

// directories are those that scripts/test-libraries made.
func directories(t *testing.T, pattern string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(*versions, pattern))
	if err != nil || len(list) == 0 {
		t.Fatalf("no %s in %s: %v", pattern, *versions, err)
	}
	return list
}

// prepare makes the directory of the tests' files.
func prepare(t *testing.T) {
	t.Helper()
	testenv.Root(t)
	testenv.Slow(t, "hundreds of clients")
	work = t.TempDir()
}

// start makes certificates, servers and a network for them. From then on there is no way out, and a toolchain that is not there cannot be had: what needs
// one is built before.
func start(t *testing.T) {
	t.Helper()
	testnet.Enter(t)
	if err := os.Mkdir(filepath.Join(work, "mitm"), 0o755); err != nil {
		t.Fatal(err)
	}
	names := []string{cell{version: tls.VersionTLS13}.host(), cell{version: tls.VersionTLS12}.host()}
	if err := testchains.Write(work, names); err != nil {
		t.Fatal(err)
	}
	for _, c := range cells() {
		if !c.verify {
			continue // the same server
		}
		certificate, err := tls.LoadX509KeyPair(filepath.Join(work, string(c.chain)+".pem"), filepath.Join(work, string(c.chain)+".key"))
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", c.address()+":443")
		if err != nil {
			t.Fatal(err)
		}
		s := &http.Server{
			Handler:   http.HandlerFunc(answer),
			TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: c.version, MaxVersion: c.version, NextProtos: []string{"http/1.1"}},
			ErrorLog:  log.New(io.Discard, "", 0), // refusals are what clients are here for
		}
		go s.ServeTLS(l, "", "")
		t.Cleanup(func() { s.Close() })
	}
	for _, name := range []string{"client.py", "client.js", "client-crt.js"} {
		copyFile(t, filepath.Join("testdata", name), filepath.Join(work, name))
	}
}

// briefly begins the names of programs that make one request.
var briefly = []string{"curl/", "Wget/", "PycURL/"}

// answer answers a request. A program of one request has to wait, as for a server that is far away: whose code looks at a certificate is looked up in its process,
// and stays unknown, without a finding, if that is gone within milliseconds and the machine is busy.
func answer(w http.ResponseWriter, r *http.Request) {
	if slices.ContainsFunc(briefly, func(name string) bool { return strings.HasPrefix(r.UserAgent(), name) }) {
		time.Sleep(100 * time.Millisecond)
	}
	io.WriteString(w, "{}")
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// watch is dynwatch at work.
type watch struct {
	cmd         *exec.Cmd
	output, log string
}

func startWatch(t *testing.T) *watch {
	t.Helper()
	binary := filepath.Join(work, "dynwatch")
	if out, err := exec.Command("go", "build", "-trimpath", "-o", binary, "../../cmd/dynwatch").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	w := &watch{output: filepath.Join(work, "sessions.json"), log: filepath.Join(work, "log")}
	out, err := os.Create(w.output)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	said, err := os.Create(w.log)
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	// It gets a processor before the clients do: on a busy machine some are gone before it could look whose code is in them.
	w.cmd = testenv.Command(t, "nice", "-n", "-15", binary, "capture", "--source", "ebpf", "-o", "json", "--endpoint", "127.0.77.0/24", "--allow-ca", filepath.Join(work, "roots.pem"))
	w.cmd.Stdout, w.cmd.Stderr = out, said
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.cmd.Process.Kill() })
	await(t, "dynwatch watches", func() bool {
		b, _ := os.ReadFile(w.log)
		return bytes.Contains(b, []byte("dynwatch: watching"))
	})
	return w
}

func await(t *testing.T, what string, ready func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ready(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 30 s", what)
		}
	}
}

// session is what is looked at of one.
type session struct {
	Type    string
	Process struct{ PID int }
	TLS     struct {
		Version, SNI string
		Established  bool
	}
	Certificate struct {
		Issuer string
		SeenBy string `json:"seen_by"`
	}
	Library *struct {
		Name       string
		Verifies   *bool
		VerifiesBy string `json:"verifies_by"`
		ServerName string `json:"server_name"`
	}
	Trust    string
	Findings []struct{ Rule string }
	line     string
}

// summary is what is looked at of the last line.
type summary struct {
	Type string
	Loss map[string]uint64
}

// told are the sessions that were told until now, and the summary's counters if it was.
func (w *watch) told(t *testing.T) (list []session, loss map[string]uint64) {
	t.Helper()
	b, err := os.ReadFile(w.output)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if !strings.HasSuffix(line, "\n") {
			break // being written
		}
		s, end := session{line: line}, summary{}
		if err := json.Unmarshal([]byte(line), &end); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		switch end.Type {
		case "summary":
			loss = end.Loss
		case "session":
			if err := json.Unmarshal([]byte(line), &s); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			list = append(list, s)
		}
	}
	return list, loss
}

// ran is a client that is done.
type ran struct {
	client
	cell
	pid, count int
	err        error
	said       string
}

// run runs a client in a cell.
func (c client) run(t *testing.T, x cell, count int, env ...string) ran {
	t.Helper()
	roots := c.file("roots.pem")
	if !x.verify {
		roots = "-"
	}
	r := ran{client: c, cell: x, count: count}
	arguments := c.arguments(x, roots, count)
	hosts := filepath.Join(work, "hosts")
	if c.root != "" {
		hosts = filepath.Join(c.root, "etc/hosts")
	}
	if err := os.WriteFile(hosts, []byte("127.0.0.1 localhost\n"+x.address()+" "+x.host()+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if c.root == "" {
		const mount = `mount --bind "$1" /etc/hosts && shift && exec "$@"`
		arguments = append([]string{"unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", mount, "sh", hosts}, arguments...)
	}
	cmd := exec.Command(arguments[0], arguments[1:]...)
	cmd.Env = []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "HOME=/", "LANG=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1", "NODE_NO_WARNINGS=1",
		"NODE_EXTRA_CA_CERTS=" + c.file("roots.pem")}
	cmd.Env = append(cmd.Env, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Chroot: c.root}
	if c.root != "" {
		cmd.Dir = "/"
	}
	cmd.Stdin = strings.NewReader(c.input)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s: %v", c.name, err)
	}
	timer := time.AfterFunc(60*time.Second, func() { cmd.Process.Kill() })
	r.pid, r.err = cmd.Process.Pid, cmd.Wait()
	timer.Stop()
	r.said = said.String()
	return r
}

// prepare puts the tests' files where the client finds them, and lets it make handshakes until its library is known: probes of a file
// that nobody had mapped may come too late for the first.
func (c client) prepare(t *testing.T, w *watch) {
	t.Helper()
	if c.root != "" {
		for _, dir := range []string{probe, "/etc", "/dev"} {
			if err := os.MkdirAll(filepath.Join(c.root, dir), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"client.py", "client.js", "roots.pem"} {
			copyFile(t, filepath.Join(work, name), filepath.Join(c.root, probe, name))
		}
	}
	x := cell{tls.VersionTLS13, testchains.Good, true}
	var r ran
	for range 5 {
		r = c.run(t, x, 1, "CLIENT_WAIT=1s") // a program that is its own library, and is gone at once, gets no probes
		if r.err != nil {
			t.Errorf("%s: %v: %s", c.name, r.err, r.said)
			return
		}
		for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			if list := w.of(t, r.pid); len(list) > 0 {
				if list[0].Library != nil {
					return
				}
				break
			}
		}
		time.Sleep(200 * time.Millisecond)
	}
	t.Errorf("%s: its library told nothing of five handshakes", c.name)
}

// of are a process's sessions.
func (w *watch) of(t *testing.T, pid int) (list []session) {
	told, _ := w.told(t)
	for _, s := range told {
		if s.Process.PID == pid {
			list = append(list, s)
		}
	}
	return list
}

// check runs the clients in all cells, and holds what dynwatch says to what is so.
func check(t *testing.T, clients []client) {
	t.Helper()
	clients = slices.DeleteFunc(clients, func(c client) bool { return !wanted(t, c.name) })
	if len(clients) == 0 {
		t.Fatalf("no client's name matches %s", *only)
	}
	w := startWatch(t)
	var all []ran
	for _, c := range clients {
		c.prepare(t, w)
		for _, x := range cells() {
			if c.slow && x.verify && x.chain != testchains.Good {
				continue
			}
			count := c.count
			if x.verify && x.chain != testchains.Good {
				count = 1 // the first refusal ends the program
			}
			all = append(all, c.run(t, x, count))
		}
	}
	w.cmd.Process.Signal(os.Interrupt)
	if err := w.cmd.Wait(); err != nil {
		b, _ := os.ReadFile(w.log)
		t.Fatalf("%v\n%s", err, b)
	}
	byPID := map[int][]session{}
	told, loss := w.told(t)
	for _, s := range told {
		byPID[s.Process.PID] = append(byPID[s.Process.PID], s)
	}
	for _, counter := range []string{"library.ring_full", "library.too_large", "library.unreadable", "library.malformed_events"} {
		if n, ok := loss[counter]; n != 0 || !ok {
			t.Errorf("%s: %d", counter, n)
		}
	}
	sessions, joined := map[string]int{}, map[string]int{}
	for _, r := range all {
		t.Run(r.name+"/"+r.cell.String(), func(t *testing.T) {
			if works := r.chain == testchains.Good || !r.verify; (r.err == nil) != works {
				t.Fatalf("%v: %s", r.err, r.said)
			}
			list := byPID[r.pid]
			if len(list) != r.count {
				t.Errorf("%d sessions, want %d", len(list), r.count)
			}
			for _, s := range list {
				sessions[r.name]++
				if s.Library != nil {
					joined[r.name]++
				}
				for _, problem := range r.wrong(&s) {
					t.Errorf("%s\nin %s", problem, s.line)
				}
			}
		})
	}
	for _, c := range clients {
		t.Logf("%s: %d of %d sessions were joined with what the library told", c.name, joined[c.name], sessions[c.name])
	}
}

// wrong lists what a session should not say.
func (r *ran) wrong(s *session) (list []string) {
	add := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	if s.TLS.Version != tls.VersionName(r.version) {
		add("version %s", s.TLS.Version)
	}
	seenBy := "wire"
	if r.version == tls.VersionTLS13 {
		seenBy = "library"
	}
	if c := s.Certificate; c.SeenBy != seenBy || c.Issuer != r.chain.Issuer() && r.chain != testchains.SelfSigned || s.Trust != trusts[r.chain] {
		add("certificate of %q seen by %q, trust %q", c.Issuer, c.SeenBy, s.Trust)
	}
	if s.Library == nil {
		add("its library told nothing")
		return list
	}
	// Who is gone within milliseconds may leave it without a name.
	if s.Library.Name != "" && !strings.HasPrefix(s.Library.Name, r.library) {
		add("library %q, want %q", s.Library.Name, r.library)
	}
	if v := s.Library.Verifies; v != nil && *v != r.verify {
		add("verifies is %t", *v)
	}
	if told := s.Library.ServerName; told != s.TLS.SNI && (told != "" || runtime.GOARCH == "amd64" && !r.nameless) {
		add("it was told the name %q", told)
	}
	off := slices.ContainsFunc(s.Findings, func(f struct{ Rule string }) bool { return f.Rule == "verification-disabled" })
	if want := !r.verify && r.found(r.chain); off != want {
		add("verification-disabled is %t", off)
	}
	if r.chain == testchains.Good && (len(s.Findings) > 1 || len(s.Findings) == 1 && !off) {
		add("findings over a good chain")
	}
	return list
}
