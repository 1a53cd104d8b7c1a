package library

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/bpf"
	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/testenv"
)

// compiled is a C program of testdata, or a library, under a name.
func compiled(t testing.TB, name, source string, arguments ...string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	arguments = append([]string{"-O1", "-Wall", "-Werror", "-o", path, filepath.Join("testdata", source)}, arguments...)
	if out, err := testenv.Command(t, "gcc", arguments...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return path
}

// ownRoot is this process's root directory.
func ownRoot(t *testing.T) *root {
	t.Helper()
	r, err := openRoot(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	return r
}

// client is testdata/client.c.
func client(t testing.TB, asks int) (path string) {
	t.Helper()
	if _, err := testenv.Find("/usr/include/openssl/ssl.h"); err != nil {
		testenv.Lacks(t, "libssl-dev: %v", err)
	}
	return compiled(t, "client", "client.c", "-shared", "-fPIC", fmt.Sprintf("-DASKS=%d", asks), "-lssl", "-lcrypto", "-ldl")
}

// withoutSections is a copy of an ELF file that does not say where its sections are: e_shoff, e_shnum and e_shstrndx are 0.
func withoutSections(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	clear(b[0x28:0x30])
	clear(b[0x3c:0x40])
	return inFile(t, b)
}

// withHugeNames is a copy of an ELF file that says that the names of its sections are a terabyte.
func withHugeNames(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	at := le.Uint64(b[40:]) + uint64(le.Uint16(b[62:]))*uint64(le.Uint16(b[58:]))
	le.PutUint64(b[at+32:], 1<<40)
	name := inFile(t, b)
	if err := os.Truncate(name, 2<<40); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestWhichCodeMayAsk(t *testing.T) {
	lib := func(name string) string {
		all, err := filepath.Glob("/usr/lib/*-linux-gnu/" + name)
		if err != nil || len(all) == 0 {
			testenv.Lacks(t, "%s: %v", name, err)
		}
		return all[0]
	}
	ssl, err := testenv.Command(t, "/usr/bin/python3", "-c", "import _ssl; print(_ssl.__file__)").Output()
	if err != nil {
		testenv.Lacks(t, "python3: %v", err)
	}
	for _, c := range []struct {
		name, path string
		want       bool
	}{
		{"the openssl program", testenv.Tool(t, "/usr/bin/openssl"), true},
		{"libcurl", lib("libcurl.so.4"), true},
		{"Python's ssl", strings.TrimSpace(string(ssl)), true},
		{"linked with it", client(t, 1), true},
		{"by its name", client(t, 2), true},
		{"a client that does not", client(t, 0), false},
		{"the same without sections", withoutSections(t, client(t, 0)), true},
		{"libc", lib("libc.so.6"), false},
		{"libcrypto", lib("libcrypto.so.3"), false},
		{"libssl, which has it", lib("libssl.so.3"), false},
		{"no ELF", "asker_test.go", false},
		{"a few bytes", inFile(t, []byte("\x7fELF")), false},
		{"section names without end", withHugeNames(t, client(t, 0)), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := os.Open(c.path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if got, _ := mayAsk("/l/any", f); got != c.want {
				t.Errorf("%v", got)
			}
		})
	}
	for file, want := range map[string]bool{
		"/usr/lib/x86_64-linux-gnu/libcurl.so.4.8.0": false, "/usr/lib/python3.11/lib-dynload/_ssl.cpython-311-x86_64-linux-gnu.so": true,
		"/usr/lib/python3/dist-packages/cryptography/hazmat/bindings/_openssl.abi3.so": true, "/usr/lib/x86_64-linux-gnu/libldap.so.2.0.200": true,
		"/usr/bin/wget": false, "/usr/bin/node": false, "/usr/bin/openssl": false, "/usr/lib/libssl.so.3": false, "/srv/_rust.abi3.so": false,
	} {
		if got := asksForNothing(file); got != want {
			t.Errorf("%s asks for nothing: %v", file, got)
		}
	}
}

// TestLibcurlIsPlainByItsVersion: what a later one means by asking is not known, nor what one means that does not say its version.
func TestLibcurlIsPlainByItsVersion(t *testing.T) {
	all, err := filepath.Glob("/usr/lib/*-linux-gnu/libcurl.so.4")
	if err != nil || len(all) == 0 {
		testenv.Lacks(t, "libcurl: %v", err)
	}
	b, err := os.ReadFile(all[0])
	if err != nil {
		t.Fatal(err)
	}
	now := regexp.MustCompile(`libcurl/[0-9]+\.[0-9]+\.[0-9]+`).Find(b)
	if now == nil {
		t.Fatal("it does not say its version")
	}
	for version, want := range map[string]bool{
		string(now): true, "libcurl/7.88.1": true, "libcurl/8.9.1\x00": true, "libcurl/8.14.": true, "libcurl/8.15.": false, "libcurl/8.23.": false, "libcurl/9.0.1\x00": false,
		"libcurl/H\x00\x00\x00\x00\x00": false,
	} {
		file := bytes.Replace(bytes.Clone(b), now, []byte((version + "0000")[:len(now)]), 1)
		if may, _ := mayAsk("/l/libcurl.so.4", bytes.NewReader(file)); may == want {
			t.Errorf("%q: it may ask: %v", version, may)
		}
	}
	if may, _ := mayAsk("/l/libother.so.4", bytes.NewReader(b)); !may {
		t.Error("another library is taken for libcurl")
	}
}

// FuzzMayAsk: no file makes the reader fail, or read much; and what the standard library finds the function imported by may ask.
func FuzzMayAsk(f *testing.F) {
	for asks := range 3 {
		b, err := os.ReadFile(client(f, asks))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		may, read := mayAsk("/l/any", bytes.NewReader(b))
		if read > maxCodeText {
			t.Errorf("it read %d bytes", read)
		}
		if !may && slices.Contains(imported(b), judgement) {
			t.Error("it is imported")
		}
	})
}

// imported are the names of the symbols that an ELF file takes from others alone; nil if that cannot be read.
func imported(b []byte) (names []string) {
	defer func() { _ = recover() }() // package debug/elf was not made for hostile files
	file, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil
	}
	list, err := file.ImportedSymbols()
	if err != nil {
		return nil
	}
	own := exported(file)
	for _, x := range list {
		if _, ok := own[x.Name]; !ok {
			names = append(names, x.Name)
		}
	}
	return names
}

// mappedFile is a file as a process has it mapped.
func mappedFile(t *testing.T, name string) mapped {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	id, ok := statID(f)
	if !ok {
		t.Fatal(name)
	}
	return mapped{file: fmt.Sprintf("00:00 %d", id[1]), name: f.Name(), span: "0-1"}
}

// TestWhatIsKnownOfCodeIsOfThatCode: a file may be written anew, and its name may lead to another one than is mapped.
func TestWhatIsKnownOfCodeIsOfThatCode(t *testing.T) {
	a, r := newAttacher(nil), ownRoot(t)
	client := func(asks int) []byte {
		b, err := os.ReadFile(client(t, asks))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	name := inFile(t, client(0))
	before := mappedFile(t, name)
	has := &programs{exe: name + " (deleted)", ssl: []libssl{{"/l/libssl.so.3", 1}}}
	if a.asks(r, has, codeFiles{before}) {
		t.Error("it may ask")
	}
	if err := os.WriteFile(name, client(1), 0o644); err != nil {
		t.Fatal(err)
	}
	if now := mappedFile(t, name); now != before || !a.asks(r, has, codeFiles{now}) {
		t.Errorf("written anew, it may not ask: %+v, before %+v", now, before)
	}
	for _, content := range [][]byte{client(0), client(1)} {
		other := inFile(t, content)
		if err := os.Rename(other, name); err != nil {
			t.Fatal(err)
		}
		if !a.asks(r, has, codeFiles{before}) {
			t.Error("of what is mapped nothing is known, and it may not ask")
		}
	}
}

// TestAProcessThatRunsAnotherProgramSinceIsAsItWas: it made the handshake as what it was before.
func TestAProcessThatRunsAnotherProgramSinceIsAsItWas(t *testing.T) {
	a := newAttacher(nil)
	pid := startWaiting(t, "sh", testenv.Command(t, "sh", "-c", "echo ready; read line")).cmd.Process.Pid
	if x := a.asking(pid); x.err == nil {
		t.Error("what asked is said to be known of a shell")
	}
	was := programs{ssl: []libssl{{"/l/libssl.so.3", 1}}, asks: true}
	a.remember(pid, was)
	if x := a.asking(pid); x.err != nil || !x.asks || !slices.Equal(x.ssl, was.ssl) {
		t.Errorf("%+v", x)
	}
}

// TestAProcessWithTooMuchCodeMayAsk: what is not looked at is not known, and what was read is not read again.
func TestAProcessWithTooMuchCodeMayAsk(t *testing.T) {
	a, r := newAttacher(nil), ownRoot(t)
	ssl := []libssl{{"/l/libssl.so.3", 1}}
	plain := mappedFile(t, testenv.Tool(t, "/usr/bin/env"))
	files := func(n int) (all codeFiles) {
		for range n {
			all.add(plain)
		}
		return all
	}
	for _, c := range []struct {
		name string
		ssl  []libssl
		code codeFiles
		want bool
	}{
		{"no code of a file of its own", ssl, nil, true},
		{"a program that does not ask", ssl, files(1), false},
		{"as many files as are looked at", ssl, files(maxCodeFiles), false},
		{"one more", ssl, files(maxCodeFiles + 1), true},
		{"many more", ssl, files(100 * maxCodeFiles), true},
		{"one that is not there", ssl, codeFiles{plain, {"08:01 2", "/nowhere/to/be/found", "0-1"}}, true},
		{"nobody to be asked", nil, files(maxCodeFiles + 1), false},
	} {
		if got := a.asks(r, &programs{exe: plain.name, ssl: c.ssl}, c.code); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	if n := len(files(100 * maxCodeFiles)); n != maxCodeFiles+1 {
		t.Errorf("%d files are listed", n)
	}
	if n := len(a.askers.newer); n != 1 {
		t.Errorf("%d files are remembered of one that could be read", n)
	}
}

// TestOnlyThoseWhoMayAskPayForIt: the dear probe is not set for Python, it is for a program that may mean what it asks, and goes with the others.
func TestOnlyThoseWhoMayAskPayForIt(t *testing.T) {
	_, a := probes(t)
	python := startWaiting(t, "Python", testenv.Command(t, "/usr/bin/python3", "-c", "import ssl, sys; print('ready', flush=True); sys.stdin.read()")).cmd.Process.Pid
	has, err := a.process(python)
	if err != nil || has.asks || len(has.ssl) != 1 {
		t.Fatalf("Python: %+v, %v", has, err)
	}
	file := a.names[has.ssl[0].name]
	if file == nil || !file.attached.ssl || len(file.contents.asked) != 1 {
		t.Fatalf("%s: %+v", has.ssl[0].name, file)
	}
	now := bpf.Monotonic
	probes, begun := a.stats.Probes, now()
	if file.attached.asked || a.hears(has.ssl, begun) {
		t.Error("the dear probe is set for Python")
	}
	openssl := startWaiting(t, "openssl", testenv.Command(t, "sh", "-c", "echo ready; exec openssl dgst -sha256")).cmd.Process.Pid
	for end := time.Now().Add(10 * time.Second); !has.asks && time.Now().Before(end); time.Sleep(5 * time.Millisecond) { // until it is loaded
		if has, err = a.process(openssl); err != nil {
			t.Fatal(err)
		}
	}
	if !file.attached.asked || a.stats.Probes != probes+1 || !a.hears(has.ssl, now()) {
		t.Errorf("%+v of a program that asks: %d probes, %d before", has, a.stats.Probes, probes)
	}
	if a.hears(has.ssl, begun) {
		t.Error("it was heard before")
	}
	if _, err := a.process(openssl); err != nil || a.stats.Probes != probes+1 {
		t.Errorf("%d probes after another look: %v", a.stats.Probes, err)
	}
	a.scanOf(nil)
	a.scanOf(nil)
	if a.stats.Probes != 0 || a.hears(has.ssl, now()) {
		t.Errorf("in use by nobody: %d probes, or it is heard without", a.stats.Probes)
	}
}

// TestLibcurlThatVerifiesNothingIsFoundOverAGoodChain: it asks, is told that the chain is good, and would have gone on over a bad one.
func TestLibcurlThatVerifiesNothingIsFoundOverAGoodChain(t *testing.T) {
	testenv.Root(t)
	root, leaf := newHost(t)
	address, silent := serveTLS(t, leaf), listenSilently(t)
	s := openAll(t)
	for how, want := range map[string]flow.Verification{"--insecure": flow.VerificationOff, "--silent": flow.VerificationOn} {
		// The second address keeps it alive.
		cmd := testenv.Command(t, "curl", "--silent", how, "--cacert", inFile(t, root.PEM()), "--connect-to", serverName+":443:"+address,
			"https://"+serverName, "http://"+silent)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			cmd.Process.Kill()
			cmd.Wait()
		})
		var last *flow.Library
		for end := time.Now().Add(10 * time.Second); (last == nil || last.Verification != want) && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if err := s.Poll(func(l *flow.Library) {
				if l.PID == cmd.Process.Pid {
					last = l
				}
			}); err != nil {
				t.Fatal(err)
			}
		}
		if last == nil || last.Verification != want || want == flow.VerificationOff && last.VerificationBy != "SSL_VERIFY_NONE" {
			t.Errorf("curl %s: %+v", how, last)
		}
	}
}

// listenSilently accepts connections, and says nothing.
func listenSilently(t *testing.T) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// TestWhoAsksUnheardIsNotSaidNotToVerify: code that came to a process after it was looked at may ask before its probe is there. From then on it is heard; and who has
// nobody to ask is found at once.
func TestWhoAsksUnheardIsNotSaidNotToVerify(t *testing.T) {
	testenv.Root(t)
	_, leaf := newHost(t)
	address := serveTLS(t, leaf)
	program := compiled(t, "late", "late.c", "-ldl")
	for asks := range 3 {
		t.Run([]string{"asks nothing", "asks", "asks by the name"}[asks], func(t *testing.T) {
			w := startWaiting(t, "client", testenv.Command(t, program, client(t, asks), address))
			s := openAll(t)
			handshake := func() *flow.Library {
				var last *flow.Library
				w.goOn(t)
				if err := s.Poll(func(l *flow.Library) {
					if l.PID == w.cmd.Process.Pid {
						last = l
					}
				}); err != nil {
					t.Fatal(err)
				}
				if last == nil {
					t.Fatal("nothing is told of a handshake")
				}
				return last
			}
			const wentOn = "it went on over X509_V_ERR_"
			l := handshake()
			heard := l.Verification == flow.VerificationOff && strings.HasPrefix(l.VerificationBy, wentOn) // another program of the host asks, too
			if asks == 0 {
				if l.Verification != flow.VerificationOff || l.VerificationBy != "SSL_VERIFY_NONE" {
					t.Errorf("%v by %q", l.Verification, l.VerificationBy)
				}
				return
			}
			if !heard && l.Verification != flow.VerificationUnknown {
				t.Errorf("unheard: %v by %q", l.Verification, l.VerificationBy)
			}
			for end := time.Now().Add(20 * time.Second); !heard; l = handshake() {
				if heard = l.Verification == flow.VerificationOff; heard && !strings.HasPrefix(l.VerificationBy, wentOn) {
					t.Errorf("%v by %q", l.Verification, l.VerificationBy)
				}
				if time.Now().After(end) {
					t.Fatalf("it is not heard: %v by %q", l.Verification, l.VerificationBy)
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
}

func TestLooksAtAProcessTakeATwentiethOfTheTime(t *testing.T) {
	var b budget
	const second = uint64(time.Second)
	now, took := 5*second, uint64(0)
	for end := now + 60*second; now < end; now += second / 1000 {
		if b.allows(now, lookShare) {
			b.debt += second / 50
			took += second / 50
		}
	}
	if least, most := 60*second/lookShare, 60*second/lookShare+uint64(lookAhead)+second/50; took < least || took > most {
		t.Errorf("%v of a minute, want %v to %v", time.Duration(took), time.Duration(least), time.Duration(most))
	}
}

// TestWhatNeverAnswersIsWaitedForAWhile: whoever has files on a file system that hangs holds nobody up for long, and others not at all.
func TestWhatNeverAnswersIsWaitedForAWhile(t *testing.T) {
	a := newAttacher(nil)
	release := make(chan struct{})
	defer close(release)
	never := func() answer { <-release; return answer{} }
	for range maxLooking {
		if x := a.within(time.Millisecond, never); x.err == nil {
			t.Fatal("it answered")
		}
	}
	if x := a.within(time.Hour, never); x.err == nil || len(a.stats.Problems) == 0 {
		t.Errorf("%+v, problems %q", x, a.stats.Problems)
	}
}
