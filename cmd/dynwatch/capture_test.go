package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

// samplePath and sampleCA are the repository's sample.
var (
	samplePath = filepath.Join("..", "..", "testdata", "sample.pcap")
	sampleCA   = filepath.Join("..", "..", "testdata", "sample-ca.pem")
)

// call runs dynwatch in this process.
func call(stdin io.Reader, args ...string) (stdout, stderr string, status int) {
	var o, e bytes.Buffer
	status = run(context.Background(), args, stdin, &o, &e)
	return o.String(), e.String(), status
}

// pausing gives some bytes, then tells that it is waiting, and waits like a pipe that nobody writes to.
type pausing struct {
	data    []byte
	waiting func()
	never   chan struct{}
}

func (p *pausing) Read(b []byte) (int, error) {
	if len(p.data) == 0 {
		p.waiting()
		<-p.never
		return 0, io.EOF
	}
	n := copy(b, p.data)
	p.data = p.data[n:]
	return n, nil
}

func TestAnInterruptIsANormalEndWithSummary(t *testing.T) {
	sample := readSample(t, "sample.pcap")
	first, _ := splitPcap(t, sample)
	for _, write := range []bool{false, true} {
		ctx, interrupt := context.WithCancel(context.Background())
		stdin := &pausing{data: first, waiting: interrupt, never: make(chan struct{})}
		t.Cleanup(func() { close(stdin.never) })
		args := []string{"capture", "-r", "-", "--allow-ca", sampleCA, "--fail-on", "critical"}
		copyTo := filepath.Join(t.TempDir(), "copy.pcapng")
		if write {
			args = append(args, "-w", copyTo)
		}
		var stdout, stderr bytes.Buffer
		if status := run(ctx, args, stdin, &stdout, &stderr); status != exitFindings {
			t.Errorf("status %d, want that of findings; stderr: %s", status, &stderr)
		}
		if !strings.Contains(stdout.String(), " sessions: ") || !strings.Contains(stderr.String(), "interrupted after 78 packets") {
			t.Errorf("no summary, or nobody says that it is of a part:\n%s%s", &stdout, &stderr)
		}
		if !write {
			continue
		}
		again, _, status := call(nil, "capture", "-r", copyTo, "--allow-ca", sampleCA)
		if status != 0 || !strings.Contains(again, "expected-issuer") {
			t.Errorf("the copy of what had been read is not there: status %d\n%s", status, again)
		}
	}
}

// broken is a pipe whose reader went away after so many bytes.
type broken struct{ room int }

func (b *broken) Write(p []byte) (int, error) {
	if len(p) > b.room {
		return 0, &os.PathError{Op: "write", Path: "|1", Err: syscall.EPIPE}
	}
	b.room -= len(p)
	return len(p), nil
}

func TestAClosedStandardOutputIsAQuietEnd(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		room int
		want int
	}{
		{"at once", []string{"capture", "-r", samplePath}, 0, exitOK},
		{"after findings that fail", []string{"capture", "-r", samplePath, "--fail-on", "high"}, 100, exitFindings},
		{"JSON", []string{"capture", "-r", samplePath, "-o", "json"}, 100, exitOK},
		{"packets", []string{"capture", "-r", samplePath, "-w", "-"}, 100, exitOK},
		{"explain", []string{"explain"}, 0, exitOK},
		{"ranges", []string{"ranges", "list"}, 0, exitOK},
		{"version", []string{"version"}, 0, exitOK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var stderr bytes.Buffer
			if status := run(context.Background(), tt.args, strings.NewReader(""), &broken{tt.room}, &stderr); status != tt.want {
				t.Errorf("status %d, want %d", status, tt.want)
			}
			if text := stderr.String(); strings.Contains(text, "error") {
				t.Errorf("not quiet: %s", text)
			}
		})
	}
}

func TestAFullDiskIsAnError(t *testing.T) {
	var stderr bytes.Buffer
	status := run(context.Background(), []string{"capture", "-r", samplePath}, nil, full{}, &stderr)
	if status != exitFailed || !strings.Contains(stderr.String(), "no space left") {
		t.Errorf("status %d, %s", status, &stderr)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) {
	return 0, errors.New("write /dev/stdout: no space left on device")
}

// tshark reads a capture and prints some fields of each packet.
func tshark(t *testing.T, path string, fields ...string) string {
	t.Helper()
	args := []string{"-n", "-r", path, "-T", "fields"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	cmd := testenv.Command(t, "tshark", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v: %s", err, &stderr)
	}
	if strings.Contains(stderr.String(), "cut short") || strings.Contains(stderr.String(), "damaged") {
		t.Errorf("tshark complains: %s", &stderr)
	}
	return string(out)
}

func TestTheCopyOpensInWireshark(t *testing.T) {
	sample := readSample(t, "sample.pcap")
	dir := t.TempDir()
	fromFile, fromStdin, toStdout := filepath.Join(dir, "file.pcapng"), filepath.Join(dir, "stdin.pcapng"), filepath.Join(dir, "stdout.pcapng")
	report, _, status := call(nil, "capture", "-r", samplePath, "--allow-ca", sampleCA, "-w", fromFile)
	if status != 0 {
		t.Fatalf("status %d", status)
	}
	if _, _, status := call(bytes.NewReader(sample), "capture", "-r", "-", "--allow-ca", sampleCA, "-w", fromStdin); status != 0 {
		t.Fatalf("from standard input: status %d", status)
	}
	packets, text, status := call(nil, "capture", "-r", samplePath, "--allow-ca", sampleCA, "-w", "-")
	if status != 0 || text != report {
		t.Errorf("with -w - status %d; on standard error stands\n%s\nwant the report", status, text)
	}
	if err := os.WriteFile(toStdout, []byte(packets), 0o600); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(fromFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range []string{fromStdin, toStdout} {
		if got, err := os.ReadFile(other); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what -w FILE writes (%v)", filepath.Base(other), err)
		}
	}
	if _, err := os.Stat("-"); err == nil {
		t.Error("there is a file named -")
	}

	comments := tshark(t, fromFile, "frame.comment")
	for _, part := range []string{"dynwatch: verdict ok", "dynwatch: verdict unverified", "dynwatch: plaintext (critical)", "dynwatch: interception-refused (high)"} {
		if !strings.Contains(comments, part) {
			t.Errorf("no comment %q", part)
		}
	}
	if n := strings.Count(comments, "dynwatch: verdict"); n != 7 {
		t.Errorf("%d packets bear a verdict, want one for each of 7 sessions", n)
	}
	names := tshark(t, fromFile, "tls.handshake.extensions_server_name")
	if n := strings.Count(names, "dynamodb.us-east-1.amazonaws.com"); n != 6 {
		t.Errorf("Wireshark finds %d ClientHellos, want 6", n)
	}
	for _, tt := range []struct {
		name  string
		args  []string
		wants bool
	}{{"default", nil, false}, {"--write-payload", []string{"--write-payload"}, true}} {
		to := filepath.Join(dir, "payload.pcapng")
		if _, _, status := call(nil, append([]string{"capture", "-r", samplePath, "-w", to}, tt.args...)...); status != 0 {
			t.Fatalf("status %d", status)
		}
		data := tshark(t, to, "http.request.method", "http.authorization")
		if got := strings.Contains(data, "Signature="); got != tt.wants {
			t.Errorf("%s: an Authorization field in the copy: %v", tt.name, got)
		}
	}
}

func TestTheCopyHasOnlyWhatWasReported(t *testing.T) {
	to := filepath.Join(t.TempDir(), "copy.pcapng")
	if _, _, status := call(nil, "capture", "-r", samplePath, "-w", to, "tcp", "port", "80"); status != 0 {
		t.Fatalf("status %d", status)
	}
	out, _, _ := call(nil, "capture", "-r", to, "-o", "json", "--all")
	if strings.Contains(out, `"server_port":443`) || !strings.Contains(out, `"packets":10,`) {
		t.Errorf("the copy does not hold the ten packets of port 80: %s", out)
	}
}
