package e2e

import (
	"fmt"
	"runtime"
)

// crt are clients over Python's binding of the AWS Common Runtime, whose TLS is s2n over OpenSSL's libcrypto, which has probes of its own; package libraries tries
// npm's, over AWS-LC.
// A refusal is left out: s2n waits for 10 to 30 seconds before it lets anybody know.
func crt() []*scenario {
	var all []*scenario
	for _, x := range []struct {
		version int // of versions
		chain   chain
		verify  bool
	}{
		{2, good, true}, {2, good, false}, {2, forged, false}, {2, wrongName, false},
		{3, good, true}, {3, good, false}, {3, forged, false}, {3, corp, false}, {3, selfSigned, false}, {3, expired, false}, {3, wrongName, false},
	} {
		v, trusted := versions[x.version], "@DIR@/roots.pem"
		if !x.verify {
			trusted = "insecure"
		}
		s := &scenario{
			name:   fmt.Sprintf("crt %s %s verify=%t", v.ours, x.chain, x.verify),
			client: "crt", region: v.region, server: server{chain: x.chain, versions: v.nginx}, unprobed: runtime.GOARCH != "amd64", nameless: true,
			args: []string{regional(v.region), trusted, v.ours[len("TLS "):]},
			want: tlsWant(x.chain, v.ours, !x.verify),
		}
		all = append(all, s)
	}
	return all
}
