package metrics

import (
	"fmt"
	"strings"
	"testing"
)

// TestTheDocumentIsWhatIsExported holds docs/metrics.md to the registry; -update writes it.
func TestTheDocumentIsWhatIsExported(t *testing.T) {
	golden(t, "../../docs/metrics.md", document(New(Options{Build: build, Workloads: true})))
}

const documentHead = `# Metrics

What ` + "`dynwatch agent`" + ` exports on ` + "`/metrics`" + `, in Prometheus's text format or OpenMetrics. This list is written from the program's own registry.

- Labels have the values listed here and no others; a value that is not known beforehand (a region, and a workload if you ask for workloads)
  comes from a set with a cap, and the rest is ` + "`other`" + `. No address, port, process id, pod or server name is ever a label: those are in the events.
- A node has at most %d series, Go's and the process's own included, and at most %d more with workloads, whatever traffic it sees.
- Everything that you may want to alert on is there from the start with the value 0. A finding that is suppressed (an exception, the observe
  mode) is not in ` + "`dynwatch_findings_total`" + `.
- Counters go on when a source is opened again; they begin at 0 when the program does.
- ` + "`dynwatch_tls_handshake_duration_seconds`" + ` has classic buckets and native ones: Prometheus takes the latter with ` + "`scrape_native_histograms`" + `.
  Handshakes of a quarter of a second and more leave an exemplar, the addresses and ports of the connection, by which their event is found: in OpenMetrics, kept by
  a Prometheus with ` + "`--enable-feature=exemplar-storage`" + `. An exemplar is no label and makes no series.

`

func document(s *Set) string {
	var b strings.Builder
	fmt.Fprintf(&b, documentHead, MaxSeries, MaxWorkloadSeries)
	b.WriteString("| metric | type | labels | what it tells |\n|---|---|---|---|\n")
	for _, f := range s.Families() {
		help := f.Help
		if f.OnRequest {
			help += " Only if workloads are asked for; " + fmt.Sprint(f.Most) + " series at most."
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Name, f.Type, names(f.Labels), help)
	}
	b.WriteString("\nBeside these: `go_*` and `process_*`, as in every Go program.\n\n## Values of labels\n\n| label | values | in |\n|---|---|---|\n")
	for _, row := range values(s.Families()) {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", row.label, row.values, row.metrics)
	}
	return b.String()
}

func names(labels []Label) string {
	var list []string
	for _, l := range labels {
		list = append(list, "`"+l.Name+"`")
	}
	return strings.Join(list, ", ")
}

type valueRow struct{ label, values, metrics string }

// values lists the closed sets, each once.
func values(families []Family) (rows []*valueRow) {
	for _, f := range families {
		for _, l := range f.Labels {
			if l.Values == nil {
				continue
			}
			words := "`" + strings.Join(l.Values, "` `") + "`"
			metric := "`" + strings.TrimPrefix(f.Name, namespace+"_") + "`"
			found := false
			for _, r := range rows {
				if r.label == l.Name && r.values == words {
					r.metrics += ", " + metric
					found = true
				}
			}
			if !found {
				rows = append(rows, &valueRow{l.Name, words, metric})
			}
		}
	}
	return rows
}
