package endpoint

import "strings"

// A partition is a group of AWS regions with its own suffixes. regionPrefixes and the rest of the pattern (see matchRegion) are what
// the SDKs' partitions.json gives as regionRegex.
type partition struct {
	id string
	// dns and dual are the suffixes of IPv4-only and dual-stack names, without a leading dot.
	dns, dual string
	// regionPrefixes is what a region starts with, each with its closing dash.
	regionPrefixes []string
	// accounts: account-based names exist here.
	accounts bool
	// link, linkDual: interface endpoint names are known to exist below dns and below dual.
	link, linkDual bool
	// streamsDash: the dual-stack name of Streams is streams-dynamodb.R, not streams.dynamodb.R (botocore's dynamodbstreams rules).
	streamsDash bool
	// elasticDAX: the older DAX cluster names below cache.SUFFIX exist here (aws-dax-go-v2).
	elasticDAX bool
}

// The partitions, indexed by the constants below. Source: dynamodb v1.73.1 of the AWS SDK for Go v2 and botocore 1.43.67, which agree.
const (
	pAWS = iota
	pCN
	pGov
	pEUSC
	pISO
	pISOB
	pISOE
	pISOF
)

var partitions = [...]partition{
	pAWS: {id: "aws", dns: "amazonaws.com", dual: "api.aws", accounts: true, link: true, linkDual: true, streamsDash: true, elasticDAX: true,
		regionPrefixes: []string{"us-", "eu-", "ap-", "sa-", "ca-", "me-", "af-", "il-", "mx-"}},
	pCN: {id: "aws-cn", dns: "amazonaws.com.cn", dual: "api.amazonwebservices.com.cn", link: true, streamsDash: true,
		regionPrefixes: []string{"cn-"}},
	pGov: {id: "aws-us-gov", dns: "amazonaws.com", dual: "api.aws", link: true, linkDual: true, streamsDash: true,
		regionPrefixes: []string{"us-gov-"}},
	pEUSC: {id: "aws-eusc", dns: "amazonaws.eu", dual: "api.amazonwebservices.eu", regionPrefixes: []string{"eusc-de-"}},
	pISO:  {id: "aws-iso", dns: "c2s.ic.gov", dual: "api.aws.ic.gov", regionPrefixes: []string{"us-iso-"}},
	pISOB: {id: "aws-iso-b", dns: "sc2s.sgov.gov", dual: "api.aws.scloud", regionPrefixes: []string{"us-isob-"}},
	pISOE: {id: "aws-iso-e", dns: "cloud.adc-e.uk", dual: "api.cloud-aws.adc-e.uk", regionPrefixes: []string{"eu-isoe-"}},
	pISOF: {id: "aws-iso-f", dns: "csp.hci.ic.gov", dual: "api.aws.hci.ic.gov", regionPrefixes: []string{"us-isof-"}},
}

// A suffix is one of the partitions' suffixes with the partitions that share it.
type suffix struct {
	text string // with its leading dot
	in   []uint8
	dual bool
}

// suffixes are grouped by last letter, so that a name which is not AWS's is refused after a comparison or two.
var suffixes = [128][]suffix{
	'm': {{".amazonaws.com", []uint8{pAWS, pGov}, false}},
	's': {{".api.aws", []uint8{pAWS, pGov}, true}},
	'n': {{".amazonaws.com.cn", []uint8{pCN}, false}, {".api.amazonwebservices.com.cn", []uint8{pCN}, true}},
	'u': {{".amazonaws.eu", []uint8{pEUSC}, false}, {".api.amazonwebservices.eu", []uint8{pEUSC}, true}},
	'v': {
		{".c2s.ic.gov", []uint8{pISO}, false}, {".api.aws.ic.gov", []uint8{pISO}, true},
		{".sc2s.sgov.gov", []uint8{pISOB}, false},
		{".csp.hci.ic.gov", []uint8{pISOF}, false}, {".api.aws.hci.ic.gov", []uint8{pISOF}, true},
	},
	'd': {{".api.aws.scloud", []uint8{pISOB}, true}},
	'k': {{".cloud.adc-e.uk", []uint8{pISOE}, false}, {".api.cloud-aws.adc-e.uk", []uint8{pISOE}, true}},
}

// findSuffix returns the AWS suffix that host ends in, nil if none, in any case and without allocating. host has no port and no trailing dot.
func findSuffix(host string) *suffix {
	if host == "" {
		return nil
	}
	last := lower(host[len(host)-1])
	if last >= 128 {
		return nil
	}
	group := suffixes[last]
	for i := range group {
		if hasSuffixFold(host, group[i].text) {
			return &group[i]
		}
	}
	return nil
}

// hasSuffixFold reports whether s ends in the lower-case ASCII text suf, in any case. It compares from the end, where strangers differ first.
func hasSuffixFold(s, suf string) bool {
	if len(s) < len(suf) {
		return false
	}
	s = s[len(s)-len(suf):]
	for i := len(suf) - 1; i >= 0; i-- {
		if lower(s[i]) != suf[i] {
			return false
		}
	}
	return true
}

// lower folds ASCII only: Unicode folding would let the Kelvin sign pass for a k, and DNS compares ASCII letters alone (RFC 4343).
func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// matchRegion reports whether region, in lower case, is one of p's: a prefix of the partition, then \w+-\d+.
func (p *partition) matchRegion(region string) bool {
	for _, prefix := range p.regionPrefixes {
		if rest, ok := strings.CutPrefix(region, prefix); ok && wordDashDigits(rest) {
			return true
		}
	}
	return false
}

// wordDashDigits is ^\w+-\d+$ of RE2: ASCII letters, digits and underscore, one dash, digits.
func wordDashDigits(s string) bool {
	word, digits, ok := strings.Cut(s, "-")
	if !ok || word == "" || digits == "" {
		return false
	}
	for i := range len(word) {
		if c := word[i]; !isLowerAlnum(c) && c != '_' && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return allDigits(digits)
}

func isLowerAlnum(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// PartitionOf returns the partition that the region's name belongs to, as "aws-cn" for cn-north-1, or "" for a name that fits none
// (such as GLOBAL in ip-ranges.json).
func PartitionOf(region string) string {
	for i := range partitions {
		if partitions[i].matchRegion(region) {
			return partitions[i].id
		}
	}
	return ""
}

// RegionalName is DynamoDB's public name in a region, "" for a region that fits no partition.
func RegionalName(region string) string {
	for i := range partitions {
		if p := &partitions[i]; p.matchRegion(region) {
			return DynamoDB + "." + region + "." + p.dns
		}
	}
	return ""
}
