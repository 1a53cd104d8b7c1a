package trust

import "github.com/dynwatch/dynwatch/analyze/session"

// Describe tells of a certificate what output shows; fields that were not read, or lie behind the damage of a partial one, are empty.
func (p *Parsed) Describe() *session.Certificate { return describeLeaf(p, 0) }
