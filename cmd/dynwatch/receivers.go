package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/alert"
	"github.com/dynwatch/dynwatch/internal/config"
	"github.com/dynwatch/dynwatch/internal/journal"
)

// runbooks is where an alert's runbook is; RULE becomes the rule's id.
const runbooks = "https://github.com/dynwatch/dynwatch/blob/main/docs/rules.md#RULE"

// sinksOf makes the receivers of a configuration. No connection is made, but files that hold passwords and keys are looked at.
func sinksOf(f *config.File) ([]alert.SinkOptions, error) {
	hold, _ := time.ParseDuration(f.Config.Alerts.Hold) // Validate has looked at it
	var sinks []alert.SinkOptions
	for i := range f.Config.Receivers {
		r := &f.Config.Receivers[i]
		s, err := sinkOf(r, hold)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Where(fmt.Sprintf("receivers[%d]", i)), err)
		}
		least, _ := session.ParseSeverity(r.MinSeverity) // "" is none: everything is told
		sinks = append(sinks, alert.SinkOptions{Name: r.Name, Sink: s, MinSeverity: least})
	}
	return sinks, nil
}

func sinkOf(r *config.Receiver, hold time.Duration) (alert.Sink, error) {
	switch {
	case len(r.Alertmanager.URLs) > 0:
		a := &r.Alertmanager
		return alert.NewAlertmanager(alert.AlertmanagerOptions{
			URLs: a.URLs, Hold: hold, RunbookURL: runbooks, Labels: a.Labels, HTTP: httpOptions(&a.HTTP),
		})
	case r.Webhook.URL != "":
		return alert.NewWebhook(alert.WebhookOptions{URL: r.Webhook.URL, KeyFile: r.Webhook.KeyFile, HTTP: httpOptions(&r.Webhook.HTTP)})
	case r.Syslog.Network != "":
		return alert.NewSyslog(alert.SyslogOptions{
			Network: r.Syslog.Network, Address: r.Syslog.Address, Facility: r.Syslog.Facility, TLS: alert.TLSOptions(r.Syslog.TLS),
		})
	case r.OTLP.URL != "":
		return alert.NewOTLP(alert.OTLPOptions{URL: r.OTLP.URL, Version: version, Resource: r.OTLP.Resource, HTTP: httpOptions(&r.OTLP.HTTP)})
	}
	return alert.NewJournald(alert.JournaldOptions{}), nil
}

func httpOptions(h *config.HTTP) alert.HTTPOptions {
	return alert.HTTPOptions{TLS: alert.TLSOptions(h.TLS), Username: h.Username, PasswordFile: h.PasswordFile, BearerFile: h.BearerFile}
}

// openAlerts opens the queue of alerts; nil is one without receivers. Unlike the inventory it is no ornament: without its folder the agent does
// not begin.
func openAlerts(c *config.Config, sinks []alert.SinkOptions, log *slog.Logger) (*alert.Manager, error) {
	if len(sinks) == 0 {
		return nil, nil
	}
	if err := os.MkdirAll(c.StateDir, 0o700); err != nil {
		return nil, err
	}
	window, _ := time.ParseDuration(c.Alerts.Window)
	hold, _ := time.ParseDuration(c.Alerts.Hold)
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	m, err := alert.Open(alert.Options{
		Path: filepath.Join(c.StateDir, alert.FileName), Host: host, Window: window, Hold: hold,
		PerMinute: c.Alerts.PerMinute, Burst: c.Alerts.Burst, Sinks: sinks, Log: log,
	})
	if errors.Is(err, journal.ErrLocked) {
		return nil, &hinted{err, "another agent runs; name another folder with --state-dir"}
	}
	return m, err
}

// keep runs something that ends with its context until the returned function is called, which closes it too.
func keep(what string, run func(context.Context) error, end func() error, log *slog.Logger) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			log.Error(what, "error", err)
		}
	}()
	return func() {
		cancel()
		<-done
		if err := end(); err != nil {
			log.Error(what, "error", err)
		}
	}
}

// alerting hands findings to the alerts.
type alerting struct{ *alert.Manager }

// Alert implements agent.Alerter.
func (a alerting) Alert(x *session.Session, d *session.DNS, f session.Finding) {
	if x != nil {
		a.Add(x, f)
		return
	}
	one := *d
	one.Findings = []session.Finding{f}
	a.AddDNS(&one)
}
