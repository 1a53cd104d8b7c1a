package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/bpf"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// watched is a command that is run to be judged, in a cgroup of its own: whatever it starts is in it or below it too, even what outlives its
// parent. Only what another process starts for it, such as a container, is not, and what is moved elsewhere.
type watched struct {
	cmd *exec.Cmd
	dir string // of the cgroup
	// cgroups are the numbers in the kernel of those that were asked for, and whether they are the command's or below it. Numbers are not given
	// twice, and a cgroup cannot be moved, so that an answer holds for ever.
	cgroups map[uint64]bool
	status  int
	err     error
	ended   chan struct{}
}

// drainAfter is how long connections of an ended command are still waited for: events come through a buffer.
const drainAfter = 300 * time.Millisecond

// startCommand runs a command, as the user behind sudo if there is one.
func startCommand(args []string, stdin io.Reader, stdout, stderr io.Writer) (*watched, error) {
	root, err := bpf.FindCgroup()
	if err != nil {
		return nil, err
	}
	sweep(root)
	w := &watched{dir: filepath.Join(root, cgroupPrefix+strconv.Itoa(os.Getpid())), cgroups: make(map[uint64]bool), ended: make(chan struct{})}
	if err := os.Mkdir(w.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make a cgroup for the command: %w", err)
	}
	dir, err := os.Open(w.dir)
	if err != nil {
		w.cleanUp()
		return nil, err
	}
	defer dir.Close()
	w.cmd = exec.Command(args[0], args[1:]...)
	w.cmd.Stdin, w.cmd.Stdout, w.cmd.Stderr = stdin, stdout, stderr
	w.cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	if err := w.asCaller(os.Getenv); err != nil {
		w.cleanUp()
		return nil, err
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	if err := w.cmd.Start(); err != nil {
		signal.Stop(signals)
		w.cleanUp()
		return nil, fmt.Errorf("run the command: %w", err)
	}
	go func() {
		defer close(w.ended)
		w.err = w.cmd.Wait()
		w.status = exitStatusOf(w.err)
	}()
	go func() {
		defer signal.Stop(signals)
		for {
			select {
			case s := <-signals:
				w.passOn(s)
			case <-w.ended:
				return
			}
		}
	}()
	return w, nil
}

// passOn gives the command a signal that came to dynwatch. An interrupt that is the terminal's has reached it by itself, and many programs
// take a second one for impatience.
func (w *watched) passOn(s os.Signal) {
	if s == syscall.SIGINT && inForeground() {
		if group, err := syscall.Getpgid(w.cmd.Process.Pid); err == nil && group == syscall.Getpgrp() {
			return
		}
	}
	_ = w.cmd.Process.Signal(s) // it may have ended
}

// inForeground reports whether keys such as Ctrl-C of the controlling terminal are for this process group.
func inForeground() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == syscall.Getpgrp()
}

// unwatched says what goes on after the end of the capture, nil if nothing does.
func (w *watched) unwatched() []string {
	if w == nil {
		return nil
	}
	select {
	case <-w.ended:
	default:
		return []string{"the command still runs: what it does from now on is not watched"}
	}
	switch n := w.processes(); n {
	case 0:
		return nil
	case 1:
		return []string{"1 process that the command left behind still runs: what it does from now on is not watched"}
	default:
		return []string{fmt.Sprintf("%d processes that the command left behind still run: what they do from now on is not watched", n)}
	}
}

// processes counts those in the command's cgroup and below it. One that has ended and was not waited for is in none (cgroups(7)).
func (w *watched) processes() int {
	n := 0
	for _, dir := range cgroupsBelow(w.dir) {
		if b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs")); err == nil {
			n += bytes.Count(b, []byte("\n"))
		}
	}
	return n
}

// cgroupPrefix is how the cgroups of commands begin; the number of the dynwatch that made it follows.
const cgroupPrefix = "dynwatch-command-"

// sweepAfter is how old a cgroup is that sweep takes for left behind: a dynwatch in another PID namespace looks dead from here, and makes its
// cgroup a moment before there is a process in it.
const sweepAfter = time.Minute

// sweep removes the cgroups of captures that were killed before they could. One whose dynwatch lives is left alone, and one that has processes
// cannot be removed.
func sweep(root string) {
	left, err := filepath.Glob(filepath.Join(root, cgroupPrefix+"*"))
	if err != nil {
		return
	}
	for _, dir := range left {
		pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(dir), cgroupPrefix))
		if err != nil || pid <= 0 || !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			continue
		}
		if info, err := os.Stat(dir); err == nil && time.Since(info.ModTime()) >= sweepAfter {
			removeCgroup(dir)
		}
	}
}

// asCaller gives the command the user and groups of who called sudo, not root's.
func (w *watched) asCaller(env func(string) string) error {
	uid, gid, user := env("SUDO_UID"), env("SUDO_GID"), env("SUDO_USER")
	if os.Getuid() != 0 || uid == "" || gid == "" {
		return nil
	}
	u, err := strconv.ParseUint(uid, 10, 32)
	if err != nil {
		return fmt.Errorf("SUDO_UID: %w", err)
	}
	g, err := strconv.ParseUint(gid, 10, 32)
	if err != nil {
		return fmt.Errorf("SUDO_GID: %w", err)
	}
	groups, home := accountOf(user)
	w.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(u), Gid: uint32(g), Groups: groups}
	for _, kv := range os.Environ() {
		switch name, _, _ := strings.Cut(kv, "="); name {
		case "SUDO_UID", "SUDO_GID", "SUDO_USER", "SUDO_COMMAND", "HOME", "USER", "LOGNAME", "MAIL":
		default:
			w.cmd.Env = append(w.cmd.Env, kv)
		}
	}
	w.cmd.Env = append(w.cmd.Env, "USER="+user, "LOGNAME="+user)
	if home != "" {
		w.cmd.Env = append(w.cmd.Env, "HOME="+home)
	}
	return nil
}

// accountOf reads the supplementary groups and the home of a user from /etc/group and /etc/passwd.
func accountOf(user string) (groups []uint32, home string) {
	if b, err := os.ReadFile("/etc/group"); err == nil {
		for line := range strings.Lines(string(b)) {
			f := strings.Split(strings.TrimSpace(line), ":")
			if len(f) != 4 {
				continue
			}
			for _, member := range strings.Split(f[3], ",") {
				if id, err := strconv.ParseUint(f[2], 10, 32); err == nil && member == user {
					groups = append(groups, uint32(id))
				}
			}
		}
	}
	if b, err := os.ReadFile("/etc/passwd"); err == nil {
		for line := range strings.Lines(string(b)) {
			if f := strings.Split(strings.TrimSpace(line), ":"); len(f) == 7 && f[0] == user {
				home = f[5]
			}
		}
	}
	return groups, home
}

// maxCgroups is how many cgroups are remembered: on a host with containers that come and go, others connect from ever new ones.
const maxCgroups = 4096

// see notes who opens a connection, while the cgroup is still there: the command may remove one as soon as what it ran there has ended.
func (w *watched) see(o *flow.Opening) {
	if w == nil || o == nil {
		return
	}
	id := o.Process.CgroupID
	if _, known := w.cgroups[id]; known {
		return
	}
	if len(w.cgroups) >= maxCgroups {
		maps.DeleteFunc(w.cgroups, func(_ uint64, own bool) bool { return !own })
	}
	w.cgroups[id] = false
	for _, dir := range cgroupsBelow(w.dir) {
		var st syscall.Stat_t
		if err := syscall.Stat(dir, &st); err == nil {
			w.cgroups[st.Ino] = true
		}
	}
}

// owns reports whether a session is of the command's process tree.
func (w *watched) owns(s *session.Session) bool {
	return w == nil || s.Process != nil && w.cgroups[s.Process.CgroupID]
}

// cgroupsBelow lists the directories of a cgroup and of those below it, those above first.
func cgroupsBelow(dir string) []string {
	var list []string
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			list = append(list, path)
		}
		return nil // what was removed meanwhile is not there
	})
	return list
}

// cleanUp removes the command's cgroup; one with processes in it stays until a later capture finds it empty.
func (w *watched) cleanUp() { removeCgroup(w.dir) }

// removeCgroup removes a cgroup with those below it, as far as they have no processes. It does not matter if one is left: it is in nobody's way.
func removeCgroup(dir string) {
	for _, d := range slices.Backward(cgroupsBelow(dir)) {
		_ = os.Remove(d)
	}
}

// exitStatusOf is a command's status as a shell tells it: 128 and the signal's number for one that was killed.
func exitStatusOf(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return 128 + int(ws.Signal())
		}
		return exit.ExitCode()
	}
	return exitFailed
}
