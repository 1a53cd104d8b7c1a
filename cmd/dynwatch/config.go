package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/agent"
	"github.com/dynwatch/dynwatch/internal/alert"
	"github.com/dynwatch/dynwatch/internal/config"
)

// defaultConfig is where the agent looks for its configuration if it is told nothing else; it may be absent.
const defaultConfig = "/etc/dynwatch/dynwatch.yaml"

func configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "check the agent's configuration, and print its schema",
		Long: `The agent's configuration is one YAML file. It is checked strictly: an unknown
key is an error, with its line and the nearest key that exists.`,
		RunE: subcommandNeeded,
	}
	cmd.AddCommand(
		&cobra.Command{
			Use:   "check FILE",
			Short: "check a configuration and the files that it names",
			Long: `Checks a configuration and the files that it names, and says which exceptions
have expired. Exit status: 0 it is right, 2 it is not.`,
			Example: "  dynwatch config check /etc/dynwatch/dynwatch.yaml",
			Args:    cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				c, _, err := readConfig(args[0], nil, func(string) (string, bool) { return "", false })
				if err != nil {
					return &usageError{err}
				}
				for _, w := range c.Warnings {
					fmt.Fprintf(cmd.ErrOrStderr(), "dynwatch: warning: %s\n", w)
				}
				for _, e := range agent.Exceptions(c.Config).Expired(time.Now()) {
					fmt.Fprintf(cmd.ErrOrStderr(), "dynwatch: warning: %s\n", e)
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n", args[0])
				return err
			},
		},
		&cobra.Command{
			Use:     "schema",
			Short:   "print the JSON schema of the configuration",
			Example: "  dynwatch config schema > config.schema.json",
			Args:    cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				enc.SetEscapeHTML(false)
				return enc.Encode(config.Schema())
			},
		},
	)
	return cmd
}

// readConfig reads a configuration, puts the flags (if any) and the environment over it, checks it, reads the files that it names, and makes
// its receivers. A name
// of "" is a configuration without a file.
func readConfig(name string, flags *pflag.FlagSet, env func(string) (string, bool)) (*agent.Settings, []alert.SinkOptions, error) {
	f := config.Without()
	if name != "" {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, nil, err
		}
		if f, err = config.Parse(name, data); err != nil {
			return nil, nil, err
		}
	}
	if err := f.Override(flags, env); err != nil {
		return nil, nil, err
	}
	if err := f.Validate(); err != nil {
		return nil, nil, err
	}
	p := &f.Config.Policy
	from := policyFlags{
		minVersion: p.MinVersion, allowCA: p.AllowCA, pins: p.Pin, allowIssuer: p.AllowIssuer, allowProxy: p.AllowProxy,
		allowRegion: p.AllowRegion, allowKind: p.AllowKind, rangesFile: p.Ranges, endpoints: p.Endpoint, failOn: session.SeverityNone.String(),
	}
	set, store, policy, err := from.build()
	words := inWordsOf(f)
	if err != nil {
		return nil, nil, errors.New(words.Replace(message(err)))
	}
	sinks, err := sinksOf(f)
	if err != nil {
		return nil, nil, err
	}
	if err := agent.CheckWeb(f.Config.Web.ConfigFile); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", f.Where("web.config_file"), err)
	}
	s := &agent.Settings{Config: f.Config, Judge: agent.Judge{Endpoints: set, Trust: store, Policy: policy}}
	for _, w := range from.warnings {
		s.Warnings = append(s.Warnings, words.Replace(w))
	}
	for _, file := range slices.Concat([]string{name, p.Ranges}, p.AllowCA, authorities(f.Config.Receivers)) {
		if file != "" {
			s.Files = append(s.Files, file)
		}
	}
	return s, sinks, nil
}

// inWordsOf replaces the flags of capture, by which messages call the policy's parts, by where the configuration has them.
func inWordsOf(f *config.File) *strings.Replacer {
	var pairs []string
	for _, key := range []string{"allow_ca", "pin", "allow_issuer", "ranges", "endpoint"} {
		pairs = append(pairs, "--"+strings.ReplaceAll(key, "_", "-")+":", f.Where("policy."+key)+":")
	}
	return strings.NewReplacer(pairs...)
}

// configName is the file to read: the one that was named, or the default if it is there.
func configName(named string) (string, error) {
	if named != "" {
		return named, nil
	}
	_, err := os.Stat(defaultConfig)
	switch {
	case err == nil:
		return defaultConfig, nil
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	}
	return "", err
}
