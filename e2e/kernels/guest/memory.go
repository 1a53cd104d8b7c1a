package main

import (
	"errors"
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// memoryLimit starts a capture without the right to raise limits, with ever more memory that may be locked. Linux before 5.11 counts maps
// against that: then too little must be named as the reason, and the detail says how much is enough.
func memoryLimit() (string, error) {
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &old); err != nil {
		return "", err
	}
	defer unix.Setrlimit(unix.RLIMIT_MEMLOCK, &old)
	for _, most := range []uint64{64 << 10, 16 << 20, 24 << 20, 64 << 20} {
		if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: 64 << 10, Max: most}); err != nil {
			return "", err
		}
		var (
			w    *watching
			err  error
			done = make(chan struct{})
		)
		go func() {
			defer close(done)
			// The thread is not given back: it ends with the goroutine. What it starts has no more rights than its bounding set.
			runtime.LockOSThread()
			if err = unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_RESOURCE, 0, 0, 0); err == nil {
				w, err = startCapture("ebpf")
			}
		}()
		<-done
		if err == nil {
			if _, _, err := w.stop(); err != nil {
				return "", err
			}
			if most == 64<<10 {
				return "not counted", nil
			}
			return fmt.Sprintf("%d MiB are enough", most>>20), nil
		}
		if !strings.Contains(err.Error(), "CAP_SYS_RESOURCE, or an unlimited RLIMIT_MEMLOCK") {
			return "", fmt.Errorf("with %d bytes: the reason is not named: %w", most, err)
		}
	}
	return "", errors.New("64 MiB are not enough")
}
