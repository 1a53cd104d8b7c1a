package library

import (
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/synth"
	"github.com/dynwatch/dynwatch/internal/testenv"
)

// TestProgramsThatPinAreNotSaidNotToVerify runs programs that have OpenSSL verify nothing, and then compare the certificate by themselves, in each way that
// there is; once with the shared library, once with it linked in. Who compares nothing is found.
func TestProgramsThatPinAreNotSaidNotToVerify(t *testing.T) {
	testenv.Root(t)
	if _, err := testenv.Find("/usr/include/openssl/ssl.h"); err != nil {
		testenv.Lacks(t, "libssl-dev: %v", err)
	}
	const source = "testdata/pin.c"
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	ways := regexp.MustCompile(`(?m)^\t\{ "(.+)", \w+, \d \},$`).FindAllSubmatch(text, -1)
	if len(ways) < 10 {
		t.Fatalf("%d ways are in %s", len(ways), source)
	}
	_, leaf, err := synth.NewHost("Test", serverName)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	known := filepath.Join(dir, "known.pem")
	if err := os.WriteFile(known, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Certificate[0]}), 0o644); err != nil {
		t.Fatal(err)
	}
	address := serveTLS(t, leaf)
	var running []*waiting
	for linked, flags := range map[string][]string{
		"shared": {"-lssl", "-lcrypto", "-lpthread"},
		"static": {"-Wl,--export-dynamic,-Bstatic", "-lssl", "-lcrypto", "-Wl,-Bdynamic", "-lpthread", "-ldl"},
	} {
		program := filepath.Join(dir, linked)
		if out, err := testenv.Command(t, "gcc", append([]string{"-O1", "-Wall", "-Werror", "-o", program, source}, flags...)...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", linked, err, out)
		}
		for _, way := range ways {
			how := string(way[1])
			running = append(running, startWaiting(t, linked+", "+how, exec.Command(program, known, address, how)))
		}
	}
	s := openAll(t)
	for _, w := range running {
		w.goOn(t)
	}
	told := map[int]*flow.Library{}
	if err := s.Poll(func(l *flow.Library) { told[l.PID] = l }); err != nil {
		t.Fatal(err)
	}
	for _, w := range running {
		t.Run(w.name, func(t *testing.T) {
			l := told[w.cmd.Process.Pid]
			if l == nil {
				t.Fatalf("nothing is told of it; problems %q", s.Stats().Problems)
			}
			want := flow.VerificationUnknown
			if how := w.cmd.Args[len(w.cmd.Args)-1]; how == string(ways[0][1]) {
				want = flow.VerificationOff
			}
			if l.Verification != want || len(l.Chain) != 1 {
				t.Errorf("%v by %q, want %v; %d certificates", l.Verification, l.VerificationBy, want, len(l.Chain))
			}
		})
	}
}
