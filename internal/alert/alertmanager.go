package alert

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// AlertmanagerOptions are the instances of one Alertmanager cluster.
type AlertmanagerOptions struct {
	// URLs are of all instances, each with the path prefix if there is one: http://alertmanager-0:9093. Every alert goes to all of them, as
	// Alertmanager wants it: the instances tell each other of notifications, not of alerts.
	URLs []string
	// Hold is how long after its latest finding an alert counts as firing (DefaultHold); RefreshEvery how often those that do are sent again,
	// because an Alertmanager that restarts forgets them (one minute).
	Hold, RefreshEvery time.Duration
	// GeneratorURL is where the alert's source link leads: the agent's page.
	GeneratorURL string
	// Runbook gives where the runbook of a rule is; nil: there is none.
	Runbook func(rule string) string
	// Labels are added to every alert: cluster, environment.
	Labels map[string]string
	HTTP   HTTPOptions
}

// Alertmanager posts to API v2 (POST /api/v2/alerts). An alert is acknowledged once one instance took it.
type Alertmanager struct {
	o      AlertmanagerOptions
	urls   []*url.URL
	client *client
	now    func() time.Time

	ends map[string]time.Time // what was told, by fingerprint; of the one goroutine that sends
}

// NewAlertmanager checks the options; no connection is made.
func NewAlertmanager(o AlertmanagerOptions) (*Alertmanager, error) {
	if len(o.URLs) == 0 {
		return nil, errors.New("alertmanager: no URL")
	}
	o.Hold, o.RefreshEvery = cmp.Or(o.Hold, DefaultHold), cmp.Or(o.RefreshEvery, time.Minute)
	a := &Alertmanager{o: o, now: time.Now, ends: make(map[string]time.Time)}
	for i, raw := range o.URLs {
		u, err := checkURL(raw)
		if err != nil {
			return nil, fmt.Errorf("alertmanager: URL %d: %w", i+1, err)
		}
		a.urls = append(a.urls, u.JoinPath("api", "v2", "alerts"))
	}
	for name := range o.Labels {
		if !isLabelName(name) {
			return nil, fmt.Errorf("alertmanager: %q is no name of a label", name)
		}
	}
	var err error
	if a.client, err = newClient(o.HTTP); err != nil {
		return nil, fmt.Errorf("alertmanager: %w", err)
	}
	return a, nil
}

// isLabelName holds names to those that every Alertmanager takes.
func isLabelName(s string) bool {
	for i, c := range s {
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// postable is an alert as the API has it (api/v2/openapi.yaml).
type postable struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"`
	GeneratorURL string            `json:"generatorURL,omitempty"`
}

// Kind implements Sink.
func (a *Alertmanager) Kind() string { return "alertmanager" }

func (a *Alertmanager) batches() {}

// RefreshEvery implements refresher.
func (a *Alertmanager) RefreshEvery() time.Duration { return a.o.RefreshEvery }

// Send implements Sink. An alert that comes late, because no instance took it before, fires from now on: one whose end has passed would be
// taken for resolved, and nobody would be told.
func (a *Alertmanager) Send(ctx context.Context, alerts []*Alert) error {
	now := a.now()
	list := make([]postable, len(alerts))
	for i, x := range alerts {
		end := x.Last
		if end.Before(now) {
			end = now
		}
		list[i] = a.postable(x, end.Add(a.o.Hold))
	}
	err := a.post(ctx, list)
	if err == nil {
		for i, x := range alerts {
			a.ends[x.Fingerprint] = list[i].EndsAt
		}
		for fp, end := range a.ends { // of those that ended nobody asks
			if end.Before(now) {
				delete(a.ends, fp)
			}
		}
	}
	return err
}

// Refresh implements refresher.
func (a *Alertmanager) Refresh(ctx context.Context, active []*Alert) error {
	list := make([]postable, len(active))
	for i, x := range active {
		end := x.Last.Add(a.o.Hold)
		if told := a.ends[x.Fingerprint]; told.After(end) {
			end = told
		}
		list[i] = a.postable(x, end)
	}
	return a.post(ctx, list)
}

// postable puts an alert into Alertmanager's words. Labels are what makes it the same alert, so they hold nothing that changes.
func (a *Alertmanager) postable(x *Alert, end time.Time) postable {
	p := postable{
		Labels: map[string]string{
			"alertname": alertName(x.Rule), "source": "dynwatch", "rule": x.Rule, "severity": x.Severity, "host": x.Host,
			"workload_kind": x.WorkloadKind, "namespace": x.Namespace, "workload": x.Workload, "endpoint": x.Endpoint, "region": x.Region, "issuer": x.Issuer,
		},
		Annotations: map[string]string{
			"summary":  x.Message,
			"findings": strconv.FormatUint(x.Count, 10), "last_seen": x.Last.UTC().Format(time.RFC3339),
			"description": x.text() + ". What to do: dynwatch explain " + x.Rule,
		},
		StartsAt: x.First, EndsAt: end, GeneratorURL: a.o.GeneratorURL,
	}
	if a.o.Runbook != nil {
		p.Annotations["runbook_url"] = a.o.Runbook(x.Rule)
	}
	if x.Limited {
		p.Labels["limited"] = "true"
	}
	for k, v := range a.o.Labels {
		p.Labels[k] = v
	}
	for k, v := range p.Labels {
		if v == "" {
			delete(p.Labels, k)
		}
	}
	return p
}

// alertName is Dynwatch and the rule in camel case: DynwatchUnexpectedIssuer.
func alertName(rule string) string {
	var b strings.Builder
	b.WriteString("Dynwatch")
	for word := range strings.SplitSeq(rule, "-") {
		switch {
		case word == "tls":
			b.WriteString("TLS")
		case word != "":
			b.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return b.String()
}

// post sends to all instances at once. One that took the alerts is enough; what the others missed they get with the next refresh.
func (a *Alertmanager) post(ctx context.Context, list []postable) error {
	body, err := json.Marshal(list)
	if err != nil {
		return &RefusedError{err}
	}
	errs := make([]error, len(a.urls))
	var all sync.WaitGroup
	for i, u := range a.urls {
		all.Go(func() { _, errs[i] = a.client.post(ctx, u, "application/json", body, nil) })
	}
	all.Wait()
	refused := 0
	for _, err := range errs {
		var no *RefusedError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &no):
			refused++
		}
	}
	err = errors.Join(errs...)
	if 0 < refused && refused < len(errs) {
		return errors.New(err.Error()) // somebody may still take it
	}
	return err
}

// Close implements Sink.
func (a *Alertmanager) Close() error {
	a.client.close()
	return nil
}
