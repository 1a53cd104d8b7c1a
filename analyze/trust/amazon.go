package trust

import (
	_ "embed"
	"strings"
	"sync"
)

// amazonRootsPEM holds the five roots of Amazon Trust Services: Amazon Root CA 1 to 4 and Starfield Services Root Certificate
// Authority - G2 (https://www.amazontrust.com/repository/). The roots announced for the European Sovereign Cloud ("Amazon RSA 2048
// Root EU M1" and its two sisters) are not published as certificates yet; they are cross-signed by Root CA 1, 3 and 4, so that a chain
// which carries the cross-signed certificate leads here.
//
//go:embed amazon-roots.pem
var amazonRootsPEM []byte

// amazonRoots parses the embedded roots once. They are part of the program, and a test reads them: an error cannot happen.
var amazonRoots = sync.OnceValue(func() []*anchor {
	cas, err := ParseCAFile("amazon-roots.pem", amazonRootsPEM)
	if err != nil {
		panic("trust: embedded roots: " + err.Error())
	}
	var roots []*anchor
	for _, ca := range cas {
		roots = append(roots, newAnchor(anchorAmazon, ca.parsed))
	}
	return roots
})

// isAmazonName reports whether a name is one that an Amazon certificate authority bears, or is meant to be taken for one: that of an
// embedded root, O=Amazon (or Amazon Trust Services) together with the CNs and OUs that its CAs have ("Amazon RSA 2048 M01", "Amazon",
// "Server CA 1B"), or such a CN alone. It is not O=Amazon.com, Inc., which is the name of a customer of CAs. Control characters are
// left out before the comparison. A name proves nothing; this only tells an imitation from an ordinary private CA.
func isAmazonName(raw []byte) bool {
	attributes, _ := readName(raw)
	var cn, o, ou []string
	for _, a := range attributes {
		text, ok := a.text()
		if !ok {
			continue
		}
		text = fold(strings.Map(func(r rune) rune {
			if r < 0x20 || r == 0x7f {
				return -1
			}
			return r
		}, text))
		switch oidString(a.oid) {
		case "2.5.4.3":
			cn = append(cn, text)
		case "2.5.4.10":
			o = append(o, text)
		case "2.5.4.11":
			ou = append(ou, text)
		}
	}
	for _, name := range cn {
		for _, prefix := range []string{"amazon root ca", "amazon rsa ", "amazon ecdsa ", "starfield services root"} {
			if strings.HasPrefix(name, prefix) {
				return true
			}
		}
	}
	organization := false
	for _, name := range o {
		if strings.Contains(name, "amazon trust services") {
			return true
		}
		organization = organization || name == "amazon"
	}
	if !organization {
		return false
	}
	for _, name := range cn {
		if strings.HasPrefix(name, "amazon") && !strings.Contains(name, ".") {
			return true
		}
	}
	for _, name := range ou {
		if strings.HasPrefix(name, "server ca") {
			return true
		}
	}
	return len(cn) == 0
}
