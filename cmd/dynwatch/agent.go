package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/agent"
	"github.com/dynwatch/dynwatch/internal/config"
	"github.com/dynwatch/dynwatch/internal/history"
	"github.com/dynwatch/dynwatch/internal/journal"
	"github.com/dynwatch/dynwatch/internal/metrics"
	"github.com/dynwatch/dynwatch/internal/page"
)

func agentCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "watch this host for months: configuration, metrics, health",
		Long: `Watches this host until it is ended, and serves what it sees as metrics. It
reads one YAML file; flags go over variables (DYNWATCH_ and the flag's name, as
DYNWATCH_MIN_VERSION), variables over the file. The file is read again on SIGHUP
and when it changes; a wrong one is refused, and the old one stays in use.

Exit status: 0 it was ended; 1 it could not go on; 2 flags or configuration.`,
		Example: `  dynwatch agent --config dynwatch.yaml
  dynwatch agent --observe --listen 127.0.0.1:9464
  curl http://127.0.0.1:9464/metrics`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runAgent(cmd, file) },
	}
	cmd.Flags().StringVar(&file, "config", "", "read the configuration from `FILE` (DYNWATCH_CONFIG; default "+defaultConfig+" if it is there)")
	config.Register(cmd.Flags())
	return cmd
}

func runAgent(cmd *cobra.Command, file string) error {
	if file == "" {
		file = os.Getenv(config.Variable("config"))
	}
	name, err := configName(file)
	if err != nil {
		return &usageError{err}
	}
	settings, sinks, err := readConfig(name, cmd.Flags(), os.LookupEnv)
	if err != nil {
		var problems config.Problems
		if errors.As(err, &problems) {
			return &hinted{&usageError{err}, "dynwatch config check FILE says the same; dynwatch config schema lists every key"}
		}
		return &usageError{err}
	}
	keepWithin := spareMemory(os.LookupEnv)
	level := new(slog.LevelVar)
	log := newLog(cmd.ErrOrStderr(), settings.Log.Format, level)
	listener, err := net.Listen("tcp", settings.Web.Listen)
	if err != nil {
		return fmt.Errorf("serve metrics: %w", err)
	}
	defer listener.Close()
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	log.Info("dynwatch agent begins", "version", version, "config", name, "listen", listener.Addr().String(), "observe", settings.Observe)
	told := &alerts{log: log}
	o := agent.Options{
		Settings: settings, Hangup: hangup, Listen: listener, Log: log, Level: level,
		Metrics: metrics.New(metrics.Options{Build: metrics.ReadBuild(version), Workloads: settings.Metrics.Workloads}),
	}
	h, err := openHistory(settings.Config, log)
	if err != nil {
		return err
	}
	if h != nil {
		defer keep("inventory", h.Run, h.Close, log)()
		o.History, o.Recorders = h.Memory(), append(o.Recorders, recorded{h})
	}
	if err := told.open(settings.Config, sinks); err != nil {
		return fmt.Errorf("alerts: %w", err)
	}
	defer told.close()
	o.Alerters = append(o.Alerters, told)
	o.Reload = func() (*agent.Settings, error) {
		s, sinks, err := readConfig(name, cmd.Flags(), os.LookupEnv)
		if err != nil {
			return nil, err
		}
		if err := told.open(s.Config, sinks); err != nil {
			return nil, fmt.Errorf("alerts: %w", err)
		}
		s.Taken = func() { told.use(s.Config, sinks) }
		return s, nil
	}
	o.Reading = keepWithin
	o.Tell = func() {
		if h != nil {
			o.Metrics.History(h.Stats())
		}
		if m := told.queue.Load(); m != nil {
			o.Metrics.Alerts(m.Stats())
		}
	}
	o.Page = func(ready func() string) http.Handler {
		p := page.Options{Version: version, Ready: ready, Metrics: o.Metrics.Registry()}
		p.Host, _ = os.Hostname() // nameless is no reason not to show it
		if h != nil {
			p.History = h.Snapshot
		}
		return page.New(p)
	}
	err = agent.Run(cmd.Context(), o)
	if err != nil {
		log.Error("dynwatch agent cannot go on", "error", err)
		return exitStatus(exitFailed)
	}
	log.Info("dynwatch agent has ended")
	return nil
}

// baseMemory is what the agent takes beside the flows that it reads, with room for garbage, in bytes.
const baseMemory = 38 << 20

// spareMemory has the collector run more often than a program needs that has its host for itself. What it returns takes the bytes of the flows that are
// being read, for which there is room beyond the rest. GOGC and GOMEMLIMIT in the environment, which a chart sets from the container's limit, say otherwise.
func spareMemory(env func(string) (string, bool)) (reading func(int)) {
	if _, ok := env("GOGC"); !ok {
		debug.SetGCPercent(30)
	}
	if _, ok := env("GOMEMLIMIT"); ok {
		return func(int) {}
	}
	set := int64(-1)
	reading = func(n int) {
		if limit := (baseMemory + int64(n)*3/2) &^ (1<<20 - 1); limit != set { // to set it stops the world
			set = limit
			debug.SetMemoryLimit(limit)
		}
	}
	reading(0)
	return reading
}

// newLog is the agent's own log.
func newLog(w io.Writer, format string, level slog.Leveler) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if format == "text" {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
}

// stateMode is that of the state folder where the agent makes it: what is in it is for nobody but its owner and root.
const stateMode = 0o700

// openHistory opens the state of the agent; nil is one that keeps nothing.
func openHistory(c *config.Config, log *slog.Logger) (*history.Store, error) {
	if c.StateDir == "" {
		return nil, nil
	}
	err := os.MkdirAll(c.StateDir, stateMode)
	var h *history.Store
	if err == nil {
		h, err = history.Open(history.Options{
			Path: filepath.Join(c.StateDir, history.FileName), MaxEntries: c.History.MaxEntries, MaxFindings: c.History.MaxFindings,
			MaxBytes: int64(c.History.MaxMiB) << 20, Log: log,
		})
	}
	switch {
	case err == nil:
		return h, nil
	case errors.Is(err, journal.ErrLocked):
		return nil, &hinted{err, "another agent runs; name another folder with --state-dir, or none: --state-dir ''"}
	}
	log.Error("no inventory is kept: its file cannot be opened", "error", err) // a full disk must not keep the agent from watching
	return nil, nil
}

// recorded puts what is concluded into the history.
type recorded struct{ *history.Store }

func (r recorded) Session(s *session.Session)                    { r.Add(s) }
func (r recorded) Finding(s *session.Session, f session.Finding) { r.AddFinding(s, f) }
func (r recorded) DNS(d *session.DNS)                            { r.AddDNS(d) }
