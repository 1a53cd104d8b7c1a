package alert

import (
	"context"
	"fmt"
	"net/url"
	"time"

	collector "go.opentelemetry.io/proto/slim/otlp/collector/logs/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	logs "go.opentelemetry.io/proto/slim/otlp/logs/v1"
	resource "go.opentelemetry.io/proto/slim/otlp/resource/v1"
	"google.golang.org/protobuf/proto"
)

// OTLPOptions are an OpenTelemetry collector that takes logs over HTTP.
type OTLPOptions struct {
	// URL is the whole address: http://collector:4318/v1/logs.
	URL string
	// Version of the program, and further attributes of the resource: k8s.node.name, deployment.environment.name.
	Version  string
	Resource map[string]string
	HTTP     HTTPOptions
}

// OTLP posts alerts as log records in protobuf (OTLP 1, HTTP binding). A record's time is that of the latest finding.
type OTLP struct {
	o      OTLPOptions
	url    *url.URL
	client *client
}

// NewOTLP checks the options; no connection is made.
func NewOTLP(o OTLPOptions) (*OTLP, error) {
	u, err := checkURL(o.URL)
	if err != nil {
		return nil, fmt.Errorf("otlp: %w", err)
	}
	if u.Path == "" || u.Path == "/" {
		u = u.JoinPath("v1", "logs")
	}
	c, err := newClient(o.HTTP)
	if err != nil {
		return nil, fmt.Errorf("otlp: %w", err)
	}
	return &OTLP{o, u, c}, nil
}

// Kind implements Sink.
func (o *OTLP) Kind() string { return "otlp" }

func (o *OTLP) batches() {}

// Send implements Sink.
func (o *OTLP) Send(ctx context.Context, alerts []*Alert) error {
	body, err := proto.Marshal(o.request(alerts, time.Now()))
	if err != nil {
		return &RefusedError{fmt.Errorf("otlp: %w", err)}
	}
	answer, err := o.client.post(ctx, o.url, "application/x-protobuf", body, nil)
	if err != nil {
		return fmt.Errorf("otlp: %w", err)
	}
	var r collector.ExportLogsServiceResponse
	if proto.Unmarshal(answer, &r) == nil {
		if p := r.GetPartialSuccess(); p.GetRejectedLogRecords() > 0 {
			return &PartlyRefusedError{int(p.GetRejectedLogRecords()), fmt.Errorf("otlp: %s", printable(p.GetErrorMessage(), maxText))}
		}
	}
	return nil
}

func (o *OTLP) request(alerts []*Alert, now time.Time) *collector.ExportLogsServiceRequest {
	attrs := []*common.KeyValue{text("service.name", "dynwatch")}
	if o.o.Version != "" {
		attrs = append(attrs, text("service.version", o.o.Version))
	}
	if len(alerts) > 0 && alerts[0].Host != "" {
		attrs = append(attrs, text("host.name", alerts[0].Host))
	}
	for k, v := range o.o.Resource {
		attrs = append(attrs, text(k, v))
	}
	var records []*logs.LogRecord
	for _, a := range alerts {
		number, word := otlpSeverity(a)
		r := &logs.LogRecord{
			TimeUnixNano: uint64(a.Last.UnixNano()), ObservedTimeUnixNano: uint64(now.UnixNano()), SeverityNumber: number, SeverityText: word,
			Body: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: a.text()}}, EventName: "dynwatch.alert",
		}
		for _, x := range attributes(a) {
			if x.value != "" {
				r.Attributes = append(r.Attributes, text("dynwatch."+x.name, x.value))
			}
		}
		if len(a.Finding) > 0 {
			r.Attributes = append(r.Attributes, text("dynwatch.finding", string(a.Finding)))
		}
		records = append(records, r)
	}
	return &collector.ExportLogsServiceRequest{ResourceLogs: []*logs.ResourceLogs{{
		Resource:  &resource.Resource{Attributes: attrs},
		ScopeLogs: []*logs.ScopeLogs{{Scope: &common.InstrumentationScope{Name: "dynwatch/alert", Version: o.o.Version}, LogRecords: records}},
	}}}
}

func text(key, value string) *common.KeyValue {
	return &common.KeyValue{Key: key, Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: value}}}
}

// otlpSeverity maps as OpenTelemetry's data model advises for syslog.
func otlpSeverity(a *Alert) (logs.SeverityNumber, string) {
	switch a.Severity {
	case "critical":
		return logs.SeverityNumber_SEVERITY_NUMBER_FATAL, "critical"
	case "high":
		return logs.SeverityNumber_SEVERITY_NUMBER_ERROR, "high"
	case "medium":
		return logs.SeverityNumber_SEVERITY_NUMBER_WARN, "medium"
	}
	return logs.SeverityNumber_SEVERITY_NUMBER_INFO, "low"
}

// Close implements Sink.
func (o *OTLP) Close() error {
	o.client.close()
	return nil
}
