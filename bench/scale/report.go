package scale

import (
	"fmt"
	"math"
	"strings"

	"github.com/dynwatch/dynwatch/internal/metrics"
)

// ofPrometheus are the series that Prometheus makes of a target by itself: up, and four whose names begin with scrape_.
const ofPrometheus = 5

// Report is the tables of docs/scale.md.
func Report(f Fleet, hours []*Hour) string {
	var b strings.Builder
	fmt.Fprintf(&b, "**Prometheus**, for %s nodes:\n\n", number(float64(f.Nodes)))
	b.WriteString("| | series a node | series | scrape | gzip | every 15 s | every 30 s | every 60 s |\n|---|---|---|---|---|---|---|---|\n")
	for _, h := range hours {
		if h.One {
			continue
		}
		for _, x := range []struct {
			name string
			s    Scrape
		}{{h.Name, h.Plain}, {h.Name + ", with workloads", h.Workloads}} {
			series := x.s.Samples + ofPrometheus
			all := float64(series * f.Nodes)
			fmt.Fprintf(&b, "| %s | %d | %s | %s | %s |", x.name, series, number(all), bytesOf(float64(x.s.Bytes)), bytesOf(float64(x.s.Compressed)))
			for _, every := range []float64{15, 30, 60} {
				fmt.Fprintf(&b, " %s samples/s |", number(all/every))
			}
			b.WriteString("\n")
		}
	}
	fmt.Fprintf(&b, "\nA node never has more than %d combinations of labels, or %d with workloads; a histogram counts as one there, and as its buckets above.\n\n",
		metrics.MaxSeries, metrics.MaxSeries+metrics.MaxWorkloadSeries)

	b.WriteString("**Alertmanager** (each instance), **OTLP** and **Loki**, of the whole fleet:\n\n| |")
	for _, h := range hours {
		fmt.Fprintf(&b, " %s |", h.Name)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(hours)) + "\n")
	row := func(name string, value func(*Hour) string) {
		fmt.Fprintf(&b, "| %s |", name)
		for _, h := range hours {
			fmt.Fprintf(&b, " %s |", value(h))
		}
		b.WriteString("\n")
	}
	of := func(h *Hour, n int) float64 { return float64(n * h.share) }
	row("connections with DynamoDB", func(h *Hour) string { return number(of(h, h.Sessions)/hour.Seconds()) + "/s" })
	row("findings in the hour", func(h *Hour) string { return number(of(h, h.Findings)) })
	row("… that became alerts", func(h *Hour) string { return number(of(h, h.Alerts)) })
	row("… folded into those", func(h *Hour) string { return number(of(h, h.Folded)) })
	row("… beyond the rate, told as sums", func(h *Hour) string { return number(of(h, h.Limited)) })
	row("Alertmanager: requests", func(h *Hour) string { return number(of(h, h.Alertmanager.peak().Requests)/60) + "/s" })
	row("Alertmanager: alerts in them", func(h *Hour) string { return number(of(h, h.Alertmanager.peak().Units)/60) + "/s" })
	row("Alertmanager: bytes", func(h *Hour) string { return bytesOf(of(h, h.Alertmanager.peak().Bytes)/60) + "/s" })
	row("Alertmanager: alerts firing at a time", func(h *Hour) string { return number(of(h, h.Active)) })
	row("Alertmanager: groups, as recommended", func(h *Hour) string {
		if h.One {
			return ""
		}
		return number(float64(h.Groups))
	})
	row("Alertmanager: groups by rule and host", func(h *Hour) string {
		if h.One {
			return ""
		}
		return number(of(h, h.GroupsByHost))
	})
	row("OTLP: records", func(h *Hour) string { return number(of(h, h.OTLP.peak().Units)/60) + "/s" })
	row("OTLP: bytes", func(h *Hour) string { return bytesOf(of(h, h.OTLP.peak().Bytes)/60) + "/s" })
	row("OTLP: bytes in the hour", func(h *Hour) string { return bytesOf(of(h, h.OTLP.Bytes)) })
	row("Loki: lines of the agents' log", func(h *Hour) string { return number(of(h, h.Log.peak().Units)/60) + "/s" })
	row("Loki: bytes", func(h *Hour) string { return bytesOf(of(h, h.Log.peak().Bytes)/60) + "/s" })
	row("Loki: bytes in the hour", func(h *Hour) string { return bytesOf(of(h, h.Log.Bytes)) })
	b.WriteString("\nRates are those of the worst minute.\n")
	return b.String()
}

// rounded has three digits that count.
func rounded(x float64) float64 {
	if x == 0 {
		return 0
	}
	unit := math.Pow(10, math.Floor(math.Log10(x))-2)
	return math.Round(x/unit) * unit
}

// number writes a number for people: 12,300.
func number(x float64) string {
	x = rounded(x)
	if x < 100 {
		return fmt.Sprintf("%.3g", x)
	}
	s := fmt.Sprintf("%.0f", x)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func bytesOf(x float64) string {
	for _, unit := range []string{"B", "kB", "MB", "GB"} {
		if x < 1000 {
			return fmt.Sprintf("%.3g %s", rounded(x), unit)
		}
		x /= 1000
	}
	return fmt.Sprintf("%.3g TB", rounded(x))
}
