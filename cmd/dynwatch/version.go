package main

import (
	"fmt"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/dynwatch/dynwatch/analyze/endpoint"
)

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "print the version, and the date of the address ranges that are built in",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "dynwatch %s %s/%s %s\naddress ranges of %s\n", version, runtime.GOOS, runtime.GOARCH,
				runtime.Version(), endpoint.Embedded().CreateDate.UTC().Format(time.RFC3339))
			return err
		},
	}
}
