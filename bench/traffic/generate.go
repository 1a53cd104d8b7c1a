package traffic

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
)

// Kind is a kind of capture.
type Kind string

// The kinds.
const (
	// Mixed is a capture of many hosts' traffic: Options.Flows TCP flows, one in a hundred DynamoDB's, beside UDP, ICMP and ARP.
	Mixed Kind = "mixed"
	// Dense has one TLS session in 127 packets of 350 bytes on average, TLS 1.3 and 1.2 as 3 to 2, one in a hundred DynamoDB's.
	Dense Kind = "dense"
)

// Options say what to make.
type Options struct {
	Kind Kind
	// Size is the file's in bytes, met within a few per cent.
	Size int64
	// Flows is how many TCP flows a Mixed capture has; a Dense one's follow from its size.
	Flows int
	Seed  uint64
}

// ErrOptions is wrapped by the errors of Generate that are the caller's fault.
var ErrOptions = errors.New("these options do not go together")

// Generate writes a capture file and says what is in it.
func Generate(w io.Writer, o Options) (*Manifest, error) {
	rnd := rand.New(rand.NewPCG(o.Seed, 0x64796e7761746368))
	r, err := newRecorder(rnd)
	if err != nil {
		return nil, fmt.Errorf("make certificates: %w", err)
	}
	var p *plan
	switch o.Kind {
	case Mixed:
		p, err = planMixed(r, o)
	case Dense:
		p, err = planDense(r, o)
	default:
		err = fmt.Errorf("%w: kind %q is neither mixed nor dense", ErrOptions, o.Kind)
	}
	if err != nil {
		return nil, err
	}
	m := &Manifest{Kind: o.Kind, Seed: o.Seed, DynamoDB: make(map[string]int), Verdicts: make(map[string]int), CA: string(r.amazonRoot.PEM())}
	for i := range p.flows {
		s := p.flows[i].script
		if s.proto == tcp {
			m.Flows++
			if s.hasPayload() {
				m.Payload++
			}
		}
		if s.tls {
			m.TLS++
		}
		if s.dynamodb != "" {
			m.DynamoDB[s.dynamodb]++
			m.Verdicts[s.verdict]++
		}
	}
	return m, newPlayer(w, rnd, m).play(p.next)
}
