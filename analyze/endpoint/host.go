package endpoint

import (
	"strconv"
	"strings"
)

// maxHost is the longest host name in text form, without a trailing dot (RFC 1035, Section 2.3.4, less the length and root octets).
const maxHost = 253

// splitHost takes the host of "host", "host.", "host:port" or "host:" (RFC 3986, Section 3.2.3 allows an empty port) and its port, 0 if
// there is none. ok is false when what follows the colon is no port, or the host is empty or longer than a name can be.
// An IPv6 literal is not taken apart; it is no name, and its last group may look like a port, which does no harm here.
func splitHost(s string) (host string, port uint16, ok bool) {
	// Find ":digits" from the end. A port has at most five digits; more are refused rather than searched through.
	i := len(s)
	for i > 0 && len(s)-i < 6 && '0' <= s[i-1] && s[i-1] <= '9' {
		i--
	}
	if i > 0 && s[i-1] == ':' {
		if digits := s[i:]; digits != "" {
			n, err := strconv.ParseUint(digits, 10, 16)
			if err != nil || n == 0 {
				return "", 0, false
			}
			port = uint16(n)
		}
		s = s[:i-1]
	}
	if n := len(s); n > 0 && s[n-1] == '.' {
		s = s[:n-1]
	}
	if s == "" || len(s) > maxHost {
		return "", 0, false
	}
	return s, port, true
}

// lowerASCII is strings.ToLower for ASCII letters only; it returns s itself when there is nothing to change.
func lowerASCII(s string) string {
	for i := range len(s) {
		if c := s[i]; 'A' <= c && c <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				b[i] = lower(b[i])
			}
			return string(b)
		}
	}
	return s
}

// cutLast cuts s around its last dot: "a.b.c" is "a.b" and "c". Without a dot all of s is the label, and rest is empty.
func cutLast(s string) (rest, label string) {
	if i := strings.LastIndexByte(s, '.'); i >= 0 {
		return s[:i], s[i+1:]
	}
	return "", s
}
