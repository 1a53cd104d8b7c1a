package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/dynwatch/dynwatch/analyze"
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/analyze/tlswire"
	"github.com/dynwatch/dynwatch/capture"
	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/output"
)

// secretsTLSKeyLog is the type of a pcapng decryption secrets block that holds an NSS key log (draft-ietf-opsawg-pcapng, Section 4.7).
const secretsTLSKeyLog = 0x544c534b

// run judges capture files. What it could not do ends up in the summary, on standard error and in the exit status.
func (f *captureFlags) run(cmd *cobra.Command, args []string) error {
	if dash := cmd.ArgsLenAtDash(); dash >= 0 && len(f.read) == 0 && !f.dump {
		args, f.live.command = args[:dash], args[dash:]
		if len(f.live.command) == 0 {
			return usagef("a command is wanted behind --")
		}
	}
	if err := f.validate(cmd, args); err != nil {
		return err
	}
	expr, err := f.expression(args)
	if err != nil {
		return err
	}
	if f.live.list {
		return listInterfaces(cmd.OutOrStdout())
	}
	if f.dump {
		return dumpFilter(cmd.OutOrStdout(), expr, args)
	}
	set, store, policy, err := f.policyFlags.build()
	if err != nil {
		return err
	}
	var secrets *tlswire.KeyLog
	if len(f.read) > 0 { // live, they are followed
		if secrets, err = f.readKeyLogs(); err != nil {
			return err
		}
	}
	stderr := cmd.ErrOrStderr()
	for _, w := range f.policyFlags.warnings {
		fmt.Fprintf(stderr, "dynwatch: warning: %s\n", w)
	}
	if len(f.read) == 0 {
		flt, err := f.liveFilter(expr, args)
		if err != nil {
			return err
		}
		return f.runLive(cmd, flt, set, store, policy)
	}

	pass := &filePass{stdin: cmd.InOrStdin(), names: f.read, expr: expr, count: f.count}
	defer pass.cleanUp()
	if f.write != "" {
		if err := pass.keepStdin(); err != nil {
			return err
		}
	}
	var a *analyze.Analyzer
	bar := newProgress(stderr)
	defer bar.clear()
	src, err := pass.open(func(kind uint32, data []byte) {
		if kind == secretsTLSKeyLog {
			secrets.Write(data)
			secrets.Flush()
			if a != nil {
				a.UseSecrets(secrets)
			}
		}
	}, func(seg *flow.Segment) { a.Prepare(seg) }, bar) // once the first segments are asked for
	if err != nil {
		return filterError(args, err)
	}
	defer src.Close()

	report := cmd.OutOrStdout()
	var packets io.WriteCloser
	var selected *selection
	if f.write != "" {
		if packets, err = pass.createCopy(f.write, report); err != nil {
			return err
		}
		defer packets.Close()
		selected = newSelection(f.payload)
		if f.write == "-" {
			report = stderr // as with tcpdump, the packets have standard output for themselves
		}
	}
	out := newReport(f, report, bar, pass.readsStdin())
	summary := &output.Summary{Source: "file", RangesDate: set.Ranges().CreateDate.UTC().Format(time.RFC3339)}
	a = analyze.New(analyze.Options{
		Source: "file", All: f.all, Tables: f.tables, Endpoints: set, Trust: store, Policy: policy,
		Emit: func(s *session.Session) {
			summary.Add(s)
			if selected != nil {
				selected.add(s)
			}
			out.session(s)
		},
		EmitDNS: func(d *session.DNS) {
			summary.AddFindings(d.Findings)
			out.dns(d)
		},
	})
	if secrets.Stats().Sessions > 0 {
		a.UseSecrets(secrets)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	readErr := pump(cmd.Context(), src, a, pass.readsStdin(), &out.err)
	if out.err == nil {
		a.Flush()
	}
	bar.clear()
	src.Close()
	stats, errs := src.Stats(), src.Errs()
	switch {
	case errors.Is(readErr, errInterrupted):
		stats.Warnings = append(stats.Warnings, fmt.Sprintf("interrupted after %d packets: what follows was not read", stats.Packets))
	case readErr != nil:
		errs = append(errs, readErr)
	}
	if selected != nil && out.err == nil {
		if err := f.writeCopy(cmd.Context(), pass, packets, selected, stats.Packets); errors.Is(err, syscall.EPIPE) {
			out.err = err
		} else if err != nil {
			errs = append(errs, err)
		}
	}
	fillSummary(summary, stats, a.Stats(), secrets, errs)
	out.summary(summary)
	for _, w := range stats.Warnings {
		fmt.Fprintf(stderr, "dynwatch: warning: %s\n", w)
	}
	for _, e := range errs {
		fmt.Fprintf(stderr, "dynwatch: error: %v\n", e)
	}
	return f.outcome(summary, out.err, errs)
}

// outcome is the exit status of a capture, as docs/output.md has it. That a reader had enough hides no finding.
func (f *captureFlags) outcome(summary *output.Summary, unwritten error, errs []error) error {
	found := f.failOnParsed != session.SeverityNone && summary.MaxSeverity >= f.failOnParsed
	switch {
	case unwritten != nil && !(errors.Is(unwritten, syscall.EPIPE) && found && len(errs) == 0):
		return unwritten
	case len(errs) > 0:
		return exitStatus(exitFailed)
	case found:
		return exitStatus(exitFindings)
	}
	return nil
}

// gcPercent is how much may be allocated, in percent of what lives, before the collector runs. Most of what lives while a file is read are flows'
// slots and blocks of the file, which hold no pointer and cost the collector nothing; by Go's 100 they only make it come late.
const gcPercent = 80

// writeCopy is the second reading. An interrupt that ended the first does not keep it from writing what was judged; another one does.
func (f *captureFlags) writeCopy(ctx context.Context, pass *filePass, to io.WriteCloser, selected *selection, packets uint64) error {
	if ctx.Err() != nil {
		ctx = context.WithoutCancel(ctx)
	}
	err := pass.write(ctx, to, selected, packets)
	if cerr := to.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("--write: %w", cerr)
	}
	return err
}

// drainTime is how long a pipe is read on after an interrupt. Ctrl-C reaches tcpdump as well, which then writes what it holds and ends.
const drainTime = time.Second

var errInterrupted = errors.New("interrupted")

// pump moves segments from the source to the analysis until the source ends, the context does (errInterrupted), or output fails.
func pump(ctx context.Context, src *capture.Ahead, a *analyze.Analyzer, pipe bool, stop *error) error {
	// Closing the source also ends a wait for a pipe, and the skipping of packets that no filter lets through.
	defer context.AfterFunc(ctx, func() {
		if pipe {
			time.Sleep(drainTime)
		}
		src.Close()
	})()
	for {
		segs, err := src.Next()
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, fs.ErrClosed) && ctx.Err() != nil:
			return errInterrupted // what was read is judged, and the summary says how much that was
		default:
			return err
		}
		a.Segments(segs)
		if *stop != nil {
			return nil
		}
	}
}

func (f *captureFlags) readKeyLogs() (*tlswire.KeyLog, error) {
	k := tlswire.NewKeyLog(0)
	for _, name := range f.keylogs {
		file, err := os.Open(name)
		if err != nil {
			return nil, &usageError{fmt.Errorf("--keylog: %w", err)}
		}
		before, lines := k.Stats().Sessions, k.Stream()
		_, err = io.Copy(lines, file)
		lines.Flush()
		file.Close()
		if err != nil {
			return nil, &usageError{fmt.Errorf("--keylog: %s: %w", name, err)}
		}
		if k.Stats().Sessions == before {
			f.policyFlags.warnings = append(f.policyFlags.warnings,
				fmt.Sprintf("--keylog %s: no TLS secrets in it: want the NSS key log format, as SSLKEYLOGFILE writes it", name))
		}
	}
	return k, nil
}

// report prints what the analysis puts out. After the first error it prints nothing more.
type report struct {
	out       *bufio.Writer
	print     printer
	immediate bool // nothing waits in the buffer: somebody is looking
	order     *answerOrder
	err       error
}

// printer is how sessions are shown.
type printer interface {
	Session(*session.Session) error
	Finding(*session.Session, session.Finding) error
	DNS(*session.DNS) error
	Summary(*output.Summary) error
}

func newReport(f *captureFlags, w io.Writer, bar *progress, stdin bool) *report {
	colour, width, terminal := useColour(f.colour, w), terminalWidth(w), isTerminal(w)
	if terminal && bar != nil {
		w = aboveBar{w, bar}
	}
	// Between lines of a terminal stands the bar, so no line may be cut by the buffer's end there.
	r := &report{out: bufio.NewWriterSize(w, 64<<10), immediate: stdin || terminal}
	if f.format == "json" {
		r.print = output.NewJSON(r.out)
	} else {
		r.print = output.NewText(r.out, colour).Wrap(width)
	}
	if !stdin {
		r.order = &answerOrder{put: func(d *session.DNS) { r.note(r.print.DNS(d)) }}
	}
	return r
}

func (r *report) session(s *session.Session) {
	if r.err != nil {
		return
	}
	r.order.before(s.Start)
	r.note(r.print.Session(s))
}

// finding prints what showed after its session was put out.
func (r *report) finding(s *session.Session, f session.Finding) {
	if r.err == nil {
		r.note(r.print.Finding(s, f))
	}
}

func (r *report) dns(d *session.DNS) {
	switch {
	case r.err != nil:
	case r.order != nil:
		r.order.add(d)
	default:
		r.note(r.print.DNS(d))
	}
}

func (r *report) summary(s *output.Summary) {
	if r.err != nil {
		return
	}
	r.order.rest()
	r.note(r.print.Summary(s))
	if err := r.out.Flush(); r.err == nil {
		r.err = err
	}
}

func (r *report) note(err error) {
	if err == nil && r.immediate {
		err = r.out.Flush()
	}
	if err != nil && r.err == nil {
		r.err = err
	}
}
