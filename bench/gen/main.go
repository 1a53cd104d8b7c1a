// Gen makes a capture file for benchmarks; see package traffic.
//
//	go run ./bench/gen -kind mixed -size 1GB -flows 200000 -seed 1 out.pcap
//
// It writes out.pcap, out.pcap.json (what is in it) and out.pcap.ca.pem (the authority to give to --allow-ca).
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/dynwatch/dynwatch/bench/traffic"
)

func main() {
	var o traffic.Options
	kind := flag.String("kind", "mixed", "mixed or dense")
	size := flag.String("size", "1GB", "size of the file: bytes, or with kB, MB or GB behind it (powers of ten)")
	flag.IntVar(&o.Flows, "flows", 200_000, "TCP flows of a mixed capture")
	flag.Uint64Var(&o.Seed, "seed", 1, "what everything is drawn from")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: gen [flags] FILE")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	var err error
	o.Kind = traffic.Kind(*kind)
	if o.Size, err = traffic.ParseSize(*size); err == nil {
		var m *traffic.Manifest
		if m, err = traffic.Create(flag.Arg(0), o); err == nil {
			fmt.Println(m)
			return
		}
	}
	fmt.Fprintln(os.Stderr, "gen: error:", err)
	os.Exit(1)
}
