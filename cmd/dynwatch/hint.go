package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
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
	if near := nearest(name, names); near != "" {
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
		if near := nearest(a, names); near != "" && !strings.HasPrefix(a, "-") {
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

// nearest gives the word that a mistyped one most likely meant: the one with the fewest changes, or the only one that it begins, in either case;
// "" if none is near.
func nearest(s string, words []string) string {
	s = strings.ToLower(s)
	best, bestDistance := "", len(s)/3+1
	var begins []string
	for _, w := range words {
		if len(s) > 1 && strings.HasPrefix(strings.ToLower(w), s) {
			begins = append(begins, w)
		}
		if d := editDistance(s, strings.ToLower(w)); d < bestDistance {
			best, bestDistance = w, d
		}
	}
	if best == "" && len(begins) == 1 {
		return begins[0]
	}
	return best
}

// editDistance counts the insertions, deletions and replacements of bytes that turn a into b, and swaps of neighbours as one.
func editDistance(a, b string) int {
	const longest = 64 // no word of ours is longer
	if len(a) > longest || len(b) > longest {
		return longest
	}
	var rows [longest + 1][longest + 1]int
	for i := range len(a) + 1 {
		for j := range len(b) + 1 {
			switch {
			case i == 0 || j == 0:
				rows[i][j] = i + j
				continue
			case a[i-1] == b[j-1]:
				rows[i][j] = rows[i-1][j-1]
				continue
			}
			d := 1 + min(rows[i-1][j], rows[i][j-1], rows[i-1][j-1])
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, 1+rows[i-2][j-2])
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
