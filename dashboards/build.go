package dashboards

import (
	"fmt"
	"slices"
	"strings"
)

// selector limits a query to what the variables choose. Hosts that are not part of a cluster have neither cluster nor namespace.
const selector = `cluster=~"$cluster", namespace=~"$namespace", job=~"$job", instance=~"$instance"`

// ofAgents takes from a metric that every program exports what is the agents'. All jobs are chosen, unless somebody chooses.
const ofAgents = ` and on (cluster, namespace, job, instance) dynwatch_build_info{sel}`

// orZero is the answer where nothing is wrong, and none where there is no agent of which that could be said.
const orZero = ` or 0 * count(dynwatch_build_info{sel})`

// expr is a query: sel stands for the selector alone, "sel, " for the selector and more labels behind it.
func expr(q string) string {
	q = strings.ReplaceAll(q, "{sel, ", "{"+selector+", ")
	return strings.ReplaceAll(q, "{sel}", "{"+selector+"}")
}

var prom = datasource{"prometheus", "${datasource}"}

func ptr[T any](v T) *T { return &v }

// grid places panels from left to right, and in a new line where one has no more room.
type grid struct {
	panels  []*panel
	x, y, h int
	id      int
	into    *panel // the collapsed row that panels go into
}

const width = 24

func (g *grid) add(w, h int, p *panel) *panel {
	if g.x+w > width {
		g.wrap()
	}
	g.id++
	p.ID = g.id
	p.GridPos = gridPos{H: h, W: w, X: g.x, Y: g.y}
	g.x += w
	g.h = max(g.h, h)
	if g.into != nil {
		g.into.Panels = append(g.into.Panels, p)
	} else {
		g.panels = append(g.panels, p)
	}
	return p
}

func (g *grid) wrap() {
	g.y += g.h
	g.x, g.h = 0, 0
}

// row begins a titled row. What is in a collapsed one is not asked for until somebody opens it.
func (g *grid) row(title string, collapsed bool) {
	if g.x > 0 {
		g.wrap()
	}
	g.into = nil
	row := g.add(width, 1, &panel{Type: "row", Title: title, Collapsed: &collapsed})
	g.wrap()
	if collapsed {
		g.into = row
	}
}

// query is one query of a panel, with what its series are called.
type query struct{ expr, legend string }

func targets(instant bool, queries []query) (list []target) {
	for i, q := range queries {
		list = append(list, target{
			RefID: string(rune('A' + i)), Datasource: prom, Expr: expr(q.expr), LegendFormat: q.legend, Instant: instant, Range: !instant,
		})
	}
	return list
}

// limits are thresholds: a colour from the beginning, and others from values on.
func limits(first string, rest ...any) *thresholds {
	t := &thresholds{Mode: "absolute", Steps: []step{{Color: first}}}
	for i := 0; i < len(rest); i += 2 {
		t.Steps = append(t.Steps, step{Color: rest[i+1].(string), Value: ptr(rest[i].(float64))})
	}
	return t
}

// noAgents is what no data means where every agent has the series: none that is chosen was scraped in that time.
const noAgents = "no agent was scraped"

// stat is one large number.
func stat(title, description, unit string, t *thresholds, queries ...query) *panel {
	return &panel{
		Type: "stat", Title: title, Description: description, Datasource: &prom, Targets: targets(true, queries),
		FieldConfig: &fieldConfig{Defaults: fieldDefaults{
			Unit: unit, Decimals: decimals(unit), Color: &fieldColor{Mode: "thresholds"}, Thresholds: t, NoValue: noAgents,
		}, Overrides: []fieldOverride{}},
		Options: map[string]any{
			"colorMode": "value", "graphMode": "none", "justifyMode": "auto", "orientation": "auto", "textMode": "auto",
			"reduceOptions": map[string]any{"calcs": []string{"lastNotNull"}, "fields": "", "values": false},
		},
	}
}

// named shows the names beside several numbers.
func (p *panel) named() *panel {
	p.Options.(map[string]any)["textMode"] = "value_and_name"
	return p
}

// decimals are none for what is counted.
func decimals(unit string) *int {
	if unit == "short" || unit == "locale" || unit == "none" {
		return ptr(0)
	}
	return nil
}

// series is a chart over time.
func series(title, description, unit string, queries ...query) *panel {
	p := &panel{
		Type: "timeseries", Title: title, Description: description, Datasource: &prom, Targets: targets(false, queries),
		FieldConfig: &fieldConfig{Defaults: fieldDefaults{
			Unit: unit, Min: ptr(0.0), Color: &fieldColor{Mode: "palette-classic"}, NoValue: noAgents,
			Custom: map[string]any{
				"drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": false,
				"stacking": map[string]any{"mode": "none", "group": "A"},
			},
		}, Overrides: []fieldOverride{}},
		Options: map[string]any{
			"legend":  map[string]any{"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []string{}},
			"tooltip": map[string]any{"mode": "multi", "sort": "desc"},
		},
	}
	if slices.Contains([]string{"short", "percentunit", "cps", "ops", "pps"}, unit) {
		p.FieldConfig.Defaults.Custom.(map[string]any)["axisSoftMax"] = 1 // where all is zero, Grafana would draw to a hundred
	}
	return p
}

// exemplars shows single cases beside a chart's lines, where Prometheus keeps them.
func (p *panel) exemplars() *panel {
	for i := range p.Targets {
		p.Targets[i].Exemplar = true
	}
	return p
}

// stacked stacks the series of a chart.
func (p *panel) stacked() *panel {
	custom := p.FieldConfig.Defaults.Custom.(map[string]any)
	custom["stacking"] = map[string]any{"mode": "normal", "group": "A"}
	custom["fillOpacity"] = 40
	return p
}

// bars draws what is counted in each interval as bars, stacked.
func (p *panel) bars() *panel {
	custom := p.stacked().FieldConfig.Defaults.Custom.(map[string]any)
	custom["drawStyle"], custom["fillOpacity"], custom["lineWidth"] = "bars", 80, 0
	return p
}

// empty says what no data means.
func (p *panel) empty(text string) *panel {
	p.FieldConfig.Defaults.NoValue = text
	return p
}

// colours fixes the colours of series by name: pairs of a name and a colour. A name between slashes is a regular expression.
func (p *panel) colours(pairs ...string) *panel {
	for i := 0; i < len(pairs); i += 2 {
		by := "byName"
		if strings.HasPrefix(pairs[i], "/") {
			by = "byRegexp"
		}
		p.FieldConfig.Overrides = append(p.FieldConfig.Overrides, fieldOverride{
			Matcher:    matcher{by, pairs[i]},
			Properties: []property{{"color", fieldColor{Mode: "fixed", FixedColor: pairs[i+1]}}},
		})
	}
	return p
}

// severityColours are for findings, by severity, and for alerts.
var severityColours = func() []any {
	words := map[string]any{}
	for i, s := range [][2]string{{"critical", "red"}, {"high", "orange"}, {"warning", "orange"}, {"medium", "yellow"}, {"low", "blue"}, {"info", "blue"}} {
		words[s[0]] = map[string]any{"color": s[1], "index": i}
	}
	return []any{map[string]any{"type": "value", "options": words}}
}()

// link has every value lead to a page; in a table it goes to one column instead, see column.
func (p *panel) link(title, url string) *panel {
	p.FieldConfig.Defaults.Links = []dataLink{{Title: title, URL: url}}
	return p
}

// column is a column of a table: the label, or Value, that it shows, and what it does with it.
type column struct {
	field, title, unit string
	link, linkTitle    string
	width              int
	severity           bool // its words have colours
}

// table lists the series of one instant query, one in a row, the largest first; without a column for the value, by the second column.
func table(title, description, q string, columns ...column) *panel {
	p := &panel{
		Type: "table", Title: title, Description: description, Datasource: &prom, Targets: targets(true, []query{{q, ""}}),
		FieldConfig: &fieldConfig{Defaults: fieldDefaults{Unit: "none", Custom: map[string]any{"align": "auto"}}, Overrides: []fieldOverride{}},
		Options:     map[string]any{"showHeader": true, "cellHeight": "sm"},
	}
	p.Targets[0].Format = "table"
	o := organize{map[string]bool{"Time": true}, make(map[string]int), make(map[string]string)}
	order := sortField{columns[1].title, false}
	o.ExcludeByName["Value"] = true
	for i, c := range columns {
		o.IndexByName[c.field] = i
		o.RenameByName[c.field] = c.title
		set := []property{{"noValue", "-"}} // what the panel says when it has no rows is not for cells
		if c.unit != "" {
			set = append(set, property{"unit", c.unit})
			if d := decimals(c.unit); d != nil {
				set = append(set, property{"decimals", *d})
			}
		}
		if c.link != "" {
			set = append(set, property{"links", []dataLink{{Title: c.linkTitle, URL: c.link}}})
		}
		if c.width > 0 {
			set = append(set, property{"custom.width", c.width})
		}
		if c.severity {
			set = append(set, property{"mappings", severityColours}, property{"custom.cellOptions", map[string]any{"type": "color-text"}})
		}
		p.FieldConfig.Overrides = append(p.FieldConfig.Overrides, fieldOverride{matcher{"byName", c.title}, set})
		if c.field == "Value" {
			order = sortField{c.title, true}
			delete(o.ExcludeByName, "Value")
		}
	}
	p.Transformations = []transformation{{"organize", o}, {"sortBy", sortBy{[]sortField{order}}}}
	return p
}

// labelVariable chooses among the values of a label; what is chosen before limits it.
func labelVariable(name, label, description, of string, all string) variable {
	q := fmt.Sprintf("label_values(%s, %s)", of, name)
	return variable{
		Name: name, Label: label, Description: description, Type: "query", Datasource: &prom, Query: variableQuery{q, "StandardVariableQuery"}, Definition: q,
		Refresh: 2, Sort: 1, Multi: true, IncludeAll: true, AllValue: all,
		Current: map[string]any{"selected": true, "text": []string{"All"}, "value": []string{"$__all"}},
	}
}

// build makes a dashboard of the rows in g, with what all of them have alike.
func build(uid, title, description string, g *grid, more ...variable) *dashboard {
	variables := []variable{
		{
			Name: "datasource", Label: "Data source", Type: "datasource", Query: "prometheus",
			Current: map[string]any{"selected": false, "text": "default", "value": "default"},
		},
		// A host that is no part of a cluster has neither label, and must not vanish.
		labelVariable("cluster", "Cluster", "", `dynwatch_build_info`, ".*"),
		labelVariable("namespace", "Namespace", "The namespace that the agent runs in, where it runs in Kubernetes.", `dynwatch_build_info{cluster=~"$cluster"}`, ".*"),
		labelVariable("job", "Job", "", `dynwatch_build_info{cluster=~"$cluster", namespace=~"$namespace"}`, ".+"),
		labelVariable("instance", "Host", "", `dynwatch_build_info{cluster=~"$cluster", namespace=~"$namespace", job=~"$job"}`, ".+"),
	}
	return &dashboard{
		UID: uid, Title: title, Description: description, Tags: []string{"dynwatch"}, SchemaVersion: 42, Version: 1, GraphTooltip: 1,
		Refresh: "1m", Time: timeRange{"now-24h", "now"}, Timezone: "browser",
		Links: []dashLink{{Type: "dashboards", Title: "dynwatch", Icon: "external link", Tags: []string{"dynwatch"}, IncludeVars: true, KeepTime: true}},
		Annotations: annotations{[]annotation{
			{
				Name: "Alerts", Datasource: prom, Enable: true, IconColor: "red", Step: "60s",
				Expr:        `ALERTS{alertname=~"Dynwatch.*", alertstate="firing", job=~"$job|", instance=~"$instance|"}`,
				TitleFormat: "{{alertname}}", TextFormat: "{{instance}} {{rule}}",
			},
			{
				Name: "Versions", Datasource: prom, Enable: true, IconColor: "blue", Step: "60s",
				Expr:        expr(`sum by (instance, version) (dynwatch_build_info{sel}) unless sum by (instance, version) (dynwatch_build_info{sel} offset 5m)`),
				TitleFormat: "Version {{version}}", TextFormat: "{{instance}}",
			},
		}},
		Templating: templating{slices.Concat(variables, more)},
		Panels:     g.panels,
	}
}
