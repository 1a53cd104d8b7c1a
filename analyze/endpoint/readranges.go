package endpoint

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// Limits of ReadRanges. The file of August 2026 has 2.6 MB, 72 names and about 900 combinations of region, border group and services.
const (
	MaxRangesFile = 64 << 20 // bytes
	maxNames      = 4096     // different services, regions and border groups
	maxNameLen    = 64       // bytes
	maxTags       = 1 << 16
)

var (
	// ErrNoDynamoDB: a well-formed file without a single DYNAMODB prefix. A public copy was empty in this way for hours more than
	// once, so whoever refreshes keeps what he had.
	ErrNoDynamoDB = errors.New("no DYNAMODB prefix in it")
	// ErrTooLarge: the input is longer than MaxRangesFile, or has more different names than any real edition.
	ErrTooLarge = errors.New("larger than an ip-ranges.json can be")
)

// createDateLayout is AWS's way to write the time, in UTC.
const createDateLayout = "2006-01-02-15-04-05"

// ReadRanges reads ip-ranges.json (https://docs.aws.amazon.com/vpc/latest/userguide/aws-ip-syntax.html) to its end. It reads at most
// MaxRangesFile bytes and keeps about 20 bytes a prefix. A prefix that cannot be right is an error that gives its path, as
// prefixes[12].ip_prefix: half a table would call DynamoDB's own addresses strange. Unknown keys are skipped.
func ReadRanges(r io.Reader) (*Ranges, error) { return readRanges(r, MaxRangesFile) }

func readRanges(r io.Reader, limit int64) (*Ranges, error) {
	sum := sha256.New()
	p := rangesParser{
		dec:   json.NewDecoder(io.TeeReader(&limitedReader{r: r, left: limit}, sum)),
		names: make(map[string]uint16),
	}
	out := new(Ranges)
	if err := p.file(out); err != nil {
		return nil, fmt.Errorf("ip-ranges.json: %w", err)
	}
	sum.Sum(out.SHA256[:0])
	if err := p.build(out); err != nil {
		return nil, fmt.Errorf("ip-ranges.json: %w", err)
	}
	return out, nil
}

// limitedReader is io.LimitReader with an error of its own at the end, so that a file cut short is not taken for a whole one. The first
// error stays: json.Decoder.More drops one and reads on.
type limitedReader struct {
	r    io.Reader
	left int64
	err  error
}

func (l *limitedReader) Read(b []byte) (int, error) {
	if l.err != nil {
		return 0, l.err
	}
	var n int
	if l.left > 0 {
		n, l.err = l.r.Read(b[:min(int64(len(b)), l.left)])
		l.left -= int64(n)
		return n, l.err
	}
	// One byte more tells the file that ends here from the one that does not.
	var one [1]byte
	if n, l.err = l.r.Read(one[:]); n > 0 {
		l.err = ErrTooLarge
	}
	return 0, l.err
}

type rangesParser struct {
	dec   *json.Decoder
	names map[string]uint16
	text  []string // by number in names
	rows  []rawRow
}

// A rawRow is one row of the file; names by number.
type rawRow struct {
	ip                      flow.IP
	bits                    uint8
	region, border, service uint16
}

func (p *rangesParser) file(out *Ranges) error {
	if err := p.delim('{'); err != nil {
		return err
	}
	for p.dec.More() {
		key, err := p.dec.Token()
		if err != nil {
			return p.at(err)
		}
		switch key {
		case "syncToken":
			if err := p.dec.Decode(&out.SyncToken); err != nil {
				return fmt.Errorf("syncToken: %w", p.at(err))
			}
			if out.SyncToken != "" && (!allDigits(out.SyncToken) || len(out.SyncToken) > 20) {
				return fmt.Errorf("syncToken: %s is not a number", quote(out.SyncToken))
			}
		case "createDate":
			var s string
			if err := p.dec.Decode(&s); err != nil {
				return fmt.Errorf("createDate: %w", p.at(err))
			}
			if out.CreateDate, err = time.Parse(createDateLayout, s); err != nil {
				return fmt.Errorf("createDate: %s is not in the form %s", quote(s), createDateLayout)
			}
		case "prefixes":
			err = p.list("prefixes", "ip_prefix")
		case "ipv6_prefixes":
			err = p.list("ipv6_prefixes", "ipv6_prefix")
		default:
			var skip json.RawMessage
			err = p.at(p.dec.Decode(&skip))
		}
		if err != nil {
			return err
		}
	}
	if err := p.delim('}'); err != nil {
		return err
	}
	if _, err := p.dec.Token(); err != io.EOF {
		return p.at(cmp.Or(err, errors.New("something follows the end of the table")))
	}
	return nil
}

func (p *rangesParser) list(list, field string) error {
	if err := p.delim('['); err != nil {
		return fmt.Errorf("%s: %w", list, err)
	}
	for i := 0; p.dec.More(); i++ {
		var x struct {
			IPv4    string `json:"ip_prefix"`
			IPv6    string `json:"ipv6_prefix"`
			Region  string `json:"region"`
			Service string `json:"service"`
			Border  string `json:"network_border_group"`
		}
		if err := p.dec.Decode(&x); err != nil {
			return fmt.Errorf("%s[%d]: %w", list, i, p.at(err))
		}
		text := x.IPv4
		if field == "ipv6_prefix" {
			text = x.IPv6
		}
		var r rawRow
		var err error
		if r.ip, r.bits, err = checkPrefix(text, field == "ipv6_prefix"); err != nil {
			return fmt.Errorf("%s[%d].%s: %w", list, i, field, err)
		}
		if r.region, err = p.name(x.Region); err != nil {
			return fmt.Errorf("%s[%d].region: %w", list, i, err)
		}
		if r.service, err = p.name(x.Service); err != nil {
			return fmt.Errorf("%s[%d].service: %w", list, i, err)
		}
		// Files from before 2020 have no border groups.
		if r.border, err = p.name(cmp.Or(x.Border, x.Region)); err != nil {
			return fmt.Errorf("%s[%d].network_border_group: %w", list, i, err)
		}
		p.rows = append(p.rows, r)
	}
	return p.delim(']')
}

// The widest prefixes believed. AWS's are /11 and /32 at most; a /0 tagged DYNAMODB would make the whole Internet DynamoDB's.
const (
	widest4 = 8
	widest6 = 16
)

func checkPrefix(s string, v6 bool) (ip flow.IP, bits uint8, err error) {
	pfx, err := netip.ParsePrefix(s)
	if err != nil {
		return ip, 0, fmt.Errorf("%s is not a prefix", quote(s))
	}
	addr, n := pfx.Addr(), pfx.Bits()
	switch {
	case addr.Is4() == v6:
		return ip, 0, fmt.Errorf("%s is of the other address family", quote(s))
	case pfx != pfx.Masked():
		return ip, 0, fmt.Errorf("%s has bits set behind the prefix length: %v is meant, or the length is wrong", quote(s), pfx.Masked())
	case !v6 && n < widest4, v6 && n < widest6:
		return ip, 0, fmt.Errorf("%s is wider than any block of AWS", quote(s))
	case v6 && addr.As16()[0] == 0: // 0000::/8 holds the IPv4-mapped addresses and nothing that is routed (RFC 4291, Section 2.4)
		return ip, 0, fmt.Errorf("%s is not a global address", quote(s))
	}
	if !v6 {
		n += 96
	}
	return flow.IPFrom(addr), uint8(n), nil
}

// name numbers a service, region or border group. They are printed later, so nothing but the letters AWS uses is let in.
func (p *rangesParser) name(s string) (uint16, error) {
	if i, ok := p.names[s]; ok {
		return i, nil
	}
	if s == "" {
		return 0, errors.New("missing or empty")
	}
	if len(s) > maxNameLen {
		return 0, fmt.Errorf("%s… is longer than %d bytes", quote(s[:maxNameLen]), maxNameLen)
	}
	for i := range len(s) {
		if c := lower(s[i]); !isLowerAlnum(c) && c != '-' && c != '_' {
			return 0, fmt.Errorf("%s has other characters than letters, digits, dash and underscore", quote(s))
		}
	}
	if len(p.text) == maxNames {
		return 0, fmt.Errorf("more than %d different names: %w", maxNames, ErrTooLarge)
	}
	i := uint16(len(p.text))
	p.names[s] = i
	p.text = append(p.text, s)
	return i, nil
}

// build folds the rows of one prefix and region into one, and indexes them.
func (p *rangesParser) build(out *Ranges) error {
	slices.SortFunc(p.rows, func(a, b rawRow) int {
		return cmp.Or(slices.Compare(a.ip[:], b.ip[:]), cmp.Compare(a.bits, b.bits), strings.Compare(p.text[a.region], p.text[b.region]),
			strings.Compare(p.text[a.border], p.text[b.border]), strings.Compare(p.text[a.service], p.text[b.service]))
	})
	type group struct {
		tag  tag
		uses int
		id   uint16
	}
	groups := make(map[string]*group)
	var of []*group
	var rows []row
	for i := 0; i < len(p.rows); {
		first := p.rows[i]
		var services []string
		for ; i < len(p.rows); i++ {
			x := p.rows[i]
			if x.ip != first.ip || x.bits != first.bits || x.region != first.region || x.border != first.border {
				break
			}
			if s := p.text[x.service]; len(services) == 0 || services[len(services)-1] != s {
				services = append(services, s)
			}
		}
		t := tag{region: p.text[first.region], border: p.text[first.border], services: services,
			dynamodb: slices.Contains(services, serviceDynamoDB)}
		key := t.key()
		g := groups[key]
		if g == nil {
			if len(groups) == maxTags {
				return fmt.Errorf("more than %d combinations of region and services: %w", maxTags, ErrTooLarge)
			}
			g = &group{tag: t}
			groups[key] = g
		}
		g.uses++
		of = append(of, g)
		rows = append(rows, row{ip: first.ip, bits: first.bits})
	}
	p.rows = nil

	// The commonest tags come first: they take one byte in the packed form.
	order := make([]*group, 0, len(groups))
	for _, g := range groups {
		order = append(order, g)
	}
	slices.SortFunc(order, func(a, b *group) int {
		return cmp.Or(-cmp.Compare(a.uses, b.uses), strings.Compare(a.tag.key(), b.tag.key()))
	})
	found := false
	for i, g := range order {
		g.id = uint16(i)
		out.tags = append(out.tags, g.tag)
		found = found || g.tag.dynamodb
	}
	if !found {
		return ErrNoDynamoDB
	}
	for i := range rows {
		rows[i].tag = of[i].id
	}
	slices.SortFunc(rows, row.compare)
	out.all = rows
	out.index(slices.Values(rows), len(rows))
	return nil
}

func (t *tag) key() string { return t.region + " " + t.border + " " + strings.Join(t.services, " ") }

func (p *rangesParser) delim(want json.Delim) error {
	got, err := p.dec.Token()
	if err != nil {
		return p.at(err)
	}
	if got != want {
		return p.at(fmt.Errorf("%q expected", want.String()))
	}
	return nil
}

// at adds the offset to an error of the JSON decoder.
func (p *rangesParser) at(err error) error {
	if err == nil {
		return nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("at byte %d: %w", p.dec.InputOffset(), err)
}

// quote shows hostile text: escaped and short.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		return fmt.Sprintf("%q…", s[:most])
	}
	return fmt.Sprintf("%q", s)
}
