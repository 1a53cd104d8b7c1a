package endpoint

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/testenv"
)

func ip(s string) flow.IP { return flow.IPFrom(netip.MustParseAddr(s)) }

func mustRead(tb testing.TB, text string) *Ranges {
	tb.Helper()
	r, err := ReadRanges(strings.NewReader(text))
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

const smallRanges = `{
  "syncToken": "1787433425",
  "createDate": "2026-08-22-21-17-05",
  "prefixes": [
    {"ip_prefix": "3.0.0.0/9", "region": "us-east-1", "service": "AMAZON", "network_border_group": "us-east-1"},
    {"ip_prefix": "3.8.0.0/24", "region": "eu-west-2", "service": "EC2", "network_border_group": "eu-west-2-wl1"},
    {"ip_prefix": "3.8.0.0/24", "region": "eu-west-2", "service": "DYNAMODB", "network_border_group": "eu-west-2-wl1"},
    {"ip_prefix": "3.8.0.0/24", "region": "eu-west-2", "service": "EC2", "network_border_group": "eu-west-2-wl1"},
    {"ip_prefix": "3.8.0.128/25", "region": "eu-west-2", "service": "S3", "network_border_group": "eu-west-2"},
    {"ip_prefix": "3.8.1.0/24", "region": "eu-west-3", "service": "DYNAMODB"},
    {"ip_prefix": "13.0.0.0/8", "region": "GLOBAL", "service": "CLOUDFRONT"},
    {"ip_prefix": "14.0.0.0/8", "region": "GLOBAL", "service": "CLOUDFRONT"},
    {"ip_prefix": "255.255.255.255/32", "region": "cn-north-1", "service": "DYNAMODB"}
  ],
  "ipv6_prefixes": [
    {"ipv6_prefix": "2600:1f00::/24", "region": "us-east-1", "service": "AMAZON", "network_border_group": "us-east-1"},
    {"ipv6_prefix": "2600:1f18::/33", "region": "us-east-1", "service": "EC2", "network_border_group": "us-east-1"},
    {"ipv6_prefix": "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128", "region": "us-east-1", "service": "EC2"}
  ],
  "unknown": [{"a": [1, 2, {}]}]
}`

func TestRangesOfASmallFile(t *testing.T) {
	r := mustRead(t, smallRanges)
	if r.SyncToken != "1787433425" || !r.CreateDate.Equal(time.Date(2026, 8, 22, 21, 17, 5, 0, time.UTC)) {
		t.Errorf("header: %q, %v", r.SyncToken, r.CreateDate)
	}
	if age, ok := r.Age(r.CreateDate.Add(time.Hour)); !ok || age != time.Hour {
		t.Errorf("Age = %v, %v", age, ok)
	}
	tests := map[string]struct {
		addr          string
		dynamodb, aws bool
		region        string
		prefix        string
		services      string
	}{
		"before the first":                      {"2.255.255.255", false, false, "", "", ""},
		"first address":                         {"3.0.0.0", false, true, "us-east-1", "3.0.0.0/9", "AMAZON"},
		"last address":                          {"3.127.255.255", false, true, "us-east-1", "3.0.0.0/9", "AMAZON"},
		"after the last":                        {"3.128.0.0", false, false, "", "", ""},
		"DYNAMODB wins a tie":                   {"3.8.0.1", true, true, "eu-west-2", "3.8.0.0/24", "DYNAMODB AMAZON EC2"},
		"DYNAMODB wins over a narrower prefix":  {"3.8.0.200", true, true, "eu-west-2", "3.8.0.0/24", "DYNAMODB AMAZON EC2 S3"},
		"merged neighbours keep their regions":  {"3.8.1.255", true, true, "eu-west-3", "3.8.1.0/24", "DYNAMODB AMAZON"},
		"just after DYNAMODB":                   {"3.8.2.0", false, true, "us-east-1", "3.0.0.0/9", "AMAZON"},
		"a merged block over a first byte":      {"14.0.0.0", false, true, "GLOBAL", "14.0.0.0/8", "CLOUDFRONT"},
		"the very last IPv4 address":            {"255.255.255.255", true, true, "cn-north-1", "255.255.255.255/32", "DYNAMODB"},
		"IPv4 in IPv6 form":                     {"::ffff:3.8.0.1", true, true, "eu-west-2", "3.8.0.0/24", "DYNAMODB AMAZON EC2"},
		"IPv6 in two prefixes":                  {"2600:1f18::1", false, true, "us-east-1", "2600:1f18::/33", "AMAZON EC2"},
		"IPv6 in the wider alone":               {"2600:1f18:8000::1", false, true, "us-east-1", "2600:1f00::/24", "AMAZON"},
		"IPv6 outside":                          {"2600:2000::", false, false, "", "", ""},
		"the very last IPv6 address":            {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", false, true, "us-east-1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128", "EC2"},
		"IPv6 that looks like an IPv4 in range": {"::3.8.0.1", false, false, "", "", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			a := ip(tt.addr)
			if d, w := r.IsDynamoDB(a), r.IsAWS(a); d != tt.dynamodb || w != tt.aws {
				t.Errorf("IsDynamoDB, IsAWS = %v, %v; want %v, %v", d, w, tt.dynamodb, tt.aws)
			}
			info, ok := r.Lookup(a)
			if ok != tt.aws || info.AWS != tt.aws || info.DynamoDB != tt.dynamodb || info.Region != tt.region ||
				info.Partition != PartitionOf(tt.region) || ok && info.Prefix.String() != tt.prefix ||
				strings.Join(info.Services, " ") != tt.services {
				t.Errorf("Lookup = %+v, %v", info, ok)
			}
			region, partition, ok := r.DynamoDBRegion(a)
			if ok != tt.dynamodb || ok && (region != tt.region || partition != PartitionOf(region)) {
				t.Errorf("DynamoDBRegion = %q, %q, %v", region, partition, ok)
			}
		})
	}
	if got := r.Services(); !slices.Equal(got, []string{"AMAZON", "CLOUDFRONT", "DYNAMODB", "EC2", "S3"}) {
		t.Errorf("Services = %q", got)
	}
	if info, _ := r.Lookup(ip("3.8.0.200")); len(info.Rows) != 3 || info.Border != "eu-west-2-wl1" || info.Rows[0].Prefix.Bits() != 25 {
		t.Errorf("Lookup keeps every row, the most specific first: %+v", info)
	}
	if got := r.List("ec2"); len(got) != 3 || got[0].Prefix.String() != "3.8.0.0/24" || got[1].Prefix.String() != "2600:1f18::/33" {
		t.Errorf("List sorts IPv4 before IPv6: %v", got)
	}
}

func TestReadRangesRefusesWhatIsWrong(t *testing.T) {
	row := func(s string) string { return `{"prefixes":[{"region":"us-east-1","service":"DYNAMODB",` + s + `}]}` }
	for name, tt := range map[string]struct{ text, want string }{
		"nothing":             {"", "at byte 0: unexpected EOF"},
		"a web page":          {"<html>", "at byte 0"},
		"an array":            {"[]", `"{" expected`},
		"cut short":           {smallRanges[:900], "unexpected EOF"},
		"something after it":  {smallRanges + "{}", "something follows"},
		"prefixes no list":    {`{"prefixes":{}}`, `prefixes: at byte 13: "[" expected`},
		"prefixes null":       {`{"prefixes":null}`, `"[" expected`},
		"no prefix":           {row(`"x":1`), `prefixes[0].ip_prefix: "" is not a prefix`},
		"an address":          {row(`"ip_prefix":"3.5.140.0"`), `prefixes[0].ip_prefix: "3.5.140.0" is not a prefix`},
		"too long a prefix":   {row(`"ip_prefix":"3.5.140.0/33"`), "prefixes[0].ip_prefix"},
		"host bits":           {row(`"ip_prefix":"3.5.140.1/22"`), "3.5.140.0/22 is meant"},
		"everything":          {row(`"ip_prefix":"0.0.0.0/0"`), "wider than any block"},
		"IPv6 among IPv4":     {row(`"ip_prefix":"2600::/32"`), "other address family"},
		"a mapped prefix":     {`{"ipv6_prefixes":[{"ipv6_prefix":"::ffff:10.0.0.0/104","region":"a","service":"b"}]}`, "ipv6_prefixes[0].ipv6_prefix"},
		"around the mapped":   {`{"ipv6_prefixes":[{"ipv6_prefix":"::/32","region":"a","service":"b"}]}`, "not a global address"},
		"no region":           {`{"prefixes":[{"ip_prefix":"3.5.140.0/22","service":"S3"}]}`, "prefixes[0].region: missing"},
		"a region to print":   {`{"prefixes":[{"ip_prefix":"3.5.140.0/22","service":"S3","region":"\u001b[2J"}]}`, `prefixes[0].region: "\x1b[2J"`},
		"a number as service": {`{"prefixes":[{"ip_prefix":"3.5.140.0/22","service":7,"region":"us-east-1"}]}`, "prefixes[0]: at byte"},
		"another date":        {`{"createDate":"2026-08-22T21:17:05Z"}`, "createDate"},
		"another token":       {`{"syncToken":"abc"}`, "syncToken"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := ReadRanges(strings.NewReader(tt.text))
			if r != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, %v; want an error with %q", r, err, tt.want)
			}
		})
	}
}

func TestRangesWithoutDynamoDBAreAnError(t *testing.T) {
	for _, text := range []string{`{}`, `{"prefixes":[],"ipv6_prefixes":[]}`, strings.ReplaceAll(smallRanges, "DYNAMODB", "S3")} {
		if r, err := ReadRanges(strings.NewReader(text)); r != nil || !errors.Is(err, ErrNoDynamoDB) {
			t.Errorf("got %v, %v; want ErrNoDynamoDB", r, err)
		}
	}
}

func TestReadRangesHasALimit(t *testing.T) {
	n := int64(len(smallRanges))
	if _, err := readRanges(strings.NewReader(smallRanges), n); err != nil {
		t.Errorf("a file of exactly the limit: %v", err)
	}
	for limit := range n {
		if r, err := readRanges(strings.NewReader(smallRanges), limit); r != nil || !errors.Is(err, ErrTooLarge) {
			t.Errorf("limit %d for %d bytes: %v, %v; want ErrTooLarge", limit, n, r, err)
		}
	}
}

func TestReadRangesReportsAReadError(t *testing.T) {
	broken := errors.New("broken")
	for n := range len(smallRanges) {
		r, err := ReadRanges(io.MultiReader(strings.NewReader(smallRanges[:n]), iotest.ErrReader(broken)))
		if r != nil || !errors.Is(err, broken) {
			t.Errorf("broken after %d bytes: %v, %v", n, r, err)
		}
	}
}

func TestIPv6DynamoDBRowsWouldBeUsed(t *testing.T) {
	r := mustRead(t, `{"ipv6_prefixes":[{"ipv6_prefix":"2600:1f18::/36","region":"us-east-1","service":"DYNAMODB"}]}`)
	if !r.IsDynamoDB(ip("2600:1f18::5")) || r.IsDynamoDB(ip("2600:1f18:1000::5")) {
		t.Error("a DYNAMODB row of IPv6 is not looked up")
	}
}

func TestPackedIsTheSame(t *testing.T) {
	r := mustRead(t, smallRanges)
	b, err := r.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	u, err := unpack(b)
	if err != nil {
		t.Fatal(err)
	}
	sameRanges(t, u, r)
	for n := range b {
		if u, err := unpack(b[:n]); u != nil || err == nil {
			t.Errorf("cut to %d of %d bytes: %v, %v", n, len(b), u, err)
		}
	}
	if _, err := unpack(append(slices.Clip(b), 0)); err == nil {
		t.Error("a byte too many is no error")
	}
}

func sameRanges(t *testing.T, got, want *Ranges) {
	t.Helper()
	if !reflect.DeepEqual(got.rows(), want.rows()) || !reflect.DeepEqual(got.tags, want.tags) || !reflect.DeepEqual(got.tagged, want.tagged) ||
		!reflect.DeepEqual(got.aws, want.aws) || !reflect.DeepEqual(got.dynamodb, want.dynamodb) || got.SHA256 != want.SHA256 ||
		got.SyncToken != want.SyncToken || !got.CreateDate.Equal(want.CreateDate) {
		t.Error("the two differ")
	}
}

func TestEmbeddedIsGeneratedFromTheSharedFile(t *testing.T) {
	if len(packedRanges) > 150<<10 {
		t.Errorf("built-in ranges have %d bytes", len(packedRanges))
	}
	f, err := os.Open(testenv.Shared(t, "aws", "ip-ranges.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := ReadRanges(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := r.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, packedRanges) {
		t.Error("ranges.bin is not what go generate makes of the shared file")
	}
	sameRanges(t, Embedded(), r)
}

func TestEmbeddedKnowsWhatItIs(t *testing.T) {
	r := Embedded()
	if r.Source != "built-in" || r.SyncToken != "1787433425" || r.CreateDate.Format(createDateLayout) != "2026-08-22-21-17-05" {
		t.Errorf("%q, %q, %v", r.Source, r.SyncToken, r.CreateDate)
	}
	if n := len(r.List("DynamoDB")); n != 94 {
		t.Errorf("%d DYNAMODB prefixes, want 94", n)
	}
	if n := len(r.List("")); n != 7904+3108 {
		t.Errorf("%d prefixes, want 11012", n)
	}
	if r.List("no-such-service") != nil {
		t.Error("an unknown service has prefixes")
	}
	// A resolver's answer seen in public in March 2024; EC2's 3.208.0.0/12 holds it too.
	info, _ := r.Lookup(ip("3.218.182.169"))
	if !info.DynamoDB || info.Region != "us-east-1" || info.Prefix.String() != "3.218.180.0/22" || !slices.Contains(info.Services, "EC2") {
		t.Errorf("3.218.182.169: %+v", info)
	}
}

func TestEveryPublishedPrefixIsFoundWithItsRegion(t *testing.T) {
	f, err := os.Open("testdata/dynamodb-prefixes.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := Embedded()
	n := 0
	for sc := bufio.NewScanner(f); sc.Scan(); {
		col := strings.Split(sc.Text(), "\t")
		if col[0] == "ip_prefix" {
			continue
		}
		n++
		want := netip.MustParsePrefix(col[0])
		first := flow.IPFrom(want.Addr())
		_, last := ends(want)
		for _, a := range []flow.IP{first, last} {
			info, ok := r.Lookup(a)
			if !ok || !info.DynamoDB || info.Prefix != want || info.Region != col[1] || info.Border != col[2] {
				t.Errorf("%v: %+v, %v; want %v", a, info, ok, sc.Text())
			}
			if region, partition, ok := r.DynamoDBRegion(a); !ok || region != col[1] || partition == "" || !r.IsDynamoDB(a) {
				t.Errorf("%v: %q, %q, %v; want %v", a, region, partition, ok, sc.Text())
			}
		}
		if slices.Contains(r.mustLookup(first).Services, "EC2") == (col[3] == "no") {
			t.Errorf("%v: %v, but also_tagged_EC2 is %s", want, r.mustLookup(first).Services, col[3])
		}
	}
	if n != 94 {
		t.Errorf("%d prefixes in the list, want 94", n)
	}
}

func (r *Ranges) mustLookup(a flow.IP) Info {
	info, _ := r.Lookup(a)
	return info
}

// ends returns the first and the last address of a prefix.
func ends(p netip.Prefix) (first, last flow.IP) {
	first = flow.IPFrom(p.Addr())
	last = first
	n := p.Bits()
	if p.Addr().Is4() {
		n += 96
	}
	for ; n < 128; n++ {
		last[n/8] |= 0x80 >> (n % 8)
	}
	return first, last
}

// The merged blocks are checked against a plain walk over all rows: at the ends of every prefix, next to them, and anywhere.
func TestBlocksAgreeWithTheRows(t *testing.T) {
	r := Embedded()
	var probes []flow.IP
	rng := rand.New(rand.NewPCG(1, 2))
	for i, p := range r.List("") {
		if i%40 != 0 && !slices.Contains(p.Services, serviceDynamoDB) {
			continue
		}
		first, last := ends(p.Prefix)
		probes = append(probes, first, last, step(first, -1), step(last, 1))
	}
	for range 500 {
		v := rng.Uint32()
		probes = append(probes, flow.IPFrom4([]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}))
	}
	rows := r.rows()
	for _, a := range probes {
		aws, dynamodb := false, false
		v := u128From(a)
		for _, x := range rows {
			if s := x.span(); !v.less(s.lo) && !s.hi.less(v) {
				aws = true
				dynamodb = dynamodb || r.tags[x.tag].dynamodb
			}
		}
		if r.IsAWS(a) != aws || r.IsDynamoDB(a) != dynamodb {
			t.Errorf("%v: IsAWS %v, IsDynamoDB %v; the rows say %v, %v", a, r.IsAWS(a), r.IsDynamoDB(a), aws, dynamodb)
		}
		if info, ok := r.Lookup(a); ok != aws || info.DynamoDB != dynamodb {
			t.Errorf("%v: Lookup %+v, %v; the rows say %v, %v", a, info, ok, aws, dynamodb)
		}
	}
}

// step is the address before or after a.
func step(a flow.IP, by int) flow.IP {
	for i := len(a) - 1; i >= 0; i-- {
		a[i] += byte(by)
		if by > 0 && a[i] != 0 || by < 0 && a[i] != 0xff {
			break
		}
	}
	return a
}

func TestIsDynamoDBDoesNotAllocate(t *testing.T) {
	r := Embedded()
	a, b := ip("52.94.5.7"), ip("2600:1f18::1")
	if n := testing.AllocsPerRun(100, func() { r.IsDynamoDB(a); r.IsAWS(b); r.IsDynamoDB(b); r.DynamoDBRegion(a) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestCompareEditions(t *testing.T) {
	old := mustRead(t, smallRanges)
	if d := Compare(old, old); d.Added != nil || d.Removed != nil {
		t.Errorf("an edition differs from itself: %+v", d)
	}
	changed := strings.NewReplacer("3.8.1.0/24", "3.8.4.0/22", `"cn-north-1"`, `"cn-northwest-1"`).Replace(smallRanges)
	d := Compare(old, mustRead(t, changed))
	text := func(list []Prefix) string {
		var out []string
		for _, p := range list {
			out = append(out, p.Prefix.String()+" "+p.Region)
		}
		return strings.Join(out, ", ")
	}
	if got, want := text(d.Added), "3.8.4.0/22 eu-west-3, 255.255.255.255/32 cn-northwest-1"; got != want {
		t.Errorf("added %s, want %s", got, want)
	}
	if got, want := text(d.Removed), "3.8.1.0/24 eu-west-3, 255.255.255.255/32 cn-north-1"; got != want {
		t.Errorf("removed %s, want %s", got, want)
	}
}

func FuzzReadRanges(f *testing.F) {
	f.Add([]byte(smallRanges))
	f.Add([]byte(`{"prefixes":[{"ip_prefix":"3.8.0.0/24","region":"eu-west-2","service":"DYNAMODB"}]}`))
	f.Add([]byte(`{"ipv6_prefixes":[{"ipv6_prefix":"2600::/16","region":"eu-west-2","service":"DYNAMODB"}]}`))
	f.Add([]byte(`{"prefixes":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ReadRanges(bytes.NewReader(data))
		if (r == nil) == (err == nil) {
			t.Fatalf("%v, %v: want either a result or an error", r, err)
		}
		if err != nil {
			return
		}
		if !json.Valid(data) {
			t.Fatal("accepted what is no JSON")
		}
		list := r.List(serviceDynamoDB)
		if len(list) == 0 {
			t.Fatal("accepted without a DYNAMODB prefix")
		}
		for _, p := range list {
			first, last := ends(p.Prefix)
			for _, a := range []flow.IP{first, last} {
				if info, ok := r.Lookup(a); !ok || !info.DynamoDB || !r.IsDynamoDB(a) || !r.IsAWS(a) {
					t.Fatalf("%v of %v is not found: %+v", a, p, info)
				}
			}
		}
		b, err := r.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		u, err := unpack(b)
		if err != nil {
			t.Fatal(err)
		}
		sameRanges(t, u, r)
	})
}

func FuzzUnpack(f *testing.F) {
	b, err := mustRead(f, smallRanges).MarshalBinary()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := unpack(data)
		if (r == nil) == (err == nil) {
			t.Fatalf("%v, %v: want either a result or an error", r, err)
		}
		if err == nil && len(r.rows()) != r.packed.rowCount {
			t.Fatalf("%d rows, %d announced", len(r.rows()), r.packed.rowCount)
		}
	})
}

func BenchmarkRanges(b *testing.B) {
	r := Embedded()
	for name, a := range map[string]string{"DynamoDB": "52.94.5.7", "AWS": "3.5.140.7", "elsewhere": "93.184.216.34", "private": "10.0.0.1",
		"IPv6": "2600:1f18::1"} {
		a := ip(a)
		b.Run("IsDynamoDB/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.IsDynamoDB(a)
			}
		})
		b.Run("IsAWS/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.IsAWS(a)
			}
		})
	}
	b.Run("DynamoDBRegion", func(b *testing.B) {
		a := ip("52.94.5.7")
		b.ReportAllocs()
		for b.Loop() {
			r.DynamoDBRegion(a)
		}
	})
}

func BenchmarkUnpack(b *testing.B) {
	b.Run("index", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := unpack(packedRanges); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("rows", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r, err := unpack(packedRanges)
			if err != nil {
				b.Fatal(err)
			}
			r.rows()
		}
	})
}
