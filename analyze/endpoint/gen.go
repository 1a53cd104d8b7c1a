//go:build ignore

// Gen packs AWS's ip-ranges.json into the table that package endpoint embeds.
//
//	go run gen.go -in ip-ranges.json -out ranges.bin
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/dynwatch/dynwatch/analyze/endpoint"
)

func main() {
	in := flag.String("in", "", "ip-ranges.json; without it nothing is done")
	out := flag.String("out", "ranges.bin", "where the packed table goes")
	flag.Parse()
	if *in == "" {
		fmt.Fprintln(os.Stderr, "gen: IP_RANGES_JSON is not set: ranges.bin stays as it is")
		return
	}
	if err := run(*in, *out); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(in, out string) error {
	f, err := os.Open(in)
	if err != nil {
		return err
	}
	defer f.Close()
	ranges, err := endpoint.ReadRanges(f)
	if err != nil {
		return fmt.Errorf("read %s: %w", in, err)
	}
	packed, err := ranges.MarshalBinary()
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "gen: %s: created %s, %d bytes\n", out, ranges.CreateDate.Format("2006-01-02"), len(packed))
	return os.WriteFile(out, packed, 0o644)
}
