package traffic

import "fmt"

// Shares of a Mixed capture's TCP flows, in one of a thousand. What is left are downloads, which take the bytes that are left as well.
const (
	mixedTLS      = 115
	mixedWeb      = 80
	mixedDatabase = 30
	mixedShell    = 3
	mixedNoise    = 30
	mixedMiddle   = 20
	mixedEmpty    = 200
	mixedRefused  = 282
	mixedSilent   = 220
)

// planMixed plans a capture of o.Flows TCP flows, one in a hundred DynamoDB's.
func planMixed(r *recorder, o Options) (*plan, error) {
	if o.Flows < 100 {
		return nil, fmt.Errorf("%w: %d flows are too few for one in a hundred to be DynamoDB's", ErrOptions, o.Flows)
	}
	// 200,000 flows begin within five minutes, and last a minute on average, but for the half of them that never opens.
	p := &plan{rnd: r.rnd, length: int64(o.Flows) * 1.5e6}
	p.duration = p.length / 5
	if err := p.addDynamoDB(r, o.Flows/100); err != nil {
		return nil, err
	}
	pool, err := r.pool(200, 2, 2000)
	if err != nil {
		return nil, err
	}
	lookups, err := r.lookups()
	if err != nil {
		return nil, err
	}
	of := func(share int) int { return o.Flows * share / 1000 }
	p.addSome(of(mixedTLS), pool)
	p.addSome(of(mixedWeb), several(40, func() *script { return r.web(2500) }))
	p.addSome(of(mixedDatabase), several(20, r.database))
	p.addSome(of(mixedShell), several(5, r.shell))
	p.addSome(of(mixedNoise), several(20, r.noise))
	p.addSome(of(mixedMiddle), several(10, r.middle))
	p.addSome(of(mixedEmpty), []*script{empty()})
	p.addSome(of(mixedRefused), []*script{scan(true)})
	p.addSome(of(mixedSilent), []*script{scan(false)})
	downloads := o.Flows - len(p.flows) // more than one in a hundred, by the shares above
	p.addSome(o.Flows/10, lookups)
	p.addSome(o.Flows/150, several(10, func() *script { return r.quic(10 + r.rnd.IntN(80)) }))
	p.addSome(o.Flows/50, []*script{r.ping(), r.ping()})
	p.addSome(o.Flows/100, []*script{whoHas()})

	scripts := make([]*script, 20)
	for i := range scripts {
		scripts[i] = r.download(pool[i*9])
	}
	first := len(p.flows)
	p.addSome(downloads, scripts)
	p.fill(first, o.Size)
	if p.bytes > o.Size+o.Size/10 {
		return nil, fmt.Errorf("%w: %d flows take %d bytes", ErrOptions, o.Flows, p.bytes)
	}
	p.schedule()
	return p, nil
}

// fill makes the downloads from the index first on long enough for the capture to have size bytes: each draws a share, most of it
// goes to few.
func (p *plan) fill(first int, size int64) {
	downloads := p.flows[first:]
	weights, total := make([]float64, len(downloads)), 0.0
	for i := range weights {
		weights[i] = p.rnd.ExpFloat64()
		weights[i] *= weights[i]
		total += weights[i]
	}
	room := float64(size - p.bytes)
	for i := range downloads {
		d := &downloads[i]
		packets, bytes := d.script.loopWeight()
		if room > 0 {
			d.repeat = int(room*weights[i]/total/float64(bytes) + p.rnd.Float64())
		}
		p.packets += packets * int64(d.repeat)
		p.bytes += bytes * int64(d.repeat)
	}
}
