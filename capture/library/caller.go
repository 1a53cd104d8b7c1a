package library

import (
	"path"
	"strconv"
	"strings"
)

// caller is whose code asks a library for a peer's certificates, or is asked by it to judge them.
type caller uint8

const (
	// callerUnknown may verify them by itself, or compare them with some that it knows.
	callerUnknown caller = iota
	// callerItself is libssl: one of its functions calls another, for who called that.
	callerItself
	// callerCurl is libcurl, which has its library verify them exactly if CURLOPT_SSL_VERIFYPEER says so, and else compares name and dates; its
	// pinning is seen. Libcurl 8.14 also has GnuTLS show it the messages of a handshake: it keeps the tickets among them, and of the others prints the type at most.
	callerCurl
	// callerWget is Wget, which always has its library verify them, and goes on over a bad judgement with --no-check-certificate; its pinning is seen.
	callerWget
	// callerPython is CPython's module ssl. Its own function that judges (3.14.10 and later) adds a short list of keys that are never
	// accepted to what OpenSSL finds, and lets nothing pass that OpenSSL refuses; Python has no way to put another in its place.
	// A program that wants to see a certificate gets it in DER, which is seen.
	callerPython
	// callerNode is Node.js, which gets the leaf to know if there is one; what a script does with it is seen.
	callerNode
)

// callerOf tells by the name of the file that the code is in.
func callerOf(file string) caller {
	switch base := path.Base(file); {
	case strings.HasPrefix(base, "libssl") && isLibrary(base):
		return callerItself
	case strings.HasPrefix(base, "libcurl-gnutls.so."), strings.HasPrefix(base, "libcurl.so."):
		return callerCurl
	case base == "wget":
		return callerWget
	case base == "node", base == "nodejs":
		return callerNode
	case isPythonSSL(base):
		return callerPython
	}
	return callerUnknown
}

// maxPython is the last minor version of Python 3 whose module ssl was looked at: a later one may let programs judge.
const maxPython = 14

// isPythonSSL tells CPython's module ssl by its name, as _ssl.cpython-314-x86_64-linux-gnu.so; letters after the number are of builds with other ABIs.
func isPythonSSL(base string) bool {
	rest, ok := strings.CutPrefix(base, "_ssl.cpython-3")
	if !ok || !strings.HasSuffix(rest, ".so") {
		return false
	}
	minor, _, ok := strings.Cut(rest, "-")
	n, err := strconv.Atoi(strings.TrimRight(minor, "tdmu"))
	return ok && err == nil && n >= 0 && n <= maxPython
}
