// Package httpwire reads cleartext HTTP/1.x (and the requests of cleartext HTTP/2) passively, from the two byte streams of one
// connection, and tells the message heads it sees with what they exposed.
//
// It is pure and incremental: the caller feeds each side's bytes in stream order, in any split, and is told of one event at a time:
//
//	for len(data) > 0 {
//		n, event := conn.Feed(from, data)
//		data = data[n:]
//		switch event {
//		case httpwire.RequestHead:
//			note(conn.Request())
//		case httpwire.ResponseHead:
//			note(conn.Response())
//		case httpwire.TableNames:
//			noteTables(conn.Request().Tables)
//		case httpwire.Tunnelled: // behind a CONNECT: these bytes and all later ones of this side are another protocol's
//			inner.Feed(from, data)
//			return
//		case httpwire.Unreadable:
//			note(conn.Err(from))
//		}
//	}
//
// # What counts as a request
//
// Only a head at a message boundary (RFC 9112): bodies are stepped over by Content-Length or chunked coding and never searched, so
// a request quoted in a body, a URL, a User-Agent or a stored object is none. After a gap, and at the start of a flow whose
// beginning was not captured, the boundary is unknown; reading then takes up again only where a segment begins with a whole request
// or status line, and the head says Resynced.
//
// # Secrets
//
// Of Authorization, X-Amz-Security-Token, Proxy-Authorization, Cookie, userinfo and presigned queries only presence, scheme and scope
// are told, and the access key id masked. No Request or Response ever holds more. A head that arrives in pieces waits in a buffer
// that is cleared when the head is complete; an HTTP/2 connection's header compression table lives as long as its Conn is read.
//
// # What it does not do
//
// It judges no host names (package endpoint does), keeps no bodies, decodes no content codings, and ends at an upgrade (101).
package httpwire
