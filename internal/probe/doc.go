// Package probe connects to a DynamoDB endpoint itself and judges what answers.
//
//	p := probe.New(probe.Options{Endpoints: set, Trust: store, Policy: policy})
//	for _, r := range p.Probe(ctx, probe.Target{Host: "dynamodb.eu-central-1.amazonaws.com", Port: 443}) { … }
//
// A probe resolves the name, and opens some connections to each address: one as an ordinary client of today would make it, whose handshake
// is completed and ended without a request, and one for each older version that ends with the server's answer. What passes is taped and
// given to package analyze as the segments of a capture, with the secrets of the own handshakes, so that a probe has the words, the trust
// and the rules that a session on the wire has. Rules about a client's behaviour are left out: the client is ours.
//
// Certificates are judged, and decide nothing about the connection: over a bad one the handshake goes on, since nothing is sent
// afterwards, no request, no credential. Keeper is the form for a long-running program: rarely, jittered, bounded, remembered.
// Own tells such a program's connections from those that it watches.
//
// What a probe saw is true of the probe's own connection. Whoever stands in the path of one process need not stand in that of another, and
// an interceptor may well tell us from a client. So it is never a proof about another connection.
//
// Servers are taken for hostile: every connection has a deadline and a limit of bytes, every list a limit.
package probe
