package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// line is what is wanted of a line that dynwatch prints.
type line struct {
	Type string
	Flow struct {
		ServerIP   string `json:"server_ip"`
		ClientPort int    `json:"client_port"`
	}
	TLS struct {
		Version, SNI string
		Established  bool
	}
	Process *struct{ PID int }
	Verdict string
	Loss    map[string]int64 // of the summary: counters; of a session: bytes
	// at is when it was read.
	at time.Time
}

// observer is a dynwatch that watches this host.
type observer struct {
	cmd    *exec.Cmd
	dir    string
	stderr bytes.Buffer
	ready  chan struct{}
	done   chan error

	mu    sync.Mutex
	raw   [][]byte
	times []time.Time
}

// watch starts dynwatch and returns once it watches.
func watch(o *options, rec *recordings) (*observer, error) {
	dir, err := os.MkdirTemp("", "dynwatch-bench")
	if err != nil {
		return nil, err
	}
	roots := filepath.Join(dir, "roots.pem")
	if err := os.WriteFile(roots, rec.root, 0o644); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	w := &observer{dir: dir, ready: make(chan struct{}), done: make(chan error, 1)}
	w.cmd = exec.Command(o.dynwatch, "capture", "-o", "json", "--source", o.source, "--allow-ca", roots, "--endpoint", tracked.String()+"/32")
	if o.source == "packet" {
		w.cmd.Args = append(w.cmd.Args, "-i", "lo")
	}
	out, in, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	defer in.Close()
	w.cmd.Stdout = in
	// Room for some 500 lines: this program may be kept from reading for a while, which is not to keep dynwatch from its work.
	if _, err := unix.FcntlInt(in.Fd(), unix.F_SETPIPE_SZ, 1<<20); err != nil {
		return nil, errors.Join(fmt.Errorf("make the pipe larger: %w", err), os.RemoveAll(dir))
	}
	messages, err := w.cmd.StderrPipe()
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := w.cmd.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	said := make(chan struct{})
	go func() { w.listen(messages); close(said) }()
	go func() {
		err := w.read(out)
		out.Close()
		<-said
		w.done <- errors.Join(err, w.cmd.Wait())
	}()
	select {
	case <-w.ready:
		return w, nil
	case err := <-w.done:
		return nil, errors.Join(fmt.Errorf("%s ended: %w\n%s", o.dynwatch, err, w.stderr.Bytes()), os.RemoveAll(dir))
	case <-time.After(20 * time.Second):
		w.cmd.Process.Kill()
		<-w.done
		return nil, errors.Join(fmt.Errorf("%s does not say that it watches\n%s", o.dynwatch, w.stderr.Bytes()), os.RemoveAll(dir))
	}
}

// listen reads what it says to people.
func (w *observer) listen(r io.Reader) {
	for s := bufio.NewScanner(r); s.Scan(); {
		if strings.HasPrefix(s.Text(), "dynwatch: watching") {
			close(w.ready)
		}
		fmt.Fprintln(&w.stderr, s.Text())
	}
}

// read keeps the lines and when they came; they are understood later.
func (w *observer) read(r io.Reader) error {
	runtime.LockOSThread() // no player's goroutine shares it
	defer runtime.UnlockOSThread()
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 1<<20), 1<<20)
	for s.Scan() {
		at := time.Now()
		b := bytes.Clone(s.Bytes())
		w.mu.Lock()
		w.raw, w.times = append(w.raw, b), append(w.times, at)
		w.mu.Unlock()
	}
	return s.Err()
}

// lines is how many lines came.
func (w *observer) lines() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.raw)
}

// settle waits until nothing has come for a while.
func (w *observer) settle() {
	for n := -1; n != w.lines(); time.Sleep(time.Second) {
		n = w.lines()
	}
}

// status is a line of /proc/PID/status, in KiB, as MiB.
func (w *observer) status(key string) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for l := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(l, key+":"); ok {
			kib, err := strconv.Atoi(strings.Fields(v)[0])
			return float64(kib) / 1024, err
		}
	}
	return 0, fmt.Errorf("/proc/PID/status has no %s", key)
}

// ended is what an observer has put out when it has ended.
type ended struct {
	sessions []line // those of the tracked address
	summary  line
	cpu      time.Duration
	peak     float64 // MiB
}

// end stops it as Ctrl-C does, and understands what it put out.
func (w *observer) end() (*ended, error) {
	defer os.RemoveAll(w.dir)
	e := new(ended)
	var err error
	if e.peak, err = w.status("VmHWM"); err != nil {
		return nil, err
	}
	if err := w.cmd.Process.Signal(syscall.SIGINT); err != nil {
		return nil, err
	}
	select {
	case err := <-w.done:
		if err != nil {
			return nil, fmt.Errorf("dynwatch: %w\n%s", err, w.stderr.Bytes())
		}
	case <-time.After(30 * time.Second):
		w.cmd.Process.Kill()
		return nil, fmt.Errorf("dynwatch did not end\n%s", w.stderr.Bytes())
	}
	e.cpu = w.cmd.ProcessState.UserTime() + w.cmd.ProcessState.SystemTime()
	for i, b := range w.raw {
		l := line{at: w.times[i]}
		if err := json.Unmarshal(b, &l); err != nil {
			return nil, fmt.Errorf("%w: %s", err, b)
		}
		switch {
		case l.Type == "session" && l.Flow.ServerIP == tracked.String():
			e.sessions = append(e.sessions, l)
		case l.Type == "summary":
			e.summary = l
		}
	}
	if e.summary.Type == "" {
		return nil, fmt.Errorf("dynwatch printed no summary\n%s", w.stderr.Bytes())
	}
	return e, nil
}

// finish waits until all has come, ends it, and compares what came with what was played: missing is the number of conversations that were not seen whole.
func (w *observer) finish(played map[string]int) (e *ended, missing int, err error) {
	w.settle()
	if e, err = w.end(); err != nil {
		return nil, 0, err
	}
	missing, err = e.check(played)
	return e, missing, err
}

// lost is everything that the summary's counters tell of.
func (e *ended) lost() (n int64, list []string) {
	for name, v := range e.summary.Loss {
		if v != 0 {
			n += v
			list = append(list, fmt.Sprintf("%s %d", name, v))
		}
	}
	return n, list
}

// check holds the sessions against what was played. It returns how many of it are missing, or have bytes missing, and fails if no counter tells of
// these, or if what is there is wrong.
func (e *ended) check(played map[string]int) (missing int, err error) {
	whole := map[string]int{}
	for i := range e.sessions {
		s := &e.sessions[i]
		if s.Verdict == "incomplete" || !s.TLS.Established {
			continue
		}
		if s.TLS.SNI != name || s.Process == nil || s.Process.PID != os.Getpid() {
			return 0, fmt.Errorf("a session is wrong: %+v of process %+v", *s, s.Process)
		}
		whole[s.TLS.Version+" "+s.Verdict]++
	}
	for what, n := range played {
		if whole[what] > n {
			return 0, fmt.Errorf("%d sessions %s were put out, %d were played", whole[what], what, n)
		}
		missing += n - whole[what]
		delete(whole, what)
	}
	if len(whole) > 0 {
		return 0, fmt.Errorf("sessions that nobody played: %v", whole)
	}
	if n, _ := e.lost(); missing > 0 && n == 0 {
		return missing, fmt.Errorf("%d of %v are missing, and no counter tells of it", missing, played)
	}
	return missing, nil
}
