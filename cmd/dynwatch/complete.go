package main

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/dynwatch/dynwatch/analyze/endpoint"
	"github.com/dynwatch/dynwatch/analyze/rules"
)

// words has the shell offer a fixed set for a flag's value, and no file names.
func words(cmd *cobra.Command, flag string, list ...string) {
	// The error is for a flag that does not exist or was registered before: TestCompletion would show it.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp))
}

// files has the shell offer file names for a flag's value.
func files(cmd *cobra.Command, flags ...string) {
	for _, f := range flags {
		_ = cmd.MarkFlagFilename(f)
	}
}

// formatFlag adds -o to a command.
func formatFlag(cmd *cobra.Command, format *string) {
	cmd.PersistentFlags().StringVarP(format, "output", "o", "text", "output `FORM`: text or json")
	words(cmd, "output", "text", "json")
}

// completePolicy is for the commands that have policyFlags.
func completePolicy(cmd *cobra.Command) {
	words(cmd, "min-version", "1.0", "1.1", "1.2", "1.3")
	words(cmd, "fail-on", "none", "low", "medium", "high", "critical")
	words(cmd, "allow-kind", "public", "fips", "dual-stack", "account", "interface")
	files(cmd, "allow-ca", "ranges")
	for _, f := range []string{"pin", "allow-issuer", "allow-proxy", "endpoint"} {
		words(cmd, f)
	}
	_ = cmd.RegisterFlagCompletionFunc("allow-region", completeRegion)
}

func completeRegion(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return regions(), cobra.ShellCompDirectiveNoFileComp
}

// regions are those that AWS's ranges have addresses of DynamoDB for.
func regions() []string {
	var list []string
	for _, p := range endpoint.Embedded().List("DYNAMODB") {
		list = append(list, p.Region)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// completeRule offers the rules, with their titles.
func completeRule(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var list []cobra.Completion
	for _, r := range rules.All() {
		list = append(list, cobra.CompletionWithDesc(r.ID, r.Title))
	}
	return list, cobra.ShellCompDirectiveNoFileComp
}

// completeFilter offers the first words of filter expressions.
func completeFilter(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return []cobra.Completion{"tcp", "udp", "port", "host", "net", "src", "dst", "ip", "ip6", "vlan", "and", "or", "not"}, cobra.ShellCompDirectiveNoFileComp
}
