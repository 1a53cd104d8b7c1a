// Package dashboards holds what a monitoring system needs to show dynwatch's metrics and to alert on them: Grafana dashboards and
// Prometheus rules.
//
// The dashboards are built here, in Go, as Grafana's classic JSON model (schemaVersion 42, which every Grafana since version 9 imports), and
// written out by `dynwatch dashboards export DIR`. The files under grafana/ are what comes out, for who wants to look without running
// anything; a test holds them to the code. The rules under prometheus/ are written by hand.
//
// Every panel has a title, a description, a unit and the templated data source; every query is a rate or an increase where it reads a
// counter, and is limited to the chosen hosts. Tests hold the dashboards to that, and every metric and label that a query or rule names
// to internal/metrics.
package dashboards
