package trust

import (
	"bytes"
	"container/list"
	"hash/maphash"
	"sync"
)

// Limits of the cache of verified chains. A fleet shows some dozens of different chains to a host.
const (
	maxCacheEntries = 4096
	maxCacheBytes   = 32 << 20
	// entryOverhead is what an entry takes beside three times its bytes: one copy of the certificates, and their parsed form.
	entryOverhead = 4096
)

// CacheStats says how the cache of verified chains is doing.
type CacheStats struct {
	Hits, Misses, Evictions uint64
	Entries                 int
	// Bytes is an estimate of what the entries hold.
	Bytes int
}

// CacheStats reports the state of the store's cache.
func (s *Store) CacheStats() CacheStats {
	s.cache.mu.Lock()
	defer s.cache.mu.Unlock()
	stats := s.cache.stats
	stats.Entries, stats.Bytes = s.cache.order.Len(), s.cache.bytes
	return stats
}

// cache remembers verdicts by the exact bytes of a chain: the hash finds, the comparison decides. The least recently used go first.
type cache struct {
	seed maphash.Seed
	mu   sync.Mutex // guards what follows
	// entries has one entry a key: a second chain with the same hash replaces the first.
	entries map[uint64]*list.Element
	order   *list.List // of cacheEntry, the most recently used in front
	bytes   int
	stats   CacheStats
}

type cacheEntry struct {
	key uint64
	v   *verdict
}

func (c *cache) init() {
	c.seed = maphash.MakeSeed()
	c.entries = make(map[uint64]*list.Element)
	c.order = list.New()
}

// key hashes the certificates with their lengths and their number.
func (c *cache) key(chain [][]byte) uint64 {
	h := uint64(len(chain))
	for _, der := range chain {
		h = (h+uint64(len(der)))*0x9e3779b97f4a7c15 ^ maphash.Bytes(c.seed, der)
		h ^= h >> 29
	}
	return h
}

func (c *cache) get(key uint64, chain [][]byte) *verdict {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[key]
	if e == nil || !sameChain(e.Value.(cacheEntry).v.raw, chain) {
		c.stats.Misses++
		return nil
	}
	c.stats.Hits++
	c.order.MoveToFront(e)
	return e.Value.(cacheEntry).v
}

// put remembers a verdict, unless it is on less than the n certificates of its chain, which could not be told apart later.
func (c *cache) put(key uint64, v *verdict, n int) {
	if len(v.raw) != n {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.entries[key]; old != nil {
		c.drop(old)
	}
	c.entries[key] = c.order.PushFront(cacheEntry{key, v})
	c.bytes += v.weight()
	for c.order.Len() > maxCacheEntries || c.bytes > maxCacheBytes {
		c.drop(c.order.Back())
		c.stats.Evictions++
	}
}

func (c *cache) drop(e *list.Element) {
	entry := c.order.Remove(e).(cacheEntry)
	delete(c.entries, entry.key)
	c.bytes -= entry.v.weight()
}

func (v *verdict) weight() int { return 3*v.size + entryOverhead }

func sameChain(a, b [][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}
