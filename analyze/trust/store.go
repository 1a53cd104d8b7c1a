package trust

import (
	"crypto/sha256"
	"fmt"
)

// Store holds what is trusted, and remembers chains that it verified. It is safe for concurrent use.
type Store struct {
	anchors     anchorSet // Amazon's and the operator's
	pins        map[[sha256.Size]byte]bool
	allowIssuer map[string]bool
	minRSABits  int
	cache       cache
}

// NewStore makes a store that trusts the Amazon Trust Services roots and what the policy allows.
func NewStore(p Policy) (*Store, error) { return newStore(p, amazonRoots()) }

func newStore(p Policy, amazon []*anchor) (*Store, error) {
	s := &Store{
		anchors:     make(anchorSet),
		pins:        make(map[[sha256.Size]byte]bool),
		allowIssuer: make(map[string]bool),
		minRSABits:  p.MinRSABits,
	}
	if s.minRSABits == 0 {
		s.minRSABits = DefaultMinRSABits
	}
	if s.minRSABits < 0 {
		return nil, fmt.Errorf("shortest RSA key of %d bits: want a positive number", p.MinRSABits)
	}
	for _, a := range amazon {
		s.anchors.add(a)
	}
	for _, ca := range p.AllowCA {
		if ca.parsed == nil {
			return nil, fmt.Errorf("allowed CA %q: not from ParseCAFile", ca.Name)
		}
		s.anchors.add(newAnchor(anchorCA, ca.parsed))
	}
	for _, pin := range p.Pins {
		s.pins[pin] = true
	}
	for _, name := range p.AllowIssuer {
		if err := checkIssuerName(name); err != nil {
			return nil, err
		}
		s.allowIssuer[name] = true
	}
	s.cache.init()
	return s, nil
}
