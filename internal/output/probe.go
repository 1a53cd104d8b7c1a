package output

import (
	"github.com/dynwatch/dynwatch/analyze/session"
)

// Probe writes what an own connection showed.
func (j *JSON) Probe(p *session.Probe) error { return j.enc.Encode(probeObject(p)) }

type resolutionJSON struct {
	By        string        `json:"by"`
	Resolver  string        `json:"resolver,omitempty"`
	Name      string        `json:"name,omitempty"`
	Aliases   []string      `json:"aliases,omitempty"`
	Addresses []string      `json:"addresses,omitempty"`
	Findings  []findingJSON `json:"findings"`
}

type prefixJSON struct {
	Prefix   string   `json:"prefix"`
	Region   string   `json:"region,omitempty"`
	Services []string `json:"services,omitempty"`
}

type versionJSON struct {
	Version  string   `json:"version"`
	Accepted *bool    `json:"accepted,omitempty"`
	Answer   string   `json:"answer,omitempty"`
	Cipher   string   `json:"cipher,omitempty"`
	Group    string   `json:"group,omitempty"`
	Ciphers  []string `json:"ciphers,omitempty"`
}

type ocspJSON struct {
	Status     string `json:"status"`
	Verified   bool   `json:"verified"`
	ThisUpdate string `json:"this_update,omitempty"`
	NextUpdate string `json:"next_update,omitempty"`
}

type plaintextJSON struct {
	Port     uint16 `json:"port"`
	Answer   string `json:"answer"`
	Status   int    `json:"status,omitempty"`
	Location string `json:"location,omitempty"`
}

type probeJSON struct {
	Type        string            `json:"type"`
	Time        string            `json:"time"`
	DurationMS  float64           `json:"duration_ms"`
	Host        string            `json:"host,omitempty"`
	Port        uint16            `json:"port"`
	Address     string            `json:"address,omitempty"`
	Via         string            `json:"via,omitempty"`
	From        string            `json:"from,omitempty"`
	Resolution  *resolutionJSON   `json:"resolution,omitempty"`
	AWS         *prefixJSON       `json:"aws,omitempty"`
	Endpoint    *endpointJSON     `json:"endpoint,omitempty"`
	Transport   string            `json:"transport,omitempty"`
	TLS         *tlsJSON          `json:"tls,omitempty"`
	Certificate *certificateJSON  `json:"certificate,omitempty"`
	Visibility  string            `json:"certificate_visibility,omitempty"`
	Trust       string            `json:"trust,omitempty"`
	Chain       []certificateJSON `json:"chain,omitempty"`
	OCSP        *ocspJSON         `json:"ocsp,omitempty"`
	Versions    []versionJSON     `json:"versions,omitempty"`
	WeakSuites  *bool             `json:"weak_suites,omitempty"`
	WeakSuite   string            `json:"weak_suite,omitempty"`
	Fallback    string            `json:"fallback,omitempty"`
	Sentinel    *bool             `json:"sentinel,omitempty"`
	Plaintext   *plaintextJSON    `json:"plaintext,omitempty"`
	Verdict     string            `json:"verdict"`
	Findings    []findingJSON     `json:"findings"`
	Warnings    []string          `json:"warnings,omitempty"`
	Error       string            `json:"error,omitempty"`
}

func probeObject(p *session.Probe) *probeJSON {
	o := &probeJSON{
		Type: "probe", Time: timestamp(p.Start), DurationMS: milliseconds(p.End.Sub(p.Start)), Host: p.Host, Port: p.Port, Via: p.Proxy, From: p.From,
		Fallback: p.Fallback, Sentinel: tri(p.Sentinel), WeakSuite: p.WeakSuite,
		Verdict: string(p.Verdict()), Findings: findings(p.Findings()), Warnings: p.Warnings, Error: p.Err,
	}
	if p.Server.IsValid() {
		o.Address = p.Server.Addr().String()
	}
	if r := p.Resolution; r != nil {
		o.Resolution = &resolutionJSON{
			By: r.By, Resolver: addrPort(r.Resolver), Name: r.Name, Aliases: r.Names, Addresses: addrs(r.Addrs), Findings: findings(r.Findings),
		}
	}
	if p.Prefix != "" {
		o.AWS = &prefixJSON{p.Prefix, p.Region, p.Services}
	}
	if s := p.Session; s != nil {
		o.Endpoint, o.Transport, o.TLS = endpointObject(&s.Endpoint), string(s.Transport), tlsObject(s.TLS)
		o.Certificate, o.Visibility, o.Trust = certificateObject(s.Certificate), string(s.Visibility), string(s.Trust)
		if o.Certificate != nil {
			o.Certificate.SeenAt, o.Certificate.ProbeTrust = "", "" // the event's own time and trust
		}
	}
	for i := range p.Chain {
		c := certificateObject(&p.Chain[i])
		c.SeenAt = ""
		o.Chain = append(o.Chain, *c)
	}
	if x := p.OCSP; x != nil {
		o.OCSP = &ocspJSON{x.Status, x.Verified, date(x.ThisUpdate), date(x.NextUpdate)}
	}
	for _, v := range p.Versions {
		o.Versions = append(o.Versions, versionJSON{v.Version.String(), tri(v.Taken), v.Answer, v.Cipher, v.Group, v.Ciphers})
	}
	if p.WeakTried {
		weak := p.WeakSuite != ""
		o.WeakSuites = &weak
	}
	if x := p.Plaintext; x != nil {
		o.Plaintext = &plaintextJSON{x.Port, x.Answer, x.Status, x.Location}
	}
	return o
}
