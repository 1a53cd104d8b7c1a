package page

import (
	"embed"
	"encoding/json"
	"io/fs"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/dynwatch/dynwatch/analyze/rules"
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/history"
)

//go:embed static
var static embed.FS

// Bounds of what one answer holds. The commands inventory and findings show all.
const (
	maxFindings = 200
	maxEntries  = 500
)

// policy lets the page load its own files and ask its own server, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Options are what the page shows. Ready and Metrics are required.
type Options struct {
	// Host and Version say where and what this is.
	Host, Version string
	// Ready returns why the agent does not watch, "" if it does.
	Ready func() string
	// Metrics is where the counters are gathered from.
	Metrics prometheus.Gatherer
	// History gives the inventory and the findings; nil where none is kept.
	History func(history.Query) *history.Content
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// New returns the handler of the page, for the paths "/", "/static/" and "/api/state".
func New(o Options) http.Handler {
	if o.Now == nil {
		o.Now = time.Now
	}
	files, err := fs.Sub(static, "static")
	if err != nil {
		panic(err) // it is part of the program
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { http.ServeFileFS(w, r, files, "index.html") })
	mux.Handle("GET /static/", http.StripPrefix("/static/", http.FileServerFS(files)))
	mux.HandleFunc("GET /api/state", o.state)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache")
		mux.ServeHTTP(w, r)
	})
}

// State is what /api/state answers.
type State struct {
	Host    string    `json:"host,omitempty"`
	Version string    `json:"version,omitempty"`
	Now     time.Time `json:"now"`
	// NotReady is why the agent does not watch; absent while it does.
	NotReady string   `json:"not_ready,omitempty"`
	Sources  []string `json:"sources"` // that are attached
	Observe  bool     `json:"observe"`

	// Counters since the agent began, by label value.
	Verdicts     map[string]float64 `json:"verdicts"`
	Versions     map[string]float64 `json:"versions"`
	Transports   map[string]float64 `json:"transports"`
	Visibility   map[string]float64 `json:"certificate_visibility"`
	Trust        map[string]float64 `json:"trust"`
	Suppressed   float64            `json:"findings_suppressed"`
	Certificates struct {
		Seen float64 `json:"seen"`
		Of   float64 `json:"of"`
	} `json:"certificates"`
	Packets float64 `json:"packets"`
	Lost    []Loss  `json:"lost"`

	// HasHistory says whether findings and inventory are kept at all. Of each the latest are here, of so many.
	HasHistory  bool              `json:"has_history"`
	Findings    []history.Finding `json:"findings"`
	FindingsOf  int               `json:"findings_of"`
	Inventory   []history.Entry   `json:"inventory"`
	InventoryOf int               `json:"inventory_of"`
	// Rules explains the rules of the findings.
	Rules map[string]Rule `json:"rules"`
}

// Loss is something that was lost since the agent began.
type Loss struct {
	Stage  string  `json:"stage"`
	Reason string  `json:"reason"`
	Unit   string  `json:"unit"` // events or bytes
	Count  float64 `json:"count"`
}

// Rule says what a rule means and what to do.
type Rule struct {
	Title    string    `json:"title"`
	Summary  string    `json:"summary"`
	Why      string    `json:"why"`
	Steps    []string  `json:"steps"`
	Snippets []Snippet `json:"snippets,omitempty"`
}

// Snippet is code or configuration to copy, for one client.
type Snippet struct {
	For  string `json:"for"`
	Text string `json:"text"`
}

func (o *Options) state(w http.ResponseWriter, _ *http.Request) {
	s, err := o.gather()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	// What fails here is the connection; nobody is left to be told.
	_ = json.NewEncoder(w).Encode(s)
}

func (o *Options) gather() (*State, error) {
	families, err := o.Metrics.Gather()
	if err != nil {
		return nil, err
	}
	s := &State{
		Host: o.Host, Version: o.Version, Now: o.Now().UTC(), NotReady: o.Ready(), Sources: []string{}, Lost: []Loss{},
		Findings: []history.Finding{}, Inventory: []history.Entry{}, Rules: make(map[string]Rule),
	}
	s.count(families)
	if o.History != nil {
		s.HasHistory = true
		c := o.History(history.Query{})
		s.FindingsOf, s.InventoryOf = len(c.Findings), len(c.Entries)
		s.Findings = append(s.Findings, c.Findings[:min(maxFindings, len(c.Findings))]...)
		s.Inventory = append(s.Inventory, c.Entries[:min(maxEntries, len(c.Entries))]...)
	}
	for _, r := range rules.All() {
		for i := range s.Findings {
			if s.Findings[i].Rule == r.ID {
				x := Rule{Title: r.Title, Summary: r.Summary, Why: r.Why, Steps: r.Fix.Steps}
				for _, c := range r.Fix.Snippets {
					x.Snippets = append(x.Snippets, Snippet(c))
				}
				s.Rules[r.ID] = x
				break
			}
		}
	}
	return s, nil
}

// count takes the counters out of what was gathered.
func (s *State) count(families []*dto.MetricFamily) {
	s.Verdicts, s.Versions, s.Transports = make(map[string]float64), make(map[string]float64), make(map[string]float64)
	s.Visibility, s.Trust = make(map[string]float64), make(map[string]float64)
	for _, f := range families {
		for _, m := range f.Metric {
			label := make(map[string]string)
			for _, l := range m.Label {
				label[l.GetName()] = l.GetValue()
			}
			n := m.GetCounter().GetValue()
			switch f.GetName() {
			case "dynwatch_verdicts_total":
				s.Verdicts[label["verdict"]] += n
			case "dynwatch_sessions_total":
				s.Versions[label["tls_version"]] += n
				s.Transports[label["transport"]] += n
			case "dynwatch_certificate_observations_total":
				s.Visibility[label["visibility"]] += n
				s.Certificates.Of += n
				if by := label["seen_by"]; by != "nobody" && by != session.SeenByProbe {
					s.Certificates.Seen += n
				}
			case "dynwatch_certificate_trust_total":
				s.Trust[label["trust"]] += n
			case "dynwatch_findings_suppressed_total":
				s.Suppressed += n
			case "dynwatch_capture_packets_total":
				s.Packets += n
			case "dynwatch_events_lost_total", "dynwatch_bytes_lost_total":
				unit := "events"
				if f.GetName() == "dynwatch_bytes_lost_total" {
					unit = "bytes"
				}
				if n > 0 {
					s.Lost = append(s.Lost, Loss{label["stage"], label["reason"], unit, n})
				}
			case "dynwatch_source_up":
				if m.GetGauge().GetValue() == 1 {
					s.Sources = append(s.Sources, label["source"])
				}
			case "dynwatch_observe_mode":
				s.Observe = m.GetGauge().GetValue() == 1
			}
		}
	}
}
