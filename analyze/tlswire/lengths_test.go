package tlswire

import (
	"fmt"
	"testing"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// conversation13 is a handshake in TLS 1.3 of which the client's encrypted records have these lengths, their headers left aside.
func conversation13(suite uint16, lengths ...int) *tape {
	versions := func(v ...uint16) []byte { return ext(extSupportedVersions, vec(1, u16s(v...))) }
	t := &tape{}
	t.add(session.Client, record(recordHandshake, clientHelloMsg(0x0303, testBytes(32, 1), []uint16{suite}, extSNI("dynamodb.test"), versions(0x0304))))
	t.add(session.Server, record(recordHandshake, serverHelloMsg(0x0303, testBytes(32, 2), testBytes(32, 1), suite, ext(extSupportedVersions, u16s(0x0304)))))
	for _, n := range []int{27, 2514, 281, 69} {
		t.add(session.Server, record(recordApplicationData, testBytes(n, 3)))
	}
	for _, n := range lengths {
		t.add(session.Client, record(recordApplicationData, testBytes(n, 4)))
	}
	return t
}

// The lengths are those of curl 7.88, Go 1.26 and Java 17 with TLS_AES_256_GCM_SHA384, and with a hash of 32 bytes.
func TestWhatLengthsTell(t *testing.T) {
	const sha384, sha256 = 0x1302, 0x1301
	for name, x := range map[string]struct {
		suite   uint16
		lengths []int
		want    string // of finished, data, goodbye, alert, unclear
	}{
		"nothing yet":                    {sha384, nil, "-----"},
		"Finished":                       {sha384, []int{69}, "f----"},
		"Finished, a request":            {sha384, []int{69, 449}, "fd---"},
		"Finished, close_notify":         {sha384, []int{69, 19}, "f-g--"},
		"an alert":                       {sha384, []int{19}, "---a-"},
		"Java: Finished":                 {sha384, []int{85}, "f----"},
		"Java: Finished, a request":      {sha384, []int{85, 449, 78}, "fd---"},
		"Java: Finished, close_notify":   {sha384, []int{85, 35}, "f-g--"},
		"Java: Finished, KeyUpdate":      {sha384, []int{85, 38}, "f----"},
		"Java: an alert":                 {sha384, []int{35}, "---a-"},
		"Java, SHA-256: a request":       {sha256, []int{69, 449}, "fd---"},
		"Java, SHA-256: close_notify":    {sha256, []int{69, 35}, "f-g--"},
		"Java, SHA-256: an alert":        {sha256, []int{35}, "---a-"},
		"not padded, and 16 bytes more":  {sha384, []int{69, 35}, "fd---"},
		"padded in a way of its own":     {sha384, []int{256}, "f----"},
		"padded in a way of its own, II": {sha384, []int{256, 512}, "f---u"},
		"a certificate, its proof":       {sha384, []int{900, 281, 69}, "f----"},
		"Java: a certificate":            {sha384, []int{916, 297, 85, 449}, "f---u"},
		"much data":                      {sha384, []int{256, 16000, 16000, 16000, 16000, 16000}, "fd---"},
	} {
		t.Run(name, func(t *testing.T) {
			f := conversation13(x.suite, x.lengths...).facts(Options{})
			got := ""
			for i, is := range []bool{f.ClientFinished, f.ClientAppData, f.ClientCloseNotify, f.ClientEncryptedAlert, f.ClientUnclear} {
				if is {
					got += "fdgau"[i : i+1]
				} else {
					got += "-"
				}
			}
			if got != x.want {
				t.Errorf("%s, want %s", got, x.want)
			}
			if s := f.TLS(); fmt.Sprint(s.ClientFinished, s.ClientAppData, s.ClientCloseNotify, s.ClientEncryptedAlert, s.ClientUnclear) !=
				fmt.Sprint(f.ClientFinished, f.ClientAppData, f.ClientCloseNotify, f.ClientEncryptedAlert, f.ClientUnclear) {
				t.Errorf("the session says %+v", s)
			}
		})
	}
}
