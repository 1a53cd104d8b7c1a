package endpoint

import (
	_ "embed"
	"sync"
)

// To refresh: download https://ip-ranges.amazonaws.com/ip-ranges.json and run
//
//	IP_RANGES_JSON=/path/to/ip-ranges.json go generate ./analyze/endpoint
//
//go:generate go run gen.go -in "$IP_RANGES_JSON" -out ranges.bin

//go:embed ranges.bin
var packedRanges []byte

// Embedded returns the edition that is built in. Its CreateDate says how old it is; a copy some months old misses few prefixes.
// The first call reads the packed table once to build the index, well under a millisecond; rows and service names follow when asked for.
func Embedded() *Ranges { return embedded() }

var embedded = sync.OnceValue(func() *Ranges {
	r, err := unpack(packedRanges)
	if err != nil {
		panic("endpoint: built-in " + err.Error()) // a test unpacks it: this program cannot have been released
	}
	r.Source = "built-in"
	return r
})
