// Package tlswire reads the TLS handshake of one TCP connection as an observer sees it: SSL 2.0 to TLS 1.3, drafts included.
//
// A Conn takes the bytes of both directions, in stream order within each direction and in any order between them, and fills a Facts:
// what was offered, what was chosen, the certificates as sent, who refused what. It decides nothing about trust and keeps no
// application data.
//
//	c := tlswire.New(tlswire.Options{})
//	c.Feed(session.Client, clientBytes)
//	c.Feed(session.Server, serverBytes)
//	c.End()
//	f := c.Facts()
//	fmt.Println(f.Version, f.CipherName(), f.ClientHello.SNI, len(f.Chain.Certificates))
//
// # Layers
//
// Three layers, each of which copes with any split of the layer below: the bytes of a segment (record.go), the records (RFC 8446,
// Section 5.1), the handshake messages (messages.go; Section 4). Bytes run through; only a message that is not whole within one
// piece of a record within one Feed is buffered, up to MaxMessage.
//
// # Holes
//
// A capture has holes. Gap tells of them. A hole inside a record or message whose header was seen is stepped over by the
// announced length, and what stood before it in the message is used. Over a hole that swallows a record header the reader waits
// for a Feed that begins with a plausible one. A fact that could stand in a hole is unknown, not absent: see State and session.Tri.
//
// # Time and order
//
// Facts never depend on how the bytes were cut into Feeds, nor on how the directions were interleaved; Facts.EarlyData, an
// inexact Facts.HandshakeEnd and the order of Facts.Alerts are the exceptions and say so. What is known does not change afterwards, except that a second
// ClientHello and ServerHello after a HelloRetryRequest take the place of the first.
//
// # Secrets
//
// With Options.Secrets (a KeyLog, as SSLKEYLOGFILE writes it) the encrypted part of a TLS 1.3 handshake is decrypted: the
// certificate, the CertificateVerify, ALPN, the client's alerts. Encrypted records wait, bounded, for secrets that come late.
// Nothing else is decrypted, and no secret is ever printed.
//
// The package does not validate certificates, does not check signatures (it hands out what is signed), does not read DTLS or
// QUIC, and does not decrypt TLS 1.2.
package tlswire
