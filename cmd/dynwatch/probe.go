package main

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dynwatch/dynwatch/analyze/endpoint"
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/output"
	"github.com/dynwatch/dynwatch/internal/probe"
)

// probeFlags are what dynwatch probe takes beside the policy.
type probeFlags struct {
	policyFlags
	region    string
	address   string
	netnsOf   string
	viaProxy  string
	timeout   time.Duration
	ciphers   bool
	brief     bool
	plaintext uint16
	warnDays  uint
	format    string
	colour    string
}

func probeCommand() *cobra.Command {
	var f probeFlags
	cmd := &cobra.Command{
		Use:   "probe [HOST[:PORT]...] [flags]",
		Short: "connect to an endpoint from here, and judge what answers",
		Long: `Resolves the name, connects to every address, and judges what answers there as
capture judges sessions: address, TLS versions from SSL 3.0 to TLS 1.3, suites,
certificate chain, stapled OCSP response, protection against downgrades.

Without HOST it is DynamoDB's public name in --region or AWS_REGION; without
these it connects to nobody. Nothing is sent but handshakes, and a request for /
without credentials if --plaintext asks for that.

It sees its own connections only. What stands in the path of a container shows
with --netns-of; what treats a process unlike this one does not show.

Exit status: 0 done; 1 an endpoint could not be probed; 2 usage; 3 findings at
or above --fail-on.`,
		Example: `  dynwatch probe --region eu-central-1
  dynwatch probe dynamodb.us-east-1.amazonaws.com --fail-on high
  dynwatch probe dynamodb.us-east-1.amazonaws.com --address 52.94.5.7
  sudo dynwatch probe --region eu-west-1 --netns-of 811
  dynwatch probe dynamodb.us-east-1.amazonaws.com --via-proxy proxy:3128 -o json`,
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     completeEndpoint,
		RunE:                  func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&f.region, "region", "", "probe DynamoDB's public name in `REGION`; without HOST the default is AWS_REGION")
	fs.StringVar(&f.address, "address", "", "connect to `IP` under the name HOST, whatever the name's addresses are")
	fs.StringVar(&f.netnsOf, "netns-of", "", "from the network namespace, and with the resolver's files, of `PID` or container id")
	fs.StringVar(&f.viaProxy, "via-proxy", "", "through the HTTP proxy `HOST:PORT`, by CONNECT; it resolves the name")
	fs.DurationVar(&f.timeout, "timeout", probe.DefaultTimeout, "`TIME` that each connection, and the resolution, may take")
	fs.BoolVar(&f.brief, "brief", false, "one ordinary handshake with each address, and no more")
	fs.BoolVar(&f.ciphers, "ciphers", false, "ask for every suite that is taken: a connection for each")
	fs.Uint16Var(&f.plaintext, "plaintext", 0, "ask `PORT`, 80 if none is given, in cleartext HTTP too")
	fs.Lookup("plaintext").NoOptDefVal = "80"
	fs.UintVar(&f.warnDays, "expiry-warning", 30, "warn `DAYS` before a certificate ends; 0 is never")
	group(fs, "Connecting")
	fs.StringVarP(&f.format, "output", "o", "text", "output `FORM`: text, or json with one object a line")
	fs.StringVar(&f.colour, "color", "auto", "`WHEN` to use colours: auto, always, never")
	fs.StringVar(&f.failOn, "fail-on", "none", "exit with status 3 on findings of this `SEVERITY` or higher: none, low, medium, high, critical")
	group(fs, "Output")
	f.policyFlags.register(fs)
	group(fs, "Policy")
	words(cmd, "output", "text", "json")
	words(cmd, "color", "auto", "always", "never")
	for _, flag := range []string{"address", "netns-of", "via-proxy", "timeout", "plaintext", "expiry-warning"} {
		words(cmd, flag)
	}
	_ = cmd.RegisterFlagCompletionFunc("region", completeRegion)
	completePolicy(cmd)
	return cmd
}

// completeEndpoint offers the public names.
func completeEndpoint(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var names []cobra.Completion
	for _, r := range regions() {
		if name := endpoint.RegionalName(r); name != "" {
			names = append(names, name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (f *probeFlags) run(cmd *cobra.Command, args []string) error {
	targets, err := f.targets(args, os.Getenv)
	if err != nil {
		return err
	}
	if err := f.validate(cmd); err != nil {
		return err
	}
	set, store, policy, err := f.policyFlags.build()
	if err != nil {
		return err
	}
	stderr := cmd.ErrOrStderr()
	for _, w := range f.policyFlags.warnings {
		fmt.Fprintf(stderr, "dynwatch: warning: %s\n", w)
	}
	o := probe.Options{
		Endpoints: set, Trust: store, Policy: policy, Timeout: f.timeout, Proxy: f.viaProxy, Brief: f.brief, Ciphers: f.ciphers, Plaintext: f.plaintext,
		ExpiryWarning: time.Duration(f.warnDays) * 24 * time.Hour,
	}
	if f.netnsOf != "" {
		ns, err := probe.OpenNamespace(f.netnsOf)
		if err != nil {
			return &hinted{fmt.Errorf("--netns-of: %w", err), "it takes a process's number, or a container's id, and needs root"}
		}
		defer ns.Close()
		o.Namespace = ns
	}
	p := probe.New(o)
	out := bufio.NewWriter(cmd.OutOrStdout())
	var print interface{ Probe(*session.Probe) error } = output.NewText(out, useColour(f.colour, cmd.OutOrStdout())).Wrap(terminalWidth(cmd.OutOrStdout()))
	if f.format == "json" {
		print = output.NewJSON(out)
	}
	failed, worst := false, session.SeverityNone
	for _, t := range targets {
		answered := false
		results := p.Probe(cmd.Context(), t)
		for _, r := range results {
			if err := print.Probe(r); err != nil {
				return err
			}
			answered = answered || r.Err == ""
			worst = max(worst, worstOf(r))
		}
		if err := out.Flush(); err != nil {
			return err
		}
		for _, r := range results {
			// An address of a family that this host has no way to is no failure if others answer.
			failed = failed || r.Err != "" && !(r.Unreachable && answered)
		}
		if cmd.Context().Err() != nil {
			return exitStatus(exitFailed)
		}
	}
	switch {
	case failed:
		return exitStatus(exitFailed)
	case f.failOnParsed != session.SeverityNone && worst >= f.failOnParsed:
		return exitStatus(exitFindings)
	}
	return nil
}

func worstOf(r *session.Probe) session.Severity {
	worst := session.SeverityNone
	list := r.Findings()
	if r.Resolution != nil {
		list = append(list[:len(list):len(list)], r.Resolution.Findings...)
	}
	for _, f := range list {
		worst = max(worst, f.Severity)
	}
	return worst
}

// targets are whom to connect to: only what was named.
func (f *probeFlags) targets(args []string, env func(string) string) ([]probe.Target, error) {
	if f.region != "" || len(args) == 0 {
		region := f.region
		if region == "" {
			region = env("AWS_REGION")
		}
		if region == "" {
			return nil, &hinted{usagef("no endpoint named"), "name one, as in: dynwatch probe dynamodb.eu-central-1.amazonaws.com; or a region, with --region or AWS_REGION"}
		}
		name := endpoint.RegionalName(region)
		if name == "" {
			return nil, usagef("region %q: use one like eu-central-1", region)
		}
		args = append([]string{name}, args...)
	}
	var list []probe.Target
	for _, a := range args {
		t, err := probe.ParseTarget(a)
		if err != nil {
			return nil, &usageError{err}
		}
		list = append(list, t)
	}
	if f.address == "" {
		return list, nil
	}
	addr, err := netip.ParseAddr(f.address)
	switch {
	case err != nil:
		return nil, usagef("--address %q: use an IP address", f.address)
	case len(list) > 1:
		return nil, usagef("--address goes with one HOST")
	case list[0].Host == "":
		return nil, usagef("--address goes with a name, not with an address")
	}
	list[0].Addr = addr.Unmap()
	return list, nil
}

func (f *probeFlags) validate(cmd *cobra.Command) error {
	if err := checkFormat(f.format); err != nil {
		return err
	}
	if err := checkColour(f.colour); err != nil {
		return err
	}
	if f.timeout < 10*time.Millisecond || f.timeout > time.Minute {
		return usagef("--timeout %v: use 10ms to 1m", f.timeout)
	}
	if f.viaProxy != "" {
		host, port, err := net.SplitHostPort(f.viaProxy)
		if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || n == 0 || host == "" || strings.ContainsAny(host, "/@") {
			return usagef("--via-proxy %q: use HOST:PORT", f.viaProxy)
		}
		if f.plaintext != 0 {
			return usagef("--plaintext does not go with --via-proxy")
		}
	}
	if cmd.Flags().Changed("plaintext") && f.plaintext == 0 {
		return usagef("--plaintext 0: use a port, or leave it out")
	}
	if f.brief && f.ciphers {
		return usagef("--brief and --ciphers exclude each other")
	}
	return nil
}
