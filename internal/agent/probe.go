package agent

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/metrics"
	"github.com/dynwatch/dynwatch/internal/probe"
)

// asking is the agent's own probes of endpoints, as the configuration wants them. It belongs to the loop; the probes run beside it.
type asking struct {
	log    *slog.Logger
	own    probe.Own     // outlives a keeper: the last segments of its connections come later
	keeper *probe.Keeper // nil without
	run    int           // of the keepers so far
	stop   context.CancelFunc
	beside sync.WaitGroup
	ended  probe.KeeperStats // of the last keeper
}

// want has endpoints probed as settings say, or not at all.
func (a *asking) want(s *Settings) {
	if !s.Probe.Enabled {
		if a.keeper != nil {
			a.log.Info("endpoints are not probed any more")
			a.close()
		}
		return
	}
	o := probe.Options{Endpoints: s.Endpoints, Trust: s.Trust, Policy: s.Judge.Policy, Own: &a.own}
	every, _ := time.ParseDuration(s.Probe.Every) // Validate has looked at both
	pause, _ := time.ParseDuration(s.Probe.Pause)
	k := probe.KeeperOptions{Every: every, MaxAge: 2 * every, Pause: pause, Jitter: 3 * pause, Result: a.tell}
	if a.keeper != nil {
		a.keeper.Use(o, k)
		return
	}
	a.run++
	a.keeper = probe.NewKeeper(o, k)
	ctx, cancel := context.WithCancel(context.Background())
	a.stop = cancel
	keeper := a.keeper
	a.beside.Go(func() { keeper.Run(ctx) })
	a.log.Info("endpoints whose certificate nobody sees are probed", "every", every.String(), "pause", pause.String())
}

// tell logs a probe; it is called beside the loop. What is wrong is no finding: nobody's session was seen to suffer from it.
func (a *asking) tell(p *session.Probe) {
	if p.Session == nil || p.Session.Certificate == nil {
		a.log.Debug("a probe was shown no certificate", "endpoint", p.Host, "server", p.Server.String(), "error", p.Err)
		return
	}
	a.log.Debug("a probe was shown a certificate", "endpoint", p.Host, "server", p.Server.String(), "trust", p.Session.Trust, "issuer", p.Session.Certificate.Issuer)
}

// isOwn reports whether a segment is of a probe's connection: the host's are watched, not the watcher's.
func (a *asking) isOwn(s *flow.Segment, now func() time.Time) bool {
	return a.run > 0 && a.own.Has(s, now())
}

// fill gives a session that was judged what a probe of its endpoint was shown, in a copy: the analysis still has the session itself.
func (a *asking) fill(s *session.Session, now time.Time) *session.Session {
	if a.keeper == nil {
		return s
	}
	c := *s
	if !a.keeper.Fill(&c, now) {
		return s
	}
	return &c
}

// told is what the probes came to, for the metrics.
func (a *asking) told() metrics.Probes {
	if a.keeper != nil {
		a.ended = a.keeper.Stats()
	}
	return metrics.Probes{Run: a.run, Stats: a.ended}
}

// close ends the probes and waits for it, which takes no longer than an open connection takes to close.
func (a *asking) close() {
	if a.keeper == nil {
		return
	}
	a.stop()
	a.beside.Wait()
	a.ended, a.keeper = a.keeper.Stats(), nil
}
