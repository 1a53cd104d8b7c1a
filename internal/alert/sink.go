package alert

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Sink is a receiver of alerts. Its methods are called by one goroutine at a time.
type Sink interface {
	// Kind is one of alertmanager, webhook, syslog, journal, otlp.
	Kind() string
	// Send returns nil once the receiver has taken all alerts, *RefusedError if it will never take them, *LaterError if it said when to try
	// again, else an error after which the same alerts are sent again. ctx bounds the time.
	Send(ctx context.Context, alerts []*Alert) error
	// Close gives connections back.
	Close() error
}

// refresher is a sink whose receiver forgets alerts of which it is not reminded.
type refresher interface {
	// Refresh gets alerts without their findings.
	Refresh(ctx context.Context, active []*Alert) error
	// RefreshEvery is how often.
	RefreshEvery() time.Duration
}

// RefusedError says that a receiver will not take alerts, however often they are sent.
type RefusedError struct{ Err error }

func (e *RefusedError) Error() string { return "refused: " + e.Err.Error() }
func (e *RefusedError) Unwrap() error { return e.Err }

// LaterError says that a receiver wants to be left alone for a while.
type LaterError struct {
	Err   error
	After time.Duration
}

func (e *LaterError) Error() string { return fmt.Sprintf("%v (try again after %s)", e.Err, e.After) }
func (e *LaterError) Unwrap() error { return e.Err }

// PartlyRefusedError says that a receiver took all alerts but some, which it will not take.
type PartlyRefusedError struct {
	Refused int
	Err     error
}

func (e *PartlyRefusedError) Error() string { return fmt.Sprintf("%d refused: %v", e.Refused, e.Err) }
func (e *PartlyRefusedError) Unwrap() error { return e.Err }

// Backoff between attempts: twice as long each time, of which the latter half is random, so that hosts that failed together do not
// come back together.
const (
	firstBackoff = time.Second
	maxBackoff   = time.Minute
	maxLater     = time.Hour
)

// backoff is how long to wait after so many failures in a row. random is in [0, 1).
func backoff(failures int, err error, random float64) time.Duration {
	var later *LaterError
	if errors.As(err, &later) {
		d := min(max(later.After, firstBackoff), maxLater)
		return d + time.Duration(random*float64(min(d/10, 10*time.Second)))
	}
	d := maxBackoff
	if failures < 7 {
		d = min(maxBackoff, firstBackoff<<max(failures-1, 0))
	}
	return d/2 + time.Duration(random*float64(d/2))
}
