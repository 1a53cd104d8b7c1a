package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// setting is one flag and variable, and the value that it stands for.
type setting struct {
	flag, short, path, usage string
	value                    func(*Config) any // pointer to string, []string or bool
}

// settings are the flags, each also the variable DYNWATCH_ with its name in capitals.
var settings = []setting{
	{"observe", "", "observe", "record findings without alerting", func(c *Config) any { return &c.Observe }},
	{"source", "", "source.kind", "live source `KIND`: ebpf, packet, auto", func(c *Config) any { return &c.Source.Kind }},
	{"interface", "i", "source.interfaces", "watch packets of this `IFACE`, any for all; implies --source packet (may be repeated)", func(c *Config) any { return &c.Source.Interfaces }},
	{"library-probes", "", "source.library_probes", "look inside TLS libraries, of `WHOM`: auto: processes that talk to DynamoDB; all; off", func(c *Config) any { return &c.Source.LibraryProbes }},
	{"probe", "", "probe.enabled", "connect now and then to endpoints whose certificate nobody saw, and show what answered", func(c *Config) any { return &c.Probe.Enabled }},
	{"min-version", "", "policy.min_version", "lowest TLS `VERSION` that is no finding", func(c *Config) any { return &c.Policy.MinVersion }},
	{"allow-ca", "", "policy.allow_ca", "`FILE` of CA certificates that may sign for DynamoDB beside Amazon's (may be repeated)", func(c *Config) any { return &c.Policy.AllowCA }},
	{"pin", "", "policy.pin", "`SHA256` of a public key (SPKI) that may sign for DynamoDB (may be repeated)", func(c *Config) any { return &c.Policy.Pin }},
	{"allow-issuer", "", "policy.allow_issuer", "weaker than --allow-ca: the `DN` of a leaf's issuer (may be repeated)", func(c *Config) any { return &c.Policy.AllowIssuer }},
	{"allow-proxy", "", "policy.allow_proxy", "proxy `HOST:PORT` that DynamoDB sessions may go through (may be repeated)", func(c *Config) any { return &c.Policy.AllowProxy }},
	{"allow-region", "", "policy.allow_region", "`REGION` that clients may talk to (may be repeated)", func(c *Config) any { return &c.Policy.AllowRegion }},
	{"allow-kind", "", "policy.allow_kind", "`KIND` of endpoint that clients may use (may be repeated)", func(c *Config) any { return &c.Policy.AllowKind }},
	{"endpoint", "", "policy.endpoint", "`NAME[:PORT]` is DynamoDB's too; CIDR[:PORT]: a DynamoDB name may live there (may be repeated)", func(c *Config) any { return &c.Policy.Endpoint }},
	{"ranges", "", "policy.ranges", "AWS's ip-ranges.json from `FILE`", func(c *Config) any { return &c.Policy.Ranges }},
	{"state-dir", "", "state_dir", "keep inventory and findings in `DIR`", func(c *Config) any { return &c.StateDir }},
	{"listen", "", "web.listen", "serve metrics and health on `ADDRESS:PORT`", func(c *Config) any { return &c.Web.Listen }},
	{"web-config", "", "web.config_file", "exporter-toolkit's `FILE` for TLS and passwords", func(c *Config) any { return &c.Web.ConfigFile }},
	{"workloads", "", "metrics.workloads", "count by workload too", func(c *Config) any { return &c.Metrics.Workloads }},
	{"log-level", "", "log.level", "the least that is logged: `LEVEL` debug, info, warn, error", func(c *Config) any { return &c.Log.Level }},
	{"log-format", "", "log.format", "`FORMAT` of the log: json, text", func(c *Config) any { return &c.Log.Format }},
}

// Variable is the environment variable of a flag.
func Variable(flag string) string {
	return "DYNWATCH_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// Register adds the flags to a set. Override takes them from there.
func Register(fs *pflag.FlagSet) {
	c := Default()
	for _, s := range settings {
		switch p := s.value(c).(type) {
		case *bool:
			fs.BoolVarP(p, s.flag, s.short, *p, s.usage)
		case *string:
			fs.StringVarP(p, s.flag, s.short, *p, s.usage)
		case *[]string:
			fs.StringArrayVarP(p, s.flag, s.short, nil, s.usage)
		}
	}
}

// Override puts what the environment and the flags say over what the file says: flags win over variables, variables over the file. A list
// replaces the file's; in a variable its parts stand between commas.
func (f *File) Override(fs *pflag.FlagSet, env func(string) (string, bool)) error {
	var wrong Problems
	for _, s := range settings {
		to := s.value(f.Config)
		if text, ok := env(Variable(s.flag)); ok {
			f.origins[s.path] = Variable(s.flag)
			if err := setText(to, text); err != nil {
				wrong = append(wrong, &Problem{Path: s.path, From: Variable(s.flag), Text: err.Error()})
			}
		}
		if fs == nil || !fs.Changed(s.flag) {
			continue
		}
		f.origins[s.path] = "--" + s.flag
		switch p := to.(type) {
		case *bool:
			*p, _ = fs.GetBool(s.flag)
		case *string:
			*p, _ = fs.GetString(s.flag)
		case *[]string:
			*p, _ = fs.GetStringArray(s.flag)
		}
	}
	if f.origins["source.interfaces"] != "" && f.origins["source.kind"] == "" {
		f.Config.Source.Kind = "packet"
	}
	if len(wrong) > 0 {
		return wrong
	}
	return nil
}

func setText(to any, text string) error {
	switch p := to.(type) {
	case *bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q: use true or false", text)
		}
		*p = b
	case *string:
		*p = text
	case *[]string:
		*p = nil
		for part := range strings.SplitSeq(text, ",") {
			if part = strings.TrimSpace(part); part != "" {
				*p = append(*p, part)
			}
		}
	}
	return nil
}

// NeedsRestart lists the keys that differ between two configurations and are read only at the start.
func NeedsRestart(old, new *Config) (keys []string) {
	note := func(key string, changed bool) {
		if changed {
			keys = append(keys, key)
		}
	}
	note("source.kind", old.Source.Kind != new.Source.Kind)
	note("source.interfaces", !slices.Equal(old.Source.Interfaces, new.Source.Interfaces))
	note("state_dir", old.StateDir != new.StateDir)
	note("history", old.History != new.History)
	note("web.listen", old.Web.Listen != new.Web.Listen)
	note("web.config_file", old.Web.ConfigFile != new.Web.ConfigFile)
	note("metrics.workloads", old.Metrics.Workloads != new.Metrics.Workloads)
	note("log.format", old.Log.Format != new.Log.Format)
	note("limits.flows", old.Limits.Flows != new.Limits.Flows)
	note("limits.memory_mib", old.Limits.MemoryMiB != new.Limits.MemoryMiB)
	return keys
}
