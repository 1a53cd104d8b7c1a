// Package dnswire reads DNS responses (RFC 1035) for one purpose: which addresses did a name lead to.
//
//	question dynamodb.us-east-1.amazonaws.com A
//	answer   52.94.0.10, 60 s          → Answer{Question: "dynamodb.us-east-1.amazonaws.com", Addrs: [52.94.0.10], TTL: 60 s}
//
// Parse reads one message, as a UDP datagram holds it; Stream cuts the messages out of a TCP connection. MightConcern is a cheap look
// ahead of Parse, for callers that see all of a host's DNS and care for a few names.
//
// Only what belongs to the question counts: the records of its name, and of the names that CNAMEs (and SVCB aliases) lead to from there.
// What else a response carries, authority and additional sections above all, is never believed. Whether the response answers a query
// that was really asked is for the caller to judge by ports and id; so is what a name means.
//
// Encrypted DNS (DoT, DoH), multicast DNS's conventions and DNSSEC are out of scope.
package dnswire
