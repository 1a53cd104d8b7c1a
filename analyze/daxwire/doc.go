// Package daxwire recognises the cleartext opening of the DAX protocol, which DynamoDB Accelerator speaks on port 8111 (on 9111 the
// same inside TLS), and tells what its authorizeConnection call exposed.
//
// DAX is no HTTP: the client sends a stream of CBOR items (RFC 8949). A connection begins
//
//	"J7yne5G"             text, the magic: 67 4a 37 79 6e 65 35 47
//	0                     unsigned, layering
//	"…"                   text, the session
//	{"UserAgent": "…"}    map
//	0                     unsigned, client mode
//
// and goes on with calls, each a service id, a method id and the arguments. The one that matters is authorizeConnection (service 1,
// method 1489122155), nearly always the first, whose arguments are
//
//	access key id         text
//	signature             text, hex
//	string to sign        bytes: algorithm, time, scope DATE/REGION/dax/aws4_request, hash, by lines
//	session token         text, or null
//	user agent            text, or null
//
// Source: AWS's open client aws-dax-go-v2 (cluster.go, tube.go, request.go).
//
// The Reader keeps no secret: signature and token are stepped over and only their presence is told, the key id is masked at once. It
// reads the client's side alone, ends after the first authorizeConnection, and judges nothing.
package daxwire
