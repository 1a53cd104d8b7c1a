package e2e

import (
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/internal/testchains"
)

// careless reports whether a scenario's client was told to accept any certificate.
func (s *scenario) careless() bool {
	return s.options["verify"] == false || s.options["insecure"] == true || slices.Contains(s.args, "--insecure") || slices.Contains(s.args, "insecure") ||
		slices.Contains(s.env, "NODE_TLS_REJECT_UNAUTHORIZED=0")
}

// withLibrary is what the client's TLS library adds to what the wire shows: the chain, where TLS 1.3 hides it, and whether the client verifies.
func (s *scenario) withLibrary() want {
	w := s.want
	if s.unprobed {
		return w
	}
	w.findings = slices.Clone(w.findings)
	add := func(f string) {
		if !slices.Contains(w.findings, f) {
			w.findings = append(w.findings, f)
		}
	}
	if w.version == "TLS 1.3" && w.visibility == "encrypted" {
		shown := tlsWant(s.server.chain, "TLS 1.2", true)
		if s.server.software == "tinyproxy" || s.server.software == "squid" {
			shown = tlsWant(good, "TLS 1.2", true) // the origin's
		}
		if strings.HasPrefix(s.server.software, "mitm") {
			shown = tlsWant(corp, "TLS 1.2", true)
			shown.issuer = testchains.MITMIssuer
		}
		w.issuer, w.trust = shown.issuer, shown.trust
		for _, f := range shown.findings {
			if f != "tls-capped:low" && !strings.HasPrefix(f, "verification-disabled") {
				add(f)
			}
		}
		if shown.trust == "allowed" { // the chain proves whose address it is
			w.findings = slices.DeleteFunc(w.findings, func(f string) bool { return strings.HasPrefix(f, "unexpected-destination") })
		}
	}
	if s.careless() && w.works && strings.HasSuffix(w.transport, "tls") && w.visibility != "none" && !s.blind {
		add("verification-disabled:critical")
	}
	if slices.Contains(w.findings, "*") {
		w.findings = slices.DeleteFunc(w.findings, func(f string) bool { return f == "*" })
		w.verdict = "ok"
		if len(w.findings) > 0 || !w.works {
			w.verdict = "finding"
		}
		return w
	}
	if w.verdict != "" && w.verdict != "incomplete" && strings.HasSuffix(w.transport, "tls") && w.trust != "*" {
		w.verdict = "ok"
		if len(w.findings) > 0 {
			w.verdict = "finding"
		}
	}
	return w
}

// TestLibrary holds the library probes to it: the certificate of every session in TLS 1.3 is named and judged as if the wire had shown it,
// every client that was told not to verify is found where that can be known, and no other is.
func TestLibrary(t *testing.T) {
	o := observe(t, "library")
	handshakes, joined, unprobed := 0, 0, 0
	for _, s := range theRig.scenarios {
		t.Run(s.name, func(t *testing.T) {
			w := s.withLibrary()
			sessions := o.at(s)
			checkCount(t, s, sessions, w.sessions)
			for _, v := range sessions {
				if slices.Contains(s.want.findings, "*") {
					v.Findings = slices.DeleteFunc(slices.Clone(v.Findings), func(f finding) bool { return f.Rule == "interception-refused" })
				}
				if wrong := w.differences(s, v); len(wrong) > 0 {
					t.Errorf("%s\nin %s", strings.Join(wrong, "\n"), v.line)
				}
				checkProcess(t, s, v)
				if !strings.HasSuffix(w.transport, "tls") || v.TLS.Resumed || v.Visibility == "none" || w.verdict == "incomplete" {
					continue
				}
				if s.unprobed {
					unprobed++
					if v.Library != nil {
						t.Errorf("something told of a library that has no probes\nin %s", v.line)
					}
					continue
				}
				handshakes++
				if v.Library == nil {
					t.Errorf("its library told nothing\nin %s", v.line)
					continue
				}
				joined++
				if v.Visibility == "encrypted" && v.Certificate.SeenBy != "library" {
					t.Errorf("certificate seen by %q", v.Certificate.SeenBy)
				}
				if told := v.Library.ServerName; told != v.TLS.SNI && (told != "" || runtime.GOARCH == "amd64" && !s.nameless) {
					t.Errorf("it was told the name %q\nin %s", told, v.line)
				}
				if verifies := v.Library.Verifies; verifies != nil && *verifies == s.careless() {
					t.Errorf("verifies is %t\nin %s", *verifies, v.line)
				}
			}
		})
	}
	t.Logf("%d of %d handshakes were joined with what the library told; %d more are by libraries without probes", joined, handshakes, unprobed)
	if t.Failed() {
		t.Logf("loss: %v", o.summary.Loss)
	}
	if n := o.summary.Loss["library.not_captured"]; n == 0 {
		t.Error("library.not_captured does not count the sessions that no library told of")
	}
}

// libraryLoss are the probes' counters that a rig of this size must leave at zero. Others hang on what else runs on the host.
var libraryLoss = []string{"library.ring_full", "library.too_large", "library.unreadable", "library.malformed_events"}
