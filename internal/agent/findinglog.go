package agent

import (
	"log/slog"

	"golang.org/x/time/rate"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// findingsLogged and findingsBurst bound the log: lines a second, and at once.
const (
	findingsLogged = 5
	findingsBurst  = 50
)

// FindingLog writes findings to the agent's log, a line each, as long as somebody could read them. It is for one goroutine.
type FindingLog struct {
	log   *slog.Logger
	limit *rate.Limiter
	left  uint64
}

// NewFindingLog has findings written to a log.
func NewFindingLog(log *slog.Logger) *FindingLog {
	return &FindingLog{log: log, limit: rate.NewLimiter(findingsLogged, findingsBurst)}
}

// Finding logs a finding, unless there are too many. x is nil for one about a DNS answer.
func (l *FindingLog) Finding(x *session.Session, d *session.DNS, f session.Finding) {
	if !l.limit.Allow() {
		l.left++
		return
	}
	args := []any{"rule", f.Rule, "severity", f.Severity.String(), "message", f.Message}
	switch {
	case x != nil:
		args = append(args, "client", x.Client.String(), "server", x.Server.String(), "endpoint", x.Endpoint.Name, "workload", x.Process.Workload().String())
		if p := x.Process; p != nil {
			args = append(args, "pid", p.PID, "comm", p.Comm, "exe", p.Exe, "pod", p.Pod, "namespace", p.Namespace, "unit", p.Unit)
		}
	case d != nil:
		args = append(args, "client", d.Client.String(), "resolver", d.Server.String(), "endpoint", d.Question)
	}
	l.log.Warn("finding", args...)
}

// Round says how many were left out, once there is room again. It is called every now and then.
func (l *FindingLog) Round() {
	if l.left > 0 && l.limit.Tokens() >= findingsBurst/2 {
		l.log.Warn("findings were not logged, there were too many; all are counted", "count", l.left)
		l.left = 0
	}
}
