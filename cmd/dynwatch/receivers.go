package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/dashboards"
	"github.com/dynwatch/dynwatch/internal/alert"
	"github.com/dynwatch/dynwatch/internal/config"
	"github.com/dynwatch/dynwatch/internal/journal"
)

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
		version, err := versionOf(r, hold)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Where(fmt.Sprintf("receivers[%d]", i)), err)
		}
		least, _ := session.ParseSeverity(r.MinSeverity) // "" is none: everything is told
		sinks = append(sinks, alert.SinkOptions{Name: r.Name, Sink: s, MinSeverity: least, Version: version})
	}
	return sinks, nil
}

// versionOf is another when anything is that a sink takes up when it is made: its part of the configuration, and what is in the files with CAs.
// Passwords, tokens, keys and client certificates are read when they are needed.
func versionOf(r *config.Receiver, hold time.Duration) (string, error) {
	h := sha256.New()
	if err := json.NewEncoder(h).Encode(struct {
		Receiver *config.Receiver
		Hold     time.Duration
	}{r, hold}); err != nil {
		return "", err
	}
	for _, name := range authorities([]config.Receiver{*r}) {
		pem, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		h.Write(pem)
	}
	return string(h.Sum(nil)), nil
}

// authorities are the files with CAs that receivers name.
func authorities(list []config.Receiver) (files []string) {
	for i := range list {
		r := &list[i]
		for _, t := range []*config.TLS{&r.Alertmanager.HTTP.TLS, &r.Webhook.HTTP.TLS, &r.Syslog.TLS, &r.OTLP.HTTP.TLS} {
			if t.CAFile != "" {
				files = append(files, t.CAFile)
			}
		}
	}
	return files
}

func sinkOf(r *config.Receiver, hold time.Duration) (alert.Sink, error) {
	switch {
	case len(r.Alertmanager.URLs) > 0:
		a := &r.Alertmanager
		return alert.NewAlertmanager(alert.AlertmanagerOptions{
			URLs: a.URLs, Hold: hold, Runbook: dashboards.Runbook, Labels: a.Labels, HTTP: httpOptions(&a.HTTP),
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

// alerts tell receivers. The queue is opened when there is a receiver for the first time.
type alerts struct {
	log   *slog.Logger
	queue atomic.Pointer[alert.Manager]
	stop  func()
}

// open opens the queue if there are receivers and it is not open. Unlike the inventory it is no ornament: without its folder the agent does not
// begin, and takes no configuration with receivers.
func (a *alerts) open(c *config.Config, sinks []alert.SinkOptions) error {
	if len(sinks) == 0 || a.queue.Load() != nil {
		return nil
	}
	if err := os.MkdirAll(c.StateDir, stateMode); err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	r := receivers(c, sinks)
	m, err := alert.Open(alert.Options{
		Path: filepath.Join(c.StateDir, alert.FileName), Host: host, Window: r.Window, Hold: r.Hold, PerMinute: r.PerMinute, Burst: r.Burst,
		Sinks: r.Sinks, Log: a.log,
	})
	if errors.Is(err, journal.ErrLocked) {
		return &hinted{err, "another agent runs; name another folder with --state-dir"}
	}
	if err != nil {
		return err
	}
	a.stop = keep("alerts", m.Run, m.Close, a.log)
	a.queue.Store(m)
	return nil
}

// use has other receivers told.
func (a *alerts) use(c *config.Config, sinks []alert.SinkOptions) {
	m := a.queue.Load()
	if m == nil {
		return
	}
	if err := m.Use(receivers(c, sinks)); err != nil {
		a.log.Error("alerts: the receivers stay as they were", "error", err)
	}
}

// close ends the queue, with what it still can send. Nobody calls open any more.
func (a *alerts) close() {
	if a.stop != nil {
		a.stop()
	}
}

// receivers are those of a configuration with how findings become alerts.
func receivers(c *config.Config, sinks []alert.SinkOptions) alert.Receivers {
	window, _ := time.ParseDuration(c.Alerts.Window) // Validate has looked at both
	hold, _ := time.ParseDuration(c.Alerts.Hold)
	return alert.Receivers{Window: window, Hold: hold, PerMinute: c.Alerts.PerMinute, Burst: c.Alerts.Burst, Sinks: sinks}
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

// Alert implements agent.Alerter.
func (a *alerts) Alert(x *session.Session, d *session.DNS, f session.Finding) {
	m := a.queue.Load()
	switch {
	case m == nil:
	case x != nil:
		m.Add(x, f)
	default:
		one := *d
		one.Findings = []session.Finding{f}
		m.AddDNS(&one)
	}
}
