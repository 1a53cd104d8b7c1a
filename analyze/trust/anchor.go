package trust

import (
	"crypto/sha256"
	"sync"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// anchorKind orders what a path can end at, best first.
type anchorKind uint8

const (
	anchorAmazon anchorKind = iota
	anchorCA                // a certificate of --allow-ca
	anchorPin               // a pinned key
	anchorPublic
	anchorNone // a path that leads nowhere
)

// allowedBy is the word of session.Chain.AllowedBy.
var allowedBy = [...]string{anchorAmazon: "amazon-root", anchorCA: "allow-ca", anchorPin: "pin", anchorPublic: "", anchorNone: ""}

// A candidate is a certificate in its role as a step of a path.
type candidate struct {
	*Parsed
	// issuer and subject are canonical, spki is the pin.
	issuer, subject string
	spki            [sha256.Size]byte
}

func newCandidate(p *Parsed) *candidate {
	return &candidate{Parsed: p, issuer: canonicalName(p.RawIssuer), subject: canonicalName(p.RawSubject), spki: sha256.Sum256(p.RawSPKI)}
}

// sameCA reports whether two certificates are of one certificate authority: subject and public key (RFC 4158, Section 2.4.2). Cross-signed
// variants and renewals of a root are the same CA.
func (c *candidate) sameCA(other *candidate) bool {
	return c.spki == other.spki && c.subject == other.subject
}

// An anchor is a certificate where a path may end.
type anchor struct {
	*candidate
	kind anchorKind
}

func newAnchor(kind anchorKind, p *Parsed) *anchor { return &anchor{newCandidate(p), kind} }

// anchorSet finds anchors by canonical subject.
type anchorSet map[string][]*anchor

func (s anchorSet) add(a *anchor) {
	for _, other := range s[a.subject] {
		if other.sameCA(a.candidate) && other.kind == a.kind && other.NotAfter.Equal(a.NotAfter) && other.NotBefore.Equal(a.NotBefore) {
			return
		}
	}
	s[a.subject] = append(s[a.subject], a)
}

// publicRoots parses the roots of the Mozilla program once, on the first chain that leads to no allowed root: about a hundred and
// twenty, two milliseconds. Amazon's are among them and left out here. The list is part of the program, so that a file replays the same
// on every host; a root that Mozilla dropped since, or took in later, is "private".
var publicRoots = sync.OnceValue(func() anchorSet {
	set := make(anchorSet)
	for root := range bundle.Roots() {
		p, err := ParseCertificate(root.Certificate)
		if err != nil || p.Damage != nil || p.Key.Key == nil {
			continue // a test counts that none is lost
		}
		a := newAnchor(anchorPublic, p)
		ours := false
		for _, amazon := range amazonRoots() {
			ours = ours || amazon.spki == a.spki
		}
		if !ours {
			set.add(a)
		}
	}
	return set
})
