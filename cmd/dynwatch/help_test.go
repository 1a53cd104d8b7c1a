package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

// everyCommand calls f with each command that a user can call.
func everyCommand(f func(*cobra.Command)) {
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		f(c)
		for _, sub := range c.Commands() {
			if !sub.Hidden {
				walk(sub)
			}
		}
	}
	walk(rootCommand(nil, nil, nil))
}

func TestHelpFitsIntoATerminal(t *testing.T) {
	everyCommand(func(c *cobra.Command) {
		if strings.Contains(c.CommandPath(), " completion ") {
			return // cobra's own text
		}
		path := strings.Fields(c.CommandPath())[1:]
		out, stderr, status := call(nil, append(path, "--help")...)
		if status != 0 || stderr != "" {
			t.Errorf("%s --help: status %d, standard error %q", c.CommandPath(), status, stderr)
		}
		for line := range strings.Lines(out) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > helpWidth {
				t.Errorf("%s --help: %d columns: %s", c.CommandPath(), n, line)
			}
		}
		if c.Parent() == nil {
			if n := strings.Count(out, "\n"); n > 36 {
				t.Errorf("dynwatch --help has %d lines, a screen has less", n)
			}
			if n := strings.Count(out, "\n  dynwatch "); n != 4 { // the usage line, and three examples
				t.Errorf("%d lines with dynwatch in front, want three examples:\n%s", n, out)
			}
		}
	})
}

// TestExamplesWork parses the command line of every example: a flag that was renamed shows here.
func TestExamplesWork(t *testing.T) {
	everyCommand(func(c *cobra.Command) {
		for line := range strings.Lines(c.Example) {
			_, command, ok := strings.Cut(line, "dynwatch ")
			if !ok || c.Parent() != nil && c.Parent().Name() == "completion" {
				continue
			}
			command, _, _ = strings.Cut(command, "   ") // what it does
			args := splitWords(t, strings.TrimSpace(command))[0]
			root := rootCommand(nil, nil, nil)
			called, rest, err := root.Find(args)
			if err != nil || !called.Runnable() {
				t.Errorf("%s: %s: no such command (%v)", c.CommandPath(), strings.TrimSpace(line), err)
				continue
			}
			if err := called.ParseFlags(rest); err != nil {
				t.Errorf("%s: %s: %v", c.CommandPath(), strings.TrimSpace(line), err)
			}
		}
	})
}

func TestCompletionScriptsParse(t *testing.T) {
	for shell, check := range map[string][]string{
		"bash": {"bash", "-n"}, "zsh": {"zsh", "-n"}, "fish": {"fish", "--no-execute"},
	} {
		t.Run(shell, func(t *testing.T) {
			script, stderr, status := call(nil, "completion", shell)
			if status != 0 || stderr != "" || len(script) < 1000 {
				t.Fatalf("status %d, %d bytes, %s", status, len(script), stderr)
			}
			path := filepath.Join(t.TempDir(), "script")
			if err := os.WriteFile(path, []byte(script), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := testenv.Command(t, check[0], append(check[1:], path)...).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

func TestCompletion(t *testing.T) {
	const noFiles, filesToo, dirs = ":4", ":0", ":16"
	for _, tt := range []struct {
		line string
		has  []string
		ends string
	}{
		{"", []string{"capture", "explain", "ranges", "version"}, noFiles},
		{"explain ver", []string{"verification-disabled"}, noFiles},
		{"explain plaintext ", nil, noFiles},
		{"capture -r ", nil, filesToo},
		{"capture --keylog ", nil, filesToo},
		{"capture -w ", nil, filesToo},
		{"capture --allow-ca ", nil, filesToo},
		{"capture --ranges ", nil, filesToo},
		{"capture -o ", []string{"text", "json"}, noFiles},
		{"capture --color ", []string{"auto", "always", "never"}, noFiles},
		{"capture --fail-on ", []string{"none", "low", "medium", "high", "critical"}, noFiles},
		{"capture --min-version ", []string{"1.0", "1.1", "1.2", "1.3"}, noFiles},
		{"capture --allow-kind ", []string{"public", "fips", "dual-stack", "account", "interface"}, noFiles},
		{"capture --allow-region eu-c", []string{"eu-central-1"}, noFiles},
		{"capture --pin ", nil, noFiles},
		{"capture -r x ", []string{"tcp", "port"}, noFiles},
		{"capture --allow-c", []string{"--allow-ca"}, noFiles},
		{"ranges ", []string{"list", "lookup", "update"}, noFiles},
		{"ranges list -o ", []string{"text", "json"}, noFiles},
		{"ranges lookup ", nil, noFiles},
		{"ranges update ", nil, filesToo},
		{"version -o ", []string{"text", "json"}, noFiles},
		{"man ", nil, dirs},
		{"help ", []string{"capture", "ranges"}, noFiles},
		{"help ranges ", []string{"lookup"}, noFiles},
		{"completion ", []string{"bash", "zsh", "fish"}, noFiles},
	} {
		t.Run("dynwatch "+tt.line, func(t *testing.T) {
			out, _, status := call(nil, append([]string{"__complete"}, strings.Split(tt.line, " ")...)...)
			if status != 0 {
				t.Fatalf("status %d", status)
			}
			offered := make(map[string]bool)
			lines := strings.Split(strings.TrimSpace(out), "\n")
			for _, l := range lines {
				word, _, _ := strings.Cut(l, "\t")
				offered[word] = true
			}
			for _, word := range tt.has {
				if !offered[word] {
					t.Errorf("%s is not offered: %s", word, out)
				}
			}
			if last := lines[len(lines)-1]; last != tt.ends {
				t.Errorf("the directive is %s, want %s", last, tt.ends)
			}
		})
	}
}

func TestManPagesRender(t *testing.T) {
	dir := t.TempDir()
	if _, stderr, status := call(nil, "man", dir); status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	pages, _ := filepath.Glob(filepath.Join(dir, "*.1"))
	if len(pages) < 6 {
		t.Fatalf("%d pages", len(pages))
	}
	for _, tool := range [][]string{{"groff", "-man", "-Tutf8", "-ww", "-z"}, {"mandoc", "-Tlint", "-Wwarning"}} {
		t.Run(tool[0], func(t *testing.T) {
			for _, page := range pages {
				if out, err := testenv.Command(t, tool[0], append(tool[1:], page)...).CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
					t.Errorf("%s: %v\n%s", filepath.Base(page), err, out)
				}
			}
		})
	}
	capturePage, err := os.ReadFile(filepath.Join(dir, "dynwatch-capture.1"))
	if err != nil || !bytes.Contains(capturePage, []byte("--allow-ca\\fP=FILE")) {
		t.Errorf("the page of capture does not tell of --allow-ca: %v", err)
	}
}
