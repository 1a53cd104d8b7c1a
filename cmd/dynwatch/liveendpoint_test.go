package main

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"
)

// TestEndpointWithAPortIsWatched gives both sources a name of the operator's with a port that no other DynamoDB has.
func TestEndpointWithAPortIsWatched(t *testing.T) {
	for source, args := range map[string][]string{
		"ebpf":   {"--source", "ebpf", "--library-probes", "off"},
		"packet": {"-i", "lo"},
	} {
		t.Run(source, func(t *testing.T) {
			addr := serveTLS(t, "127.0.9.77", tls.VersionTLS12)
			w := startWatch(t, append([]string{"-o", "json", "--endpoint", fmt.Sprintf("example.com:%d", addr.Port())}, args...)...)
			askTLS(t, addr, "example.com")
			sessions := func() int { return len(linesOf(t, w.stdout.String(), "session", addr.Addr())) }
			w.await("the session", func() bool { return sessions() > 0 })
			w.interrupt()
			if n := sessions(); n != 1 {
				t.Errorf("%d sessions, want 1", n)
			}
		})
	}
}

func TestTheStartSaysWhichPacketsAreLookedAt(t *testing.T) {
	for want, args := range map[string][]string{
		"8443, 9111 of all addresses": {"--endpoint", "example.com:8443"},
		"every TCP connection":        {"--all"},
		"those that match the filter": {"tcp port 8443"},
	} {
		w := startWatch(t, append([]string{"-i", "lo"}, args...)...)
		w.interrupt()
		if !strings.Contains(w.stderr.String(), want) {
			t.Errorf("%s: %s", args, w.stderr.String())
		}
	}
}
