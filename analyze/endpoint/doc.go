// Package endpoint answers one question: is this name, or this address, DynamoDB's?
//
// Three sources of knowledge are kept apart, because they prove different things:
//
//   - Names. ParseName reads the host names that AWS's SDKs form for DynamoDB, DynamoDB Streams and DAX in every partition. It is
//     hand-written over a table of partitions (suffixes and region patterns, as in the SDKs' partitions.json) and takes regions from
//     the pattern, not from a closed list.
//   - Addresses. Ranges holds AWS's ip-ranges.json: which prefixes are AWS's, and which of them are tagged DYNAMODB. A copy is
//     built in (Embedded), a newer one can be read (ReadRanges). AWS publishes no DYNAMODB prefixes for IPv6, PrivateLink and DAX
//     addresses are private, so an address alone can prove DynamoDB but never disprove it.
//   - The operator. Set adds the names and prefixes given with --endpoint.
//
// Resolved remembers which addresses a DNS answer of the capture gave for such names.
//
//	set, err := endpoint.NewSet(endpoint.Embedded(), []string{"*.ddb.internal:8000", "10.20.0.0/16"})
//	name, by, ok := set.Name("123456789012.ddb.us-east-1.amazonaws.com", 443) // dynamodb, account, by "name"
//	set.Ranges().IsDynamoDB(flow.IPFrom(netip.MustParseAddr("52.94.5.7")))
//
// The package does not resolve names, does not open files (see rangefile for that) and cannot tell traffic through a gateway endpoint
// from traffic without one: names and addresses are the same.
package endpoint
