package endpoint

import (
	"bytes"
	"cmp"
	"iter"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// serviceDynamoDB is the service name in ip-ranges.json.
const serviceDynamoDB = "DYNAMODB"

// Ranges is one edition of AWS's ip-ranges.json. It does not change once made, save that the exported fields may be set before it is
// shared; then its methods may be called from any goroutine.
type Ranges struct {
	// Source says where it came from: "built-in", or what the reader of a file puts there.
	Source string
	// SyncToken is AWS's number of the edition; "" if the file has none.
	SyncToken string
	// CreateDate is when AWS made the edition, in UTC; zero if the file does not say.
	CreateDate time.Time
	// SHA256 is of the JSON file, all of it.
	SHA256 [32]byte

	dynamodb, aws *blocks
	tags          []tag
	tagged        []row // the DYNAMODB rows, sorted

	// all rows, sorted; for a built-in edition unpacked when first asked for.
	all    []row
	once   sync.Once
	packed *unpacker
}

// A row is a prefix with one tag. ip and bits are of the 16-byte form: 10.0.0.0/8 is ::ffff:10.0.0.0/104.
// Rows are sorted by address, then wider first, then by tag.
type row struct {
	ip   flow.IP
	bits uint8
	tag  uint16
}

// A tag is what ip-ranges.json says of a prefix. One prefix has several rows there, one for each service; here they are one.
type tag struct {
	region, border string
	services       []string // sorted
	dynamodb       bool
}

func (a row) compare(b row) int {
	if a.ip != b.ip {
		return bytes.Compare(a.ip[:], b.ip[:])
	}
	return cmp.Or(cmp.Compare(a.bits, b.bits), cmp.Compare(a.tag, b.tag))
}

func (a row) prefix() netip.Prefix {
	addr := a.ip.Addr()
	n := int(a.bits)
	if addr.Is4() {
		n -= 96
	}
	return netip.PrefixFrom(addr, n)
}

func (a row) span() span {
	lo := u128From(a.ip)
	hi := lo
	if a.bits < 64 {
		hi.hi |= ^uint64(0) >> a.bits
		hi.lo = ^uint64(0)
	} else {
		hi.lo |= ^uint64(0) >> (a.bits - 64) // a shift by 64 gives 0
	}
	return span{lo, hi}
}

// index builds the tables for the hot path from rows in order, about count of them.
func (r *Ranges) index(rows iter.Seq[row], count int) {
	all := make([]span, 0, count/3) // what merging leaves of the edition of August 2026
	var dynamodb []span
	for x := range rows {
		all = merge(all, x.span())
		if r.tags[x.tag].dynamodb {
			dynamodb = merge(dynamodb, x.span())
			r.tagged = append(r.tagged, x)
		}
	}
	r.aws, r.dynamodb = makeBlocks(all), makeBlocks(dynamodb)
}

// rows returns all rows, sorted.
func (r *Ranges) rows() []row {
	r.once.Do(func() {
		if r.packed != nil {
			r.all = slices.AppendSeq(make([]row, 0, r.packed.rowCount), r.packed.rows())
		}
	})
	return r.all
}

// IsDynamoDB reports whether ip lies in a prefix tagged DYNAMODB. It does not allocate and takes a few nanoseconds: it is asked for every
// new flow. For IPv6 it is false as long as AWS publishes no such prefixes, which says nothing about the address.
func (r *Ranges) IsDynamoDB(ip flow.IP) bool { return r.dynamodb.contains(ip) }

// IsAWS reports whether ip lies in any prefix of the file. It does not allocate.
func (r *Ranges) IsAWS(ip flow.IP) bool { return r.aws.contains(ip) }

// DynamoDBRegion returns the region of the most specific DYNAMODB prefix that holds ip, and that region's partition.
// Unlike Lookup it needs no more than IsDynamoDB does.
func (r *Ranges) DynamoDBRegion(ip flow.IP) (region, partition string, ok bool) {
	if !r.IsDynamoDB(ip) {
		return "", "", false
	}
	for x := range covering(r.tagged, ip) {
		region = r.tags[x.tag].region
		return region, PartitionOf(region), true
	}
	return "", "", false
}

// Prefix is a prefix of ip-ranges.json with all that the file says of it. Services is sorted and shared: read only.
type Prefix struct {
	Prefix netip.Prefix
	// Region may be GLOBAL. Border is the network border group, which differs from the region in local and Wavelength zones.
	Region, Border string
	Services       []string
}

func (r *Ranges) export(x row) Prefix {
	t := &r.tags[x.tag]
	return Prefix{Prefix: x.prefix(), Region: t.region, Border: t.border, Services: t.services}
}

// Info is what the file says of one address.
type Info struct {
	// DynamoDB: one of the prefixes that hold the address is tagged DYNAMODB. AWS: there is such a prefix at all.
	DynamoDB, AWS bool
	// Prefix is the most specific DYNAMODB prefix, else the most specific prefix; Region, Border and Partition are that one's.
	Prefix                    netip.Prefix
	Region, Border, Partition string
	// Services are those of every prefix that holds the address, DYNAMODB first, then in alphabetical order.
	Services []string
	// Rows are those prefixes, most specific first.
	Rows []Prefix
}

// Lookup returns what the file says of ip; ok is false, and Info zero, when no prefix holds it.
// It reads the whole table, which the built-in edition unpacks on the first call (some 10,000 rows, under a millisecond).
func (r *Ranges) Lookup(ip flow.IP) (info Info, ok bool) {
	best := -1
	for x := range covering(r.rows(), ip) {
		info.Rows = append(info.Rows, r.export(x))
		t := &r.tags[x.tag]
		if best < 0 || t.dynamodb && !info.DynamoDB {
			best = len(info.Rows) - 1
		}
		info.DynamoDB = info.DynamoDB || t.dynamodb
		info.Services = append(info.Services, t.services...)
	}
	if best < 0 {
		return Info{}, false
	}
	p := &info.Rows[best]
	info.AWS, info.Prefix, info.Region, info.Border, info.Partition = true, p.Prefix, p.Region, p.Border, PartitionOf(p.Region)
	slices.SortFunc(info.Services, func(a, b string) int {
		if (a == serviceDynamoDB) != (b == serviceDynamoDB) {
			if a == serviceDynamoDB {
				return -1
			}
			return 1
		}
		return cmp.Compare(a, b)
	})
	info.Services = slices.Compact(info.Services)
	return info, true
}

// covering yields the rows of a sorted table that hold ip, most specific first.
func covering(rows []row, ip flow.IP) iter.Seq[row] {
	return func(yield func(row) bool) {
		shortest := 0
		if ip.Is4() {
			shortest = 96
		}
		masked := ip
		for n := 128; n >= shortest; n-- {
			if n < 128 {
				masked[n/8] &^= 0x80 >> (n % 8)
			}
			want := row{ip: masked, bits: uint8(n)}
			i := sort.Search(len(rows), func(i int) bool { return rows[i].compare(want) >= 0 })
			for ; i < len(rows) && rows[i].bits == want.bits && rows[i].ip == want.ip; i++ {
				if !yield(rows[i]) {
					return
				}
			}
		}
	}
}

// List returns the prefixes of one service, in any case, sorted by family, then address, wider ones first; all of them for "".
func (r *Ranges) List(service string) []Prefix {
	rows := r.rows()
	if strings.EqualFold(service, serviceDynamoDB) {
		rows = r.tagged
	}
	match := make([]bool, len(r.tags))
	for i := range r.tags {
		match[i] = service == "" || slices.ContainsFunc(r.tags[i].services, func(s string) bool { return strings.EqualFold(s, service) })
	}
	var v4, v6 []Prefix
	for _, x := range rows {
		if !match[x.tag] {
			continue
		}
		if x.ip.Is4() {
			v4 = append(v4, r.export(x))
		} else {
			v6 = append(v6, r.export(x))
		}
	}
	return append(v4, v6...)
}

// Services returns the names of all services in the file, sorted.
func (r *Ranges) Services() []string {
	var out []string
	for i := range r.tags {
		out = append(out, r.tags[i].services...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Age is how old the edition was at the given time; ok is false when the file does not say when it was made.
func (r *Ranges) Age(at time.Time) (age time.Duration, ok bool) {
	if r.CreateDate.IsZero() {
		return 0, false
	}
	return at.Sub(r.CreateDate), true
}

// Diff is what changed between two editions: DYNAMODB prefixes, sorted. One that moved to another region is in both lists.
type Diff struct {
	Old, New       *Ranges
	Added, Removed []Prefix
}

// Compare returns the difference between two editions.
func Compare(old, new *Ranges) Diff {
	type key struct {
		prefix netip.Prefix
		region string
	}
	keys := func(list []Prefix) map[key]bool {
		m := make(map[key]bool, len(list))
		for _, p := range list {
			m[key{p.Prefix, p.Region}] = true
		}
		return m
	}
	missing := func(list []Prefix, in map[key]bool) (out []Prefix) {
		for _, p := range list {
			if !in[key{p.Prefix, p.Region}] {
				out = append(out, p)
			}
		}
		return out
	}
	was, is := old.List(serviceDynamoDB), new.List(serviceDynamoDB)
	return Diff{Old: old, New: new, Added: missing(is, keys(was)), Removed: missing(was, keys(is))}
}
