// Command dynwatch watches DynamoDB egress: it finds every connection to DynamoDB, says who made it, and judges its transport.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// version is set by the linker (Makefile).
var version = "unknown"

// Exit statuses, as DESIGN has them: "could not do the work" wins over findings.
const (
	exitOK       = 0
	exitFailed   = 1
	exitUsage    = 2
	exitFindings = 3
)

func main() {
	// A closed standard output shall be an error of a write, which ends the run in order, and not the end of the process. Ignoring the signal
	// would do too, but children would inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	// The first SIGINT or SIGTERM is a normal end: the capture stops and its summary is printed. A second one ends at once, however busy the
	// end of the first is.
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		endBy((<-signals).(syscall.Signal))
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// endBy ends the process as a signal does to which nobody listens, so that a shell sees what it was.
func endBy(s syscall.Signal) {
	signal.Reset(s)
	syscall.Kill(os.Getpid(), s)
	time.Sleep(100 * time.Millisecond)
	os.Exit(128 + int(s)) // it was ignored when this process began
}

// usageError is an error in how the program was called.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// hinted is an error with advice on what to do.
type hinted struct {
	err  error
	hint string
}

func (e *hinted) Error() string { return e.err.Error() }
func (e *hinted) Unwrap() error { return e.err }

// exitStatus is a normal end with another status than 0.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// run is the program without its process: it returns the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := rootCommand(stdin, stdout, stderr)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	var (
		status exitStatus
		usage  *usageError
		advice *hinted
	)
	switch {
	case err == nil, errors.Is(err, syscall.EPIPE):
		return exitOK // a reader that had enough is a quiet end
	case errors.As(err, &status):
		return int(status)
	}
	wrong := errors.As(err, &usage) || isCobraUsage(err)
	for line := range strings.Lines(message(err)) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, " ") { // an excerpt with a caret
			fmt.Fprintln(stderr, line)
		} else {
			fmt.Fprintf(stderr, "dynwatch: error: %s\n", line)
		}
	}
	switch {
	case errors.As(err, &advice):
		fmt.Fprintf(stderr, "dynwatch: hint: %s\n", advice.hint)
	case wrong:
		fmt.Fprintf(stderr, "dynwatch: hint: %s\n", hintFor(cmd, args, err))
	}
	if wrong {
		return exitUsage
	}
	return exitFailed
}

// message is an error in our words where cobra and pflag have others.
func message(err error) string {
	var value *pflag.InvalidValueError
	var missing *pflag.ValueRequiredError
	switch {
	case errors.As(err, &value) && value.GetFlag().Value.Type() == "uint64":
		return fmt.Sprintf("--%s %q: use a whole number", value.GetFlag().Name, value.GetValue())
	case errors.As(err, &missing):
		name, _ := pflag.UnquoteUsage(missing.GetFlag())
		return fmt.Sprintf("--%s needs a value: %s", missing.GetFlag().Name, name)
	}
	return err.Error()
}

// isCobraUsage recognises cobra's own usage errors, which have no type.
func isCobraUsage(err error) bool {
	for _, begin := range []string{"unknown command", "unknown shorthand", "unknown flag", "accepts ", "requires "} {
		if strings.HasPrefix(err.Error(), begin) {
			return true
		}
	}
	return false
}

func rootCommand(stdin io.Reader, stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:   "dynwatch",
		Short: "see every DynamoDB connection, and whether its transport can be trusted",
		Long: `dynwatch finds every connection to Amazon DynamoDB and says whether its
transport can be trusted. It reports plaintext, old TLS versions, downgrades,
certificates that Amazon did not sign, and clients that do not check them.`,
		Example: `  dynwatch capture -r trace.pcap             judge every DynamoDB session in it
  dynwatch capture -r trace.pcap -o json     the same, one JSON object a line
  dynwatch explain verification-disabled     what a rule means, how to mend it`,
		SilenceErrors: true, SilenceUsage: true, DisableSuggestions: true,
		Version: version,
	}
	root.Flags().Bool("version", false, "print the version")
	root.SetVersionTemplate(versionText())
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetUsageFunc(usage)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddCommand(
		agentCommand(), captureCommand(), configCommand(), dashboardsCommand(), doctorCommand(), explainCommand(), findingsCommand(),
		inventoryCommand(), probeCommand(), rangesCommand(), versionCommand(), manCommand(),
	)
	root.SetHelpCommand(helpCommand())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	if completion, _, err := root.Find([]string{"completion"}); err == nil {
		completion.Short, completion.RunE = "write a completion script for bash, zsh, fish or PowerShell", subcommandNeeded
	}
	return root
}
