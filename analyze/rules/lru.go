package rules

import "container/list"

// lru is a map with a maximum, which forgets the entry that was not touched longest.
type lru[K comparable, V any] struct {
	limit   int
	entries map[K]*list.Element
	order   *list.List // of *lruEntry, the latest in front
	evicted uint64
}

type lruEntry[K comparable, V any] struct {
	key   K
	value V
}

func newLRU[K comparable, V any](limit int) lru[K, V] {
	return lru[K, V]{limit: limit, entries: make(map[K]*list.Element), order: list.New()}
}

// get finds an entry. The pointer is valid until the next at.
func (l *lru[K, V]) get(k K) (*V, bool) {
	e, ok := l.entries[k]
	if !ok {
		return nil, false
	}
	l.order.MoveToFront(e)
	return &e.Value.(*lruEntry[K, V]).value, true
}

// at finds an entry or makes one.
func (l *lru[K, V]) at(k K) *V {
	if v, ok := l.get(k); ok {
		return v
	}
	if len(l.entries) >= l.limit {
		oldest := l.order.Back()
		delete(l.entries, l.order.Remove(oldest).(*lruEntry[K, V]).key)
		l.evicted++
	}
	e := &lruEntry[K, V]{key: k}
	l.entries[k] = l.order.PushFront(e)
	return &e.value
}
