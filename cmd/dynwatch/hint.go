package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dynwatch/dynwatch/internal/nearest"
)

// hintFor says what to do about a usage error that has no advice of its own. cmd is the command that was called.
func hintFor(cmd *cobra.Command, args []string, err error) string {
	help := "see " + cmd.CommandPath() + " --help"
	var unknown *pflag.NotExistError
	switch {
	case errors.As(err, &unknown):
		return flagHint(cmd, unknown, help)
	case strings.HasPrefix(err.Error(), "unknown command"):
		return commandHint(cmd, args, help)
	}
	return help
}

func flagHint(cmd *cobra.Command, unknown *pflag.NotExistError, help string) string {
	name := unknown.GetSpecifiedName()
	if unknown.GetSpecifiedShortnames() != "" {
		return help
	}
	var names []string
	add := func(f *pflag.Flag) { names = append(names, f.Name) }
	cmd.Flags().VisitAll(add)
	cmd.InheritedFlags().VisitAll(add)
	if near := nearest.Word(name, names); near != "" {
		return fmt.Sprintf("did you mean --%s?", near)
	}
	return help
}

func commandHint(cmd *cobra.Command, args []string, help string) string {
	if len(args) == 0 {
		return help
	}
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	for _, a := range args {
		if near := nearest.Word(a, names); near != "" && !strings.HasPrefix(a, "-") {
			return fmt.Sprintf("did you mean %s %s?", cmd.CommandPath(), near)
		}
	}
	if name := fileAmong(args); name != "" && cmd.Parent() == nil {
		return fmt.Sprintf("%s is a file: dynwatch capture -r %s", name, name)
	}
	return help
}

// subcommandNeeded is for commands that only group others: alone they explain themselves.
func subcommandNeeded(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("unknown command %q for %q", args[0], cmd.CommandPath())
	}
	return cmd.Help()
}
