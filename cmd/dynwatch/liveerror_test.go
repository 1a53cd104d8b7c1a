package main

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/capture/afpacket"
)

func TestInterfacesAreListedOnlyForOneThatIsNotThere(t *testing.T) {
	for _, name := range []string{"nosuch0", "interface-with-a-long-name"} {
		_, err := afpacket.Open(afpacket.Options{Interfaces: []string{name}})
		if hint := hintOf(liveError(err)); !strings.Contains(hint, "capture -D") {
			t.Errorf("%v: %q", err, hint)
		}
	}
	if hint := hintOf(liveError(&afpacket.InterfaceError{Name: "eth0", Err: unix.ENOMEM})); hint != "" {
		t.Errorf("no memory: %q", hint)
	}
}

func hintOf(err error) string {
	var h *hinted
	if errors.As(err, &h) {
		return h.hint
	}
	return ""
}
