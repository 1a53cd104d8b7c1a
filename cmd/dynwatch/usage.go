package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// helpWidth is how many columns help texts take: those of the narrowest terminal in use.
const helpWidth = 80

// groupOf annotates a flag with the title that it stands under in --help.
const groupOf = "dynwatch_group"

// group puts the flags of fs that have no title yet under one.
func group(fs *pflag.FlagSet, title string) {
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Annotations[groupOf] == nil {
			fs.SetAnnotation(f.Name, groupOf, []string{title})
		}
	})
}

// usage prints what follows a command's description in --help: cobra's own text does not break long lines, and has no titles among flags.
func usage(cmd *cobra.Command) error {
	var b strings.Builder
	b.WriteString("Usage:\n")
	if cmd.Runnable() && !cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "  %s\n", cmd.UseLine())
	} else {
		fmt.Fprintf(&b, "  %s COMMAND [flags]\n", cmd.CommandPath())
	}
	if cmd.HasExample() {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", cmd.Example)
	}
	if cmd.HasAvailableSubCommands() {
		b.WriteString("\nCommands:\n")
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() {
				fmt.Fprintf(&b, "  %-*s %s\n", cmd.NamePadding(), c.Name(), c.Short)
			}
		}
	}
	if cmd.Parent() == nil { // on one screen, so without the two flags that everybody tries unasked
		b.WriteString("\nEvery command explains itself: dynwatch COMMAND --help\n")
	} else {
		for _, s := range flagSections(cmd) {
			fmt.Fprintf(&b, "\n%s:\n%s", s.title, s.flags.FlagUsagesWrapped(helpWidth))
		}
	}
	_, err := fmt.Fprint(cmd.OutOrStderr(), b.String())
	return err
}

type flagSection struct {
	title string
	flags *pflag.FlagSet
}

// flagSections sorts a command's flags by their titles, in the order of definition; those without one come last.
func flagSections(cmd *cobra.Command) []flagSection {
	var list []flagSection
	add := func(f *pflag.Flag) {
		title := "Flags"
		if a := f.Annotations[groupOf]; len(a) > 0 {
			title = a[0]
		}
		i := 0
		for i < len(list) && list[i].title != title {
			i++
		}
		if i == len(list) {
			fs := pflag.NewFlagSet(title, pflag.ContinueOnError)
			fs.SortFlags = false
			list = append(list, flagSection{title, fs})
		}
		list[i].flags.AddFlag(f)
	}
	cmd.LocalFlags().VisitAll(add)
	cmd.InheritedFlags().VisitAll(add)
	return list
}

// helpCommand is cobra's, but for an unknown command, which is a usage error.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "explain a command",
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			var list []cobra.Completion
			if at, _, err := cmd.Root().Find(args); err == nil {
				for _, c := range at.Commands() {
					if c.IsAvailableCommand() {
						list = append(list, cobra.CompletionWithDesc(c.Name(), c.Short))
					}
				}
			}
			return list, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			at, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return &hinted{usagef("unknown command %q", strings.Join(args, " ")), "see dynwatch --help"}
			}
			at.InitDefaultHelpFlag()
			return at.Help()
		},
	}
}
