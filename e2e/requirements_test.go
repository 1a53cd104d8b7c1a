package e2e

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

// program is one that the rig runs, or what such a program loads, with its Debian package.
type program struct{ path, pkg string }

var programs = []program{
	{"/bin/sh", "dash"},
	{"ip", "iproute2"},
	{"nice", "coreutils"},
	{"nsenter", "util-linux"},
	{"setpriv", "util-linux"},
	{"unshare", "util-linux"},
	{"tcpdump", "tcpdump"},
	{"nginx", "nginx-light"},
	{"openssl", "openssl"},
	{"curl", "curl"},
	{"mitmdump", "mitmproxy"},
	{"tinyproxy", "tinyproxy"},
	{"squid", "squid"},
	{"gunicorn", "gunicorn"},
	{"node", "nodejs"},
	{"java", "default-jdk-headless"},
	{"javac", "default-jdk-headless"},
	{cCompiler, "gcc"},
	{boringLibrary, "android-libboringssl-dev"},
	{boringHeaders + "/openssl/ssl.h", "android-libboringssl-dev"},
	{"/usr/bin/python3", "python3"},
	{"/usr/lib/python3/dist-packages/awscrt", "python3-awscrt"},
	{"/usr/lib/python3/dist-packages/boto3", "python3-boto3"},
	{"/usr/lib/python3/dist-packages/django", "python3-django"},
	{"/usr/lib/python3/dist-packages/flask", "python3-flask"},
	{"/usr/lib/python3/dist-packages/requests", "python3-requests"},
}

// TestProgramsAreOfListedPackages: what is found on this machine is what scripts/setup brings to any other.
func TestProgramsAreOfListedPackages(t *testing.T) {
	for _, p := range programs {
		path, err := testenv.Find(p.path)
		if err != nil {
			testenv.Lacks(t, "%s: %v", p.pkg, err)
		}
		if err := testenv.Provided(testenv.Module(t), path); err != nil {
			t.Error(err)
		}
	}
}

// missing says what the tests lack, in one line; empty when they can run.
func missing() string {
	if os.Geteuid() != 0 {
		return "needs root for network namespaces (CAP_SYS_ADMIN, CAP_NET_ADMIN)"
	}
	var packages []string
	for _, p := range programs {
		if _, err := testenv.Find(p.path); err != nil {
			packages = append(packages, p.pkg)
		}
	}
	if len(packages) > 0 {
		return "missing packages (scripts/setup installs them): " + strings.Join(packages, " ")
	}
	if _, err := nodeModules(); err != nil {
		return err.Error()
	}
	return ""
}

// nodeModules is the directory of the npm packages that e2e/node/install made for the committed package-lock.json.
func nodeModules() (string, error) {
	lock, err := os.ReadFile("node/package-lock.json")
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "dynwatch", fmt.Sprintf("e2e-node-%x", sha256.Sum256(lock))[:len("e2e-node-")+16], "node_modules")
	if _, err := os.Stat(filepath.Join(dir, "dynalite")); errors.Is(err, fs.ErrNotExist) {
		return "", errors.New("missing npm packages (scripts/setup installs them)")
	} else if err != nil {
		return "", err
	}
	return dir, nil
}
