package ebpf

import (
	"crypto/tls"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/analyze"
	"github.com/dynwatch/dynwatch/analyze/endpoint"
	"github.com/dynwatch/dynwatch/analyze/rules"
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/analyze/trust"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// analysed runs segments through the analysis.
func analysed(t *testing.T, segs []flow.Segment) []*session.Session {
	t.Helper()
	set, err := endpoint.NewSet(endpoint.Embedded(), nil)
	if err != nil {
		t.Fatal(err)
	}
	store, err := trust.NewStore(trust.Policy{})
	if err != nil {
		t.Fatal(err)
	}
	var out []*session.Session
	a := analyze.New(analyze.Options{
		Source: "ebpf", Endpoints: set, Trust: store, Policy: &rules.Policy{},
		Emit: func(s *session.Session) { out = append(out, s) },
	})
	for i := range segs {
		a.Segment(&segs[i])
	}
	a.Flush()
	return out
}

func TestAnalysisSeesTheWholeSession(t *testing.T) {
	for version, visibility := range map[uint16]session.Visibility{
		tls.VersionTLS12: session.VisibilityVisible, tls.VersionTLS13: session.VisibilityEncrypted,
	} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			addr := serve(t, "127.0.7.30:0", 1000, version)
			s := open(t, Options{LookAtOthers: true})
			r := record(t, s)
			ask(t, addr, ours, 1000)
			got := analysed(t, with(r.stop(), addr))
			if len(got) != 1 {
				t.Fatalf("%d sessions", len(got))
			}
			x := got[0]
			if x.TLS == nil || x.TLS.SNI != ours || x.TLS.Version != session.Version(version) || x.TLS.Established != session.Yes {
				t.Errorf("tls %+v", x.TLS)
			}
			if x.Visibility != visibility {
				t.Errorf("certificate %s, want %s", x.Visibility, visibility)
			}
			if x.Server != addr || x.Endpoint.Service != "dynamodb" {
				t.Errorf("server %v, endpoint %+v", x.Server, x.Endpoint)
			}
			if x.Process == nil {
				t.Error("no process")
			} else {
				checkProcess(t, *x.Process)
			}
			if x.Loss != (session.Loss{}) || x.Verdict == session.VerdictIncomplete {
				t.Errorf("loss %+v, verdict %s", x.Loss, x.Verdict)
			}
			if x.Start.After(x.End) || time.Since(x.Start) > time.Minute {
				t.Errorf("from %v to %v", x.Start, x.End)
			}
			checkNoLoss(t, s)
		})
	}
}
