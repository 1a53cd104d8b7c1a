package trust

import (
	"crypto/x509"
	"net"
)

// Limits of what is kept of one certificate's extensions.
const (
	maxExtensions = 64
	// maxNames is how many subject alternative names take part in name checks; the largest seen in public certificates is a few hundred.
	maxNames = 1000
	// maxConstraints is how many subtrees of name constraints are understood; a certificate with more is treated as unreadable.
	maxConstraints = 256
)

// Extensions are those that matter to a judgement (RFC 5280, Section 4.2).
type Extensions struct {
	// BasicConstraints: the extension is there and was read. CA and PathLen are its content; PathLen is -1 if it sets no limit.
	BasicConstraints bool
	CA               bool
	PathLen          int
	// KeyUsage: the extension is there. CertSign is its keyCertSign bit.
	KeyUsage, CertSign bool
	// ExtKeyUsage: the extension is there. ServerAuth: it lists TLS servers, or any purpose. Purposes names the first few.
	ExtKeyUsage, ServerAuth bool
	Purposes                []string
	// DNSNames and IPAddresses of the subjectAltName, as sent, at most 1000 together. A DNS name may hold any byte below 0x80.
	DNSNames    []string
	IPAddresses []net.IP
	// NamesDropped counts the names beyond that limit.
	NamesDropped int
	// OtherNames: the subjectAltName has email, URI or other names that name constraints could speak of.
	OtherNames bool

	constraints *nameConstraints
	// refuse says why no client may accept a path with this certificate, "" if nothing does: an unknown critical extension, one that
	// stands twice, or an unreadable one that limits what the certificate is good for.
	refuse string
}

// mayServe reports whether the certificate may stand for a TLS server.
func (x *Extensions) mayServe() bool { return !x.ExtKeyUsage || x.ServerAuth }

// Object identifiers of extensions in id-ce (2.5.29.x), by their last octet.
const (
	extKeyUsage         = 15
	extSubjectAltName   = 17
	extBasicConstraints = 19
	extNameConstraints  = 30
	extExtKeyUsage      = 37
)

// harmless are the last octets of extensions in id-ce that may be critical without concerning us: policies and their mappings and
// constraints (DynamoDB asks for no policy), key identifiers, revocation pointers.
var harmless = map[byte]bool{14: true, 18: true, 31: true, 32: true, 33: true, 35: true, 36: true, 46: true, 54: true}

func (p *Parsed) readExtensions(wrapper element) {
	x := &p.Extensions
	x.PathLen = -1
	outer := wrapper.inside()
	list, err := outer.next(tagSequence, "extensions")
	if err != nil {
		p.note("extensions unreadable")
		x.refuse = "unreadable extensions"
		return
	}
	seen := make(map[string]bool)
	for r := list.inside(); !r.empty(); {
		ext, err := r.next(tagSequence, "extension")
		if err != nil || len(seen) == maxExtensions {
			p.note("extensions unreadable")
			x.refuse = "unreadable extensions"
			return
		}
		in := ext.inside()
		oid, err := in.next(tagOID, "extnID")
		if err != nil {
			p.note("extension unreadable")
			x.refuse = "unreadable extensions"
			continue
		}
		critical := false
		if in.peek() == tagBoolean {
			if b, err := in.next(tagBoolean, "critical"); err == nil && len(b.content) == 1 {
				critical = b.content[0] != 0
			}
		}
		value, err := in.next(tagOctetString, "extnValue")
		if err != nil {
			p.note("extension %s unreadable", oidString(oid.content))
			x.refuse = "unreadable extensions"
			continue
		}
		if seen[string(oid.content)] {
			p.note("extension %s stands twice", oidString(oid.content))
			x.refuse = "extension " + oidString(oid.content) + " twice"
			continue
		}
		seen[string(oid.content)] = true
		p.readExtension(oid.content, critical, value)
	}
}

func (p *Parsed) readExtension(oid []byte, critical bool, value element) {
	x := &p.Extensions
	id := byte(0)
	if len(oid) == 3 && oid[0] == 0x55 && oid[1] == 0x1d {
		id = oid[2]
	}
	ok := true
	switch id {
	case extBasicConstraints:
		ok = x.readBasicConstraints(value)
	case extKeyUsage:
		ok = x.readKeyUsage(value)
	case extExtKeyUsage:
		ok = x.readExtKeyUsage(value)
	case extNameConstraints:
		if x.constraints, ok = readNameConstraints(value, critical); !ok {
			x.refuse = "unreadable name constraints"
		}
	case extSubjectAltName:
		if ok = x.readSubjectAltName(value); !ok {
			// No name of it counts: it is as if the certificate bore none.
			x.DNSNames, x.IPAddresses = nil, nil
			p.note("subjectAltName unreadable")
			return
		}
		if x.NamesDropped > 0 {
			p.note("%d names beyond the first %d were left aside", x.NamesDropped, maxNames)
		}
	default:
		if critical && !harmless[id] {
			x.refuse = "unknown critical extension " + oidString(oid)
			p.note("%s", x.refuse)
		}
	}
	if !ok {
		p.note("extension %s unreadable", oidString(oid))
		if x.refuse == "" {
			x.refuse = "unreadable extension " + oidString(oid)
		}
	}
}

func (x *Extensions) readBasicConstraints(value element) bool {
	outer := value.inside()
	seq, err := outer.next(tagSequence, "BasicConstraints")
	if err != nil {
		return false
	}
	in := seq.inside()
	ca := false
	if in.peek() == tagBoolean {
		b, err := in.next(tagBoolean, "cA")
		if err != nil || len(b.content) != 1 {
			return false
		}
		ca = b.content[0] != 0
	}
	pathLen := -1
	if in.peek() == tagInteger {
		n, err := in.next(tagInteger, "pathLenConstraint")
		if err != nil {
			return false
		}
		v, ok := smallInt(n.content)
		if !ok {
			return false
		}
		pathLen = v
	}
	if !in.empty() {
		return false
	}
	x.BasicConstraints, x.CA, x.PathLen = true, ca, pathLen
	return true
}

func (x *Extensions) readKeyUsage(value element) bool {
	outer := value.inside()
	usage, err := outer.next(tagBitString, "KeyUsage")
	if err != nil || len(usage.content) < 1 {
		return false
	}
	x.KeyUsage = true
	// keyCertSign is bit 5, counted from the most significant (RFC 5280, Section 4.2.1.3).
	x.CertSign = len(usage.content) > 1 && usage.content[1]&0x04 != 0
	return true
}

// Names of purposes in id-kp (1.3.6.1.5.5.7.3.x), by last octet.
var purposeNames = map[byte]string{
	1: "serverAuth", 2: "clientAuth", 3: "codeSigning", 4: "emailProtection", 8: "timeStamping", 9: "OCSPSigning",
}

func (x *Extensions) readExtKeyUsage(value element) bool {
	outer := value.inside()
	seq, err := outer.next(tagSequence, "ExtKeyUsage")
	if err != nil {
		return false
	}
	x.ExtKeyUsage = true
	for in := seq.inside(); !in.empty(); {
		oid, err := in.next(tagOID, "KeyPurposeId")
		if err != nil {
			return false
		}
		name := ""
		switch c := oid.content; {
		case len(c) == 8 && string(c[:7]) == "\x2b\x06\x01\x05\x05\x07\x03":
			name = purposeNames[c[7]]
		case string(c) == "\x55\x1d\x25\x00":
			name = "any"
		}
		if name == "serverAuth" || name == "any" {
			x.ServerAuth = true
		}
		if name == "" {
			name = oidString(oid.content)
		}
		if len(x.Purposes) < 8 {
			x.Purposes = append(x.Purposes, name)
		}
	}
	return true
}

// Tags of GeneralName (RFC 5280, Section 4.2.1.6).
const (
	generalEmail     = 0x81
	generalDNS       = 0x82
	generalDirectory = 0xa4
	generalURI       = 0x86
	generalIP        = 0x87
)

func (x *Extensions) readSubjectAltName(value element) bool {
	outer := value.inside()
	seq, err := outer.next(tagSequence, "GeneralNames")
	if err != nil {
		return false
	}
	for in := seq.inside(); !in.empty(); {
		name, err := in.any("GeneralName")
		if err != nil {
			return false
		}
		if len(x.DNSNames)+len(x.IPAddresses) == maxNames {
			x.NamesDropped++
			continue
		}
		switch name.tag {
		case generalDNS:
			for _, c := range name.content {
				if c >= 0x80 { // IA5String
					return false
				}
			}
			x.DNSNames = append(x.DNSNames, string(name.content))
		case generalIP:
			if n := len(name.content); n != net.IPv4len && n != net.IPv6len {
				return false
			}
			x.IPAddresses = append(x.IPAddresses, net.IP(name.content))
		default:
			x.OtherNames = true
		}
	}
	return true
}

// bearer is a stand-in for the certificate with its names alone, for crypto/x509 to match host names against (RFC 9525, Section 6): only
// the subjectAltName counts, a wildcard only as the whole left-most label, letters without case.
func (x *Extensions) bearer() *x509.Certificate {
	return &x509.Certificate{DNSNames: x.DNSNames, IPAddresses: x.IPAddresses}
}
