// Run measures `dynwatch capture -r` beside tcpdump and tshark on generated captures, and checks that it finds what is in them.
//
//	scripts/bench                     everything, on files of 1 GB
//	scripts/bench -size 100MB -rounds 3
//
// Times say nothing on a machine that others use, ratios of one run do: the tools take turns on the same file in the page cache, and what is
// printed are medians and quartiles over the rounds, of each round's ratio too. Nothing here fails because something was slow; it fails
// when a tool fails or when dynwatch counts wrongly.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/dynwatch/dynwatch/bench/traffic"
)

type options struct {
	binary, dir  string
	size         int64
	flows        int
	seed         uint64
	rounds, slow int
	slice        int64
	mixed, dense bool
	makeOnly     bool
}

func main() {
	var o options
	size, slice, kinds := "", "", ""
	flag.StringVar(&o.binary, "dynwatch", "bin/dynwatch", "the `program` to measure")
	flag.StringVar(&o.dir, "dir", defaultDir(), "where captures are kept: they are made once")
	flag.StringVar(&size, "size", "1GB", "size of each capture")
	flag.IntVar(&o.flows, "flows", 0, "TCP flows of the mixed capture; 0 means 200 for each MB")
	flag.Uint64Var(&o.seed, "seed", 1, "what the captures are drawn from")
	flag.IntVar(&o.rounds, "rounds", 9, "how often each tool takes its turn")
	flag.IntVar(&o.slow, "tshark-rounds", 3, "how often tshark takes its turn; 0 leaves it out")
	flag.StringVar(&slice, "tshark-slice", "60MB", "how much of the dense capture tshark reads")
	flag.StringVar(&kinds, "kinds", "mixed,dense", "which captures")
	flag.BoolVar(&o.makeOnly, "make-only", false, "make the captures that are missing, and measure nothing")
	flag.Parse()
	var err error
	if o.size, err = traffic.ParseSize(size); err == nil {
		o.slice, err = traffic.ParseSize(slice)
	}
	for _, k := range strings.Split(kinds, ",") {
		switch traffic.Kind(k) {
		case traffic.Mixed:
			o.mixed = true
		case traffic.Dense:
			o.dense = true
		default:
			err = errors.Join(err, fmt.Errorf("-kinds %q: want mixed, dense or both", kinds))
		}
	}
	if err == nil && o.rounds < 1 {
		err = errors.New("-rounds: want 1 at least")
	}
	if err != nil || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "bench: error:", errors.Join(err, unexpected(flag.Args())))
		os.Exit(2)
	}
	if o.flows == 0 {
		o.flows = int(o.size / 5000)
	}
	if err := o.run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench: error:", err)
		os.Exit(1)
	}
}

func unexpected(args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("unexpected argument %q", args[0])
}

func defaultDir() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	return filepath.Join(dir, "dynwatch-bench")
}

func (o *options) run() error {
	if o.makeOnly {
		return o.makeFiles()
	}
	if err := o.makeApart(); err != nil {
		return err
	}
	fmt.Printf("%d cores, %s/%s, dynwatch %s\n", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, versionOf(o.binary))
	if load, ok := loadAverage(); ok && load > 0.5 {
		fmt.Printf("the machine is not idle: load average %.1f before the first round\n", load)
	}
	var errs []error
	if o.mixed {
		errs = append(errs, o.runMixed())
	}
	if o.dense {
		errs = append(errs, o.runDense())
	}
	return errors.Join(errs...)
}

func (o *options) traffic(kind traffic.Kind) traffic.Options {
	return traffic.Options{Kind: kind, Size: o.size, Flows: o.flows, Seed: o.seed}
}

// makeFiles makes the captures that are missing.
func (o *options) makeFiles() error {
	var errs []error
	for kind, wanted := range map[traffic.Kind]bool{traffic.Mixed: o.mixed, traffic.Dense: o.dense} {
		if wanted {
			_, _, err := traffic.Ensure(o.dir, o.traffic(kind))
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// makeApart makes the captures in another process: this one must stay small, because a program's peak memory counts what its parent had.
func (o *options) makeApart() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, append(os.Args[1:len(os.Args):len(os.Args)], "-make-only")...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("make the captures: %w", err)
	}
	return nil
}

// file finds a capture, reads it into the page cache, and checks what dynwatch finds in it.
func (o *options) file(kind traffic.Kind, all bool) (string, *traffic.Manifest, error) {
	name, m, err := traffic.Ensure(o.dir, o.traffic(kind))
	if err != nil {
		return "", nil, err
	}
	fmt.Printf("\n%s\n", m)
	if err := warm(name); err != nil {
		return "", nil, err
	}
	got, err := o.count(name, all)
	if err != nil {
		return "", nil, err
	}
	if err := check(m, got, all); err != nil {
		return "", nil, fmt.Errorf("%s: %w", name, err)
	}
	fmt.Printf("checked: %d sessions of DynamoDB's found of %d, verdicts %v as generated\n", got.dynamoDB, m.Sessions(), got.verdicts)
	return name, m, nil
}

func (o *options) runMixed() error {
	name, m, err := o.file(traffic.Mixed, false)
	if err != nil {
		return err
	}
	t := table{file: m, against: "tcpdump"}
	t.tools = []tool{
		{name: "tcpdump", argv: tcpdump(name)},
		{name: "dynwatch", argv: []string{o.binary, "capture", "-r", name}},
		{name: "dynwatch json", argv: []string{o.binary, "capture", "-r", name, "-o", "json"}},
	}
	return t.run(o.rounds)
}

func (o *options) runDense() error {
	name, m, err := o.file(traffic.Dense, true)
	if err != nil {
		return err
	}
	t := table{file: m, against: "tcpdump"}
	t.tools = []tool{
		{name: "tcpdump", argv: tcpdump(name)},
		{name: "dynwatch --all", argv: []string{o.binary, "capture", "--all", "-r", name}},
		{name: "dynwatch --all json", argv: []string{o.binary, "capture", "--all", "-r", name, "-o", "json"}},
	}
	if o.slow > 0 {
		if _, err := exec.LookPath("tshark"); err != nil {
			fmt.Println("tshark is not installed: left out")
		} else {
			part, bytes, err := slice(name, o.slice)
			if err != nil {
				return err
			}
			t.tools = append(t.tools, tool{name: "tshark", argv: tshark(part), bytes: bytes, rounds: o.slow})
			t.alsoAgainst = "tshark"
		}
	}
	return t.run(o.rounds)
}

// tcpdump is the command that the ratios are about. It gives up root by itself, and could not read a cache below /root then.
func tcpdump(name string) []string {
	argv := []string{"tcpdump", "-r", name, "-w", "/dev/null"}
	if os.Getuid() == 0 {
		argv = append(argv, "-Z", "root")
	}
	return append(argv, "tcp port 443")
}

// tshark prints eight fields of each packet with a handshake message.
func tshark(name string) []string {
	argv := []string{"tshark", "-n", "-r", name, "-Y", "tls.handshake", "-T", "fields"}
	for _, field := range []string{
		"frame.time_epoch", "ip.src", "ip.dst", "tls.handshake.type", "tls.handshake.version", "tls.handshake.ciphersuite",
		"tls.handshake.extensions_server_name", "x509sat.printableString",
	} {
		argv = append(argv, "-e", field)
	}
	return argv
}
