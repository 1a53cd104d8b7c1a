package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/dynwatch/dynwatch/analyze/endpoint"
	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/nearest"
	"github.com/dynwatch/dynwatch/internal/output"
	"github.com/dynwatch/dynwatch/internal/rangefile"
)

func rangesCommand() *cobra.Command {
	var rangesFile, format string
	cmd := &cobra.Command{
		Use:   "ranges",
		Short: "show, look up and update the addresses that are DynamoDB's",
		Long: `The addresses come from AWS's ip-ranges.json, of which an edition is built in.
DynamoDB has IPv4 prefixes there and none for IPv6: a dual-stack session over
IPv6 is told by its name alone.`,
		RunE: subcommandNeeded,
	}
	cmd.PersistentFlags().StringVar(&rangesFile, "ranges", "", "AWS's ip-ranges.json from `FILE` instead of the built-in edition")
	files(cmd, "ranges")
	formatFlag(cmd, &format)
	load := func() (*endpoint.Ranges, error) {
		if err := checkFormat(format); err != nil {
			return nil, err
		}
		if rangesFile == "" {
			return endpoint.Embedded(), nil
		}
		r, err := readRangesFile(rangesFile)
		if err != nil {
			return nil, &usageError{fmt.Errorf("--ranges: %w", err)}
		}
		return r, nil
	}
	cmd.AddCommand(rangesListCommand(load, &format), rangesLookupCommand(load, &format), rangesUpdateCommand(&format))
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
				if near := nearest.Word(service, r.Services()); near != "" {
					return &hinted{usagef("no prefix of service %q", service), "did you mean " + near + "?"}
				}
				return &hinted{usagef("no prefix of service %q", service), "the services are " + strings.Join(r.Services(), ", ")}
			}
			if *format == "json" {
				enc := output.NewEncoder(cmd.OutOrStdout())
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

// lookupJSON is about an address or about a name. AWS is absent where nobody knows: of a name that is not DynamoDB's.
type lookupJSON struct {
	Address   string   `json:"address,omitempty"`
	DynamoDB  bool     `json:"dynamodb"`
	AWS       *bool    `json:"aws,omitempty"`
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
		Use:               "lookup ADDRESS|NAME...",
		Short:             "say whether an address or a host name is DynamoDB's",
		Long:              "Says whether an address or a host name is DynamoDB's. Nothing is resolved.",
		Example:           "  dynwatch ranges lookup 52.94.5.7\n  dynwatch ranges lookup dynamodb.eu-central-1.amazonaws.com",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := load()
			if err != nil {
				return err
			}
			for _, arg := range args {
				if err := checkLookup(arg); err != nil {
					return err
				}
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

// hostName is what can be a host name: labels of letters, digits, hyphens and underscores, the last one not all digits, so that a mistyped
// IPv4 address is none.
var hostName = regexp.MustCompile(`^([A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]*[A-Za-z_-][A-Za-z0-9_-]*\.?$`)

func checkLookup(arg string) error {
	if _, err := netip.ParseAddr(arg); err == nil || hostName.MatchString(arg) {
		return nil
	}
	host := arg
	if _, rest, ok := strings.Cut(host, "://"); ok {
		host, _, _ = strings.Cut(rest, "/")
	}
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host, _, _ = strings.Cut(host, "/")
	if _, err := netip.ParseAddr(host); host != arg && (err == nil || hostName.MatchString(host)) {
		return &hinted{usagef("%q is neither an address nor a host name", arg), "did you mean " + host + "?"}
	}
	return &hinted{usagef("%q is neither an address nor a host name", arg), "use one like 52.94.5.7, 2600:1f18::1 or dynamodb.us-east-1.amazonaws.com"}
}

func lookUp(r *endpoint.Ranges, arg string) lookupJSON {
	addr, err := netip.ParseAddr(arg)
	if err != nil {
		l := lookupJSON{Name: arg}
		if n, ok := endpoint.ParseName(arg); ok {
			l.DynamoDB, l.AWS = true, &ok
			l.Service, l.Kind, l.Region, l.Partition = n.Service, n.Kind, n.Region, n.Partition
		}
		return l
	}
	l := lookupJSON{Address: arg}
	info, _ := r.Lookup(flow.IPFrom(addr))
	l.AWS = &info.AWS
	if info.AWS || info.DynamoDB {
		l.DynamoDB, l.Prefix, l.Region, l.Partition, l.Services = info.DynamoDB, info.Prefix.String(), info.Region, info.Partition, info.Services
	}
	return l
}

func printLookup(w io.Writer, l lookupJSON, asJSON bool) error {
	if asJSON {
		return output.NewEncoder(w).Encode(l)
	}
	var err error
	switch {
	case l.Name != "" && l.DynamoDB:
		_, err = fmt.Fprintf(w, "%s: %s endpoint (%s) in %s, partition %s\n", l.Name, l.Service, orNone(l.Kind), orNone(l.Region), l.Partition)
	case l.Name != "":
		_, err = fmt.Fprintf(w, "%s: not a DynamoDB name\n", l.Name)
	case l.DynamoDB:
		_, err = fmt.Fprintf(w, "%s: DynamoDB in %s, prefix %s (%s)\n", l.Address, l.Region, l.Prefix, strings.Join(l.Services, ", "))
	case *l.AWS:
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

type updateJSON struct {
	File    string       `json:"file"`
	Edition string       `json:"edition"`
	Added   []changeJSON `json:"added"`
	Removed []changeJSON `json:"removed"`
}

type changeJSON struct {
	Prefix string `json:"prefix"`
	Region string `json:"region"`
}

func rangesUpdateCommand(format *string) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "update FILE",
		Short: "check a new ip-ranges.json on standard input, put it into FILE",
		Long: `Reads AWS's ip-ranges.json from standard input, checks it, and replaces FILE,
for --ranges, with it in one step. dynwatch itself downloads nothing.

A file without DYNAMODB prefixes, one older than FILE or the built-in edition,
one without a date, and one that lost more than half of the prefixes are
refused; all but the first can be forced.`,
		Example: "  curl -s https://ip-ranges.amazonaws.com/ip-ranges.json |\n    dynwatch ranges update /var/lib/dynwatch/ip-ranges.json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(*format); err != nil {
				return err
			}
			if isTerminal(cmd.InOrStdin()) {
				return &hinted{usagef("ranges update reads the new file from standard input"), "see the example in --help"}
			}
			d, err := rangefile.Install(args[0], cmd.InOrStdin(), force)
			switch {
			case errors.Is(err, rangefile.ErrOlder), errors.Is(err, rangefile.ErrUndated), errors.Is(err, rangefile.ErrShrunk):
				return &hinted{fmt.Errorf("ranges update: %w", err), args[0] + " was left as it was; --force takes the new one all the same"}
			case err != nil:
				return fmt.Errorf("ranges update: %w", err)
			}
			return printUpdate(cmd.OutOrStdout(), args[0], &d, *format == "json")
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "accept an older or undated file, and one that lost more than half of the prefixes")
	return cmd
}

func printUpdate(w io.Writer, name string, d *endpoint.Diff, asJSON bool) error {
	u := updateJSON{File: name, Edition: d.New.CreateDate.UTC().Format(time.RFC3339), Added: []changeJSON{}, Removed: []changeJSON{}}
	for _, p := range d.Added {
		u.Added = append(u.Added, changeJSON{p.Prefix.String(), p.Region})
	}
	for _, p := range d.Removed {
		u.Removed = append(u.Removed, changeJSON{p.Prefix.String(), p.Region})
	}
	if asJSON {
		return output.NewEncoder(w).Encode(u)
	}
	var b strings.Builder
	for _, c := range u.Added {
		fmt.Fprintf(&b, "+ %s %s\n", c.Prefix, c.Region)
	}
	for _, c := range u.Removed {
		fmt.Fprintf(&b, "- %s %s\n", c.Prefix, c.Region)
	}
	fmt.Fprintf(&b, "%s: edition of %s, %d DYNAMODB prefixes added, %d removed\n", name, u.Edition, len(u.Added), len(u.Removed))
	_, err := io.WriteString(w, b.String())
	return err
}
