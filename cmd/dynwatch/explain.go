package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dynwatch/dynwatch/analyze/rules"
)

func explainCommand() *cobra.Command {
	var ids []string
	for _, r := range rules.All() {
		ids = append(ids, r.ID)
	}
	return &cobra.Command{
		Use:       "explain [RULE]",
		Short:     "explain a rule: when it holds, why it matters, how to mend it",
		Long:      "Explains one rule, with what to change in boto3, Django, Flask, Go, Java and Node; without a rule, lists them all.",
		Example:   "  dynwatch explain\n  dynwatch explain verification-disabled",
		Args:      cobra.MaximumNArgs(1),
		ValidArgs: ids,
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cmd.OutOrStdout()
			if len(args) == 0 {
				for _, r := range rules.All() {
					if _, err := fmt.Fprintf(out, "%-23s %-8s  %s\n", r.ID, r.Severity, r.Title); err != nil {
						return err
					}
				}
				return nil
			}
			r, ok := rules.ByID(args[0])
			if !ok {
				return &hinted{usagef("there is no rule %q", args[0]), "the rules are " + strings.Join(ids, ", ")}
			}
			_, err := fmt.Fprint(out, r.Explain())
			return err
		},
	}
}
