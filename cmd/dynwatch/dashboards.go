package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dynwatch/dynwatch/dashboards"
)

func dashboardsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dashboards",
		Short: "Grafana dashboards and Prometheus rules for the agent's metrics",
		Long: `Grafana dashboards and Prometheus rules for the agent's metrics. They belong
to this version of the program: it exports each metric and label in them.`,
		RunE: subcommandNeeded,
	}
	cmd.AddCommand(dashboardsExportCommand())
	return cmd
}

func dashboardsExportCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "export DIR",
		Short: "write dashboards and rules to a directory",
		Long: `Writes the dashboards, as JSON to import into Grafana or to provision, and the
recording and alerting rules, as YAML for Prometheus. What was written is listed
on standard output. Files of the same names are replaced.`,
		Example: `  dynwatch dashboards export monitoring
  promtool check rules monitoring/prometheus/*.rules.yml`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("one directory is wanted, to write to")
			}
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			written, err := dashboards.Export(args[0])
			if len(written) > 0 {
				if _, err := fmt.Fprintln(cmd.OutOrStdout(), strings.Join(written, "\n")); err != nil {
					return err
				}
			}
			return err
		},
	}
}
