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

	"github.com/spf13/cobra"
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
	// The first SIGINT or SIGTERM is a normal end: the capture stops and its summary is printed. A second one ends at once.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		stop()
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
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
	err := root.ExecuteContext(ctx)
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
	fmt.Fprintf(stderr, "dynwatch: error: %v\n", err)
	if errors.As(err, &advice) {
		fmt.Fprintf(stderr, "dynwatch: hint: %s\n", advice.hint)
	}
	if errors.As(err, &usage) || isCobraUsage(err) {
		if advice == nil {
			fmt.Fprintln(stderr, "dynwatch: hint: see dynwatch --help, or --help of the command")
		}
		return exitUsage
	}
	return exitFailed
}

// isCobraUsage recognises cobra's own usage errors, which have no type.
func isCobraUsage(err error) bool {
	return strings.HasPrefix(err.Error(), "unknown command") || strings.HasPrefix(err.Error(), "accepts ") ||
		strings.HasPrefix(err.Error(), "requires ")
}

func rootCommand(stdin io.Reader, stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:   "dynwatch",
		Short: "see every DynamoDB connection, and whether its transport can be trusted",
		Long: `dynwatch finds every connection to Amazon DynamoDB, reads its TLS handshake, and says whether it can be trusted: it reports plaintext,
old versions, downgrades, certificates that Amazon did not sign, and clients that do not check them.`,
		Example: `  dynwatch capture -r trace.pcap              judge every DynamoDB session of a capture file
  dynwatch capture -r trace.pcap -o json      the same, one JSON object a line
  dynwatch explain plaintext                  what a rule means, and how to mend it`,
		SilenceErrors: true, SilenceUsage: true,
	}
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddCommand(captureCommand(), explainCommand(), rangesCommand(), versionCommand(), manCommand())
	return root
}
