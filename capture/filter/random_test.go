package filter

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

var randomExpressions = flag.Int("random", 150, "how many random expressions to compare with this machine's libpcap")

// writer writes random expressions of pcap-filter(7).
type writer struct{ *rand.Rand }

func (w writer) one(words ...string) string { return words[w.IntN(len(words))] }

func (w writer) number() string {
	return w.one("0", "1", "5", "6", "13", "17", "20", "53", "80", "443", "0x45", "0xf0", "1500", "tcp-syn", "icmp-echo", "65535")
}

// arithmetic reads bytes of one protocol only, and begins with one of them if it reads any: libpcap forgets to check for the header
// that a right-hand operand reads (see TestEveryHeaderThatIsReadMustBeThere).
func (w writer) arithmetic(depth int) string {
	if w.IntN(4) == 0 {
		return w.operand("", depth, false)
	}
	return w.operand(w.one("ip", "tcp", "udp", "ip6", "ether", "arp", "icmp", "icmp6", "sctp"), depth, true)
}

func (w writer) operand(proto string, depth int, first bool) string {
	if depth == 0 || w.IntN(4) == 0 {
		switch {
		case proto != "" && (first || w.IntN(2) == 0) && depth > 0 && w.IntN(3) == 0:
			return fmt.Sprintf("%s[%s & 0x1f%s]", proto, w.operand(proto, depth-1, true), w.one("", ":2", ":4"))
		case proto != "" && (first || w.IntN(2) == 0):
			return fmt.Sprintf("%s[%d%s]", proto, w.IntN(20), w.one("", ":2", ":4", ":1"))
		case w.IntN(2) == 0:
			return w.number()
		}
		return "len"
	}
	left, right := w.operand(proto, depth-1, first), w.operand(proto, depth-1, false)
	switch w.IntN(8) {
	case 0:
		return "(" + left + ")"
	case 1:
		return "((" + left + ")" + w.one(" % ", " ^ ") + "(" + right + "))"
	case 2:
		return left + w.one(" - ", " * ", " / ") + "(" + right + ")"
	}
	return left + w.one(" + ", " - ", " * ", " & ", " | ", " >> ", " << ", " / ") + right
}

func (w writer) address() string {
	return w.one("10.0.0.5", "52.94.5.7", "10.0.0.9", "10.0.0.1", "2001:db8::5", "2600:1f18::7", "::1")
}

func (w writer) ids(id func() string) string {
	switch w.IntN(6) {
	case 0:
		return "(" + id() + w.one(" or ", " and ") + id() + ")"
	case 1:
		return "not " + id()
	case 2:
		return id() + w.one(" or ", " and ", " || ", " && not ") + id()
	}
	return id()
}

func (w writer) primitive() string {
	dir := w.one("", "", "", "src ", "dst ", "src or dst ", "src and dst ")
	switch w.IntN(12) {
	case 0:
		return dir + "host " + w.ids(w.address)
	case 1:
		return dir + "net " + w.ids(func() string {
			return w.one("10.0.0.0/8", "10", "52.94", "2001:db8::/32", "10.0.0.0 mask 255.0.0.0", "0.0.0.0/1")
		})
	case 2, 3:
		return w.one("", "tcp ", "udp ", "sctp ") + dir + "port " + w.ids(w.number)
	case 4:
		return w.one("", "tcp ", "udp ") + dir + "portrange " + w.one("1-100", "80-443", "400-500", "50000-1")
	case 5:
		return w.one("ip", "ip6", "arp", "tcp", "udp", "icmp", "icmp6", "sctp", "rarp", "igmp", "esp")
	case 6:
		return w.one("ip ", "ip6 ", "", "ether ") + "proto " + w.number()
	case 7:
		return w.one("vlan", "vlan 5", "mpls", "mpls 100", "pppoes", "pppoes 39", "pppoed", "vlan 100")
	case 8:
		return w.one("less ", "greater ") + w.one("60", "74", "100")
	case 9:
		return w.one("ether broadcast", "ip multicast", "ip6 multicast", "multicast", "ether host 02:00:00:00:00:05",
			"ether src 02:00:00:00:00:01")
	}
	return w.arithmetic(2) + w.one(" = ", " != ", " < ", " > ", " <= ", " >= ", "==") + w.arithmetic(2)
}

func (w writer) expression(depth int) string {
	switch {
	case depth == 0:
		return w.primitive()
	case w.IntN(5) == 0:
		return w.one("not ", "!") + "(" + w.expression(depth-1) + ")"
	case w.IntN(4) == 0:
		return "(" + w.expression(depth-1) + ")"
	}
	return w.expression(depth-1) + w.one(" and ", " or ", " && ", " || ") + w.expression(depth-1)
}

// deliberate tells whether a difference in what is refused is one that docs/filter.md tells of.
func deliberate(theirs, ours string) bool {
	return strings.Contains(ours, "outside of any packet") || // a constant offset beyond 2 GiB
		strings.Contains(theirs, rejectsAll) ||
		// Found by folding constants here and by the optimizer there, which also finds some that are none.
		strings.Contains(ours+theirs, "division by zero") || strings.Contains(theirs, "modulus by zero") ||
		strings.Contains(ours+theirs, "shift by more than 31")
}

// TestRandomExpressions compares expressions that nobody wrote with this machine's libpcap. The sequence is always the same; -random
// makes it longer.
func TestRandomExpressions(t *testing.T) {
	testenv.Slow(t, "runs tcpdump for every expression")
	w := writer{rand.New(rand.NewPCG(1, 2))}
	all := frames(t, "EN10MB")
	compared, bothRefuse, reordered := 0, 0, 0
	for range *randomExpressions {
		expr := w.expression(w.IntN(4))
		o := askTcpdump(t, oracle{link: "EN10MB", expr: expr})
		f, err := Compile(expr, Options{Link: LinkEthernet})
		switch {
		case err != nil && o.refusal != "":
			bothRefuse++
			continue
		case err != nil && deliberate("", err.Error()), err == nil && o.refusal != "" && deliberate(o.refusal, ""):
			continue
		case err != nil:
			t.Errorf("%q: libpcap accepts it, but %v", expr, err)
			continue
		case o.refusal != "":
			t.Errorf("%q: libpcap refuses it: %s", expr, o.refusal)
			continue
		}
		compared++
		j := newJudges(t, f)
		var plain oracle
		for _, frame := range all {
			j.agree(t, frame)
			got, want := f.Match(frame, len(frame)), o.matches(frame)
			if got == want {
				continue
			}
			// A load beyond the end of a frame: see TestMatchesWhatLibpcapMatches.
			if plain.program == nil {
				plain = askTcpdump(t, o, "-O")
			}
			if got != plain.matches(frame) {
				t.Errorf("%q on % x:\nMatch %v, libpcap %v\n%s", expr, frame, got, want, f.Dump())
				break
			}
			reordered++
		}
	}
	t.Logf("%d compared, %d refused by both; %d frames where libpcap's optimizer shows", compared, bothRefuse, reordered)
}
