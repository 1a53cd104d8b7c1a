package library

import (
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/testenv"
)

// TestProgramsThatPinAreNotSaidNotToVerify runs programs that have OpenSSL verify nothing, and then compare the certificate by themselves, in each way that
// there is; once with the shared library, once with it linked in. Who compares nothing is found.
func TestProgramsThatPinAreNotSaidNotToVerify(t *testing.T) {
	testenv.Root(t)
	if _, err := testenv.Find("/usr/include/openssl/ssl.h"); err != nil {
		testenv.Lacks(t, "libssl-dev: %v", err)
	}
	ways := waysOf(t, "testdata/pin.c", `"(.+)", \w+, \d`, 10)
	_, leaf := newHost(t)
	known := inFile(t, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Certificate[0]}))
	address := serveTLS(t, leaf)
	var running []*waiting
	for linked, flags := range map[string][]string{
		"shared": {"-lssl", "-lcrypto", "-lpthread"},
		"static": {"-Wl,--export-dynamic,-Bstatic", "-lssl", "-lcrypto", "-Wl,-Bdynamic", "-lpthread", "-ldl"},
	} {
		program := compiled(t, linked, "pin.c", flags...)
		for _, way := range ways {
			how := way[1]
			running = append(running, startWaiting(t, linked+", "+how, exec.Command(program, known, address, how)))
		}
	}
	told := tellOf(t, running)
	for _, w := range running {
		how := w.cmd.Args[len(w.cmd.Args)-1]
		checkPinning(t, w, told, how == ways[0][1])
	}
}

// TestProgramsThatPinWithGnuTLSAreNotSaidNotToVerify is the same for GnuTLS, and for libcurl between it and the program: that looks at each certificate, and is
// shown the messages of each handshake, and neither lets it be thought of as one that pins, nor does it hide one that does.
func TestProgramsThatPinWithGnuTLSAreNotSaidNotToVerify(t *testing.T) {
	testenv.Root(t)
	if _, err := testenv.Find("/usr/include/gnutls/gnutls.h"); err != nil {
		testenv.Lacks(t, "libgnutls28-dev: %v", err)
	}
	ways := waysOf(t, "testdata/pin-gnutls.c", `"(.+)", (\d), \w+, \w+`, 8)
	_, leaf := newHost(t)
	known := inFile(t, leaf.Certificate[0])
	libcurl := compiled(t, "libcurl-gnutls.so.4", "libcurl-gnutls.c", "-shared", "-fPIC", "-lgnutls")
	program := compiled(t, "pin", "pin-gnutls.c", libcurl, "-lgnutls", "-Wl,-rpath,"+filepath.Dir(libcurl))
	address := serveTLS(t, leaf)
	careless := map[*waiting]bool{}
	var running []*waiting
	for _, way := range ways {
		w := startWaiting(t, way[1], exec.Command(program, known, address, way[1]))
		running, careless[w] = append(running, w), way[2] == "1"
	}
	told := tellOf(t, running)
	for _, w := range running {
		checkPinning(t, w, told, careless[w])
	}
}

// nodePins is a client that has Node.js verify nothing, and compares what getPeerX509Certificate gives it.
const nodePins = `
const tls = require("tls"), fs = require("fs"), { X509Certificate } = require("crypto");
const [known, address, how] = process.argv.slice(1), [host, port] = address.split(":");
const pin = new X509Certificate(fs.readFileSync(known));
const same = {
  nothing: () => true,
  publicKey: () => s.getPeerX509Certificate().publicKey.equals(pin.publicKey),
  serialNumber: () => s.getPeerX509Certificate().serialNumber === pin.serialNumber,
  fingerprint256: () => s.getPeerX509Certificate().fingerprint256 === pin.fingerprint256,
  raw: () => s.getPeerX509Certificate().raw.equals(pin.raw),
  getPeerCertificate: () => s.getPeerCertificate().fingerprint256 === pin.fingerprint256,
};
let s;
console.log("ready");
process.stdin.once("data", () => {
  s = tls.connect({ host, port, servername: "server.example", rejectUnauthorized: false }, () => console.log(same[how]() ? "done" : "another"));
  s.on("error", () => {});
  process.stdin.on("end", () => process.exit(0));
});
`

// TestNodeProgramsThatPinAreNotSaidNotToVerify is the same for Node.js, whose own code gets the chain for its program: what that compares calls nothing more of
// OpenSSL's that tells.
func TestNodeProgramsThatPinAreNotSaidNotToVerify(t *testing.T) {
	testenv.Root(t)
	_, leaf := newHost(t)
	known := inFile(t, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Certificate[0]}))
	address := serveTLS(t, leaf)
	var running []*waiting
	for _, how := range []string{"nothing", "publicKey", "serialNumber", "fingerprint256", "raw", "getPeerCertificate"} {
		running = append(running, startWaiting(t, how, testenv.Command(t, "node", "-e", nodePins, known, address, how)))
	}
	told := tellOf(t, running)
	for _, w := range running {
		checkPinning(t, w, told, w.name == "nothing")
	}
}

// waysOf are the lines of a program's list, by what is between their braces; there are so many at least.
func waysOf(t *testing.T, source, entry string, least int) [][]string {
	t.Helper()
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	ways := regexp.MustCompile(`(?m)^\t\{ `+entry+` \},$`).FindAllStringSubmatch(string(text), -1)
	if len(ways) < least {
		t.Fatalf("%d ways are in %s", len(ways), source)
	}
	return ways
}

// tellOf lets clients go on, and gives what is told of each in the end.
func tellOf(t *testing.T, running []*waiting) map[int]*flow.Library {
	t.Helper()
	s := openAll(t)
	for _, w := range running {
		w.goOn(t)
	}
	told := map[int]*flow.Library{}
	if err := s.Poll(func(l *flow.Library) { told[l.PID] = l }); err != nil {
		t.Fatal(err)
	}
	t.Logf("problems %q", s.Stats().Problems)
	return told
}

// checkPinning holds what was told of a client to what it is.
func checkPinning(t *testing.T, w *waiting, told map[int]*flow.Library, careless bool) {
	t.Run(w.name, func(t *testing.T) {
		l := told[w.cmd.Process.Pid]
		if l == nil {
			t.Fatal("nothing is told of it")
		}
		want := flow.VerificationUnknown
		if careless {
			want = flow.VerificationOff
		}
		if l.Verification != want || len(l.Chain) != 1 {
			t.Errorf("%v by %q, want %v; %d certificates", l.Verification, l.VerificationBy, want, len(l.Chain))
		}
	})
}
