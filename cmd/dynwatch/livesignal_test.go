package main

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/bpf"
	"github.com/dynwatch/dynwatch/internal/testenv"
)

// TestAnInterruptDrains: what happened before Ctrl-C is reported, however short before.
func TestAnInterruptDrains(t *testing.T) {
	for source, args := range liveSourcesAt(netip.MustParseAddr("127.0.9.5")) {
		t.Run(source, func(t *testing.T) {
			testenv.Root(t)
			addr := serveTLS(t, "127.0.9.5", tls.VersionTLS12)
			w := startWatch(t, append([]string{"-o", "json"}, args...)...)
			askTLS(t, addr, liveName)
			w.interrupt()
			if code := w.cmd.ProcessState.ExitCode(); code != 0 {
				t.Errorf("status %d: %s", code, w.stderr.String())
			}
			if n := len(linesOf(t, w.stdout.String(), "session", addr.Addr())); n != 1 {
				t.Errorf("%d sessions", n)
			}
			if n := len(linesOf(t, w.stdout.String(), "summary", netip.Addr{})); n != 1 || !strings.Contains(lastLine(w.stdout.String()), `"type":"summary"`) {
				t.Errorf("%d summaries", n)
			}
		})
	}
}

func lastLine(s string) string {
	s = strings.TrimRight(s, "\n")
	return s[strings.LastIndexByte(s, '\n')+1:]
}

func TestCountEndsALiveCapture(t *testing.T) {
	for source, args := range liveSourcesAt(netip.MustParseAddr("127.0.9.6")) {
		t.Run(source, func(t *testing.T) {
			testenv.Root(t)
			addr := serveTLS(t, "127.0.9.6", tls.VersionTLS12)
			w := startWatch(t, append([]string{"-o", "json", "-c", "5"}, args...)...)
			askTLS(t, addr, liveName) // has more packets
			w.wait()
			if s := linesOf(t, w.stdout.String(), "summary", netip.Addr{}); len(s) != 1 || s[0].Packets != 5 {
				t.Errorf("summary %+v", s)
			}
			if code := w.cmd.ProcessState.ExitCode(); code != 0 {
				t.Errorf("status %d: %s", code, w.stderr.String())
			}
		})
	}
}

func TestDurationEndsALiveCapture(t *testing.T) {
	for source, args := range liveSourcesAt(netip.MustParseAddr("127.0.9.7")) {
		t.Run(source, func(t *testing.T) {
			w := newWatch(t, append([]string{"-o", "json", "--duration", "200ms"}, args...)...)
			w.start()
			w.wait()
			if code := w.cmd.ProcessState.ExitCode(); code != 0 || len(linesOf(t, w.stdout.String(), "summary", netip.Addr{})) != 1 {
				t.Errorf("status %d\n%s%s", code, w.stdout.String(), w.stderr.String())
			}
		})
	}
}

func TestSIGUSR1ShowsTheSummaryAndGoesOn(t *testing.T) {
	for source, args := range liveSourcesAt(netip.MustParseAddr("127.0.9.8")) {
		t.Run(source, func(t *testing.T) {
			testenv.Root(t)
			addr := serveTLS(t, "127.0.9.8", tls.VersionTLS12)
			w := startWatch(t, append([]string{"-o", "json"}, args...)...)
			for n := 1; n <= 2; n++ {
				askTLS(t, addr, liveName)
				w.await("the session", func() bool { return len(linesOf(t, w.stdout.String(), "session", addr.Addr())) == n })
				w.cmd.Process.Signal(syscall.SIGUSR1)
				w.await("the summary", func() bool { return strings.Count(w.stderr.String(), "\nloss: ") == n })
			}
			if n := len(linesOf(t, w.stdout.String(), "summary", netip.Addr{})); n != 0 {
				t.Error("the last line came before the end")
			}
			w.interrupt()
			if n := len(linesOf(t, w.stdout.String(), "summary", netip.Addr{})); n != 1 {
				t.Errorf("%d summaries at the end", n)
			}
		})
	}
}

// TestASecondInterruptEndsAtOnce: the first leaves dynwatch waiting for its command, which does not listen.
func TestASecondInterruptEndsAtOnce(t *testing.T) {
	w := startWatch(t, "--library-probes", "off", "--", "sh", "-c", `trap "" INT; echo $$; exec sleep 60`)
	w.await("the command", func() bool { return strings.HasSuffix(w.stdout.String(), "\n") })
	pid, err := strconv.Atoi(strings.TrimSpace(w.stdout.String()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(pid, syscall.SIGKILL)
		if root, err := bpf.FindCgroup(); err == nil {
			dir := filepath.Join(root, fmt.Sprintf(cgroupPrefix+"%d", w.cmd.Process.Pid))
			for range 500 { // while the command is still going
				if err := os.Remove(dir); err == nil || os.IsNotExist(err) {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
			t.Errorf("%s is left", dir)
		}
	})
	w.cmd.Process.Signal(syscall.SIGINT)
	w.await("the summary", func() bool { return strings.Contains(w.stderr.String(), "\nloss: ") })
	w.cmd.Process.Signal(syscall.SIGINT)
	w.wait()
	if ws := w.cmd.ProcessState.Sys().(syscall.WaitStatus); !ws.Signaled() || ws.Signal() != syscall.SIGINT {
		t.Errorf("it ended with %s\n%s", w.cmd.ProcessState, w.stderr.String())
	}
}

// TestTheCommandIsWaitedFor: who started dynwatch takes its end for the command's, whatever ended the capture and whatever it found.
func TestTheCommandIsWaitedFor(t *testing.T) {
	testenv.Tool(t, "curl")
	testenv.Root(t)
	addr := serveClear(t, "127.0.9.14")
	for _, tt := range []struct {
		name   string
		args   []string
		script string
		want   int
	}{
		{"after --duration", []string{"--duration", "100ms"}, "sleep 1; echo end; exit 9", 9},
		{"after --duration and a finding", []string{"--fail-on", "low", "--duration", "1s"}, clearRequest(addr) + "; sleep 2; echo end; exit 9", exitFindings},
		{"after -c and a finding", []string{"--fail-on", "low", "-c", "5"}, clearRequest(addr) + "; sleep 1; echo end; exit 9", exitFindings},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := runWatched(t, nil, append(tt.args, "--", "sh", "-c", tt.script)...)
			if code := w.cmd.ProcessState.ExitCode(); code != tt.want || w.stdout.String() != "end\n" {
				t.Errorf("status %d, want %d: the command says %q", code, tt.want, w.stdout.String())
			}
			if want := "dynwatch: warning: the command still runs: what it does from now on is not watched\n"; strings.Count(w.stderr.String(), want) != 1 {
				t.Errorf("nobody says that it is not watched: %s", w.stderr.String())
			}
		})
	}
}

// TestSignalsArePassedOnToTheCommand, which may be another user's, and may take its time.
func TestSignalsArePassedOnToTheCommand(t *testing.T) {
	testenv.Root(t)
	for s, name := range map[syscall.Signal]string{syscall.SIGTERM: "TERM", syscall.SIGINT: "INT"} {
		w := newWatch(t, "--library-probes", "off", "--", "sh", "-c", `trap "sleep 0.5; echo end; exit 9" `+name+`; echo ready; while :; do sleep 0.05; done`)
		w.cmd.Env = append(w.cmd.Env, "SUDO_UID=65534", "SUDO_GID=65534", "SUDO_USER=nobody")
		w.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal gives it the signal
		w.start()
		w.await("the command", func() bool { return w.stdout.String() == "ready\n" })
		w.cmd.Process.Signal(s)
		w.wait()
		if code := w.cmd.ProcessState.ExitCode(); code != 9 || w.stdout.String() != "ready\nend\n" {
			t.Errorf("SIG%s: status %d: the command says %q: %s", name, code, w.stdout.String(), w.stderr.String())
		}
	}
}
