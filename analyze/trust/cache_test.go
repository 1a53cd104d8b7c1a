package trust

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
)

func TestChainIsVerifiedOnceAndJudgedEachTime(t *testing.T) {
	w := newWorld(t)
	s := w.store(t, Policy{})
	leaf := issue(t, spec{}, w.m01)
	chain := ders(leaf, w.m01)
	want := []struct {
		q    Query
		want session.Trust
	}{
		{asked, session.TrustAmazon},
		{Query{Name: host, At: now.AddDate(1, 0, 0), TimeKnown: true}, session.TrustExpired},
		{Query{Name: host, At: now.AddDate(-1, 0, 0), TimeKnown: true}, session.TrustNotYetValid},
		{Query{Name: "x.example", At: now, TimeKnown: true}, session.TrustNameMismatch},
		{asked, session.TrustAmazon},
	}
	for i, tt := range want {
		if r := s.Judge(chain, tt.q); r.Trust != tt.want {
			t.Errorf("%d: %s, want %s", i, r.Trust, tt.want)
		}
	}
	if got := s.CacheStats(); got.Misses != 1 || got.Hits != 4 || got.Entries != 1 || got.Bytes <= 0 {
		t.Errorf("%+v", got)
	}
	// The same bytes cut into certificates differently are another chain.
	all := bytes.Join(chain, nil)
	if r := s.Judge([][]byte{all}, asked); r.Trust == session.TrustAmazon {
		t.Errorf("%s", r.Trust)
	}
	if got := s.CacheStats(); got.Misses != 2 {
		t.Errorf("%+v", got)
	}
}

func TestCacheKeepsItsOwnCopy(t *testing.T) {
	w := newWorld(t)
	s := w.store(t, Policy{})
	leaf := issue(t, spec{}, w.m01)
	chain := [][]byte{bytes.Clone(leaf.der), bytes.Clone(w.m01.der)}
	first := s.Judge(chain, asked)
	first.Certificate.SeenBy = "probe"
	clear(chain[0])
	clear(chain[1])
	if first.Certificate.Issuer != "CN=Amazon RSA 2048 M01,O=Amazon,C=US" {
		t.Errorf("%+v", first.Certificate)
	}
	r := s.Judge(ders(leaf, w.m01), asked)
	if r.Trust != session.TrustAmazon || r.Certificate.SeenBy != "wire" || s.CacheStats().Hits != 1 {
		t.Errorf("%s %+v %+v", r.Trust, r.Certificate, s.CacheStats())
	}
}

func TestCacheIsBounded(t *testing.T) {
	w := newWorld(t)
	s := w.store(t, Policy{})
	junk := make([]byte, 100_000)
	for i := range 400 {
		junk[0], junk[1] = byte(i), byte(i>>8)
		s.Judge([][]byte{junk}, asked)
	}
	got := s.CacheStats()
	if got.Bytes > maxCacheBytes || got.Evictions == 0 || got.Entries == 0 || got.Misses != 400 {
		t.Errorf("large chains: %+v", got)
	}
	s = w.store(t, Policy{})
	for i := range maxCacheEntries + 100 {
		s.Judge([][]byte{{byte(i), byte(i >> 8)}}, asked)
	}
	got = s.CacheStats()
	if got.Entries != maxCacheEntries || got.Evictions != 100 {
		t.Errorf("many chains: %+v", got)
	}
	// The oldest are gone, the newest are there.
	s.Judge([][]byte{{0, 0}}, asked)
	s.Judge([][]byte{{byte((maxCacheEntries + 99) & 0xff), byte((maxCacheEntries + 99) >> 8)}}, asked)
	if after := s.CacheStats(); after.Hits != 1 {
		t.Errorf("%+v", after)
	}
}

func TestStoreIsSafeForConcurrentUse(t *testing.T) {
	w := newWorld(t)
	s := w.store(t, Policy{})
	var chains [][][]byte
	for range 8 {
		chains = append(chains, ders(issue(t, spec{}, w.m01), w.m01))
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 200 {
				if r := s.Judge(chains[i%len(chains)], asked); r.Trust != session.TrustAmazon {
					t.Errorf("%s", r.Trust)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkJudge(b *testing.B) {
	w := newWorld(b)
	leaf := issue(b, spec{key: rsaKey(b, 2048)}, w.m01)
	chain := ders(leaf, w.m01, w.amazon)
	forged := ders(issue(b, spec{}, w.fakeM), w.fakeM, w.fake)
	publicRoots()
	b.Run("remembered", func(b *testing.B) {
		s := w.store(b, Policy{})
		b.ReportAllocs()
		for b.Loop() {
			if s.Judge(chain, asked).Trust != session.TrustAmazon {
				b.Fatal("not amazon")
			}
		}
	})
	for name, chain := range map[string][][]byte{"new": chain, "new-forged": forged} {
		b.Run(name, func(b *testing.B) {
			s := w.store(b, Policy{})
			b.ReportAllocs()
			for b.Loop() {
				s.verify(chain).judge(asked)
			}
		})
	}
}

func BenchmarkHostileChain(b *testing.B) {
	// Every certificate names every other as its issuer, with long keys.
	key := rsaKey(b, 4096)
	var chain [][]byte
	for range MaxChain {
		chain = append(chain, issue(b, spec{name: dn("Loop", "Example"), ca: true, key: key, to: now.Add(time.Hour)}, nil).der)
	}
	s, _ := NewStore(Policy{})
	b.ReportAllocs()
	for b.Loop() {
		s.verify(chain).judge(asked)
	}
}
