package rules

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/analyze/session"
)

func TestValidateAccepts(t *testing.T) {
	p := &Policy{
		MinVersion: session.TLS13,
		AllowProxies: []string{"proxy.example.com:3128", "proxy:1", "10.0.8.9:8080", "10.0.8.0/24:3128", "[2001:db8::1]:3128", "[2001:db8::/32]:65535",
			"my_proxy.local.:3128"},
		Regions: []string{"us-east-1", "eu-central-1", "us-gov-west-1", "cn-northwest-1", "ap-southeast-5", "us-isob-east-1", "eusc-de-east-1",
			"mx-central-1", "us-south-1"},
		EndpointKinds: []string{"public", "fips", "dual-stack", "account", "interface"},
	}
	if err := p.Validate(); err != nil {
		t.Error(err)
	}
	if err := new(Policy).Validate(); err != nil {
		t.Error("the zero policy:", err)
	}
}

func TestValidateNamesTheFlagAndTheRepair(t *testing.T) {
	proxy := func(s string) Policy { return Policy{AllowProxies: []string{s}} }
	region := func(s string) Policy { return Policy{Regions: []string{s}} }
	for _, c := range []struct {
		p    Policy
		want []string
	}{
		{Policy{MinVersion: session.SSL30}, []string{"--min-version SSL 3.0", "use 1.0, 1.1, 1.2 or 1.3"}},
		{Policy{MinVersion: 0x7f12}, []string{"--min-version"}},
		{proxy("proxy.example.com"), []string{"--allow-proxy proxy.example.com", "use proxy.example.com:3128"}},
		{proxy("http://proxy.example.com:3128/"), []string{"without a scheme", "proxy.example.com:3128"}},
		{proxy("proxy.example.com:"), []string{"is no port"}},
		{proxy("proxy.example.com:0"), []string{"from 1 to 65535"}},
		{proxy("proxy.example.com:65536"), []string{"from 1 to 65535"}},
		{proxy("2001:db8::1"), []string{"use [2001:db8::1]:3128"}},
		{proxy("[2001:db8::1]"), []string{"port is missing"}},
		{proxy("2001:db8::/32:3128"), []string{"use [2001:db8::/32]:3128"}},
		{proxy("10.0.8.9/24:3128"), []string{"use 10.0.8.0/24:3128"}},
		{proxy("[2001:db8::1/32]:3128"), []string{"use [2001:db8::/32]:3128"}},
		{proxy("10.0.8.0/33:3128"), []string{"is no prefix"}},
		{proxy(":3128"), []string{"neither a host name"}},
		{proxy("a b:3128"), []string{"neither a host name"}},
		{proxy("[fe80::1%eth0]:3128"), []string{"zone"}},
		{proxy(""), []string{"port is missing"}},
		{region("US-East-1"), []string{"--allow-region US-East-1", "use us-east-1"}},
		{region("us-east-1a"), []string{"availability zone", "us-east-1"}},
		{region("virginia"), []string{"use one like eu-central-1"}},
		{region(""), []string{"use one like"}},
		{Policy{EndpointKinds: []string{"gateway"}}, []string{"--allow-kind gateway", "aws:SourceVpce"}},
		{Policy{EndpointKinds: []string{"private"}}, []string{"--allow-kind private", "use public, fips, dual-stack, account, interface"}},
	} {
		err := c.p.Validate()
		if err == nil {
			t.Errorf("%+v was accepted", c.p)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%+v: %q does not say %q", c.p, err, w)
			}
		}
	}
}

func TestValidateReportsAll(t *testing.T) {
	err := (&Policy{MinVersion: 1, AllowProxies: []string{"x"}, Regions: []string{"y"}, EndpointKinds: []string{"z"}}).Validate()
	for _, flag := range []string{"--min-version", "--allow-proxy", "--allow-region", "--allow-kind"} {
		if err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("%v does not name %s", err, flag)
		}
	}
}

func FuzzParseProxy(f *testing.F) {
	for _, s := range []string{"proxy.example.com:3128", "[2001:db8::/32]:3128", "10.0.8.0/24:3128", "::1", "[::ffff:10.0.0.1]:1", "10.0.0.1/:3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parseProxy(s)
		policy := &Policy{AllowProxies: []string{s}}
		if (err == nil) != (policy.Validate() == nil) {
			t.Fatal("Validate disagrees")
		}
		if err != nil {
			return
		}
		if p.port == 0 || (p.name == "") != p.prefix.IsValid() {
			t.Fatalf("%+v", p)
		}
		if p.name != "" && policy.proxyAllowed(netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), p.port), []string{p.name}) != session.Yes {
			t.Fatal("its own name is not allowed")
		}
		if p.name == "" && policy.proxyAllowed(netip.AddrPortFrom(p.prefix.Addr(), p.port), nil) != session.Yes {
			t.Fatal("its own address is not allowed")
		}
	})
}
