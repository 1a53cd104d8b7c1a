package endpoint

import (
	"bufio"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

// A pattern is one line of testdata/patterns.tsv: the independent statement of what ParseName has to do.
type pattern struct {
	text                     string // with {placeholders}
	service, kind, partition string
	re                       *regexp.Regexp
	tail                     string // what every match ends in, to try few expressions for a name
}

var variablePart = regexp.MustCompile(`[^\\a-z0-9.-]`)

// patterns reads the list, without DynamoDB Local's localhost, which only the traffic can tell.
func patterns(tb testing.TB) []pattern {
	tb.Helper()
	f, err := os.Open("testdata/patterns.tsv")
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	var list []pattern
	for sc := bufio.NewScanner(f); sc.Scan(); {
		col := strings.Split(sc.Text(), "\t")
		if strings.HasPrefix(col[0], "#") || col[1] == Local {
			continue
		}
		p := pattern{text: col[0], service: col[1], kind: col[2], partition: col[3], re: regexp.MustCompile(col[4])}
		if p.kind == "-" {
			p.kind = ""
		}
		tail := strings.TrimSuffix(col[4], "$")
		tail = tail[strings.LastIndexByte(tail, ')')+1:]
		if i := strings.LastIndexAny(tail, "+]"); i >= 0 {
			tail = tail[i+1:]
		}
		if variablePart.MatchString(tail) || len(tail) < 5 {
			tb.Fatalf("%s: the literal tail %q is not literal", p.text, tail)
		}
		p.tail = strings.ReplaceAll(tail, `\`, "")
		list = append(list, p)
	}
	if len(list) != 157 {
		tb.Fatalf("testdata/patterns.tsv has %d patterns, want 157", len(list))
	}
	return list
}

// oracle is ParseName by regular expressions: written to be plainly right, and slow.
func oracle(tb testing.TB, list []pattern, host string) (Name, bool) {
	s := host
	if m := portPart.FindStringSubmatchIndex(s); m != nil {
		s = s[:m[0]]
	}
	s = strings.TrimSuffix(s, ".")
	if len(s) > 253 {
		return Name{}, false
	}
	s = strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
	var n Name
	found := false
	for i := range list {
		p := &list[i]
		if !strings.HasSuffix(s, p.tail) {
			continue
		}
		m := p.re.FindStringSubmatch(s)
		if m == nil {
			continue
		}
		group := func(name string) string {
			if i := p.re.SubexpIndex(name); i >= 0 {
				return m[i]
			}
			return ""
		}
		got := Name{Service: p.service, Region: group("region"), Partition: p.partition, Kind: p.kind,
			Account: group("account"), VPCE: group("vpce"), Zone: group("az")}
		if found && got != n {
			tb.Fatalf("%q fits two patterns: %+v and %+v", s, n, got)
		}
		n, found = got, true
	}
	return n, found
}

// portPart is ":" and a number from 1 to 65535 in at most five digits, or nothing.
var portPart = regexp.MustCompile(`:(?:0*(?:[1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5]))?$`)

// agree checks one name. Ports of more than five digits, with leading zeros, are left out: whether those are ports is nobody's question.
func agree(tb testing.TB, list []pattern, host string) bool {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && len(host)-i > 6 {
		return false
	}
	want, wantOK := oracle(tb, list, host)
	got, ok := ParseName(host)
	if got != want || ok != wantOK {
		tb.Fatalf("ParseName(%q) = %+v, %v; the patterns say %+v, %v", host, got, ok, want, wantOK)
	}
	if ok && OtherAWSService(host) {
		tb.Fatalf("%q is DynamoDB's and another service's", host)
	}
	return ok
}

var testRegions = strings.Fields(`af-south-1 ap-east-1 ap-east-2 ap-northeast-1 ap-south-2 ap-southeast-7 ca-central-1 ca-west-1 cn-north-1
	cn-northwest-1 eu-central-1 eu-isoe-west-1 eu-west-3 eusc-de-east-1 il-central-1 me-central-1 me-west-1 mx-central-1 sa-east-1 sa-west-1
	us-east-1 us-east-2 us-gov-east-1 us-gov-west-1 us-iso-east-1 us-iso-west-1 us-isob-east-1 us-isob-west-1 us-isof-east-1 us-isof-south-1
	us-south-1 us-west-1 us-west-2 xx-new-1 us-east us-east-1a us_east_1 GLOBAL`)

// examples fills the placeholders of a pattern for one region.
func (p *pattern) examples(region string) []string {
	fill := func(vpce string) string {
		return strings.NewReplacer("{region}", region, "{account}", "123456789012", "{vpce-id}[-{az}]", vpce, "{cluster}", "my-c0", "{node}", "n-1",
			"{id}", "a1b2c3", "{short-region}", "use1").Replace(p.text)
	}
	if strings.Contains(p.text, "{vpce-id}") {
		return []string{fill("vpce-0f1e2d3c-xyz12345"), fill("vpce-0f1e2d3c-xyz12345-" + region + "a")}
	}
	return []string{fill("")}
}

// ownRegion is a region of the pattern's partition.
func (p *pattern) ownRegion() string {
	return testRegions[slices.IndexFunc(testRegions, func(r string) bool { return PartitionOf(r) == p.partition })]
}

func TestParseNameAgreesWithEveryPattern(t *testing.T) {
	list := patterns(t)
	names, matches := 0, 0
	check := func(host string) bool {
		names++
		ok := agree(t, list, host)
		if ok {
			matches++
		}
		return ok
	}
	for i := range list {
		p := &list[i]
		for _, region := range testRegions {
			for _, host := range p.examples(region) {
				check(host)
			}
		}
		for _, host := range p.examples(p.ownRegion()) {
			if !check(host) || !check(strings.ToUpper(host)) || !check(host+".:443") {
				t.Errorf("%q is not recognised", host)
			}
			for _, m := range mutations(host) {
				check(m)
			}
			// The same labels below the other suffixes.
			for j := range list {
				if list[j].tail != p.tail {
					check(strings.TrimSuffix(host, p.tail) + list[j].tail)
				}
			}
		}
	}
	t.Logf("%d names, %d of them recognised", names, matches)
	if matches < 2000 || names < 40000 {
		t.Errorf("only %d names and %d matches: the generator is broken", names, matches)
	}
}

// mutations are names one step away: a byte changed, removed or put in, a label doubled, dropped or put in.
func mutations(host string) []string {
	var out []string
	for i := 0; i <= len(host); i++ {
		for _, c := range []string{"-", ".", "0", "g", "_"} {
			out = append(out, host[:i]+c+host[i:])
			if i < len(host) {
				out = append(out, host[:i]+c+host[i+1:])
			}
		}
		if i < len(host) {
			out = append(out, host[:i]+host[i+1:])
		}
	}
	labels := strings.Split(host, ".")
	for i := range labels {
		with := func(more ...string) {
			out = append(out, strings.Join(slices.Concat(labels[:i], more, labels[i+1:]), "."))
		}
		with()
		with(labels[i], labels[i])
		for _, word := range []string{"dynamodb", "streams", "vpce", "ddb", "nodes", "dax-clusters", "cache", "us-east-1", "\u212a", "a\x00"} {
			with(word)
			with(word, labels[i])
		}
	}
	return append(out, host+".evil.example", "evil"+host, "evil."+host, host+":0", host+":65536", host+":443.", " "+host, host+" ")
}

func TestPatternListIsTheSharedOne(t *testing.T) {
	shared := testenv.Shared(t, "aws", "dynamodb-endpoints.tsv")
	b, err := os.ReadFile(shared)
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile("testdata/patterns.tsv")
	if err != nil {
		t.Fatal(err)
	}
	field := func(data []byte, pattern, partition, re int) []string {
		var out []string
		for _, line := range strings.Split(strings.TrimSpace(string(data)), "\n")[1:] {
			col := strings.Split(line, "\t")
			out = append(out, col[pattern]+" "+col[partition]+" "+col[re])
		}
		return out
	}
	if got, want := field(own, 0, 3, 4), field(b, 0, 2, 1); !slices.Equal(got, want) {
		t.Errorf("testdata/patterns.tsv has %d rows that differ from the %d of %s", len(got), len(want), shared)
	}
}

func FuzzParseName(f *testing.F) {
	list := patterns(f)
	for i := range list {
		for _, host := range list[i].examples(list[i].ownRegion()) {
			f.Add(host)
		}
	}
	f.Add("DYNAMODB.us-east-1.AMAZONAWS.COM.:65535")
	f.Add("my-dynamodb-backups.s3.us-east-1.amazonaws.com")
	f.Fuzz(func(t *testing.T, host string) {
		if agree(t, list, host) {
			// What is masked differs from the name only in an account id.
			n, _ := ParseName(host)
			if masked := MaskHost(host); (n.Account == "") != (masked == host) && n.VPCE == "" && n.Service != DAX {
				t.Errorf("MaskHost(%q) = %q", host, masked)
			}
		}
	})
}
