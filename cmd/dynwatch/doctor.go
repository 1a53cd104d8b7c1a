package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dynwatch/dynwatch/capture/ebpf"
	"github.com/dynwatch/dynwatch/capture/library"
	"github.com/dynwatch/dynwatch/internal/doctor"
	"github.com/dynwatch/dynwatch/internal/output"
)

func doctorCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "say what this host can do, what is missing, and how to get it",
		Long: `Tries for real what a live capture needs: kernel, BTF, cgroup2, lockdown,
rights, mounts, each hook, packet sockets and socket diagnostics. Counts the
running processes whose TLS library can have no probes, and says why.

Exit status: 0 a live source works; 1 none does.`,
		Example: "  sudo dynwatch doctor\n  sudo dynwatch doctor -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			report := doctor.Run(doctor.Options{Hooks: hooks(), Look: library.Look})
			if err := printReport(cmd.OutOrStdout(), report, format); err != nil {
				return err
			}
			if !report.Usable() {
				return exitStatus(exitFailed)
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "text", "output `FORM`: text or json")
	words(cmd, "output", "text", "json")
	return cmd
}

// hooks are tried as a capture uses them: programs are loaded, attached, and detached again.
func hooks() []doctor.Hook {
	try := func(o ebpf.Options) func() error {
		return func() error {
			s, err := ebpf.Open(o)
			if err != nil {
				return err
			}
			return s.Close()
		}
	}
	return []doctor.Hook{
		{Name: "socket hooks", Try: try(ebpf.Options{})},
		{
			Name: "first bytes of other connections, DNS", Try: try(ebpf.Options{LookAtOthers: true, DNS: true}), Optional: true,
			Remedy: "a newer kernel", Without: "DynamoDB's names at foreign addresses are not seen",
		},
		{
			Name: "library probes", Try: library.Try, Optional: true,
			Remedy: "Linux 5.10 or later without lockdown=confidentiality, before 6.6 with CAP_SYS_ADMIN", Without: "the certificates of TLS 1.3 are not seen",
		},
	}
}

func printReport(w io.Writer, r *doctor.Report, format string) error {
	if format == "json" {
		return output.NewEncoder(w).Encode(r)
	}
	wide := 0
	for _, c := range r.Checks {
		wide = max(wide, len(c.Name))
	}
	var errs []error
	line := func(form string, args ...any) {
		_, err := fmt.Fprintf(w, form, args...)
		errs = append(errs, err)
	}
	for _, c := range r.Checks {
		line("%-*s  %-8s  %s\n", wide, c.Name, c.Status, strings.TrimSpace(c.Detail))
		if c.Remedy != "" && c.Status != doctor.OK {
			line("%-*s            to mend it: %s\n", wide, "", c.Remedy)
		}
	}
	if r.Libraries != nil && len(r.Libraries.Unprobed) > 0 {
		line("\nTLS libraries without probes, by number of processes:\n")
		for _, u := range r.Libraries.Unprobed {
			name := u.Library
			if name == "" {
				name = "not known which"
			}
			line("%6d  %s: %s\n", u.Processes, name, u.Reason)
			for _, e := range u.Examples {
				words := fmt.Sprintf("process %d", e.PID)
				for _, w := range []string{e.Program, e.File} {
					if w != "" {
						words += fmt.Sprintf(" %q", w)
					}
				}
				line("        %s\n", words)
			}
		}
		if r.Libraries.Others > 0 {
			line("%6d  of more kinds\n", r.Libraries.Others)
		}
	}
	word := map[bool]string{true: "works", false: "does not work"}
	line("\n--source ebpf %s, --source packet %s\n", word[r.EBPF], word[r.Packet])
	return errors.Join(errs...)
}
