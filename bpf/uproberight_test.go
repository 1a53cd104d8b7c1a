package bpf

import (
	"errors"
	"io"
	"os"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

// TestARightIsLaidDownForAMoment: and nothing else of the thread's rights changes.
func TestARightIsLaidDownForAMoment(t *testing.T) {
	testenv.Root(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	effective := func() uint64 {
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if err := unix.Capget(&header, &data[0]); err != nil {
			t.Fatal(err)
		}
		return uint64(data[0].Effective) | uint64(data[1].Effective)<<32
	}
	before, stop := effective(), errors.New("stop")
	err := withoutAdmin(func() error {
		if got := effective(); got != before&^(1<<unix.CAP_SYS_ADMIN) {
			t.Errorf("within: %x, before it was %x", got, before)
		}
		return stop
	})
	if err != stop || effective() != before {
		t.Errorf("%v; afterwards %x, before it was %x", err, effective(), before)
	}
}

// TestWhoMayProbeIsTold holds the answer to what happens: without CAP_SYS_ADMIN a probe can be set if, and only if, it is not needed.
func TestWhoMayProbeIsTold(t *testing.T) {
	testenv.Root(t)
	places := []uint64{fileOffset(t, underProbe)}
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	for _, multi := range []bool{false, true} {
		if multi && !haveMulti() {
			continue
		}
		needs := !multi && perfNeedsAdmin()
		l := probesOf(t, multi)
		var at io.Closer
		err = withoutAdmin(func() error {
			at, err = l.Attach(self, OpenSSLHandshake, places, SSLOffsets{ClientRandom: 64})
			return err
		})
		if err == nil {
			at.Close()
		}
		var refused *PermissionError
		if errors.As(err, &refused) != needs || !needs && err != nil {
			t.Errorf("many at a time %t: needs CAP_SYS_ADMIN %t, and without it: %v", multi, needs, err)
		}
		if needs && !slices.Equal(refused.Missing, []string{"CAP_SYS_ADMIN"}) {
			t.Errorf("it says that %q is missing", refused.Missing)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}
