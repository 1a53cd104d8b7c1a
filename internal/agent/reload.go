package agent

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/dynwatch/dynwatch/analyze/endpoint"
	"github.com/dynwatch/dynwatch/analyze/rules"
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/analyze/trust"
	"github.com/dynwatch/dynwatch/internal/config"
)

// Judge is what sessions are judged by.
type Judge struct {
	Endpoints *endpoint.Set
	Trust     *trust.Store
	Policy    *rules.Policy
}

// Settings are a configuration that was checked, with the files that it names read.
type Settings struct {
	*config.Config
	Judge
	// Warnings are what the operator may not have meant.
	Warnings []string
	// Files are all that were read.
	Files []string
	// Taken is called by the loop when settings that were read anew are taken into use; it must not wait. May be nil.
	Taken func()
}

// settled are settings as the loop uses them.
type settled struct {
	*Settings
	exceptions *ExceptionSet
	severity   map[string]session.Severity
}

func settle(s *Settings) *settled {
	x := &settled{Settings: s, exceptions: Exceptions(s.Config), severity: make(map[string]session.Severity, len(s.Severity))}
	for rule, word := range s.Severity {
		if sev, err := session.ParseSeverity(word); err == nil {
			x.severity[rule] = sev
		}
	}
	return x
}

// levelOf is the log level of a valid configuration.
func levelOf(c *config.Config) slog.Level {
	var l slog.Level
	if err := l.UnmarshalText([]byte(c.Log.Level)); err != nil {
		return slog.LevelInfo
	}
	return l
}

// lookEvery is how often the files are looked at. A ConfigMap takes the kubelet about a minute anyway, and a poll sees what a watch of
// a file misses: a directory that is swapped by a symbolic link.
const lookEvery = 5 * time.Second

// fingerprint changes when one of the files does: replaced, written or gone.
func fingerprint(files []string) string {
	var b strings.Builder
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			fmt.Fprintf(&b, "%s: gone\n", name)
			continue
		}
		var inode uint64 // another file may have the same size and time
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			inode = st.Ino
		}
		fmt.Fprintf(&b, "%s: %d %d %d\n", name, info.Size(), info.ModTime().UnixNano(), inode)
	}
	return b.String()
}

// outcome is a configuration that was read anew, or why it could not be.
type outcome struct {
	settings *Settings
	err      error
}

// watchFiles reads the configuration anew on every hang-up signal, and when its files have changed and then stayed the same for one look: who
// writes a file in two steps is not judged by the first. Results go to out, the latest only.
func watchFiles(ctx context.Context, files []string, every time.Duration, hangup <-chan os.Signal, read func() (*Settings, error), out chan outcome) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	used := fingerprint(files)
	seen := used
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			seen = fingerprint(files)
		case <-tick.C:
			now := fingerprint(files)
			still := now == seen
			seen = now
			if !still || now == used {
				continue
			}
		}
		used = seen
		s, err := read()
		if err == nil && !slices.Equal(files, s.Files) {
			files = s.Files
			used = fingerprint(files)
			seen = used
		}
		select {
		case <-out: // what nobody took yet
		default:
		}
		out <- outcome{s, err} // has room: nobody else writes
	}
}
