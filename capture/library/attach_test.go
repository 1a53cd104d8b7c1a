package library

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestVersionsOfOpenSSLAreNotMixed(t *testing.T) {
	file := func(name string, boring bool) found {
		c := &contents{boring: boring}
		if strings.Contains(name, "ssl") {
			c.ssl = []place{{}}
		} else {
			c.crypto = []place{{}}
		}
		return found{probed: &probed{contents: c}, name: name}
	}
	for _, tt := range []struct {
		name  string
		files []found
		want  []string
	}{
		{"one version", []found{file("/usr/lib/libssl.so.3", false), file("/lib/libcrypto.so.3", false)}, []string{"/usr/lib/libssl.so.3 /lib/libcrypto.so.3"}},
		{"one version whose halves are numbered apart", []found{file("/usr/lib/libssl.so.48", false), file("/usr/lib/libcrypto.so.46", false)},
			[]string{"/usr/lib/libssl.so.48 /usr/lib/libcrypto.so.46"}},
		{"two versions", []found{file("/l/libcrypto.so.1.1", false), file("/l/libcrypto.so.3", false), file("/l/libssl.so.1.1", false), file("/l/libssl.so.3", false)},
			[]string{"/l/libcrypto.so.1.1 /l/libssl.so.1.1", "/l/libcrypto.so.3 /l/libssl.so.3"}},
		{"a wheel's copy beside the distribution's", []found{file("/x/libssl-81ffa89e.so.1.1", false), file("/x/libcrypto-ff77b1e3.so.1.1", false), file("/l/libssl.so.3", false),
			file("/l/libcrypto.so.3", false)}, []string{"/l/libssl.so.3 /l/libcrypto.so.3", "/x/libssl-81ffa89e.so.1.1 /x/libcrypto-ff77b1e3.so.1.1"}},
		{"BoringSSL beside OpenSSL", []found{file("/l/libssl.so", true), file("/l/libssl.so.3", false), file("/l/libcrypto.so.3", false)},
			[]string{"/l/libssl.so /l/libssl.so.3 /l/libcrypto.so.3"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for group := range maps.Values(versions(tt.files)) {
				var names []string
				for _, f := range group {
					names = append(names, f.name)
				}
				got = append(got, strings.Join(names, " "))
			}
			slices.Sort(got)
			if !slices.Equal(got, tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestLibsslIsNamedByTheFirstLibcryptoBesideIt(t *testing.T) {
	file := func(c *contents) found {
		p := &probed{contents: c}
		p.attached.ssl, p.attached.crypto = true, true // by what was found before
		return found{probed: p}
	}
	ssl := file(&contents{ssl: []place{{}}, name: "OpenSSL"})
	crypto, other := file(&contents{crypto: []place{{}}, name: "OpenSSL 3.5.7"}), file(&contents{crypto: []place{{}}, name: "OpenSSL 3.0.19"})
	a := newAttacher(nil)
	a.turn.Lock()
	defer a.turn.Unlock()
	for _, tt := range []struct {
		name  string
		group []found
		want  string
	}{
		{"alone, as a program is loaded", []found{ssl}, "OpenSSL"},
		{"with libcrypto", []found{ssl, crypto}, "OpenSSL 3.5.7"},
		{"with another process's libcrypto", []found{other, ssl}, "OpenSSL 3.5.7"},
	} {
		if a.attachVersion(tt.group, false); ssl.contents.name != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, ssl.contents.name, tt.want)
		}
	}
}
