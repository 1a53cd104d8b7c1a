package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"

	"github.com/dynwatch/dynwatch/analyze/endpoint"
)

func manCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "man DIR",
		Short:   "write man pages of all commands to a directory",
		Example: "  dynwatch man dist/man",
		Args:    cobra.ExactArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("man pages: %w", err)
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			nameValues(root)
			if err := writePages(root, args[0]); err != nil {
				return fmt.Errorf("man pages: %w", err)
			}
			return nil
		},
	}
}

// nameValues has the pages show the name of a flag's value where its default says nothing: --allow-ca=FILE, not --allow-ca=[].
func nameValues(cmd *cobra.Command) {
	name := func(f *pflag.Flag) {
		switch f.DefValue {
		case "", "[]", "0", "0s":
			f.DefValue, _ = pflag.UnquoteUsage(f)
		}
	}
	cmd.Flags().VisitAll(name)
	cmd.PersistentFlags().VisitAll(name)
	for _, c := range cmd.Commands() {
		nameValues(c)
	}
}

// Habits of the generator that formatters warn about, or that look odd.
var habits = []struct {
	from *regexp.Regexp
	to   string
}{
	{regexp.MustCompile(`(?m)(?:^\.PP\n)?^(\\fB-.*)\n\t`), ".TP\n$1\n"}, // what a flag does stands behind a tab, not in a tagged paragraph
	{regexp.MustCompile(`(?m)\[=(false|true)\]$`), ""},
	{regexp.MustCompile(`(?m)^(\\fB-.*=)"([A-Z][^"]*)"$`), "$1$2"}, // the names that nameValues set
}

var titleLine = regexp.MustCompile(`(?m)^\.TH .*$`)

// writePages writes the page of a command and of those below it. The same program writes the same pages: their date is that of its data.
func writePages(cmd *cobra.Command, dir string) error {
	if cmd.Hidden || cmd.Name() == "help" {
		return nil
	}
	name := strings.ReplaceAll(cmd.CommandPath(), " ", "-")
	var b bytes.Buffer
	if err := doc.GenMan(cmd, &doc.GenManHeader{Section: "1"}, &b); err != nil {
		return err
	}
	title := fmt.Sprintf(`.TH "%s" "1" "%s" "dynwatch" "dynwatch"`, strings.ToUpper(name), endpoint.Embedded().CreateDate.UTC().Format("2006-01-02"))
	page := titleLine.ReplaceAll(b.Bytes(), []byte(title))
	for _, h := range habits {
		page = h.from.ReplaceAll(page, []byte(h.to))
	}
	if err := os.WriteFile(filepath.Join(dir, name+".1"), page, 0o644); err != nil {
		return err
	}
	for _, c := range cmd.Commands() {
		if err := writePages(c, dir); err != nil {
			return err
		}
	}
	return nil
}
