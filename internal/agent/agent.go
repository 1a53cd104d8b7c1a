package agent

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/dynwatch/dynwatch/analyze"
	"github.com/dynwatch/dynwatch/analyze/rules"
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/capture/library"
	"github.com/dynwatch/dynwatch/internal/config"
	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/host"
	"github.com/dynwatch/dynwatch/internal/live"
	"github.com/dynwatch/dynwatch/internal/metrics"
	"github.com/dynwatch/dynwatch/internal/privilege"
)

// Recorder takes everything that is concluded, whether it alerts or not. Its methods are called by the loop and must not wait.
type Recorder interface {
	Session(*session.Session)
	// Finding is one that showed after its session was put out.
	Finding(*session.Session, session.Finding)
	DNS(*session.DNS)
}

// Alerter takes findings that are worth an alert: no exception covers them, and the agent does not only observe. x is nil for a finding about
// a DNS answer. It is called by the loop and must not wait.
type Alerter interface {
	Alert(x *session.Session, d *session.DNS, f session.Finding)
}

// Options are what an agent works with. Settings, Metrics, Listen and Log are required.
type Options struct {
	Settings *Settings
	// Reload reads the configuration anew; nil: it stays. Hangup has it done at once.
	Reload func() (*Settings, error)
	Hangup <-chan os.Signal
	// Metrics has the counters; Listen is where they are served.
	Metrics *metrics.Set
	Listen  net.Listener
	Log     *slog.Logger
	// Page makes the web page for people, given what says why the agent does not watch; nil: there is none.
	Page func(ready func() string) http.Handler
	// Level is what Log obeys; nil: the level stays.
	Level *slog.LevelVar

	Recorders []Recorder
	// Tell is called every second, to bring further metrics up to date; it must not wait. May be nil.
	Tell func()
	// Reading is told every second how many bytes the flows take that are being read. May be nil.
	Reading  func(bytes int)
	Alerters []Alerter
	// History is the rules' memory over sessions; nil is one of this run alone.
	History rules.History
	// Resolver completes processes; nil takes what this host tells.
	Resolver *host.Resolver

	// Open opens the source; nil is live.Open. OpenLibrary attaches library probes; nil is library.Open. DropRights gives up rights once the first
	// source is open, but for those in also, and says which are kept; nil is the source's own. Pause is how long to wait before a source is opened again, at first; 0 is a second. LookEvery is how often the
	// configuration's files are looked at; 0 is five seconds.
	Open        func(live.Options) (*live.Watch, error)
	OpenLibrary func(library.Options) (Library, error)
	DropRights  func(w *live.Watch, also privilege.Set) (kept string, err error)
	Pause       time.Duration
	LookEvery   time.Duration
	// Getenv has what the service manager says; nil is os.Getenv.
	Getenv func(string) string
}

// How a source is opened again, and how often what is told elsewhere is brought up to date.
const (
	longPause = time.Minute
	// steady is how long a source must have worked to be tried at once when it breaks off.
	steady = time.Minute

	advanceEvery = 100 * time.Millisecond
	tellEvery    = time.Second
	expireEvery  = time.Minute
)

// ErrRights: a source broke off, and the rights to open it again were given up when it was opened first.
var ErrRights = errors.New("the rights to open a source again were given up: start the agent anew")

// agent is one run. What has no other note belongs to the loop.
type agent struct {
	Options
	health *health
	notify *notifier
	now    func() time.Time

	current  *settled
	news     chan outcome
	watch    *live.Watch
	analyzer *analyze.Analyzer
	probes   *probing
	asking   *asking
	dropped  bool // rights

	announced            bool // that the source is attached
	lastTold, lastExpiry time.Time
	told                 map[string]bool // lines about exceptions that have ended
	findings             *FindingLog
}

// Run watches until ctx ends, which is no error, or until it cannot go on.
func Run(ctx context.Context, o Options) error {
	if o.Open == nil {
		o.Open = live.Open
	}
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.DropRights == nil {
		o.DropRights = dropRights
	}
	if o.Pause <= 0 {
		o.Pause = time.Second
	}
	if o.LookEvery <= 0 {
		o.LookEvery = lookEvery
	}
	if o.Resolver == nil {
		o.Resolver = host.New(host.Options{})
	}
	if why := o.Resolver.Foreign(); why != "" {
		o.Log.Warn("processes are not looked up", "reason", why)
	}
	a := &agent{
		Options: o, now: time.Now, news: make(chan outcome, 1), notify: newNotifier(o.Getenv, os.Getpid()),
		findings: NewFindingLog(o.Log),
	}
	a.health = newHealth(a.now)
	a.probes = newProbing(o.OpenLibrary, o.Log, a.now)
	a.asking = &asking{log: o.Log}
	a.use(o.Settings, true)

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var others sync.WaitGroup
	others.Go(func() {
		var page http.Handler
		if o.Page != nil {
			page = o.Page(a.health.ready)
		}
		if err := serve(ctx, o.Listen, routes(o.Metrics, a.health, page), o.Settings.Web.ConfigFile, o.Log); err != nil {
			cancel(err) // an agent that nobody can ask is none
		}
	})
	if o.Reload != nil {
		others.Go(func() { watchFiles(ctx, o.Settings.Files, o.LookEvery, o.Hangup, o.Reload, a.news) })
	}
	err := a.keepWatching(ctx)
	a.health.ending()
	a.notify.tell("STOPPING=1")
	a.probes.close()
	a.asking.close()
	cancel(nil)
	others.Wait()
	if err == nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
			err = cause
		}
	}
	return err
}

func dropRights(w *live.Watch, also privilege.Set) (string, error) {
	kept, err := w.DropRights(also)
	return kept.String(), err
}

// use takes settings into use.
func (a *agent) use(s *Settings, first bool) {
	old := a.current
	a.current = settle(s)
	if a.Level != nil {
		a.Level.Set(levelOf(s.Config))
	}
	for _, w := range s.Warnings {
		a.Log.Warn("configuration", "warning", w)
	}
	a.told = make(map[string]bool)
	a.expire()
	a.asking.want(s)
	if !first {
		if keys := config.NeedsRestart(old.Config, s.Config); len(keys) > 0 {
			a.Log.Warn("these changes take effect when the agent is started anew", "keys", keys)
		}
		if a.analyzer != nil {
			a.analyzer.Use(s.Endpoints, s.Trust, s.Judge.Policy)
		}
		if a.watch != nil {
			if err := a.watch.Retarget(s.Endpoints); err != nil {
				a.Log.Warn("follow other addresses", "error", err)
			}
			a.probes.want(a.probesWanted())
		}
	}
	for rule, sev := range a.current.severity {
		a.Metrics.Weighs(rule, sev)
	}
	a.Metrics.Configured(a.now(), s.Observe, first)
	a.Metrics.Ranges(s.Endpoints.Ranges().CreateDate)
}

// takeNews takes a configuration that was read anew.
func (a *agent) takeNews() {
	select {
	case n := <-a.news:
		a.notify.reloading()
		if n.err != nil {
			a.Log.Error("the new configuration is wrong; the old one stays in use", "error", n.err)
			a.Metrics.ReloadFailed() // who sees the metric finds the reason in the log
		} else {
			a.use(n.settings, false)
			if n.settings.Taken != nil {
				n.settings.Taken()
			}
			a.Log.Info("a new configuration is in use", "observe", a.current.Observe, "exceptions", len(a.current.Exceptions))
		}
		a.notify.ready(a.status())
	default:
	}
}

func (a *agent) status() string {
	if a.watch == nil {
		return "no source is attached"
	}
	note, _ := a.probes.state()
	return "watching this host " + a.watch.How() + "; " + note
}

// expire says once which exceptions have ended.
func (a *agent) expire() {
	now := a.now()
	a.lastExpiry = now
	for _, line := range a.current.exceptions.Expired(now) {
		if !a.told[line] {
			a.told[line] = true
			a.Log.Warn(line)
		}
	}
	a.Metrics.Exceptions(a.current.exceptions.Count(now))
}

// rounds is called ten times a second: the loop lives.
func (a *agent) rounds(now time.Time) {
	a.health.beats(now)
	a.notify.beats(now)
	a.takeNews()
	a.probes.poll(nil, a.libraryTold)
	if a.probes.take() || !a.announced {
		a.tellProbes()
	}
	if now.Sub(a.lastTold) < tellEvery {
		return
	}
	a.lastTold = now
	a.Metrics.Beat(now)
	if now.Sub(a.lastExpiry) >= expireEvery {
		a.expire()
	}
	a.findings.Round()
	a.tell()
}

// tellProbes tells how library probes stand, and, once they were tried, that the agent watches.
func (a *agent) tellProbes() {
	a.health.probing(a.probes.state())
	if a.watch != nil && a.probes.tried {
		a.announced = true
		a.notify.ready(a.status())
	}
}

// libraryTold takes what a TLS library told; without a source nobody waits for it.
func (a *agent) libraryTold(l *flow.Library) {
	if a.analyzer != nil {
		a.analyzer.Library(l)
	}
}

// tell brings the metrics of the stages up to date.
func (a *agent) tell() {
	if a.Options.Tell != nil {
		a.Options.Tell()
	}
	a.health.probing(a.probes.state())
	a.Metrics.Library(a.probes.told())
	a.Metrics.Probes(a.asking.told())
	if a.watch == nil || a.analyzer == nil {
		return
	}
	a.Metrics.Update(metrics.Progress{
		Source: a.watch.Kind, Capture: a.watch.Stats(), Analyze: a.analyzer.Stats(), Host: a.Resolver.Stats(),
	})
	usage := a.analyzer.Usage()
	if a.Options.Reading != nil {
		a.Options.Reading(usage.Memory)
	}
	a.Metrics.Hold(metrics.Held{
		Usage: usage, MaxFlows: a.Settings.Limits.Flows, MaxMemory: a.Settings.Limits.MemoryMiB << 20,
		Addresses: a.watch.Learned(), MaxAddresses: live.MaxLearned,
	})
}

// finding decides what becomes of one finding.
func (a *agent) finding(x *session.Session, d *session.DNS, f session.Finding) {
	now := a.now()
	switch reason := a.suppressed(x, f, now); reason {
	case "":
		a.Metrics.Finding(x, f, now)
		a.findings.Finding(x, d, f)
		for _, to := range a.Alerters {
			to.Alert(x, d, f)
		}
	default:
		a.Metrics.Suppressed(f, reason)
		a.Log.Debug("finding suppressed", "reason", reason, "rule", f.Rule, "message", f.Message)
	}
}

// suppressed says why a finding does not alert, "" if it does.
func (a *agent) suppressed(x *session.Session, f session.Finding, now time.Time) string {
	switch {
	case f.Severity == session.SeverityNone:
		return metrics.SuppressedByOverride
	case x != nil && a.current.exceptions.Covers(f.Rule, x.Process, now):
		return metrics.SuppressedByException
	case a.current.Observe:
		return metrics.SuppressedByObserve
	}
	return ""
}

// weigh gives a finding the severity that the operator wants for its rule.
func (a *agent) weigh(f session.Finding) session.Finding {
	if sev, ok := a.current.severity[f.Rule]; ok {
		f.Severity = sev
	}
	return f
}

// session takes a session that the analysis put out.
func (a *agent) session(s *session.Session) {
	for i, f := range s.Findings {
		s.Findings[i] = a.weigh(f)
	}
	s = a.asking.fill(s, a.now()) // the judgement is over
	a.Metrics.Session(s)
	for _, to := range a.Recorders {
		to.Session(s)
	}
	for _, f := range s.Findings {
		a.finding(s, nil, f)
	}
}

// later takes a finding that showed after its session.
func (a *agent) later(s *session.Session, f session.Finding) {
	f = a.weigh(f)
	for _, to := range a.Recorders {
		to.Finding(s, f)
	}
	a.finding(s, nil, f)
}

// answer takes a DNS answer.
func (a *agent) answer(d *session.DNS) {
	for i, f := range d.Findings {
		d.Findings[i] = a.weigh(f)
	}
	a.Metrics.DNS(d)
	for _, to := range a.Recorders {
		to.DNS(d)
	}
	for _, f := range d.Findings {
		a.finding(nil, d, f)
	}
	if err := a.watch.Follow(d.Addrs); err != nil {
		a.Log.Warn("follow the addresses that DNS gives", "question", d.Question, "error", err)
	}
}
