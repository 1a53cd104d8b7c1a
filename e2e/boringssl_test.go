package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
)

// boringLibrary is among the programs of requirements_test.go, as are its headers.
var boringLibrary = map[string]string{"amd64": "/usr/lib/x86_64-linux-gnu", "arm64": "/usr/lib/aarch64-linux-gnu"}[runtime.GOARCH] + "/android/libssl.so.0"

const (
	boringHeaders = "/usr/include/android"
	cCompiler     = "gcc"
)

// boringClient is the program that compileBoringSSL makes.
func boringClient(dir string) string { return filepath.Join(dir, "boringclient") }

// boring are clients over BoringSSL besides those of runtimes. Where BoringSSL keeps the judgement cannot be told from its getter, so a client that
// asks for it, and goes on whatever it is, stays unknown.
func boring() []*scenario {
	west := versions[2]
	return []*scenario{
		{name: "boringssl, TLS 1.2", client: "boringssl", region: west.region, server: server{chain: good, versions: west.nginx},
			args: []string{regional(west.region), "443", "insecure"}, want: tlsWant(good, west.ours, true)},
		{name: "boringssl asks and goes on", client: "boringssl", server: server{chain: forged, versions: "TLSv1.3"}, blind: true,
			args: []string{regional("us-east-1"), "443", "insecure", "asks"}, want: tlsWant(forged, "TLS 1.3", true)},
	}
}

// compileBoringSSL compiles the C client into a directory.
func compileBoringSSL(dir string) error {
	lib := filepath.Dir(boringLibrary)
	cmd := exec.Command(cCompiler, "-O1", "-Wall", "-Werror", "-I", boringHeaders, "-o", boringClient(dir), absolute("clients/boringssl_client.c"),
		filepath.Join(lib, "libssl.so.0"), filepath.Join(lib, "libcrypto.so.0"), "-Wl,-rpath,"+lib)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compile the client over BoringSSL: %w\n%s", err, out)
	}
	return nil
}
