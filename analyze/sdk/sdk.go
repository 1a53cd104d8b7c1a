// Package sdk guesses which AWS SDK, HTTP library or language a session's client is made with, so that a finding can be mended where it arises.
//
// It is a guess: programs may say anything of themselves, and many share a TLS library. The session says what it rests on, and no rule asks for it.
package sdk

import "github.com/dynwatch/dynwatch/analyze/session"

// What a guess rests on, in the order in which it is asked. flow.Process.SDKBy is one of those of a process.
const (
	ByUserAgent   = "user-agent"   // what the client says of itself in a cleartext request
	ByProgram     = "program"      // the path and arguments of the program
	ByLibraries   = "libraries"    // the names of the libraries that the process has mapped
	ByModules     = "modules"      // what a Go program says that it is built of
	ByClientHello = "client-hello" // the shape of its ClientHello (as JA3 and JA4 sum it up)
)

// Guess looks at all that a session tells. Its Name is empty if that is nothing.
func Guess(s *session.Session) session.SDK {
	if s.HTTP != nil {
		if name := FromUserAgent(s.HTTP.UserAgent); name != "" {
			return session.SDK{Name: name, By: ByUserAgent}
		}
	}
	if p := s.Process; p != nil && p.SDK != "" {
		return session.SDK{Name: p.SDK, By: p.SDKBy}
	}
	if s.TLS != nil {
		if name := FromHello(s.TLS); name != "" {
			return session.SDK{Name: name, By: ByClientHello}
		}
	}
	return session.SDK{}
}
