package library

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/bpf"
	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/testenv"
)

func TestGnuTLSIsKnownByWhatItExports(t *testing.T) {
	testenv.Tool(t, "gnutls-cli")
	list, err := filepath.Glob("/usr/lib/*-linux-gnu/libgnutls.so.30")
	if err != nil || len(list) == 0 {
		testenv.Lacks(t, "libgnutls30")
	}
	f, err := os.Open(list[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, err := examine(f, "")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.gnuTLS) != len(wantedGnuTLS) || len(c.crypto)+len(c.ssl)+len(c.others) != 0 || !strings.HasPrefix(c.name, "GnuTLS 3.") {
		t.Errorf("%+v", c)
	}
	if last := c.gnuTLS[len(c.gnuTLS)-1].probe; last != bpf.GnuTLSCertificates {
		t.Errorf("%+v is attached last", last)
	}
	if o := c.gnuTLSOffsets; o.ClientRandom == 0 || o.CodeBefore == 0 || o.CodeBehind == 0 {
		t.Errorf("%+v", o)
	}
}

func TestGnuTLSIsJudgedByWhatTheProgramDoes(t *testing.T) {
	const gnu = bpf.LibraryGnuTLS
	of := func(verifies int64, flags bpf.LibraryFlags) bpf.LibraryEvent { return begins(verifies, gnu|flags) }
	shown := func(by caller) bpf.LibraryEvent {
		e := of(0, bpf.LibraryCallback)
		e.Code = codeOf(by)
		return e
	}
	several := shown(callerUnknown)
	several.Code = 1<<64 - 1
	nowhere := got(callerCurl)
	nowhere.Code = 0
	judged := func(status int64) bpf.LibraryEvent { return later(bpf.LibraryVerified, status) }
	failed := judged(0)
	failed.Flags &^= bpf.LibraryValueKnown
	compared := later(bpf.LibraryInspected, 0)
	const bad = 1<<1 | 1<<6
	for _, c := range []struct {
		name   string
		events []bpf.LibraryEvent
		want   flow.Verification
		by     string
	}{
		{"nothing is done", []bpf.LibraryEvent{of(0, 0)}, flow.VerificationOff, "nobody has GnuTLS verify, or looks at the certificate"},
		{"it verifies by itself", []bpf.LibraryEvent{of(1, 0)}, flow.VerificationOn, "gnutls_session_set_verify_cert"},
		{"messages are shown to the program", []bpf.LibraryEvent{of(0, bpf.LibraryCallback)}, flow.VerificationUnknown, ""},
		{"asked, and good", []bpf.LibraryEvent{of(0, 0), judged(0)}, flow.VerificationUnknown, ""},
		{"asked, and bad", []bpf.LibraryEvent{of(0, 0), judged(bad)}, flow.VerificationOff, "it went on over GNUTLS_CERT_SIGNER_NOT_FOUND"},
		{"asked, bad, and of another kind", []bpf.LibraryEvent{of(0, 0), judged(1 << 1)}, flow.VerificationOff, "it went on over GNUTLS_CERT_2"},
		{"asked twice, good in the end", []bpf.LibraryEvent{of(0, 0), judged(bad), judged(0)}, flow.VerificationUnknown, ""},
		{"asked, and it could not tell", []bpf.LibraryEvent{of(0, 0), failed}, flow.VerificationUnknown, ""},
		{"the program looks", []bpf.LibraryEvent{of(0, 0), got(callerUnknown)}, flow.VerificationUnknown, ""},
		{"somebody looks", []bpf.LibraryEvent{of(0, 0), nowhere}, flow.VerificationUnknown, ""},
		{"the program looks, at a bad one", []bpf.LibraryEvent{of(0, 0), judged(bad), got(callerUnknown)}, flow.VerificationUnknown, ""},
		{"curl", []bpf.LibraryEvent{of(0, 0), got(callerCurl), judged(0)}, flow.VerificationOn, "libcurl has GnuTLS verify"},
		{"curl -k", []bpf.LibraryEvent{of(0, 0), got(callerCurl)}, flow.VerificationOff, "libcurl has GnuTLS verify nothing"},
		{"curl that is shown messages", []bpf.LibraryEvent{shown(callerCurl), got(callerCurl), judged(0)}, flow.VerificationOn, "libcurl has GnuTLS verify"},
		{"curl -k that is shown messages", []bpf.LibraryEvent{shown(callerCurl), got(callerCurl)}, flow.VerificationOff, "libcurl has GnuTLS verify nothing"},
		{"curl -k that is shown messages, and pins", []bpf.LibraryEvent{shown(callerCurl), got(callerCurl), compared}, flow.VerificationUnknown, ""},
		{"curl -k, and the program is shown messages", []bpf.LibraryEvent{shown(callerUnknown), got(callerCurl)}, flow.VerificationUnknown, ""},
		{"curl -k, and both are shown messages", []bpf.LibraryEvent{several, got(callerCurl)}, flow.VerificationUnknown, ""},
		{"curl -k, and somebody is shown messages", []bpf.LibraryEvent{of(0, bpf.LibraryCallback), got(callerCurl)}, flow.VerificationUnknown, ""},
		{"Wget is shown messages", []bpf.LibraryEvent{shown(callerWget), judged(bad), got(callerWget)}, flow.VerificationUnknown, ""},
		{"Python's code is shown messages", []bpf.LibraryEvent{shown(callerPython)}, flow.VerificationUnknown, ""},
		{"curl -k that pins", []bpf.LibraryEvent{of(0, 0), got(callerCurl), compared}, flow.VerificationUnknown, ""},
		{"curl -k, and the program looks too", []bpf.LibraryEvent{of(0, 0), got(callerCurl), got(callerUnknown)}, flow.VerificationUnknown, ""},
		{"Wget over a good chain", []bpf.LibraryEvent{of(0, 0), judged(0), got(callerWget)}, flow.VerificationUnknown, ""},
		{"Wget over a bad one", []bpf.LibraryEvent{of(0, 0), judged(bad), got(callerWget)}, flow.VerificationOff, "it went on over GNUTLS_CERT_SIGNER_NOT_FOUND"},
		{"Wget that pins", []bpf.LibraryEvent{of(0, 0), judged(bad), got(callerWget), compared}, flow.VerificationUnknown, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := told(t, false, c.events...)
			if l == nil || l.Verification != c.want || l.VerificationBy != c.by {
				t.Errorf("%+v, want %v by %q", l, c.want, c.by)
			}
		})
	}
}
