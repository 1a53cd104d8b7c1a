package filter

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// parseNumber reads a number as C writes it: decimal, 0x hexadecimal, or octal after a leading zero.
func parseNumber(s string) (uint32, error) {
	digits, base := s, 10
	switch {
	case len(s) > 2 && (s[:2] == "0x" || s[:2] == "0X"):
		digits, base = s[2:], 16
	case len(s) > 1 && s[0] == '0':
		digits, base = s[1:], 8
	}
	n, err := strconv.ParseUint(digits, base, 32)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, fmt.Errorf("number %s does not fit 32 bits", s)
	case err != nil:
		return 0, fmt.Errorf("number %s has a digit that is not octal (a leading zero means octal)", s)
	}
	return uint32(n), nil
}

// parseDotted reads an IPv4 address of two to four parts, as in "192.168". The value has 8 bits per part, right-aligned.
//
// Parts are decimal here whatever they begin with: libpcap's own reader of networks takes them so, and an octal 010 in an address
// is a mistake rather than a wish.
func parseDotted(s string) (value uint32, bits uint8, err error) {
	for part := range strings.SplitSeq(s, ".") {
		n, err := strconv.ParseUint(part, 10, 32)
		if err != nil || n > 255 {
			return 0, 0, fmt.Errorf("bad IPv4 address %q: %q is not a number from 0 to 255", s, part)
		}
		value = value<<8 | uint32(n)
		bits += 8
	}
	return value, bits, nil
}

// parseMAC reads an Ethernet address in one of the forms that lexMAC accepts.
func parseMAC(s string) (mac [6]byte) {
	sep := strings.IndexAny(s, ":-.")
	if sep < 0 || strings.Count(s, ".") == 2 {
		s = strings.ReplaceAll(s, ".", "")
		for i := range mac {
			mac[i] = hexByte(s[2*i : 2*i+2])
		}
		return mac
	}
	for i, part := range strings.Split(s, s[sep:sep+1]) {
		mac[i] = hexByte(part)
	}
	return mac
}

func hexByte(s string) byte {
	n, _ := strconv.ParseUint(s, 16, 8) // the scanner let hexadecimal digits only through
	return byte(n)
}
