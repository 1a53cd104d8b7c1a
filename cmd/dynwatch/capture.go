package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dynwatch/dynwatch/capture/decode"
	"github.com/dynwatch/dynwatch/capture/filter"
)

// captureFlags are what dynwatch capture takes beside the policy.
type captureFlags struct {
	policyFlags
	read       []string
	write      string
	payload    bool
	count      uint64
	numeric    bool
	format     string
	colour     string
	all        bool
	tables     bool
	keylogs    []string
	filterFile string
	dump       bool
	live       liveFlags
}

func captureCommand() *cobra.Command {
	var f captureFlags
	cmd := &cobra.Command{
		Use:   "capture [-r FILE] [flags] [filter expression | -- COMMAND ARGS...]",
		Short: "judge every DynamoDB session of this host, or of capture files",
		Long: `Watches this host, or reads capture files with -r (pcap or pcapng, plain or
compressed by gzip or zstd), finds every session with DynamoDB, and says of each
who talked to what, with which TLS version, certificate and issuer, and whether
that can be trusted.

Watching needs root, or CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN; an interrupt
ends it with the summary, SIGUSR1 shows the summary so far. With -- COMMAND it
runs a program (as the user behind sudo) and judges what that and its children
do; the report goes to standard error, and the exit status is the command's own
unless --fail-on holds. dynwatch waits for it, also when the capture ends first,
and passes SIGINT and SIGTERM on.

Of packets (-i, or without eBPF) those are looked at that come from or go to
DynamoDB's known addresses or, at any address, the ports that the start names.
--all, or a filter expression, takes every port.

A filter expression, as tcpdump takes it, limits what is looked at. It sees the
outermost packet of a tunnel.

Exit status: 0 done; 1 could not do all of the work (a truncated file, for
example); 2 usage; 3 findings at or above --fail-on.`,
		Example: `  dynwatch capture
  sudo dynwatch capture --fail-on high -- pytest tests/
  dynwatch capture -r trace.pcap
  dynwatch capture -r a.pcap -r b.pcap.gz -o json 'tcp port 443'
  tcpdump -w - | dynwatch capture -r - --fail-on high
  dynwatch capture -r trace.pcapng --keylog keys.log -w suspicious.pcapng`,
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     completeFilter,
		RunE:                  func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringArrayVarP(&f.read, "read", "r", nil, "capture `FILE` to read, - for standard input; if repeated, files are merged by time")
	fs.StringArrayVar(&f.keylogs, "keylog", nil, "TLS secrets from `FILE` (NSS key log, SSLKEYLOGFILE), to read TLS 1.3 certificates; followed while live (may be repeated)")
	fs.Uint64VarP(&f.count, "count", "c", 0, "stop after `N` packets that match the filter (eBPF: packets of the connections that are followed)")
	fs.StringVarP(&f.filterFile, "filter-file", "F", "", "read the filter expression from `FILE`")
	fs.BoolVarP(&f.dump, "dump-filter", "d", false, "print the compiled filter for Ethernet and stop")
	fs.BoolVarP(&f.numeric, "numeric", "n", false, "accepted as a habit: names are never looked up")
	group(fs, "Reading")
	f.live.register(fs)
	group(fs, "Watching this host, so not with -r")
	fs.StringVarP(&f.format, "output", "o", "text", "output `FORM`: text, or json with one object a line")
	fs.BoolVar(&f.all, "all", false, "report every TLS session, not only DynamoDB's")
	fs.BoolVar(&f.tables, "tables", false, "name the tables that cleartext requests are for")
	fs.StringVar(&f.colour, "color", "auto", "`WHEN` to use colours: auto, always, never")
	fs.StringVarP(&f.write, "write", "w", "", "write the packets of the reported sessions to `FILE` as pcapng, - for standard output: handshakes only, findings and owners as comments")
	fs.BoolVar(&f.payload, "write-payload", false, "with -w: whole packets, application data and credentials included")
	fs.StringVar(&f.failOn, "fail-on", "none", "exit with status 3 on findings of this `SEVERITY` or higher: none, low, medium, high, critical")
	group(fs, "Output")
	f.policyFlags.register(fs)
	group(fs, "Policy")
	files(cmd, "read", "keylog", "filter-file", "write")
	words(cmd, "output", "text", "json")
	words(cmd, "color", "auto", "always", "never")
	words(cmd, "count")
	completePolicy(cmd)
	return cmd
}

// expression is the filter: the arguments as tcpdump joins them, or a file's content.
func (f *captureFlags) expression(args []string) (string, error) {
	if f.filterFile == "" {
		return strings.Join(args, " "), nil
	}
	if len(args) > 0 {
		return "", usagef("a filter expression and --filter-file exclude each other")
	}
	b, err := os.ReadFile(f.filterFile)
	if err != nil {
		return "", &usageError{fmt.Errorf("--filter-file: %w", err)}
	}
	return strings.TrimRight(comment.ReplaceAllString(string(b), ""), " \t\r\n"), nil
}

// comment is what tcpdump leaves out of a filter file.
var comment = regexp.MustCompile(`#[^\n]*`)

func (f *captureFlags) validate(cmd *cobra.Command, args []string) error {
	if err := checkFormat(f.format); err != nil {
		return err
	}
	if err := checkColour(f.colour); err != nil {
		return err
	}
	if f.count == 0 && cmd.Flags().Changed("count") {
		return usagef("--count 0: use 1 or more, or leave it out to read all")
	}
	if f.live.duration <= 0 && cmd.Flags().Changed("duration") {
		return usagef("--duration %v: use a time above zero, or leave it out to watch until an interrupt", f.live.duration)
	}
	if f.payload && f.write == "" {
		return usagef("--write-payload goes with --write FILE")
	}
	stdin := 0
	for _, name := range f.read {
		if name == "-" {
			stdin++
		}
	}
	if stdin > 1 {
		return usagef("--read -: standard input can be read once")
	}
	for _, name := range liveOnly {
		if len(f.read) > 0 && cmd.Flags().Changed(name) {
			return usagef("--%s is for watching this host, --read for files: use one of them", name)
		}
	}
	if len(f.read) > 0 || f.dump {
		return nil
	}
	if name := fileAmong(args); name != "" {
		return &hinted{usagef("a capture file is read with -r"), fmt.Sprintf("%s is a file: dynwatch capture -r %s", name, name)}
	}
	if err := f.live.validate(f.write); err != nil {
		return err
	}
	if (len(args) > 0 || f.filterFile != "") && f.live.source != "packet" {
		return usagef("a filter expression goes with -r FILE, or with --source packet: eBPF follows connections, not packets")
	}
	return nil
}

// checkFormat checks --output.
func checkFormat(format string) error {
	switch format {
	case "text", "json":
		return nil
	}
	return usagef("--output %q: use text or json", format)
}

// checkColour checks --color.
func checkColour(when string) error {
	switch when {
	case "auto", "always", "never":
		return nil
	}
	return usagef("--color %q: use auto, always or never", when)
}

// fileAmong gives the first argument that is a file's name, "" if none is.
func fileAmong(args []string) string {
	for _, a := range args {
		if info, err := os.Stat(a); err == nil && info.Mode().IsRegular() {
			return a
		}
	}
	return ""
}

// filterError makes a usage error of what is wrong with a filter expression, with the place in it; other errors stay as they are.
func filterError(args []string, err error) error {
	var syntax *filter.SyntaxError
	if !errors.As(err, &syntax) {
		return err
	}
	hint := syntax.Hint
	if name := fileAmong(args); name != "" {
		hint = fmt.Sprintf("%s is a file: give each file with -r", name)
	} else if hint == "" {
		hint = "filter expressions are those of tcpdump: pcap-filter(7), docs/filter.md"
	}
	return &hinted{usagef("filter expression: %s\n%s", syntax.Msg, syntax.Excerpt()), hint}
}

// liveFilter is the packet source's filter, nil without an expression.
func (f *captureFlags) liveFilter(expr string, args []string) (*filter.Filter, error) {
	if expr == "" {
		return nil, nil
	}
	flt, err := filter.Compile(expr, filter.Options{Link: decode.LinkEthernet})
	if err != nil {
		return nil, filterError(args, err)
	}
	return flt, nil
}

// dumpFilter prints what the expression compiles to, as tcpdump -d does.
func dumpFilter(w io.Writer, expr string, args []string) error {
	flt, err := filter.Compile(expr, filter.Options{Link: decode.LinkEthernet})
	if err != nil {
		return filterError(args, err)
	}
	_, err = io.WriteString(w, flt.Dump())
	return err
}
