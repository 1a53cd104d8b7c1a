package config

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dynwatch/dynwatch/analyze/endpoint"
	"github.com/dynwatch/dynwatch/analyze/rules"
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/analyze/trust"
	"github.com/dynwatch/dynwatch/internal/nearest"
)

// Bounds of lists: what a configuration can make the agent hold and compare.
const (
	maxExceptions = 1000
	maxList       = 1000
	maxText       = 1024
)

// Validate says all that is wrong with the values, in the order of the file; its error is of type Problems. It looks at no file that the
// configuration names.
func (f *File) Validate() error {
	found := check(f.Config)
	for _, p := range found {
		p.File = f.Name
		if from := f.origin(p.Path); from != "" {
			p.From = from
		} else if at, ok := f.place(p.Path); ok {
			p.Line, p.Column = at.line, at.column
			p.Excerpt = excerpt(f.text, at.line, at.column)
		}
	}
	if len(found) == 0 {
		return nil
	}
	slices.SortStableFunc(found, func(a, b *Problem) int { return cmp.Compare(a.Line, b.Line) })
	return found
}

// origin is the flag or variable that a value, or the list that it is in, came from.
func (f *File) origin(path string) string {
	path, _, _ = strings.Cut(path, "[")
	return f.origins[path]
}

// place finds a key in the file, or else what it is missing in.
func (f *File) place(path string) (place, bool) {
	for path != "" {
		if at, ok := f.places[path]; ok {
			return at, true
		}
		path = path[:max(strings.LastIndexByte(path, '.'), strings.LastIndexByte(path, '['), 0)]
	}
	return place{}, false
}

// Where says how a value is to be called in a message: by its flag, its variable, or its place in the file.
func (f *File) Where(path string) string {
	if from := f.origin(path); from != "" {
		return from
	}
	if at, ok := f.place(path); ok {
		return fmt.Sprintf("%s:%d: %s", f.Name, at.line, path)
	}
	return path
}

// check is the pure part of Validate.
func check(c *Config) Problems {
	var v validation
	v.source(&c.Source)
	v.duration("probe.every", c.Probe.Every, time.Minute, 7*24*time.Hour)
	v.duration("probe.pause", c.Probe.Pause, time.Second, time.Hour)
	v.policy(&c.Policy)
	for rule, word := range c.Severity {
		v.severity(rule, word)
	}
	if len(c.Exceptions) > maxExceptions {
		v.wrong("exceptions", "%d are too many: use at most %d", len(c.Exceptions), maxExceptions)
	}
	for i := range c.Exceptions {
		v.exception(fmt.Sprintf("exceptions[%d]", i), &c.Exceptions[i])
	}
	v.duration("alerts.window", c.Alerts.Window, time.Minute, 7*24*time.Hour)
	v.duration("alerts.hold", c.Alerts.Hold, time.Minute, 24*time.Hour)
	v.between("alerts.per_minute", c.Alerts.PerMinute, 1, 10_000)
	v.between("alerts.burst", c.Alerts.Burst, 1, 10_000)
	v.receivers(c)
	v.between("history.max_entries", c.History.MaxEntries, 100, 1_000_000)
	v.between("history.max_findings", c.History.MaxFindings, 10, 100_000)
	v.between("history.max_mib", c.History.MaxMiB, 1, 1024)
	if c.StateDir != "" && !filepath.IsAbs(c.StateDir) {
		v.wrong("state_dir", "%q: use a whole path, as /var/lib/dynwatch", c.StateDir)
	}
	v.listen("web.listen", c.Web.Listen)
	v.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	v.oneOf("log.format", c.Log.Format, "json", "text")
	v.between("limits.flows", c.Limits.Flows, 1024, 4<<20)
	v.between("limits.memory_mib", c.Limits.MemoryMiB, 4, 4096)
	return v.problems
}

type validation struct{ problems Problems }

func (v *validation) wrong(path, format string, args ...any) {
	v.problems = append(v.problems, &Problem{Path: path, Text: fmt.Sprintf(format, args...)})
}

func (v *validation) oneOf(path, value string, words ...string) {
	if !slices.Contains(words, value) {
		v.wrong(path, "%q: use %s", value, strings.Join(words, ", "))
	}
}

func (v *validation) between(path string, n, low, high int) {
	if n < low || n > high {
		v.wrong(path, "%d: use a number from %d to %d", n, low, high)
	}
}

// each checks the elements of a list; f's error is without the element itself.
func (v *validation) each(path string, list []string, f func(string) error) {
	if len(list) > maxList {
		v.wrong(path, "%d are too many: use at most %d", len(list), maxList)
		return
	}
	for i, s := range list {
		at := fmt.Sprintf("%s[%d]", path, i)
		if s == "" || len(s) > maxText {
			v.wrong(at, "use a text of 1 to %d bytes", maxText)
		} else if err := f(s); err != nil {
			v.wrong(at, "%s", err)
		}
	}
}

func (v *validation) source(s *Source) {
	v.oneOf("source.kind", s.Kind, "auto", "ebpf", "packet")
	if len(s.Interfaces) > 0 && s.Kind != "packet" {
		v.wrong("source.interfaces", "interfaces go with the kind packet: eBPF watches sockets, on whatever interface")
	}
	v.oneOf("source.library_probes", s.LibraryProbes, ProbesAuto, ProbesAll, ProbesOff)
	v.each("source.interfaces", s.Interfaces, func(string) error { return nil })
}

func (v *validation) policy(p *Policy) {
	version, err := session.ParseVersion(p.MinVersion)
	if err != nil {
		v.wrong("policy.min_version", "%s", err)
	}
	byRule := func(flag string, policy func(string) *rules.Policy) func(string) error {
		return func(s string) error { return bare(policy(s).Validate(), flag) }
	}
	if err == nil {
		if err := bare((&rules.Policy{MinVersion: version}).Validate(), "--min-version"); err != nil {
			v.wrong("policy.min_version", "%s", err)
		}
	}
	v.each("policy.allow_ca", p.AllowCA, func(string) error { return nil })
	v.each("policy.pin", p.Pin, func(s string) error {
		_, err := trust.ParsePin(s)
		return err
	})
	v.each("policy.allow_issuer", p.AllowIssuer, func(s string) error {
		_, err := trust.NewStore(trust.Policy{AllowIssuer: []string{s}})
		return err
	})
	v.each("policy.allow_proxy", p.AllowProxy, byRule("--allow-proxy", func(s string) *rules.Policy { return &rules.Policy{AllowProxies: []string{s}} }))
	v.each("policy.allow_region", p.AllowRegion, byRule("--allow-region", func(s string) *rules.Policy { return &rules.Policy{Regions: []string{s}} }))
	v.each("policy.allow_kind", p.AllowKind, byRule("--allow-kind", func(s string) *rules.Policy { return &rules.Policy{EndpointKinds: []string{s}} }))
	v.each("policy.endpoint", p.Endpoint, func(s string) error {
		_, err := endpoint.ParseEndpoint(s)
		return err
	})
}

// bare is an error without the flag's name that it begins with: the key is told instead.
func bare(err error, flag string) error {
	if err == nil {
		return nil
	}
	return errors.New(strings.TrimPrefix(err.Error(), flag+" "))
}

func ruleIDs() (ids []string) {
	for _, r := range rules.All() {
		ids = append(ids, r.ID)
	}
	return ids
}

func (v *validation) rule(path, id string) {
	if _, ok := rules.ByID(id); !ok {
		ids := ruleIDs()
		if near := nearest.Word(id, ids); near != "" {
			v.wrong(path, "there is no rule %q: did you mean %q?", id, near)
		} else {
			v.wrong(path, "there is no rule %q: dynwatch explain lists them", id)
		}
	}
}

func (v *validation) severity(rule, word string) {
	at := "severity." + rule
	v.rule(at, rule)
	if _, err := session.ParseSeverity(word); err != nil {
		v.wrong(at, "%q: use none, low, medium, high or critical", word)
	}
}

func (v *validation) exception(at string, e *Exception) {
	if len(e.Rules) == 0 {
		v.wrong(at, "rules are missing: name those whose findings are excepted")
	}
	for i, id := range e.Rules {
		v.rule(fmt.Sprintf("%s.rules[%d]", at, i), id)
	}
	n := 0
	for _, p := range []struct{ key, pattern string }{
		{"process", e.Process}, {"container", e.Container}, {"namespace", e.Namespace}, {"pod", e.Pod}, {"unit", e.Unit},
	} {
		if p.pattern == "" {
			continue
		}
		n++
		if _, err := path.Match(p.pattern, ""); err != nil || len(p.pattern) > maxText {
			v.wrong(at+"."+p.key, "%q is no pattern: * stands for any characters but /, ? for one, [a-z] for one of a set", p.pattern)
		} else if strings.Trim(p.pattern, "*") == "" {
			v.wrong(at+"."+p.key, "%q matches everything: leave the key out, or say what is meant", p.pattern)
		}
	}
	if n == 0 {
		v.wrong(at, "nothing says whom it is for: use process, container, namespace, pod or unit")
	}
	if strings.TrimSpace(e.Reason) == "" || len(e.Reason) > maxText {
		v.wrong(at+".reason", "a reason is wanted, of at most %d bytes", maxText)
	}
	if _, err := ParseExpiry(e.Expires); err != nil {
		v.wrong(at+".expires", "%s", err)
	}
}

// ParseExpiry reads when an exception ends: after the given day (UTC), or at the given moment.
func ParseExpiry(s string) (time.Time, error) {
	if day, err := time.Parse(time.DateOnly, s); err == nil {
		return day.AddDate(0, 0, 1), nil
	}
	if at, err := time.Parse(time.RFC3339, s); err == nil {
		return at.UTC(), nil
	}
	if s == "" {
		return time.Time{}, errors.New("an end is wanted: use a day like 2027-01-31")
	}
	return time.Time{}, fmt.Errorf("%q: use a day like 2027-01-31, or a time like 2027-01-31T12:00:00Z", s)
}

func (v *validation) listen(at, address string) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		v.wrong(at, "%q: use ADDRESS:PORT, as 127.0.0.1:9464", address)
		return
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		v.wrong(at, "%q is no port: use a number up to 65535", port)
	} else if n > 0 && host == "" {
		v.wrong(at, "%q listens everywhere: say so with 0.0.0.0:%d or [::]:%d, or use 127.0.0.1:%d", address, n, n, n)
	}
}

func (v *validation) duration(path, text string, low, high time.Duration) {
	d, err := time.ParseDuration(text)
	if err != nil || d < low || d > high {
		v.wrong(path, "%q: use a time from %v to %v, as 90m", text, low, high)
	}
}

// maxReceivers bounds the queues.
const maxReceivers = 4

// receivers checks what the kinds have in common; the rest is for those who build them, since it looks at files.
func (v *validation) receivers(c *Config) {
	if len(c.Receivers) > maxReceivers {
		v.wrong("receivers", "%d are too many: use at most %d, and have Alertmanager or a collector tell the others", len(c.Receivers), maxReceivers)
	}
	if len(c.Receivers) > 0 && c.StateDir == "" {
		v.wrong("receivers", "alerts are kept in state_dir until they are taken: name a folder")
	}
	names := map[string]bool{}
	for i := range c.Receivers {
		r, at := &c.Receivers[i], fmt.Sprintf("receivers[%d]", i)
		kinds := r.kinds()
		if len(kinds) != 1 {
			v.wrong(at, "use one of alertmanager (with urls), webhook (with url), syslog (with network), journal (true), otlp (with url)")
			continue
		}
		if r.MinSeverity != "" {
			v.oneOf(at+".min_severity", r.MinSeverity, "low", "medium", "high", "critical")
		}
		name := cmp.Or(r.Name, kinds[0])
		if len(name) > 32 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != "" {
			v.wrong(at+".name", "%q: use at most 32 letters, digits, dots, dashes and underscores", name)
		}
		if names[name] {
			v.wrong(at, "there is another receiver %q: give each a name of its own", name)
		}
		names[name] = true
	}
}

// kinds are those that are set.
func (r *Receiver) kinds() (kinds []string) {
	for _, k := range []struct {
		name string
		set  bool
	}{
		{"alertmanager", len(r.Alertmanager.URLs) > 0}, {"webhook", r.Webhook.URL != ""}, {"syslog", r.Syslog.Network != ""},
		{"journal", r.Journal}, {"otlp", r.OTLP.URL != ""},
	} {
		if k.set {
			kinds = append(kinds, k.name)
		}
	}
	return kinds
}
