package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/dynwatch/dynwatch/analyze/rules"
	"github.com/dynwatch/dynwatch/internal/nearest"
)

func explainCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "explain [RULE]",
		Short: "explain a rule: when it holds, why it matters, how to mend it",
		Long: `Explains one rule, with what to change in boto3, Django, Flask, Go, Java and
Node; without a rule, lists them all with the highest severity of each.`,
		Example:           "  dynwatch explain\n  dynwatch explain verification-disabled",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeRule,
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
				return noRule(args[0])
			}
			_, err := io.WriteString(out, r.Explain())
			return err
		},
	}
}

func noRule(name string) error {
	var ids []string
	for _, r := range rules.All() {
		ids = append(ids, r.ID)
	}
	err := usagef("there is no rule %q", name)
	if near := nearest.Word(name, ids); near != "" {
		return &hinted{err, fmt.Sprintf("did you mean %s? dynwatch explain lists all", near)}
	}
	return &hinted{err, "dynwatch explain lists all"}
}
