package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/dynwatch/dynwatch/analyze/endpoint"
)

// versionJSON is what version -o json prints.
type versionJSON struct {
	Version    string `json:"version"`
	Go         string `json:"go"`
	OS         string `json:"os"`
	Arch       string `json:"arch"`
	RangesDate string `json:"ranges_date"`
}

func versionCommand() *cobra.Command {
	format := "text"
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "print the version, and how old the built-in address ranges are",
		Example: "  dynwatch version\n  dynwatch version -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			if format == "json" {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(versionJSON{version, runtime.Version(), runtime.GOOS, runtime.GOARCH, rangesDate()})
			}
			_, err := io.WriteString(cmd.OutOrStdout(), versionText())
			return err
		},
	}
	formatFlag(cmd, &format)
	return cmd
}

func versionText() string {
	return fmt.Sprintf("dynwatch %s %s/%s %s\naddress ranges of %s\n", version, runtime.GOOS, runtime.GOARCH, runtime.Version(), rangesDate())
}

// rangesDate is the edition of the address ranges that are built in.
func rangesDate() string { return endpoint.Embedded().CreateDate.UTC().Format(time.RFC3339) }
