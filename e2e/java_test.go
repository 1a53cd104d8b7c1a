package e2e

import (
	"fmt"
	"os/exec"
	"strings"
)

// compileJava compiles the Java client into a directory.
func compileJava(dir string) error {
	cmd := exec.Command(javaCompiler, "-d", dir, absolute("clients/JavaClient.java"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compile the Java client: %w\n%s", err, out)
	}
	return nil
}

// javaCompiler is among the programs of requirements_test.go.
const javaCompiler = "javac"

// javaCommand starts a small and quick Java machine: none of its clients runs for long.
func javaCommand(dir string) []string {
	return []string{"java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx64m", "-cp", dir, "JavaClient"}
}

// java are clients over Java's own TLS (JSSE), which has no probes: what the wire shows is all that is known of them.
func java() []*scenario {
	var all []*scenario
	add := func(with string, v struct{ nginx, ours, region string }, c chain, verify bool) {
		trusted := "@DIR@/roots.pem"
		if !verify {
			trusted = "insecure"
		}
		s := &scenario{
			name:   fmt.Sprintf("java %s %s %s verify=%t", with, v.ours, c, verify),
			client: "java", region: v.region, server: server{chain: c, versions: v.nginx}, unprobed: true,
			args: []string{"https://" + regional(v.region) + "/", trusted, with},
			want: tlsWant(c, v.ours, !verify),
		}
		if w := &s.want; !w.works {
			w.fails = "PKIX path"
			if c == wrongName {
				w.fails = "No subject alternative DNS name matching"
			}
			// Java sends certificate_unknown in all cases; in TLS 1.3 that is an encrypted record of an alert's size.
			for i, f := range w.findings {
				if rule, _, _ := strings.Cut(f, ":"); rule == "interception-refused" {
					w.findings[i] = rule + map[string]string{"TLS 1.2": ":high", "TLS 1.3": ":medium"}[v.ours]
				}
			}
		}
		if len(all)%3 == 0 {
			s.at = loopback
		}
		all = append(all, s)
	}
	for _, v := range versions[2:] {
		for _, c := range []chain{good, forged, corp, selfSigned, expired, wrongName} {
			for _, verify := range []bool{true, false} {
				add("url", v, c, verify)
			}
		}
		add("client", v, good, true)
		add("client", v, wrongName, false)
	}
	return all
}
