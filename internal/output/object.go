package output

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/flow"
)

func sessionObject(s *session.Session) *sessionJSON {
	o := &sessionJSON{
		Type: "session", Time: timestamp(s.Start), DurationMS: milliseconds(s.End.Sub(s.Start)), Source: s.Source,
		Flow: flowJSON{
			Proto: flow.TCP.String(), ClientIP: s.Client.Addr().String(), ClientPort: s.Client.Port(),
			ServerIP: s.Server.Addr().String(), ServerPort: s.Server.Port(), RedirectedTo: addrPort(s.RedirectedTo),
		},
		Process: processObject(s.Process), Transport: string(s.Transport),
		TLS: tlsObject(s.TLS), Library: libraryObject(s), Certificate: certificateObject(s.Certificate), Visibility: string(s.Visibility), Trust: string(s.Trust),
		HTTP: httpObject(s.HTTP),
		Loss: lossJSON{
			ClientGapBytes: s.Loss.GapBytes[session.Client], ServerGapBytes: s.Loss.GapBytes[session.Server],
			ClientConflictBytes: s.Loss.ConflictBytes[session.Client], ServerConflictBytes: s.Loss.ConflictBytes[session.Server],
			TruncatedPackets: s.Loss.TruncatedPackets, Midstream: s.Loss.Midstream, OneSided: s.Loss.OneSided, Evicted: s.Loss.Evicted,
		},
		Verdict: string(s.Verdict), Findings: findings(s.Findings),
	}
	if c := s.Certificate; c != nil && !c.SeenAt.IsZero() && !s.Start.IsZero() {
		age := int64(s.Start.Sub(c.SeenAt) / time.Second)
		o.Certificate.AgeSeconds = &age
	}
	o.Endpoint = endpointObject(&s.Endpoint)
	if s.SDK.Name != "" {
		o.SDK = &sdkJSON{s.SDK.Name, s.SDK.By}
	}
	if d := s.DAX; d != nil {
		o.DAX = &daxJSON{exposed(d.SignatureExposed || d.AccessKeyID != ""), d.AccessKeyID, exposed(d.SessionTokenExposed)}
	}
	if p := s.Proxy; p != nil {
		o.Proxy = &proxyJSON{Target: p.Target, Method: "forward", Status: p.Status, Credentials: exposed(p.CredentialsExposed)}
		if p.Connect {
			o.Proxy.Method, o.Proxy.Established = "CONNECT", &p.Established
		}
	}
	return o
}

func endpointObject(e *session.Endpoint) *endpointJSON {
	if !e.Known() {
		return nil
	}
	return &endpointJSON{e.Service, e.Region, e.Partition, e.Kind, e.MatchedBy}
}

func processObject(p *flow.Process) *processJSON {
	if p == nil {
		return nil
	}
	o := &processJSON{
		PID: p.PID, TID: p.TID, Comm: p.Comm, Exe: p.Exe, Cmdline: p.Cmdline, Parents: p.Parents, User: p.User,
		ContainerID: p.ContainerID, ContainerName: p.ContainerName, Runtime: p.Runtime, Pod: p.Pod, Namespace: p.Namespace, Unit: p.Unit,
		CgroupID: p.CgroupID, NetNS: p.NetNS, Exited: p.Exited,
	}
	if p.UIDKnown {
		o.UID = &p.UID
	}
	return o
}

func tlsObject(t *session.TLS) *tlsJSON {
	if t == nil {
		return nil
	}
	o := &tlsJSON{
		Version: version(t.Version), OfferedMax: version(t.OfferedMax), Cipher: t.Cipher, Group: t.Group,
		SNI: t.SNI, SNIInvalid: t.SNIInvalid, ALPN: t.ALPN, ALPNOffered: t.ALPNOffer,
		Resumed: tri(t.Resumed), Established: tri(t.Established), HelloRetryRequest: t.HelloRetryRequest, EarlyData: t.EarlyData,
		ECH: t.ECH, Compression: t.Compression != 0, FallbackSCSV: t.FallbackSCSV, JA3: t.JA3, JA4: t.JA4,
	}
	if t.Cipher != "" && t.Version != session.SSL20 {
		o.CipherID = fmt.Sprintf("0x%04x", t.CipherID)
		if strings.HasPrefix(t.Cipher, "0x") {
			o.Cipher = "Unknown" // no name of IANA's; the id says which
		}
	}
	for _, v := range t.OfferedVersions {
		o.OfferedVersions = append(o.OfferedVersions, v.String())
	}
	switch t.Sentinel {
	case session.SentinelTLS12:
		o.DowngradeSentinel = "DOWNGRD01"
	case session.SentinelTLS11:
		o.DowngradeSentinel = "DOWNGRD00"
	}
	switch {
	case t.ClientCertificateSent:
		o.ClientCertificate = "sent"
	case t.ClientCertificateRequested:
		o.ClientCertificate = "requested"
	}
	switch t.KeyProof {
	case session.KeyProofValid:
		o.KeyProof = "valid"
	case session.KeyProofInvalid:
		o.KeyProof = "invalid"
	case session.KeyProofUnsupported:
		o.KeyProof = "unsupported"
	}
	if t.ClientAppData {
		o.ApplicationData = append(o.ApplicationData, session.Client.String())
	}
	if t.ServerAppData {
		o.ApplicationData = append(o.ApplicationData, session.Server.String())
	}
	if t.Alert != nil {
		a := alertObject(*t.Alert)
		o.Alert = &a
	}
	if len(t.Alerts) > 1 {
		for _, a := range t.Alerts {
			o.Alerts = append(o.Alerts, alertObject(a))
		}
	}
	return o
}

func libraryObject(s *session.Session) *libraryJSON {
	l := s.Library
	if l == nil {
		return nil
	}
	o := &libraryJSON{Name: l.Name, Path: l.Path, TID: l.TID, VerifiesBy: l.VerificationBy, ServerName: l.ServerName, NameDiffers: l.NameDiffers, NameChecked: l.HostChecked, CheckedName: l.Host}
	if s.TLS != nil {
		o.Verifies = tri(s.TLS.ClientVerifies)
	}
	return o
}

func alertObject(a session.Alert) alertJSON {
	level := "warning"
	if a.Fatal {
		level = "fatal"
	}
	return alertJSON{a.From.String(), level, a.Code, a.Description, a.Decrypted}
}

func certificateObject(c *session.Certificate) *certificateJSON {
	if c == nil {
		return nil
	}
	if c.Partial {
		return &certificateJSON{SeenBy: c.SeenBy, PartialIssuer: c.Issuer, Serial: c.Serial, Partial: true}
	}
	return &certificateJSON{
		SeenBy: c.SeenBy, Subject: c.Subject, Issuer: c.Issuer, Serial: c.Serial, SHA256: c.SHA256, SPKISHA256: c.SPKISHA256,
		NotBefore: date(c.NotBefore), NotAfter: date(c.NotAfter), Names: c.Names, Key: c.Key, Signature: c.Signature,
		ChainLength: c.ChainLength, Partial: c.Partial, SeenAt: date(c.SeenAt), ProbeTrust: string(c.ProbeTrust),
	}
}

func httpObject(h *session.HTTP) *httpJSON {
	if h == nil {
		return nil
	}
	return &httpJSON{
		Method: h.Method, Host: h.Host, Path: h.Path, Operation: h.Operation, Operations: h.Operations, Requests: h.Requests,
		Credentials: exposed(h.SignatureExposed || h.AccessKeyID != ""), AccessKey: h.AccessKeyID, SessionToken: exposed(h.SessionTokenExposed),
		UserAgent: h.UserAgent, Tables: h.Tables, Status: h.Status, H2C: h.H2C, ResponseOnly: h.ResponseOnly,
	}
}

func findings(list []session.Finding) []findingJSON {
	out := make([]findingJSON, len(list))
	for i, f := range list {
		evidence := f.Evidence
		if evidence == nil {
			evidence = map[string]any{}
		}
		out[i] = findingJSON{f.Rule, f.Severity.String(), f.Message, evidence}
	}
	return out
}

// exposed is the word for a credential that went over the network in clear.
func exposed(yes bool) string {
	if yes {
		return "exposed"
	}
	return ""
}

func version(v session.Version) string {
	if v == 0 {
		return ""
	}
	return v.String()
}

func tri(t session.Tri) *bool {
	if t == session.Unknown {
		return nil
	}
	yes := t == session.Yes
	return &yes
}

// date prints a certificate's time, which has no fraction of a second.
func date(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func addrPort(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func addrs(list []netip.Addr) []string {
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = a.String()
	}
	return out
}
