package host

// lru keeps the values that were asked for last. It is not safe for concurrent use.
type lru[K comparable, V any] struct {
	max     int
	entries map[K]*lruEntry[K, V]
	// newest and oldest end a chain of all entries.
	newest, oldest *lruEntry[K, V]
	// evicted counts what had to make room.
	evicted uint64
}

type lruEntry[K comparable, V any] struct {
	key          K
	value        V
	newer, older *lruEntry[K, V]
}

func newLRU[K comparable, V any](max int) *lru[K, V] {
	return &lru[K, V]{max: max, entries: make(map[K]*lruEntry[K, V])}
}

func (l *lru[K, V]) get(key K) (value V, ok bool) {
	e := l.entries[key]
	if e == nil {
		return value, false
	}
	l.unlink(e)
	l.link(e)
	return e.value, true
}

func (l *lru[K, V]) put(key K, value V) {
	if e := l.entries[key]; e != nil {
		e.value = value
		l.unlink(e)
		l.link(e)
		return
	}
	if len(l.entries) >= l.max {
		last := l.oldest
		l.unlink(last)
		delete(l.entries, last.key)
		l.evicted++
	}
	e := &lruEntry[K, V]{key: key, value: value}
	l.entries[key] = e
	l.link(e)
}

func (l *lru[K, V]) link(e *lruEntry[K, V]) {
	e.newer, e.older = nil, l.newest
	if l.newest != nil {
		l.newest.newer = e
	} else {
		l.oldest = e
	}
	l.newest = e
}

func (l *lru[K, V]) unlink(e *lruEntry[K, V]) {
	if e.newer != nil {
		e.newer.older = e.older
	} else {
		l.newest = e.older
	}
	if e.older != nil {
		e.older.newer = e.newer
	} else {
		l.oldest = e.newer
	}
}
