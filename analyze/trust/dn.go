package trust

import (
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Limits of names. Real ones have about ten attributes and a hundred characters.
const (
	maxAttributes = 64
	maxDNLength   = 4096 // of the printed form; what is cut off is replaced by "..."
)

// Short names of attribute types as OpenSSL and Zeek print them, by dotted identifier.
var attributeNames = map[string]string{
	"2.5.4.3":                    "CN",
	"2.5.4.4":                    "SN",
	"2.5.4.5":                    "serialNumber",
	"2.5.4.6":                    "C",
	"2.5.4.7":                    "L",
	"2.5.4.8":                    "ST",
	"2.5.4.9":                    "street",
	"2.5.4.10":                   "O",
	"2.5.4.11":                   "OU",
	"2.5.4.12":                   "title",
	"2.5.4.13":                   "description",
	"2.5.4.15":                   "businessCategory",
	"2.5.4.16":                   "postalAddress",
	"2.5.4.17":                   "postalCode",
	"2.5.4.18":                   "postOfficeBox",
	"2.5.4.20":                   "telephoneNumber",
	"2.5.4.41":                   "name",
	"2.5.4.42":                   "GN",
	"2.5.4.43":                   "initials",
	"2.5.4.44":                   "generationQualifier",
	"2.5.4.45":                   "x500UniqueIdentifier",
	"2.5.4.46":                   "dnQualifier",
	"2.5.4.65":                   "pseudonym",
	"2.5.4.72":                   "role",
	"2.5.4.97":                   "organizationIdentifier",
	"0.9.2342.19200300.100.1.1":  "UID",
	"0.9.2342.19200300.100.1.3":  "mail",
	"0.9.2342.19200300.100.1.25": "DC",
	"1.2.840.113549.1.9.1":       "emailAddress",
	"1.2.840.113549.1.9.2":       "unstructuredName",
	"1.2.840.113549.1.9.8":       "unstructuredAddress",
	"1.3.6.1.4.1.311.60.2.1.1":   "jurisdictionL",
	"1.3.6.1.4.1.311.60.2.1.2":   "jurisdictionST",
	"1.3.6.1.4.1.311.60.2.1.3":   "jurisdictionC",
}

// An attribute is one AttributeTypeAndValue of a name.
type attribute struct {
	oid   []byte // content octets
	value element
	first bool // begins a new RDN; else it belongs to the one before it
}

// readName gives the attributes of an RDNSequence in wire order; ok is false if it cannot be read to its end.
func readName(raw []byte) (attributes []attribute, ok bool) {
	r := reader{b: raw}
	name, err := r.next(tagSequence, "name")
	if err != nil || !r.empty() {
		return nil, false
	}
	for in := name.inside(); !in.empty(); {
		rdn, err := in.next(tagSet, "RelativeDistinguishedName")
		if err != nil {
			return attributes, false
		}
		first := true
		for set := rdn.inside(); !set.empty(); first = false {
			pair, err := set.next(tagSequence, "AttributeTypeAndValue")
			if err != nil {
				return attributes, false
			}
			inner := pair.inside()
			oid, err := inner.next(tagOID, "type")
			if err != nil {
				return attributes, false
			}
			value, err := inner.any("value")
			if err != nil || len(attributes) == maxAttributes {
				return attributes, false
			}
			attributes = append(attributes, attribute{oid.content, value, first})
		}
	}
	return attributes, true
}

// FormatDN prints a distinguished name in the form of RFC 2253 from the DER of its RDNSequence: the last RDN first, the parts of one with
// several, the last first too, joined by "+", attribute types as OpenSSL and Zeek name them.
//
// The result is printable ASCII. The characters , + " \ < > and ; are led by a backslash, as are a space at either end and # at the
// beginning; control characters and the octets of UTF-8 beyond ASCII are written as \00, which also keeps a Cyrillic "А" from passing for
// the Latin letter. Values are taken as UTF-8, UTF-16 or UTF-32 by their string type, else as Latin-1. A value of an attribute type that
// has no name here, or that is no string, is printed as # and the hex of its DER, with the dotted OID as type. A name that cannot be read
// to its end is printed as # and hex. Names of more than 4096 characters are cut and end in "...".
func FormatDN(raw []byte) string {
	attributes, ok := readName(raw)
	if !ok {
		return hexDER(raw)
	}
	var b strings.Builder
	for i := len(attributes) - 1; i >= 0; i-- {
		switch {
		case i == len(attributes)-1:
		case attributes[i+1].first:
			b.WriteByte(',')
		default:
			b.WriteByte('+')
		}
		attributes[i].format(&b)
		if b.Len() > maxDNLength {
			return b.String()[:maxDNLength] + "..."
		}
	}
	return b.String()
}

// hexDER prints what is no name, at most 128 octets of it.
func hexDER(raw []byte) string {
	if len(raw) > 128 {
		return "#" + strings.ToUpper(hex.EncodeToString(raw[:128])) + "..."
	}
	return "#" + strings.ToUpper(hex.EncodeToString(raw))
}

func (a attribute) format(b *strings.Builder) {
	dotted := oidString(a.oid)
	name, known := attributeNames[dotted]
	text, isText := a.text()
	switch {
	case known:
		b.WriteString(name)
	case dotted == "":
		b.WriteString("0.0") // an OID that is none
	default:
		b.WriteString(dotted)
	}
	b.WriteByte('=')
	if !known || !isText {
		b.WriteString(hexDER(a.value.raw))
		return
	}
	escapeDN(b, text)
}

// text decodes a string value to UTF-8; octets that are none stay as they are.
func (a attribute) text() (string, bool) {
	c := a.value.content
	switch a.value.tag {
	case tagUTF8String:
		return string(c), true
	case 0x12, 0x13, 0x14, 0x16, 0x1a, 0x1b: // NumericString, PrintableString, TeletexString (T61), IA5String, VisibleString, GeneralString
		for _, x := range c {
			if x >= utf8.RuneSelf {
				runes := make([]rune, len(c))
				for i, x := range c {
					runes[i] = rune(x)
				}
				return string(runes), true
			}
		}
		return string(c), true
	case tagBMPString:
		if len(c)%2 != 0 {
			return "", false
		}
		units := make([]uint16, len(c)/2)
		for i := range units {
			units[i] = uint16(c[2*i])<<8 | uint16(c[2*i+1])
		}
		return string(utf16.Decode(units)), true
	case tagUniversalString:
		if len(c)%4 != 0 {
			return "", false
		}
		runes := make([]rune, len(c)/4)
		for i := range runes {
			v := uint32(c[4*i])<<24 | uint32(c[4*i+1])<<16 | uint32(c[4*i+2])<<8 | uint32(c[4*i+3])
			if v > utf8.MaxRune {
				v = utf8.RuneError
			}
			runes[i] = rune(v)
		}
		return string(runes), true
	}
	return "", false
}

const upperHex = "0123456789ABCDEF"

func escapeDN(b *strings.Builder, s string) {
	for i := range len(s) {
		switch c := s[i]; {
		case c < 0x20 || c >= 0x7f:
			b.WriteByte('\\')
			b.WriteByte(upperHex[c>>4])
			b.WriteByte(upperHex[c&15])
		case strings.IndexByte(`,+"\<>;`, c) >= 0, c == '#' && i == 0, c == ' ' && (i == 0 || i == len(s)-1):
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
}

// canonicalName is a form of a name in which two names are equal if RFC 5280, Section 7.1 takes them for equal: whatever the string
// type, without regard to the case of ASCII letters and to extra spaces. Every RDN ends in a zero byte after its attributes, so that a
// name lies below another in the directory if that other is its prefix. "" for an empty name. A name that cannot be read equals only
// itself.
func canonicalName(raw []byte) string {
	attributes, ok := readName(raw)
	if !ok {
		return "!" + string(raw)
	}
	var b strings.Builder
	for start := 0; start < len(attributes); {
		end := start + 1
		for end < len(attributes) && !attributes[end].first {
			end++
		}
		if end == start+1 {
			b.WriteString(attributes[start].canonical())
		} else { // a SET has no order
			parts := make([]string, 0, end-start)
			for _, a := range attributes[start:end] {
				parts = append(parts, a.canonical())
			}
			slices.Sort(parts)
			for _, part := range parts {
				b.WriteString(part)
			}
		}
		b.WriteByte(0)
		start = end
	}
	return b.String()
}

// canonical is unambiguous by the length that leads the value.
func (a attribute) canonical() string {
	text, isText := a.text()
	if isText {
		text = fold(text)
	} else {
		text = string(a.value.raw)
	}
	return oidString(a.oid) + "=" + strconv.Itoa(len(text)) + ":" + text
}

// fold lowers ASCII letters, and drops spaces at the ends and all but one between words.
func fold(s string) string {
	out := make([]byte, 0, len(s))
	for i := range len(s) {
		c := s[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c == ' ' && (len(out) == 0 || out[len(out)-1] == ' ') {
			continue
		}
		out = append(out, c)
	}
	if n := len(out); n > 0 && out[n-1] == ' ' {
		out = out[:n-1]
	}
	return string(out)
}
