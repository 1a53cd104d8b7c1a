package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/capture/library"
	"github.com/dynwatch/dynwatch/internal/doctor"
	"github.com/dynwatch/dynwatch/internal/testschema"
)

// TestDoctorIsByItsSchema holds a report of this host, and one with everything in it, to docs/doctor.schema.json. A process may call itself what it likes.
func TestDoctorIsByItsSchema(t *testing.T) {
	schema := testschema.Load(t, "docs/doctor.schema.json")
	host := doctor.Run(doctor.Options{Look: library.Look})
	full := *host
	full.Libraries = &doctor.Libraries{Processes: 9, Without: 3, Others: 1, Unprobed: []library.Unprobed{
		{Library: "Java", Reason: "it makes its code itself", Processes: 1, Examples: []library.Example{{PID: 7, Program: "\u009b31m\x1b[2J\x7f\u202e", File: "/x\ny"}}},
		{Reason: "it may not be looked at", Processes: 1, Examples: []library.Example{{PID: 8}}},
	}}
	nobody := *host
	nobody.Libraries = nil
	for name, r := range map[string]*doctor.Report{"this host": host, "everything": &full, "nobody looked": &nobody} {
		var out bytes.Buffer
		if err := printReport(&out, r, "json"); err != nil {
			t.Fatal(err)
		}
		if _, err := schema.Check(out.Bytes()); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out.Bytes())
		}
		if text := strings.TrimSuffix(out.String(), "\n"); strings.ContainsAny(text, "\u009b\u202e\x1b\x7f\n") {
			t.Errorf("%s: %q", name, text)
		}
	}
}

func TestDoctorSaysWhatIsKnownOfAProcess(t *testing.T) {
	var out bytes.Buffer
	r := &doctor.Report{Libraries: &doctor.Libraries{Unprobed: []library.Unprobed{{Reason: "closed", Processes: 3, Examples: []library.Example{
		{PID: 7, Program: "java", File: "/usr/lib/jvm/libjvm.so"}, {PID: 8, Program: "sshd"}, {PID: 9},
	}}}}}
	if err := printReport(&out, r, "text"); err != nil {
		t.Fatal(err)
	}
	const want = `     3  not known which: closed
        process 7 "java" "/usr/lib/jvm/libjvm.so"
        process 8 "sshd"
        process 9
`
	if !strings.Contains(out.String(), want) {
		t.Errorf("%s\nwant\n%s", out.String(), want)
	}
}
