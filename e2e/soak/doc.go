// Package soak runs the agent under a churn of processes, connections, names and findings, and watches what it takes: memory, series, file
// descriptors, goroutines. It runs for as long as SOAK says (make soak: an hour; CI: two minutes), else for some seconds.
//
// Its clients are processes of this test binary, each alive for a moment, which speak to servers of the test on loopback. Containers and pods do
// not come and go here: their bounded memories have tests of their own.
package soak
