package library

import (
	"os"
	"testing"
)

func TestCallersAreKnownByTheirFiles(t *testing.T) {
	for file, want := range map[string]caller{
		"/usr/lib/x86_64-linux-gnu/libcurl-gnutls.so.4.8.0": callerCurl,
		"/usr/bin/wget": callerWget,
		"/usr/lib/x86_64-linux-gnu/libcurl.so.4.8.0": callerCurl,
		"/opt/wheel.libs/libssl-8f3c0d1e.so.3":       callerItself,
		"/usr/lib/x86_64-linux-gnu/libcrypto.so.3":   callerUnknown,
		"/usr/bin/node":     callerNode,
		"/usr/bin/node-gyp": callerUnknown,
		"/usr/lib/x86_64-linux-gnu/libgnutls-dane.so.0.4.1":                             callerUnknown,
		"/opt/app/libcurl-gnutls.soda":                                                  callerUnknown,
		"/usr/bin/wget2":                                                                callerUnknown,
		"/usr/lib/python3.14/lib-dynload/_ssl.cpython-314-x86_64-linux-gnu.so":          callerPython,
		"/usr/local/lib/python3.14t/lib-dynload/_ssl.cpython-314t-aarch64-linux-gnu.so": callerPython,
		"/usr/lib/python3.9/lib-dynload/_ssl.cpython-39-x86_64-linux-musl.so":           callerPython,
		"/usr/lib/python3.15/lib-dynload/_ssl.cpython-315-x86_64-linux-gnu.so":          callerUnknown, // nobody looked at it
		"/usr/lib/python4.1/lib-dynload/_ssl.cpython-41-x86_64-linux-gnu.so":            callerUnknown,
		"/opt/app/_ssl.cpython-3-x86_64-linux-gnu.so":                                   callerUnknown,
		"/opt/app/_ssl.cpython-314.so":                                                  callerUnknown,
		"/opt/app/_ssl.cpython-314-x86_64-linux-gnu.so.1":                               callerUnknown,
		"/opt/app/my_ssl.cpython-314-x86_64-linux-gnu.so":                               callerUnknown,
		"": callerUnknown,
	} {
		if got := callerOf(file); got != want {
			t.Errorf("%s: %d", file, got)
		}
	}
	if p, err := programsOf(os.Getpid(), nil, nil); err != nil || p.exe == "" || len(p.callers) != 0 {
		t.Errorf("this test: %+v, %v", p, err)
	}
}
