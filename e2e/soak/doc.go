// Package soak runs the agent under a churn of processes, containers, pods, connections, names and findings, and watches what it takes: memory,
// series, file descriptors, goroutines. It runs for as long as SOAK says (make soak: an hour; CI: two minutes), else for some seconds.
//
// Its clients are processes of this test binary, each alive for a moment, which speak to servers of the test on loopback. Three of four are in a pod
// of their own: a cgroup, a folder and a link of logs as the kubelet makes them, which are removed when the client has ended.
package soak
