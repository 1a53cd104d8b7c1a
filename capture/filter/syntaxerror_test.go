package filter

import (
	"errors"
	"strings"
	"testing"
)

// refusals are wrong expressions: where the message points, and what it must contain.
var refusals = []struct {
	expr   string
	offset int
	msg    string
	hint   string
}{
	{"prot 80", 0, `unknown primitive "prot"`, `"port"`},
	{"tcp and hots 10.0.0.5", 8, `unknown primitive "hots"`, `"host"`},
	{"port 80 or hots 10.0.0.5", 11, `unknown primitive "hots"`, `"host"`},
	{"https", 0, `unknown primitive "https"`, `"port https"`},
	{"example.com", 0, `unknown primitive "example.com"`, "never looked up"},
	{"host example.com", 5, `"example.com" is not an address`, "never looked up"},
	{"tcp port htps", 9, `unknown port "htps"`, `"https"`},
	{"port 80-90", 5, "is a range", `"portrange 80-90"`},
	{"port 65536", 5, "larger than 65535", ""},
	{"tcp port ntp", 9, "not registered for tcp", ""},
	{"tcp 443", 4, `nothing says what "443" is`, `"tcp port 443"`},
	{"ip 10.0.0.5", 3, `nothing says what "10.0.0.5" is`, `"ip host 10.0.0.5"`},
	{"tcp prt 80", 4, `nothing says what "prt" is`, `"port"`},
	{"10.0.0.5", 0, "nothing says what", `"host 10.0.0.5"`},
	{"2001:db8::1", 0, "nothing says what", `"host 2001:db8::1"`},
	{"tcp and 80", 8, "nothing says what", `"port 80"`},
	{"02:00:00:00:00:05", 0, "nothing says what", `"ether host 02:00:00:00:00:05"`},
	{"tcp host 10.0.0.5", 9, "does not go with an IPv4 address", `"tcp and host 10.0.0.5"`},
	{"ip port 80", 8, "does not go with a port", `"ip and port 80"`},
	{"host 10.0.0.0/8", 5, "belongs to \"net\"", `"net 10.0.0.0/8"`},
	{"net 10.1.2.3/8", 4, "bits set outside its mask", "10.0.0.0/8"},
	{"net 2001:db8::1/32", 4, "bits set outside its mask", "2001:db8::/32"},
	{"net 10.0.0.0/33", 4, "larger than 32", ""},
	{"host 256.1.1.1", 5, "256", ""},
	{"host 02:00:00:00:00:05", 5, "Ethernet address", `"ether host`},
	{"ether host 1:2:3:4:5", 11, "bad Ethernet address", ""},
	{"port 80,443", 7, "','", `"or"`},
	{"port 08", 5, "octal", ""},
	{"port 4294967296", 5, "32 bits", ""},
	{"'tcp'", 0, "unexpected character", "shell"},
	{"tcp & udp", 4, "", `"&&"`},
	{"tcp[13] & 2", 11, "comparison", "tcp-syn"},
	{"tcp[13", 3, "bracket", ""},
	{"tcp[13:3] = 1", 7, "1, 2 or 4", ""},
	{"tcp[len-20] = 1", 4, `"len-20"`, "spaces"},
	{"tcp[tcpflag] = 1", 4, `"tcpflag"`, `"tcpflags"`},
	{"tcp[-1] = 1", 4, "outside of any packet", ""},
	{"ip[0] / 0 = 1", 6, "division by zero", ""},
	{"ip[0] % (2-2) = 1", 9, "2-2", ""},
	{"ip[0] % (2 - 2) = 1", 6, "division by zero", ""},
	{"ip[0] << 32 = 1", 6, "31 bits", ""},
	{"ip[0] % 4 * 2 = 1", 6, "ambiguous", "parentheses"},
	{"ip[0] + 6 ^ 3 = 1", 10, "ambiguous", "parentheses"},
	{"- ip[0] % 3 = 1", 8, "ambiguous", "parentheses"},
	{"(tcp or udp", 0, "not closed", ""},
	{"tcp)", 3, `found ")"`, ""},
	{"tcp or", 6, "the expression ends", ""},
	{"and tcp", 0, `found "and"`, ""},
	{"tcp udp", 4, `found "udp"`, ""},
	{"port", 4, "the expression ends", ""},
	{"net 10.0.0.0 mask 8", 18, "network mask", ""},
	{"vlan 4096", 0, "4095", ""},
	{"mpls 1048576", 0, "1048575", ""},
	{"pppoes 65536", 0, "65535", ""},
	{"mpls and arp", 9, "mpls", ""},
	{"mpls and vlan", 9, "VLAN", ""},
	{"pppoes and broadcast", 11, "PPP", ""},
	{"arp proto 6", 10, "protocol number", "ether proto"},
	{"src proto 6", 4, "direction", ""},
	{"proto 10.0.0.1", 6, "not a protocol", ""},
	{"proto quic", 6, "unknown protocol", "number"},
	{"arp multicast", 0, "multicast", ""},
	{"ether", 0, "says nothing", "ether host"},
	{"tcp \\", 4, "backslash", ""},
	{"tcp \x00", 4, "unexpected character", ""},
	{"tcp \xff", 4, "unexpected character", ""},
	// Known to tcpdump, not supported here.
	{"gateway router", 0, `"gateway" is known but not supported`, "host names"},
	{"ip protochain 6", 3, `"protochain" is known but not supported`, ""},
	{"inbound", 0, `"inbound" is known but not supported`, "which way"},
	{"outbound and tcp", 0, `"outbound" is known`, ""},
	{"wlan host 02:00:00:00:00:05", 0, `"wlan" is known`, "802.11"},
	{"type mgt subtype beacon", 0, `"type" is known`, "802.11"},
	{"tcp and ifname eth0", 8, `"ifname" is known`, ""},
	{"rnr 5", 0, `"rnr" is known`, ""},
	{"vpi 5", 0, `"vpi" is known`, "ATM"},
	{"decnet host 10.1", 0, `"decnet" is known`, ""},
	{"geneve and tcp", 0, `"geneve" is known`, "6081"},
	{"llc", 0, `"llc" is known`, ""},
	{"iso proto 5", 0, `"iso" is known`, ""},
	{"byte 0 = 1", 0, `"byte" is known`, "ether"},
	{"ether proto \\stp", 12, `"stp" is known`, ""},
	{"ether proto 0x809b", 12, "known but not supported", ""},
}

func TestRefusalsPointAtTheMistake(t *testing.T) {
	for _, c := range refusals {
		_, err := Compile(c.expr, Options{Link: LinkEthernet})
		se, ok := errors.AsType[*SyntaxError](err)
		if !ok {
			t.Errorf("%q: %v", c.expr, err)
			continue
		}
		if se.Expr != c.expr || se.Offset != c.offset || !strings.Contains(se.Msg, c.msg) || !strings.Contains(se.Hint, c.hint) {
			t.Errorf("%q: offset %d, want %d: %s\nhint: %s", c.expr, se.Offset, c.offset, se.Msg, se.Hint)
		}
	}
}

func TestEveryUnsupportedWordIsNamedAsSuch(t *testing.T) {
	for word := range unsupported {
		if _, ok := keywords[word]; ok {
			t.Errorf("%q is both supported and not", word)
		}
		for _, expr := range []string{word, "tcp and " + word + " 5", "not (" + word + ")", "port 80 or " + word + " 5"} {
			_, err := Compile(expr, Options{Link: LinkEthernet})
			if err == nil || !strings.Contains(err.Error(), "known but not supported") {
				t.Errorf("%q: %v", expr, err)
			}
		}
	}
}

func TestSyntaxErrorPrintsACaret(t *testing.T) {
	for _, c := range []struct {
		e    SyntaxError
		want string
	}{
		{SyntaxError{"tcp prt 80", 4, "unknown", `did you mean "port"?`},
			"filter expression: unknown\n  tcp prt 80\n      ^\ndid you mean \"port\"?"},
		{SyntaxError{Expr: "tcp or", Offset: 6, Msg: "ends"}, "filter expression: ends\n  tcp or\n        ^"},
		{SyntaxError{Expr: "é\tx", Offset: 3, Msg: "m"}, "filter expression: m\n  é?x\n    ^"},
		{SyntaxError{Expr: strings.Repeat("a", 100) + "!" + strings.Repeat("b", 100), Offset: 100, Msg: "m"},
			"filter expression: m\n  ..." + strings.Repeat("a", 50) + "!" + strings.Repeat("b", 27) + "...\n  " +
				strings.Repeat(" ", 53) + "^"},
		{SyntaxError{Expr: "x", Offset: 99, Msg: "m"}, "filter expression: m\n  x\n   ^"},
	} {
		if got := c.e.Error(); got != c.want {
			t.Errorf("%q\nwant\n%q", got, c.want)
		}
	}
}

func TestBounds(t *testing.T) {
	for name, c := range map[string]struct{ expr, msg string }{
		"length":       {strings.Repeat(" ", maxExpression) + "ip", "longer than 65536 bytes"},
		"parentheses":  {strings.Repeat("(", 201) + "ip" + strings.Repeat(")", 201), "nested deeper"},
		"not":          {strings.Repeat("not ", 201) + "ip", "nested deeper"},
		"ids":          {"port " + strings.Repeat("(", 201) + "80" + strings.Repeat(")", 201), "nested deeper"},
		"arithmetic":   {strings.Repeat("- ", 201) + "1 = 1", "nested deeper"},
		"index":        {strings.Repeat("ip[", 201) + "0" + strings.Repeat("]", 201) + " = 1", "nested deeper"},
		"registers":    {"ip[0]" + strings.Repeat("+ (ip[0]", 20) + strings.Repeat(")", 20) + " = 1", "intermediate results"},
		"instructions": {"tcp and (" + distinctMACs(1500), "4096 are allowed"},
		"open":         {strings.Repeat("(", 190) + strings.Repeat("1+", 30000) + "1", "the expression ends"},
		"name":         {"port " + strings.Repeat("a", 300), "name longer"},
	} {
		_, err := Compile(c.expr, Options{Link: LinkEthernet})
		if se, ok := errors.AsType[*SyntaxError](err); !ok || !strings.Contains(se.Msg, c.msg) {
			t.Errorf("%s: %.300v", name, err)
		}
	}
	for name, expr := range map[string]string{
		"sums": strings.Repeat("(", 180) + "1" + strings.Repeat("+1)", 180) + " < len and (" +
			strings.Repeat("(", 150) + "ip" + strings.Repeat(")", 151),
		"parentheses": strings.Repeat("(", 199) + "ip" + strings.Repeat(")", 199),
		"chain":       strings.Repeat("ip or ", 10000) + "ip",
		"sum":         strings.Repeat("1 + ", 15000) + "len > 5",
		"registers":   "ip[0]" + strings.Repeat("+ (ip[0]", 15) + strings.Repeat(")", 15) + " = 1",
		"same ports":  "port 80" + strings.Repeat(" or 80", 1000),
	} {
		if _, err := Compile(expr, Options{Link: LinkEthernet}); err != nil {
			t.Errorf("%s: %.300v", name, err)
		}
	}
}

func distinctMACs(n int) string {
	var b strings.Builder
	const hex = "0123456789abcdef"
	for i := range n {
		if i > 0 {
			b.WriteString(" or ")
		}
		b.WriteString("ether host 02:00:00:0")
		b.WriteByte(hex[i>>8&15])
		b.WriteString(":0")
		b.WriteByte(hex[i>>4&15])
		b.WriteString(":0")
		b.WriteByte(hex[i&15])
	}
	return b.String() + ")"
}

func TestMessagesHoldNoControlBytes(t *testing.T) {
	for _, expr := range []string{
		"ip \\0\x050", "ip \\0\u009b0", "host 10.0.0.0\n\n/8", "tcp\x1b[31m", "port \\" + strings.Repeat("x", 400),
	} {
		_, err := Compile(expr, Options{Link: LinkEthernet})
		se, ok := errors.AsType[*SyntaxError](err)
		if !ok || strings.ContainsAny(se.Msg+se.Hint, "\n\x05\x1b\u009b") || len(se.Msg) > 400 {
			t.Errorf("%q: %v", expr, err)
		}
	}
}
