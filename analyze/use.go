package analyze

import (
	"github.com/dynwatch/dynwatch/analyze/endpoint"
	"github.com/dynwatch/dynwatch/analyze/rules"
	"github.com/dynwatch/dynwatch/analyze/trust"
)

// Use has everything that is judged from now on judged by these: flows that are being read, and findings about sessions that were put out
// before. What is remembered of earlier sessions and DNS answers stays.
func (a *Analyzer) Use(endpoints *endpoint.Set, store *trust.Store, policy *rules.Policy) {
	a.o.Endpoints, a.o.Trust, a.o.Policy = endpoints, store, policy
	a.resolved.Use(endpoints)
}
