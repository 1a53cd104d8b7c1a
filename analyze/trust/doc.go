// Package trust judges the certificate chain that a server showed.
//
// The question is whether signatures lead from the server's leaf to a key that may speak for DynamoDB: by default one of the Amazon
// Trust Services roots that are built in, and what the operator allowed besides. Names decide nothing: anybody can make a certificate
// that says "CN=Amazon RSA 2048 M01,O=Amazon,C=US". docs/trust.md tells the whole story with its limits.
//
//	store, err := trust.NewStore(trust.Policy{})
//	result := store.Judge(chain, trust.Query{Name: "dynamodb.us-east-1.amazonaws.com", At: packetTime, TimeKnown: true})
//	result.Trust // session.TrustAmazon, session.TrustForged, ...
//
// How a chain is read. The leaf is the first certificate as sent (RFC 8446, Section 4.4.2; RFC 5246, Section 7.4.2); the others are an
// unordered bag from which paths are built: each step needs that the names chain and that the issuer's key verifies the signature. A
// root is a subject and a public key, not a certificate, so that cross-signed variants of it do not matter; a root in the message
// proves nothing. Dates and the host name are judged afterwards, at the packet's time. There is no network fetch, no host store, no
// clock, and no memory of intermediates: one chain never helps another. A file replays the same on every host.
//
// Certificates are read twice. ParseCertificate is a lenient reader of this package that gives issuer, subject, validity, key and
// names even where crypto/x509 refuses (a negative serial number, odd dates, trailing bytes); all judgement rests on it and on
// signatures checked with the crypto packages directly, because crypto/x509 does not check SHA-1 at all. crypto/x509 itself is asked
// only whether it would have read the leaf, and for the host name match.
//
// Input is hostile: certificates, names, signature checks and the cache are all bounded, and what exceeded a bound is reported.
package trust
