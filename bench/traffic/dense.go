package traffic

import "fmt"

// What makes a Dense capture dense.
const (
	densePackets = 127 // for each TLS session
	denseAverage = 350 // bytes of a packet
)

// planDense plans a capture of o.Size bytes with as many TLS sessions as that gives.
func planDense(r *recorder, o Options) (*plan, error) {
	sessions := int(o.Size / (densePackets * (denseAverage + recordHeader)))
	if sessions < 100 {
		return nil, fmt.Errorf("%w: %d bytes are too few for a hundred TLS sessions", ErrOptions, o.Size)
	}
	p := &plan{rnd: r.rnd, length: int64(sessions) * 25e6}
	p.duration = p.length / 20
	if err := p.addDynamoDB(r, sessions/100); err != nil {
		return nil, err
	}
	pool, err := r.pool(200, 8, 900)
	if err != nil {
		return nil, err
	}
	lookups, err := r.lookups()
	if err != nil {
		return nil, err
	}
	tls := 0
	for i := range p.flows {
		if p.flows[i].script.tls {
			tls++
		}
	}
	p.addSome(sessions-tls, pool)

	// What is between the sessions: light packets while the average is above the wanted one, else heavy ones.
	light := append(several(20, r.database), lookups[:20]...)
	light = append(light, empty(), scan(true), scan(false), r.ping(), whoHas())
	heavy := append(several(20, func() *script { return r.web(4000) }), several(10, func() *script { return r.quic(20) })...)
	for p.packets < int64(sessions)*densePackets {
		if p.bytes > p.packets*(denseAverage+recordHeader) {
			p.addSome(1, light)
		} else {
			p.addSome(1, heavy)
		}
	}
	p.schedule()
	return p, nil
}
