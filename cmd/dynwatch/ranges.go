package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/dynwatch/dynwatch/analyze/endpoint"
	"github.com/dynwatch/dynwatch/internal/rangefile"
	"github.com/dynwatch/dynwatch/internal/flow"
)

func rangesCommand() *cobra.Command {
	var rangesFile, format string
	cmd := &cobra.Command{
		Use:   "ranges",
		Short: "show, look up and update the addresses that are DynamoDB's",
		Long: `The addresses come from AWS's ip-ranges.json, of which an edition is built in. DynamoDB has IPv4 prefixes there and none for IPv6:
a dual-stack session over IPv6 is told by its name alone.`,
	}
	cmd.PersistentFlags().StringVar(&rangesFile, "ranges", "", "AWS's ip-ranges.json from `FILE` instead of the edition that is built in")
	cmd.PersistentFlags().StringVarP(&format, "output", "o", "text", "output `FORM`: text or json")
	load := func() (*endpoint.Ranges, error) {
		if format != "text" && format != "json" {
			return nil, usagef("--output %q: use text or json", format)
		}
		if rangesFile == "" {
			return endpoint.Embedded(), nil
		}
		return readRangesFile(rangesFile)
	}
	cmd.AddCommand(rangesListCommand(load, &format), rangesLookupCommand(load, &format), rangesUpdateCommand())
	return cmd
}

type prefixJSON struct {
	Prefix   string   `json:"prefix"`
	Region   string   `json:"region"`
	Services []string `json:"services"`
}

func rangesListCommand(load func() (*endpoint.Ranges, error), format *string) *cobra.Command {
	service := "DYNAMODB"
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "list the prefixes of DynamoDB, or of another service",
		Example: "  dynwatch ranges list\n  dynwatch ranges list --service S3 -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := load()
			if err != nil {
				return err
			}
			list := r.List(strings.ToUpper(service))
			if len(list) == 0 {
				return &hinted{usagef("no prefix of service %q", service), "the services are " + strings.Join(r.Services(), ", ")}
			}
			if *format == "json" {
				enc := json.NewEncoder(cmd.OutOrStdout())
				for _, p := range list {
					if err := enc.Encode(prefixJSON{p.Prefix.String(), p.Region, p.Services}); err != nil {
						return err
					}
				}
				return nil
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			for _, p := range list {
				fmt.Fprintf(w, "%s\t%s\t%s\n", p.Prefix, p.Region, strings.Join(p.Services, ","))
			}
			if err := w.Flush(); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.ErrOrStderr(), "%d prefixes, edition of %s\n", len(list), r.CreateDate.UTC().Format(time.RFC3339))
			return err
		},
	}
	cmd.Flags().StringVar(&service, "service", service, "`NAME` of the service, as ip-ranges.json spells it")
	return cmd
}

type lookupJSON struct {
	Address   string   `json:"address"`
	DynamoDB  bool     `json:"dynamodb"`
	AWS       bool     `json:"aws"`
	Prefix    string   `json:"prefix,omitempty"`
	Region    string   `json:"region,omitempty"`
	Partition string   `json:"partition,omitempty"`
	Services  []string `json:"services,omitempty"`
	Name      string   `json:"name,omitempty"`
	Service   string   `json:"service,omitempty"`
	Kind      string   `json:"kind,omitempty"`
}

func rangesLookupCommand(load func() (*endpoint.Ranges, error), format *string) *cobra.Command {
	return &cobra.Command{
		Use:     "lookup ADDRESS|NAME…",
		Short:   "say whether an address or a host name is DynamoDB's; nothing is resolved",
		Example: "  dynwatch ranges lookup 52.94.5.7\n  dynwatch ranges lookup dynamodb.eu-central-1.amazonaws.com",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := load()
			if err != nil {
				return err
			}
			for _, arg := range args {
				if err := printLookup(cmd.OutOrStdout(), lookUp(r, arg), *format == "json"); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func lookUp(r *endpoint.Ranges, arg string) lookupJSON {
	l := lookupJSON{Address: arg}
	addr, err := netip.ParseAddr(arg)
	if err != nil {
		l.Address, l.Name = "", arg
		if n, ok := endpoint.ParseName(arg); ok {
			l.DynamoDB, l.AWS = true, true
			l.Service, l.Kind, l.Region, l.Partition = n.Service, n.Kind, n.Region, n.Partition
		}
		return l
	}
	if info, ok := r.Lookup(flow.IPFrom(addr)); ok {
		l.DynamoDB, l.AWS, l.Prefix, l.Region, l.Partition, l.Services = info.DynamoDB, info.AWS, info.Prefix.String(), info.Region, info.Partition, info.Services
	}
	return l
}

func printLookup(w io.Writer, l lookupJSON, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(l)
	}
	var err error
	switch {
	case l.Name != "" && l.DynamoDB:
		_, err = fmt.Fprintf(w, "%s: %s endpoint (%s) in %s, partition %s\n", l.Name, l.Service, orNone(l.Kind), orNone(l.Region), l.Partition)
	case l.Name != "":
		_, err = fmt.Fprintf(w, "%s: not a DynamoDB name\n", l.Name)
	case l.DynamoDB:
		_, err = fmt.Fprintf(w, "%s: DynamoDB in %s, prefix %s (%s)\n", l.Address, l.Region, l.Prefix, strings.Join(l.Services, ", "))
	case l.AWS:
		_, err = fmt.Fprintf(w, "%s: AWS, but no DynamoDB prefix: %s in %s (%s)\n", l.Address, l.Prefix, l.Region, strings.Join(l.Services, ", "))
	default:
		_, err = fmt.Fprintf(w, "%s: not AWS's\n", l.Address)
	}
	return err
}

func orNone(s string) string {
	if s == "" {
		return "none known"
	}
	return s
}

func rangesUpdateCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "update FILE",
		Short: "check a new ip-ranges.json from standard input and put it into FILE, for --ranges",
		Long: `Reads AWS's ip-ranges.json from standard input, checks it, and replaces FILE with it in one step. dynwatch itself downloads nothing.
A file without DYNAMODB prefixes, one older than FILE or the built-in edition, and one that lost more than half of the prefixes are
refused; the last two can be forced.`,
		Example: "  curl -s https://ip-ranges.amazonaws.com/ip-ranges.json | dynwatch ranges update /var/lib/dynwatch/ip-ranges.json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f, ok := cmd.InOrStdin().(*os.File); ok && isTerminal(f) {
				return &hinted{usagef("ranges update reads the new file from standard input"), "see the example in --help"}
			}
			d, err := rangefile.Install(args[0], cmd.InOrStdin(), force)
			if err != nil {
				return fmt.Errorf("ranges update: %w", err)
			}
			out := cmd.OutOrStdout()
			for _, p := range d.Added {
				fmt.Fprintf(out, "+ %s %s\n", p.Prefix, p.Region)
			}
			for _, p := range d.Removed {
				fmt.Fprintf(out, "- %s %s\n", p.Prefix, p.Region)
			}
			_, err = fmt.Fprintf(out, "%s: edition of %s, %d DYNAMODB prefixes added, %d removed\n", args[0],
				d.New.CreateDate.UTC().Format(time.RFC3339), len(d.Added), len(d.Removed))
			return err
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "accept an older file, and one that lost more than half of the prefixes")
	return cmd
}
