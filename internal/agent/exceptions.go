package agent

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/dynwatch/dynwatch/internal/config"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// ExceptionSet are the exceptions of a configuration.
type ExceptionSet struct{ list []exception }

type exception struct {
	config.Exception
	index int
	ends  time.Time
}

// Exceptions takes the exceptions of a valid configuration.
func Exceptions(c *config.Config) *ExceptionSet {
	s := &ExceptionSet{}
	for i, e := range c.Exceptions {
		ends, _ := config.ParseExpiry(e.Expires) // a configuration that was not validated: then it ended long ago
		s.list = append(s.list, exception{e, i, ends})
	}
	return s
}

// Covers reports whether an exception that has not expired takes a rule's findings about a process out of the alerts. A process that nobody
// knows is covered by none.
func (s *ExceptionSet) Covers(rule string, p *flow.Process, now time.Time) bool {
	if p == nil {
		return false
	}
	for i := range s.list {
		e := &s.list[i]
		if now.Before(e.ends) && slices.Contains(e.Rules, rule) && e.matches(p) {
			return true
		}
	}
	return false
}

// Expired tells which exceptions no longer apply, a line for each.
func (s *ExceptionSet) Expired(now time.Time) (lines []string) {
	for i := range s.list {
		if e := &s.list[i]; !now.Before(e.ends) {
			lines = append(lines, fmt.Sprintf("exceptions[%d] for %s has expired (%s) and no longer applies: %s",
				e.index, strings.Join(e.Rules, ", "), e.Expires, e.Reason))
		}
	}
	return lines
}

// Count says how many apply and how many have expired.
func (s *ExceptionSet) Count(now time.Time) (active, expired int) {
	expired = len(s.Expired(now))
	return len(s.list) - expired, expired
}

// matches reports whether all patterns of an exception fit a process. What is not known fits no pattern.
func (e *exception) matches(p *flow.Process) bool {
	fits := func(pattern, value string) bool {
		if pattern == "" {
			return true
		}
		ok, err := path.Match(pattern, value)
		return ok && err == nil && value != ""
	}
	program := p.Exe
	if !strings.Contains(e.Process, "/") {
		if program = path.Base(p.Exe); p.Exe == "" {
			program = p.Comm // the process was gone before its program could be looked up
		}
	}
	return fits(e.Process, program) && (fits(e.Container, p.ContainerName) || isIDOf(e.Container, p.ContainerID)) &&
		fits(e.Namespace, p.Namespace) && fits(e.Pod, p.Pod) && fits(e.Unit, p.Unit) &&
		// A unit of a user's or a container's is written with a slash, which a set such as [^0-9] would let pass.
		(e.Unit == "" || strings.Count(e.Unit, "/") == strings.Count(p.Unit, "/"))
}

// isIDOf reports whether text is the beginning of a container's id, as the container tools show it.
func isIDOf(text, id string) bool {
	return len(text) >= 12 && strings.Trim(text, "0123456789abcdef") == "" && strings.HasPrefix(id, text)
}
