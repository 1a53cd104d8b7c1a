package endpoint

import "strings"

// The services.
const (
	DynamoDB = "dynamodb"
	Streams  = "dynamodb-streams"
	DAX      = "dax"
	Local    = "dynamodb-local"
)

// The kinds of endpoint.
const (
	KindPublic    = "public"
	KindFIPS      = "fips"
	KindDualStack = "dual-stack"
	KindAccount   = "account"
	KindInterface = "interface"
	KindLocal     = "local"
)

// Name is what a host name says about itself. Empty fields are unknown. Strings may share memory with the host that was parsed.
type Name struct {
	// Service is DynamoDB, Streams, DAX or Local. Variants such as search-dynamodb are DynamoDB.
	Service string
	// Region as AWS writes it, us-east-1. Unknown for the older DAX cluster names, which bear a short form of it, and for an
	// operator's name.
	Region string
	// Partition is aws, aws-cn, aws-us-gov, aws-eusc, aws-iso, aws-iso-b, aws-iso-e or aws-iso-f.
	Partition string
	// Kind is one of the Kind constants. What two of them fit has the narrower promise: a FIPS dual-stack name is fips, an account-based
	// or PrivateLink name is account or interface also where it is dual-stack. In us-gov the plain name is public though SDKs send FIPS
	// clients to it. Empty for a DAX cluster or node: those are private addresses in a VPC, yet no interface endpoints.
	Kind string
	// Account is the twelve-digit AWS account id of an account-based name. See MaskHost before it is shown.
	Account string
	// VPCE is the interface endpoint's id with its suffix, vpce-0f1e2d3c4b5a69788-abcdefgh; Zone the availability zone of a zonal name.
	VPCE, Zone string
}

// ParseName reads the host name of a DynamoDB, DynamoDB Streams or DAX endpoint, in any case, with or without a trailing dot and a port.
//
// It accepts exactly the names that AWS's SDKs form (their endpoint rules) and the PrivateLink and DAX cluster names that AWS documents.
// Look-alikes, other services and the service principal dynamodb.amazonaws.com are not; nor are localhost and bare addresses, which
// only the traffic itself can make DynamoDB's. It does not allocate for names outside AWS's suffixes, nor for lower-case names.
func ParseName(host string) (Name, bool) {
	host, _, ok := splitHost(host)
	if !ok {
		return Name{}, false
	}
	suf := findSuffix(host)
	if suf == nil {
		return Name{}, false
	}
	return parseBelow(lowerASCII(host[:len(host)-len(suf.text)]), suf)
}

// parseBelow reads the labels in front of an AWS suffix, in lower case.
func parseBelow(rest string, suf *suffix) (Name, bool) {
	rest, label := cutLast(rest)
	linked := label == "vpce"
	if linked {
		rest, label = cutLast(rest)
	}
	if label == "cache" && !linked {
		return parseElasticDAX(rest, suf)
	}
	for _, i := range suf.in {
		if p := &partitions[i]; p.matchRegion(label) {
			n, ok := p.parseService(rest, linked, suf.dual)
			if !ok {
				return Name{}, false
			}
			n.Region, n.Partition = label, p.id
			return n, true
		}
	}
	return Name{}, false
}

// parseService reads the labels in front of the region.
func (p *partition) parseService(s string, linked, dual bool) (Name, bool) {
	if linked {
		return p.parseInterface(s, dual)
	}
	kind := KindPublic
	if dual {
		kind = KindDualStack
	}
	switch s {
	case "dynamodb", "search-dynamodb":
		return Name{Service: DynamoDB, Kind: kind}, true
	case "dynamodb-fips", "search-dynamodb-fips":
		return Name{Service: DynamoDB, Kind: KindFIPS}, true
	case "streams.dynamodb":
		return Name{Service: Streams, Kind: kind}, !dual || !p.streamsDash
	case "streams.dynamodb-fips":
		return Name{Service: Streams, Kind: KindFIPS}, !dual || !p.streamsDash
	case "streams-dynamodb":
		return Name{Service: Streams, Kind: kind}, dual && p.streamsDash
	case "streams-dynamodb-fips":
		return Name{Service: Streams, Kind: KindFIPS}, dual && p.streamsDash
	case "dax":
		return Name{Service: DAX, Kind: kind}, true
	case "dax-fips":
		return Name{Service: DAX, Kind: KindFIPS}, true
	}
	rest, label := cutLast(s)
	switch label {
	case "ddb", "search-ddb":
		return Name{Service: DynamoDB, Kind: KindAccount, Account: rest}, p.accounts && isAccount(rest)
	case "dax-clusters":
		node, _ := strings.CutSuffix(rest, ".nodes")
		return Name{Service: DAX}, !dual && (isDAXCluster(rest) || isDAXCluster(node))
	}
	return Name{}, false
}

// parseInterface reads "vpce-ID-SUFFIX[-ZONE].[streams.]dynamodb".
func (p *partition) parseInterface(s string, dual bool) (Name, bool) {
	first, service, _ := strings.Cut(s, ".")
	n := Name{Kind: KindInterface}
	switch service {
	case "dynamodb":
		n.Service = DynamoDB
	case "streams.dynamodb":
		if dual { // no source names one
			return Name{}, false
		}
		n.Service = Streams
	}
	if n.Service == "" || dual && !p.linkDual || !p.link {
		return Name{}, false
	}
	var ok bool
	n.VPCE, n.Zone, ok = cutVPCE(first)
	return n, ok
}

// cutVPCE takes "vpce-HEX-ALNUM" and, after a further dash, a zone such as us-east-1a.
func cutVPCE(label string) (id, zone string, ok bool) {
	rest, ok := strings.CutPrefix(label, "vpce-")
	if !ok {
		return "", "", false
	}
	hex, rest, ok := strings.Cut(rest, "-")
	if !ok || hex == "" {
		return "", "", false
	}
	for i := range len(hex) {
		if c := hex[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", "", false
		}
	}
	tail, zone, zonal := strings.Cut(rest, "-")
	if !allLowerAlnum(tail) || zonal && !isZone(zone) {
		return "", "", false
	}
	return label[:len("vpce-")+len(hex)+1+len(tail)], zone, true
}

// isZone is ^[a-z]{2}[a-z0-9-]*[0-9][a-z]$: a region and the zone's letter, local zones included.
func isZone(s string) bool {
	n := len(s)
	if n < 4 || !isLetter(s[0]) || !isLetter(s[1]) || s[n-2] < '0' || s[n-2] > '9' || !isLetter(s[n-1]) {
		return false
	}
	for i := range n {
		if !isLowerAlnum(s[i]) && s[i] != '-' {
			return false
		}
	}
	return true
}

// parseElasticDAX reads the older DAX cluster names, CLUSTER.ID.clustercfg.dax.SHORTREGION.cache.amazonaws.com; rest ends before ".cache".
func parseElasticDAX(rest string, suf *suffix) (Name, bool) {
	p := &partitions[suf.in[0]]
	if suf.dual || !p.elasticDAX {
		return Name{}, false
	}
	rest, short := cutLast(rest)
	rest, ok := strings.CutSuffix(rest, ".clustercfg.dax")
	if !ok || !allLowerAlnum(short) {
		return Name{}, false
	}
	cluster, id := cutLast(rest)
	if cluster == "" || !allLowerAlnum(id) {
		return Name{}, false
	}
	for i := range len(cluster) {
		if !isLowerAlnum(cluster[i]) && cluster[i] != '-' {
			return Name{}, false
		}
	}
	return Name{Service: DAX, Partition: p.id}, true
}

// isDAXCluster is ^[a-z][a-z0-9-]*\.[a-z0-9]+$: a cluster's or a node's name and the cluster's id.
func isDAXCluster(s string) bool {
	name, id, ok := strings.Cut(s, ".")
	if !ok || name == "" || !isLetter(name[0]) || !allLowerAlnum(id) {
		return false
	}
	for i := range len(name) {
		if !isLowerAlnum(name[i]) && name[i] != '-' {
			return false
		}
	}
	return true
}

func isAccount(s string) bool { return len(s) == 12 && allDigits(s) }

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' }

func allLowerAlnum(s string) bool {
	for i := range len(s) {
		if !isLowerAlnum(s[i]) {
			return false
		}
	}
	return s != ""
}
