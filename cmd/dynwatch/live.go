package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/analyze"
	"github.com/dynwatch/dynwatch/analyze/endpoint"
	"github.com/dynwatch/dynwatch/analyze/rules"
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/analyze/trust"
	"github.com/dynwatch/dynwatch/bpf"
	"github.com/dynwatch/dynwatch/capture"
	"github.com/dynwatch/dynwatch/capture/afpacket"
	"github.com/dynwatch/dynwatch/capture/filter"
	"github.com/dynwatch/dynwatch/capture/library"
	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/host"
	"github.com/dynwatch/dynwatch/internal/keylogfile"
	"github.com/dynwatch/dynwatch/internal/live"
	"github.com/dynwatch/dynwatch/internal/output"
	"github.com/dynwatch/dynwatch/internal/privilege"
)

// liveFlags are what capture takes to watch this host.
type liveFlags struct {
	source     string
	interfaces []string
	list       bool
	duration   time.Duration
	probes     string
	// command is what stands behind --: the program that is run and judged.
	command []string
}

func (l *liveFlags) register(fs *pflag.FlagSet) {
	fs.StringVar(&l.source, "source", "auto", "live source `KIND`: ebpf (every container and network namespace), packet (interfaces), auto: ebpf if it works, else packet")
	fs.StringArrayVarP(&l.interfaces, "interface", "i", nil, "watch packets of this `IFACE`, any for all; implies --source packet (may be repeated)")
	fs.BoolVarP(&l.list, "list-interfaces", "D", false, "list the interfaces that -i takes, and stop")
	fs.StringVar(&l.probes, "library-probes", "auto", "look inside TLS libraries for certificates and checks that are off, of `WHOM`: auto: processes that talk to DynamoDB, with --source ebpf; all; off")
	fs.DurationVar(&l.duration, "duration", 0, "watch for so `LONG` (30s, 5m), then end")
}

// liveOnly are the flags that say how to watch this host, which nothing is left to do for when files are read.
var liveOnly = []string{"source", "interface", "list-interfaces", "library-probes", "duration"}

func (l *liveFlags) validate(write string) error {
	switch l.source {
	case "auto", "packet":
	case "ebpf":
		if len(l.interfaces) > 0 {
			return usagef("--interface goes with --source packet: eBPF watches sockets, on whatever interface")
		}
	default:
		return usagef("--source %q: use auto, ebpf or packet", l.source)
	}
	if len(l.interfaces) > 0 {
		l.source = "packet"
	}
	if len(l.command) > 0 && write == "-" {
		return usagef("--write -: the command has standard output for itself")
	}
	if len(l.command) > 0 && l.source == "packet" {
		return usagef("a command is judged by --source ebpf: packets do not tell its connections from the rest of the host's")
	}
	switch l.probes {
	case "auto", "off", "all":
	default:
		return usagef("--library-probes %q: use auto, all or off", l.probes)
	}
	return nil
}

// listInterfaces prints what -i takes.
func listInterfaces(w io.Writer) error {
	list, err := afpacket.Interfaces()
	if err != nil {
		return err
	}
	for _, x := range list {
		state := "down"
		if x.Up {
			state = "up"
		}
		addresses := make([]string, len(x.Addresses))
		for i, p := range x.Addresses {
			addresses[i] = p.String()
		}
		if _, err := fmt.Fprintf(w, "%d.%s [%s] %s\n", x.Index, x.Name, state, strings.Join(addresses, " ")); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(w, "%s (all interfaces of this network namespace)\n", afpacket.Any)
	return err
}

// liveRun is one watch over this host.
type liveRun struct {
	flags    *captureFlags
	set      *endpoint.Set
	src      *live.Watch
	analyzer *analyze.Analyzer
	library  *library.Source // nil: no probes
	resolver *host.Resolver
	out      *report
	copy     *liveCopy // nil without -w
	secrets  *keylogfile.Files
	summary  *output.Summary
	stderr   io.Writer
	now      func() time.Time

	command *watched // nil: the whole host
	// uncaptured sessions: see notCaptured. libraryFailed: a failure of the probes was told.
	uncaptured    uint64
	libraryFailed bool
	// show is set by SIGUSR1: the summary so far is wanted.
	show atomic.Bool
}

// runLive watches this host until it is interrupted, the time is over, or enough packets were seen.
//
// flt is the user's filter for the packet source, nil without.
func (f *captureFlags) runLive(cmd *cobra.Command, flt *filter.Filter, set *endpoint.Set, store *trust.Store, policy *rules.Policy) error {
	r := &liveRun{
		flags: f, set: set, stderr: cmd.ErrOrStderr(), now: time.Now, resolver: host.New(host.Options{}),
		summary: &output.Summary{RangesDate: set.Ranges().CreateDate.UTC().Format(time.RFC3339)},
	}
	if err := r.followKeyLogs(); err != nil {
		return err
	}
	defer r.secrets.Close()
	if err := r.open(flt); err != nil {
		return err
	}
	defer r.src.Close()
	if why := r.resolver.Foreign(); why != "" {
		fmt.Fprintf(r.stderr, "dynwatch: warning: %s (docker run --pid=host; in Kubernetes hostPID: true)\n", why)
	}
	if err := r.openLibrary(); err != nil {
		return err
	}
	if r.library != nil {
		defer r.library.Release()
	}
	report := cmd.OutOrStdout()
	if f.write != "" {
		to, err := (&filePass{}).createCopy(f.write, report)
		if err != nil {
			return err
		}
		r.copy = newLiveCopy(to, f.payload, r.summary.Source, r.src)
		defer r.copy.close()
		if f.write == "-" {
			report = r.stderr // as with tcpdump, the packets have standard output for themselves
		}
	}
	if len(f.live.command) > 0 {
		// The command has standard output for itself; what is said of it goes where errors go.
		w, err := startCommand(f.live.command, cmd.InOrStdin(), report, r.stderr)
		if err != nil {
			return err
		}
		defer w.cleanUp()
		r.command, report = w, r.stderr
	}
	r.dropRights()
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	if f.live.duration > 0 {
		ctx, cancel = context.WithTimeout(ctx, f.live.duration)
		defer cancel()
	}
	defer context.AfterFunc(ctx, func() { r.src.Close() })()
	if r.command != nil {
		go func() {
			<-r.command.ended
			time.Sleep(drainAfter)
			cancel()
		}()
	}
	defer r.onUSR1()()

	r.out = newReport(f, report, nil, true)
	r.analyzer = analyze.New(analyze.Options{
		Source: r.summary.Source, All: f.all, Tables: f.tables, Live: true, Endpoints: set, Trust: store, Policy: policy,
		Emit: func(s *session.Session) {
			if !r.command.owns(s) {
				r.copy.refuse(s)
				return
			}
			r.summary.Add(s)
			r.copy.session(s)
			r.notCaptured(s)
			r.out.session(s)
		},
		EmitFinding: func(s *session.Session, x session.Finding) {
			if !r.command.owns(s) {
				return
			}
			r.summary.AddFindings([]session.Finding{x})
			r.copy.finding(s, x)
			r.out.finding(s, x)
		},
		EmitDNS: r.answer,
	})
	if r.copy != nil {
		r.copy.follows = r.analyzer.Follows
	}
	if len(f.keylogs) > 0 {
		r.analyzer.UseSecrets(r.secrets)
	}
	err := r.pump()
	r.pollLibrary(nil)
	r.analyzer.Flush()
	return r.end(err)
}

// followKeyLogs begins to read the key logs, which programs may be about to write.
func (r *liveRun) followKeyLogs() error {
	var err error
	if r.secrets, err = keylogfile.Follow(r.flags.keylogs, 0); err != nil {
		return &usageError{fmt.Errorf("--keylog: %w", err)}
	}
	for _, name := range r.secrets.Absent() {
		fmt.Fprintf(r.stderr, "dynwatch: note: --keylog %s: not there yet, waiting for it\n", name)
	}
	return nil
}

// open starts the source that was asked for; which one auto took, and why, is said on stderr.
func (r *liveRun) open(flt *filter.Filter) error {
	kind := r.flags.live.source
	if kind == live.Auto && len(r.flags.live.command) > 0 {
		kind = live.EBPF
	}
	src, err := live.Open(live.Options{
		Kind: kind, Interfaces: r.flags.live.interfaces, Filter: flt, All: r.flags.all, Frames: r.flags.write != "", Count: r.flags.count,
		Endpoints: r.set, Describe: func(p *flow.Process) { r.resolver.Lookup(p) },
		Note: func(text string) { fmt.Fprintf(r.stderr, "dynwatch: note: %s\n", text) },
	})
	if err != nil {
		return fmt.Errorf("watch this host: %w", liveError(err))
	}
	r.src, r.summary.Source = src, src.Kind
	return nil
}

// dropRights gives up what is not needed once the hooks are attached.
func (r *liveRun) dropRights() {
	var also privilege.Set
	if r.library != nil {
		also = live.ProbeRights()
	}
	if r.command != nil {
		// To remove its cgroup, as the root of the hierarchy is read-only even to its owner; and to pass signals on to another user's process.
		also |= privilege.SetOf(unix.CAP_DAC_OVERRIDE, unix.CAP_KILL)
	}
	kept, err := r.src.DropRights(also)
	if err != nil {
		fmt.Fprintf(r.stderr, "dynwatch: warning: %v\n", err)
	}
	fmt.Fprintf(r.stderr, "dynwatch: watching this host %s; rights kept: %s\n", r.src.How(), kept)
}

// liveError adds advice on what to do about a source that cannot start.
func liveError(err error) error {
	var (
		sockets    *afpacket.PermissionError
		iface      *afpacket.InterfaceError
		permission *bpf.PermissionError
		support    *bpf.NotSupportedError
		root       *bpf.NotRootError
	)
	const file = "capture files need no rights: tcpdump -w trace.pcap, then dynwatch capture -r trace.pcap"
	switch {
	case errors.As(err, &iface) && errors.Is(err, unix.ENODEV):
		return &hinted{err, "dynwatch capture -D lists the interfaces"}
	case errors.As(err, &sockets):
		return &hinted{err, "run it as root, or give it CAP_NET_RAW; " + file}
	case errors.As(err, &permission) && len(permission.Missing) == 0:
		return &hinted{err, "it has the capabilities that it needs: a user namespace, a seccomp profile or the kernel's lockdown may forbid it; " + file}
	case errors.As(err, &permission):
		return &hinted{err, "run it as root, or give it " + strings.Join(permission.Missing, " and ") + "; " + file}
	case errors.As(err, &support):
		return &hinted{err, file}
	case errors.As(err, &root):
		return &hinted{err, "run it in the host's cgroup namespace (hostPID and a host mount of the cgroup file system in a container)"}
	case errors.Is(err, bpf.ErrNoCgroup2):
		return &hinted{err, "mount -t cgroup2 none /sys/fs/cgroup/unified, or boot with systemd.unified_cgroup_hierarchy=1"}
	}
	return err
}

// onUSR1 has SIGUSR1 ask for the summary so far, as tcpdump's users know it. The returned function ends that.
func (r *liveRun) onUSR1() (stop func()) {
	c := make(chan os.Signal, 1)
	done := make(chan struct{})
	signal.Notify(c, syscall.SIGUSR1)
	go func() {
		for {
			select {
			case <-c:
				r.show.Store(true)
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(c)
		close(done)
	}
}

// advanceEvery is how often what time demands is done while packets keep coming.
const advanceEvery = 100 * time.Millisecond

// pump moves segments to the analysis until the source is closed.
func (r *liveRun) pump() error {
	var (
		seg  flow.Segment
		last time.Duration
	)
	began := r.now()
	round := func() {
		last = r.now().Sub(began) // of the monotonic clock: the other may be set, and goes on while the host sleeps
		r.analyzer.Advance(int64(last))
		r.copy.tick(int64(last))
	}
	for {
		err := r.src.Next(&seg)
		switch {
		case err == nil:
			r.command.see(seg.Opening)
			r.pollLibrary(&seg)
			r.analyzer.Segment(&seg)
			r.src.Judge(&seg, r.analyzer)
			r.copy.segment(&seg)
			if r.now().Sub(began)-last >= advanceEvery {
				round()
			}
		case errors.Is(err, capture.ErrIdle):
			r.pollLibrary(nil)
			round()
		case errors.Is(err, io.EOF):
			return nil
		default:
			return err
		}
		if r.copy.failed(&r.out.err) || r.out.err != nil {
			return nil
		}
		if r.show.Swap(false) {
			s := *r.summary
			fillSummary(&s, r.src.Stats(), r.analyzer.Stats(), r.secrets.Log(), nil)
			r.copy.fill(s.Loss)
			s.Warnings = r.libraryLoss(s.Loss, s.Warnings)
			if err := output.NewText(r.stderr, false).Summary(&s); err != nil {
				return err
			}
		}
	}
}

// answer prints a DNS answer and has the kernel follow connections to its addresses from now on, so that even one without a name is seen.
func (r *liveRun) answer(d *session.DNS) {
	if r.command == nil { // nobody knows for whom a resolver on this host asks
		r.summary.AddFindings(d.Findings)
		r.out.dns(d)
	}
	if err := r.src.Follow(d.Addrs); err != nil {
		fmt.Fprintf(r.stderr, "dynwatch: warning: follow the addresses that DNS gives for %s: %v\n", d.Question, err)
	}
}

// end prints the summary and says how it went.
func (r *liveRun) end(failed error) error {
	var errs []error
	if failed != nil {
		errs = append(errs, failed)
	}
	stats := r.src.Stats()
	if err := r.src.Close(); err != nil {
		errs = append(errs, err)
	}
	if err := r.copy.close(); err != nil && !errors.Is(err, syscall.EPIPE) {
		errs = append(errs, err)
	}
	stats.Warnings = slices.Concat(stats.Warnings, r.secrets.Warnings(), r.command.unwatched())
	fillSummary(r.summary, stats, r.analyzer.Stats(), r.secrets.Log(), errs)
	r.copy.fill(r.summary.Loss)
	r.summary.Warnings = r.libraryLoss(r.summary.Loss, r.summary.Warnings)
	r.out.summary(r.summary)
	for _, w := range stats.Warnings {
		fmt.Fprintf(r.stderr, "dynwatch: warning: %s\n", w)
	}
	for _, e := range errs {
		fmt.Fprintf(r.stderr, "dynwatch: error: %v\n", e)
	}
	err := r.flags.outcome(r.summary, r.out.err, errs)
	if r.command == nil {
		return err
	}
	// Whatever ended the capture, its command is not left alone: who started dynwatch takes its end for the command's.
	<-r.command.ended
	if (err == nil || errors.Is(err, syscall.EPIPE)) && r.command.status != 0 {
		return exitStatus(r.command.status)
	}
	return err
}
