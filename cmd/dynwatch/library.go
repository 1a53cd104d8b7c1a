package main

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/bpf"
	"github.com/dynwatch/dynwatch/capture/library"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// openLibrary attaches the library probes that were asked for: auto does what works where sockets are watched, and says what does not.
func (r *liveRun) openLibrary() error {
	how := r.flags.live.probes
	if how == "off" || how == "auto" && r.summary.Source != "ebpf" {
		return nil
	}
	o := library.Options{All: how == "all" || r.flags.all}
	if len(r.flags.live.command) > 0 {
		if name, err := exec.LookPath(r.flags.live.command[0]); err == nil {
			if name, err = filepath.Abs(name); err == nil {
				o.Programs = append(o.Programs, name)
			}
		}
	}
	src, err := library.Open(o)
	switch {
	case err == nil:
		r.library = src
		return nil
	case how == "all":
		return fmt.Errorf("--library-probes: %w", libraryError(err))
	}
	fmt.Fprintf(r.stderr, "dynwatch: note: no library probes here: the certificates of TLS 1.3 are not seen: %v\n", err)
	return nil
}

func libraryError(err error) error {
	var permission *bpf.PermissionError
	if errors.As(err, &permission) {
		return &hinted{err, "run it as root, or give it CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"}
	}
	return err
}

// pollLibrary gives the analysis what libraries told. seg is the segment that comes next, nil if there is none.
func (r *liveRun) pollLibrary(seg *flow.Segment) {
	if r.library == nil {
		return
	}
	if seg != nil && seg.Proto == flow.TCP && seg.Opening != nil && seg.Opening.Process.PID != 0 {
		r.library.Follow(seg.Opening.Process.PID)
	}
	if err := r.library.Poll(r.analyzer.Library); err != nil && !r.libraryFailed {
		r.libraryFailed = true
		fmt.Fprintf(r.stderr, "dynwatch: warning: library probes: %v\n", err)
	}
}

// notCaptured counts the sessions whose certificate no probe told of though there are probes: the first handshake with a library that got
// its probes just then, and libraries that none are known for.
func (r *liveRun) notCaptured(s *session.Session) {
	if r.library != nil && s.TLS != nil && s.Certificate == nil && s.Visibility == session.VisibilityEncrypted && s.TLS.Established == session.Yes {
		r.uncaptured++
	}
}

// libraryLoss adds the probes' counters to the summary's.
func (r *liveRun) libraryLoss(loss map[string]uint64, warnings []string) []string {
	if r.library == nil {
		return warnings
	}
	stats := r.library.Stats()
	for k, n := range stats.Loss {
		loss[k] = n
	}
	loss["library.not_captured"] = r.uncaptured
	for _, p := range stats.Problems {
		warnings = append(warnings, "library probes: "+p)
	}
	return warnings
}
