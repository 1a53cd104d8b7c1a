package bpf

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// SetPrefixes replaces the set of prefixes: the new one is built aside and put in place with one update, so that a connect meanwhile
// meets either the whole old or the whole new set. Connections that are open keep what was decided when they were opened.
func (s *Socket) SetPrefixes(prefixes []netip.Prefix) error {
	s.prefixes.Lock()
	defer s.prefixes.Unlock()
	spec := s.innerPrefixes.Copy()
	spec.Name = "prefixes"
	if n := uint32(len(prefixes)); n > spec.MaxEntries {
		spec.MaxEntries = n
	}
	set, err := ebpf.NewMap(spec)
	if err != nil {
		return withMemlock(explain("create the set of prefixes", "Linux 5.10", err), s.limited)
	}
	defer set.Close() // the outer map holds it
	keys := make([]packetPrefix, 0, len(prefixes))
	var wanted prefixSet
	for _, p := range prefixes {
		if !p.IsValid() {
			return fmt.Errorf("prefix %s: not valid", p)
		}
		bits := p.Bits()
		if p.Addr().Is4() {
			bits += 96
		}
		wanted.add(p)
		keys = append(keys, packetPrefix{Bits: uint32(bits), Addr: flow.IPFrom(p.Addr())})
	}
	if err := fill(set, keys); err != nil {
		return err
	}
	if err := s.connect.Prefixes.Put(uint32(0), set); err != nil {
		return fmt.Errorf("put the set of prefixes in place: %w", err)
	}
	s.wanted = wanted
	return nil
}

// fill puts keys into a set: in one call where the kernel can (LPM tries: 5.16), else one by one.
func fill(set *ebpf.Map, keys []packetPrefix) error {
	if len(keys) == 0 {
		return nil
	}
	if _, err := set.BatchUpdate(keys, make([]uint32, len(keys)), nil); err == nil {
		return nil
	} else if !errors.Is(err, ebpf.ErrNotSupported) {
		return fmt.Errorf("fill the set of prefixes: %w", err)
	}
	for i := range keys {
		if err := set.Put(&keys[i], uint32(0)); err != nil {
			return fmt.Errorf("fill the set of prefixes: %w", err)
		}
	}
	return nil
}
