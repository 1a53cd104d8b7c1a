package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dynwatch/dynwatch/analyze"
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/analyze/tlswire"
	"github.com/dynwatch/dynwatch/capture"
	"github.com/dynwatch/dynwatch/capture/decode"
	"github.com/dynwatch/dynwatch/capture/filter"
	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/output"
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
}

func captureCommand() *cobra.Command {
	var f captureFlags
	cmd := &cobra.Command{
		Use:   "capture -r FILE [flags] [filter expression]",
		Short: "judge every DynamoDB session of a capture file",
		Long: `Reads capture files (pcap, pcapng, also compressed with gzip or zstd), finds every session with DynamoDB in them, and says of each
who talked to what, with which TLS version, certificate and issuer, and whether that can be trusted.

A filter expression as tcpdump takes it (pcap-filter(7)) limits what is looked at. It sees the outermost packet.
Exit status: 0 done; 1 could not do all of the work (a truncated file, for example); 2 usage; 3 findings at or above --fail-on.`,
		Example: `  dynwatch capture -r trace.pcap
  dynwatch capture -r a.pcap -r b.pcap.gz -o json 'tcp port 443'
  tcpdump -w - | dynwatch capture -r - --fail-on high
  dynwatch capture -r trace.pcapng --keylog sslkeys.log --allow-ca corporate-ca.pem -w suspicious.pcapng`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringArrayVarP(&f.read, "read", "r", nil, "capture `FILE` to read, - for standard input (may be repeated: files are merged by time)")
	fs.StringVarP(&f.write, "write", "w", "", "write the packets of the reported sessions to `FILE` (pcapng), findings as comments")
	fs.BoolVar(&f.payload, "write-payload", false, "with -w: write whole packets, application data and credentials included")
	fs.Uint64VarP(&f.count, "count", "c", 0, "stop after `N` packets that match the filter")
	fs.BoolVarP(&f.numeric, "numeric", "n", false, "do not look up names: always so, accepted as tcpdump's habit")
	fs.StringVarP(&f.format, "output", "o", "text", "output `FORM`: text or json (one object a line)")
	fs.StringVar(&f.colour, "color", "auto", "`WHEN` to use colours: auto, always, never")
	fs.BoolVar(&f.all, "all", false, "report every TLS session, not only DynamoDB's")
	fs.BoolVar(&f.tables, "tables", false, "name the tables that cleartext requests are for")
	fs.StringArrayVar(&f.keylogs, "keylog", nil, "TLS secrets from `FILE` (NSS key log format, SSLKEYLOGFILE) to read TLS 1.3 certificates (may be repeated)")
	fs.StringVarP(&f.filterFile, "filter-file", "F", "", "read the filter expression from `FILE`")
	fs.BoolVarP(&f.dump, "dump-filter", "d", false, "print the compiled filter for Ethernet and stop")
	f.policyFlags.register(fs)
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
		return "", fmt.Errorf("--filter-file: %w", err)
	}
	return string(b), nil
}

func (f *captureFlags) validate(args []string) error {
	switch f.format {
	case "text", "json":
	default:
		return usagef("--output %q: use text or json", f.format)
	}
	switch f.colour {
	case "auto", "always", "never":
	default:
		return usagef("--color %q: use auto, always or never", f.colour)
	}
	if f.payload && f.write == "" {
		return usagef("--write-payload goes with --write FILE")
	}
	if len(f.read) == 0 && !f.dump {
		for _, a := range args {
			if info, err := os.Stat(a); err == nil && info.Mode().IsRegular() {
				return &hinted{usagef("capture needs -r FILE"), fmt.Sprintf("%s is a file: dynwatch capture -r %s", a, a)}
			}
		}
		return &hinted{usagef("capture needs -r FILE"), "capture files are read with -r; live capture is not part of this version"}
	}
	return nil
}

// filterError gives a usage error with the place in the expression.
func filterError(expr string, args []string, err error) error {
	var syntax *filter.SyntaxError
	if !errors.As(err, &syntax) {
		return err
	}
	hint := strings.TrimRight(syntax.Excerpt(), "\n")
	for _, a := range args {
		if info, serr := os.Stat(a); serr == nil && info.Mode().IsRegular() {
			hint = fmt.Sprintf("%s is a file: give each file with -r", a)
		}
	}
	return &hinted{&usageError{fmt.Errorf("filter expression: %w", err)}, hint}
}

func (f *captureFlags) run(cmd *cobra.Command, args []string) (err error) {
	if err := f.validate(args); err != nil {
		return err
	}
	expr, err := f.expression(args)
	if err != nil {
		return err
	}
	if f.dump {
		return dumpFilter(cmd.OutOrStdout(), expr, args)
	}
	set, store, policy, err := f.policyFlags.build()
	if err != nil {
		return err
	}
	secrets, err := f.readKeyLogs()
	if err != nil {
		return err
	}
	pass := &filePass{stdin: cmd.InOrStdin(), stderr: cmd.ErrOrStderr(), names: f.read, expr: expr, count: f.count}
	if f.write != "" {
		if err := pass.makeRepeatable(); err != nil {
			return err
		}
		defer pass.cleanUp()
	}
	var a *analyze.Analyzer
	useSecrets := func() {
		if a != nil {
			a.UseSecrets(secrets)
		}
	}
	src, err := pass.open(func(kind uint32, data []byte) {
		if kind == secretsTLSKeyLog {
			secrets.Write(data)
			secrets.Flush()
			useSecrets()
		}
	}, newProgress(cmd.ErrOrStderr()))
	if err != nil {
		return filterError(expr, args, err)
	}
	defer src.Close()

	out := bufio.NewWriterSize(cmd.OutOrStdout(), 64<<10)
	print := newPrinter(f.format, out, useColour(f.colour, cmd.OutOrStdout()))
	summary := &output.Summary{Source: "file", RangesDate: set.Ranges().CreateDate.UTC().Format(time.RFC3339)}
	immediate := pass.readsStdin()
	var printErr error
	note := func(err error) {
		if err == nil && immediate {
			err = out.Flush()
		}
		if err != nil && printErr == nil {
			printErr = err
		}
	}
	var selected *selection
	if f.write != "" {
		selected = newSelection(f.payload)
	}
	a = analyze.New(analyze.Options{
		Source: "file", All: f.all, Tables: f.tables, Endpoints: set, Trust: store, Policy: policy,
		Emit: func(s *session.Session) {
			summary.Add(s)
			if selected != nil {
				selected.add(s)
			}
			note(print.Session(s))
		},
		EmitDNS: func(d *session.DNS) {
			summary.AddFindings(d.Findings)
			note(print.DNS(d))
		},
	})
	if secrets.Stats().Sessions > 0 {
		useSecrets()
	}
	readErr := pump(cmd.Context(), src, a, &printErr)
	if printErr != nil {
		return printErr
	}
	a.Flush()
	src.Close()
	errs := src.Errs()
	if readErr != nil {
		errs = append(errs, readErr)
	}
	if selected != nil {
		if err := pass.write(cmd.Context(), f.write, selected); err != nil {
			errs = append(errs, err)
		}
	}
	fillSummary(summary, src.Stats(), a.Stats(), secrets)
	for _, e := range errs {
		summary.Warnings = append(summary.Warnings, e.Error())
	}
	note(print.Summary(summary))
	note(out.Flush())
	if printErr != nil {
		return printErr
	}
	for _, w := range src.Stats().Warnings {
		fmt.Fprintf(cmd.ErrOrStderr(), "dynwatch: warning: %s\n", w)
	}
	for _, e := range errs {
		fmt.Fprintf(cmd.ErrOrStderr(), "dynwatch: error: %v\n", e)
	}
	switch {
	case len(errs) > 0:
		return exitStatus(exitFailed)
	case f.failOnParsed != session.SeverityNone && summary.MaxSeverity >= f.failOnParsed:
		return exitStatus(exitFindings)
	}
	return nil
}

// pump moves segments from the source to the analysis until the source ends, the context does, or output fails.
func pump(ctx context.Context, src *capture.File, a *analyze.Analyzer, stop *error) error {
	var seg flow.Segment
	for n := 0; ; n++ {
		if n&0xfff == 0 && ctx.Err() != nil {
			return nil // interrupted: what was read is judged, and the summary says how much that was
		}
		if err := src.Next(&seg); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		a.Segment(&seg)
		if *stop != nil {
			return nil
		}
	}
}

// secretsTLSKeyLog is the type of a pcapng decryption secrets block that holds an NSS key log (draft-ietf-opsawg-pcapng, Section 4.7).
const secretsTLSKeyLog = 0x544c534b

func (f *captureFlags) readKeyLogs() (*tlswire.KeyLog, error) {
	k := tlswire.NewKeyLog(0)
	for _, name := range f.keylogs {
		file, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("--keylog: %w", err)
		}
		err = k.Read(file)
		file.Close()
		if err != nil {
			return nil, fmt.Errorf("--keylog: %s: %w", name, err)
		}
	}
	return k, nil
}

// dumpFilter prints what the expression compiles to, as tcpdump -d does.
func dumpFilter(w io.Writer, expr string, args []string) error {
	flt, err := filter.Compile(expr, filter.Options{Link: decode.LinkEthernet})
	if err != nil {
		return filterError(expr, args, err)
	}
	_, err = io.WriteString(w, flt.Dump())
	return err
}

// printer is how sessions are shown.
type printer interface {
	Session(*session.Session) error
	DNS(*session.DNS) error
	Summary(*output.Summary) error
}

func newPrinter(format string, w io.Writer, colour bool) printer {
	if format == "json" {
		return output.NewJSON(w)
	}
	return output.NewText(w, colour)
}
