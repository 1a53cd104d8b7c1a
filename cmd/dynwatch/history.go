package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dynwatch/dynwatch/analyze/rules"
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/history"
	"github.com/dynwatch/dynwatch/internal/output"
)

// defaultStateDir is where the agent keeps what outlives it.
const defaultStateDir = "/var/lib/dynwatch"

// historyFlags are what inventory and findings have in common.
type historyFlags struct {
	stateDir           string
	format             string
	since, until       string
	workload, endpoint string
}

func (f *historyFlags) register(cmd *cobra.Command) *pflag.FlagSet {
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&f.since, "since", "", "only what was seen at or after `TIME`: 2h, 7d, 2026-11-21, or 2026-11-21T10:00:00Z")
	fs.StringVar(&f.until, "until", "", "only what was seen at or before `TIME`")
	fs.StringVar(&f.workload, "workload", "", "only workloads with `TEXT` in their name (namespace/name)")
	fs.StringVar(&f.endpoint, "endpoint", "", "only endpoints with `TEXT` in their name")
	fs.StringVarP(&f.format, "output", "o", "table", "output `FORM`: table, csv, or json with one object a line")
	fs.StringVar(&f.stateDir, "state-dir", defaultStateDir, "the agent's state in `DIR`")
	words(cmd, "output", "table", "csv", "json")
	for _, flag := range []string{"since", "until", "workload", "endpoint"} {
		words(cmd, flag)
	}
	_ = cmd.MarkFlagDirname("state-dir")
	return fs
}

// query checks the flags.
func (f *historyFlags) query(now time.Time) (history.Query, error) {
	q := history.Query{Workload: f.workload, Endpoint: f.endpoint}
	switch f.format {
	case "table", "csv", "json":
	default:
		return q, usagef("--output %q: use table, csv or json", f.format)
	}
	var err error
	if q.Since, err = pointInTime(f.since, now, false); err != nil {
		return q, usagef("--since %w", err)
	}
	if q.Until, err = pointInTime(f.until, now, true); err != nil {
		return q, usagef("--until %w", err)
	}
	if !q.Since.IsZero() && !q.Until.IsZero() && q.Until.Before(q.Since) {
		return q, usagef("--until %s is before --since %s", f.until, f.since)
	}
	return q, nil
}

// pointInTime reads a time: how long ago (90m, 2h, 7d), a day (its end if end is set), or RFC 3339, where the zone may be left out for UTC.
// Empty is the zero time.
func pointInTime(s string, now time.Time, end bool) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	ago := s
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			ago = strconv.FormatUint(n*24, 10) + "h"
		}
	}
	if d, err := time.ParseDuration(ago); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		if end {
			t = t.AddDate(0, 0, 1).Add(-1)
		}
		return t, nil
	}
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04"} {
		if t, err := time.Parse(form, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q: use one like 2h, 7d, 2026-11-21 or 2026-11-21T10:00:00Z", s)
}

// read reads the agent's history, and says on stderr what was wrong with the file.
func (f *historyFlags) read(cmd *cobra.Command, q history.Query) (*history.Content, error) {
	c, err := history.Read(filepath.Join(f.stateDir, history.FileName), q)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &hinted{fmt.Errorf("there is no history in %s", f.stateDir), "the agent writes it: dynwatch agent; if its state is elsewhere, name it with --state-dir"}
	case errors.Is(err, fs.ErrPermission):
		return nil, &hinted{err, "run it as root, or as a member of the group that the file belongs to"}
	case err != nil:
		return nil, err
	}
	if c.Damaged > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "dynwatch: warning: %d records of the history are damaged and left out\n", c.Damaged)
	}
	return c, nil
}

// print shows rows in a form; the objects are for json.
func (f *historyFlags) print(w io.Writer, header []string, rows [][]string, objects []any) error {
	switch f.format {
	case "csv":
		return output.CSV(w, header, rows)
	case "json":
		for _, o := range objects {
			if err := output.Line(w, o); err != nil {
				return err
			}
		}
		return nil
	}
	for i := range header {
		header[i] = strings.ToUpper(strings.ReplaceAll(header[i], "_", " "))
	}
	return output.Table(w, header, rows)
}

func inventoryCommand() *cobra.Command {
	var f historyFlags
	var verdict string
	cmd := &cobra.Command{
		Use:   "inventory",
		Short: "list who talks to DynamoDB on this host, and how",
		Long: `Lists what the agent of this host has seen: each workload, endpoint, TLS
version, cipher, issuer and verdict, with the first and latest session and their
number, the latest first. It works while the agent runs, and while it does not.
Under probe is what a connection of the agent's own was shown, if it makes any
(probe.enabled): a hint, and no proof of what those sessions were shown.`,
		Example: `  dynwatch inventory
  dynwatch inventory --since 7d --verdict finding
  dynwatch inventory --workload shop/ -o csv > shop.csv`,
		Args:                  cobra.NoArgs,
		DisableFlagsInUseLine: true,
	}
	fs := f.register(cmd)
	fs.StringVar(&verdict, "verdict", "", "only sessions with this `VERDICT`: finding, ok, unverified, incomplete")
	words(cmd, "verdict", "finding", "ok", "unverified", "incomplete")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		q, err := f.query(time.Now())
		if err != nil {
			return err
		}
		switch session.Verdict(verdict) {
		case "", session.VerdictFinding, session.VerdictOK, session.VerdictUnverified, session.VerdictIncomplete:
		default:
			return usagef("--verdict %q: use finding, ok, unverified or incomplete", verdict)
		}
		q.Verdict = verdict
		c, err := f.read(cmd, q)
		if err != nil {
			return err
		}
		var rows [][]string
		var objects []any
		for _, e := range c.Entries {
			rows = append(rows, []string{
				clock(e.Last), clock(e.First), strconv.FormatUint(e.Sessions, 10), e.Verdict, slashed(e.Namespace, e.Workload), e.Endpoint,
				e.Transport, e.Version, e.Cipher, e.Issuer, e.Shown.String(),
			})
			objects = append(objects, inventoryLine{"inventory", e})
		}
		return f.print(cmd.OutOrStdout(), []string{"last_seen", "first_seen", "sessions", "verdict", "workload", "endpoint", "transport", "version",
			"cipher", "issuer", "probe"}, rows, objects)
	}
	return cmd
}

// inventoryLine is an entry as JSON.
type inventoryLine struct {
	Type string `json:"type"`
	history.Entry
}

func findingsCommand() *cobra.Command {
	var f historyFlags
	var rule, severity, failOn string
	cmd := &cobra.Command{
		Use:   "findings",
		Short: "list the latest findings of this host, as the agent told them",
		Long: `Lists the latest findings that the agent of this host kept, the latest first. It
works while the agent runs, and while it does not.

Exit status: 0 done; 1 could not do the work; 2 usage; 3 findings at or
above --fail-on.`,
		Example: `  dynwatch findings --since 24h
  dynwatch findings --rule plaintext -o json
  dynwatch findings --since 1h --fail-on high`,
		Args:                  cobra.NoArgs,
		DisableFlagsInUseLine: true,
	}
	fs := f.register(cmd)
	fs.StringVar(&rule, "rule", "", "only findings of this `RULE`")
	fs.StringVar(&severity, "min-severity", "none", "only findings of this `SEVERITY` or higher")
	fs.StringVar(&failOn, "fail-on", "none", "exit with status 3 if one of this `SEVERITY` or higher is listed")
	words(cmd, "min-severity", "low", "medium", "high", "critical")
	words(cmd, "fail-on", "none", "low", "medium", "high", "critical")
	_ = cmd.RegisterFlagCompletionFunc("rule", completeRule)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		q, err := f.query(time.Now())
		if err != nil {
			return err
		}
		if _, ok := rules.ByID(rule); rule != "" && !ok {
			return noRule(rule)
		}
		q.Rule = rule
		if q.MinSeverity, err = session.ParseSeverity(severity); err != nil {
			return usagef("--min-severity: %w", err)
		}
		fail, err := session.ParseSeverity(failOn)
		if err != nil {
			return usagef("--fail-on: %w", err)
		}
		c, err := f.read(cmd, q)
		if err != nil {
			return err
		}
		var rows [][]string
		var objects []any
		failed := false
		for _, x := range c.Findings {
			rows = append(rows, []string{clock(x.Time), x.Severity, x.Rule, slashed(x.Namespace, x.Workload), x.Endpoint, x.Message})
			objects = append(objects, []byte(x.Event))
			s, err := session.ParseSeverity(x.Severity)
			failed = failed || fail != session.SeverityNone && err == nil && s >= fail
		}
		if err := f.print(cmd.OutOrStdout(), []string{"time", "severity", "rule", "workload", "endpoint", "message"}, rows, objects); err != nil {
			return err
		}
		if failed {
			return exitStatus(exitFindings)
		}
		return nil
	}
	return cmd
}

// clock shows a time in UTC.
func clock(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func slashed(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}
