// Package e2e tests dynwatch with real software: SDKs, web frameworks, servers and proxies as they are installed on hosts.
//
// The tests make a network namespace with clients and one with servers, joined by a veth pair with the addresses that RFC 5737 and RFC
// 3849 set apart for documentation, and a hosts file that gives DynamoDB's endpoint names those addresses. Neither namespace has a
// default route, so the clients keep the real names and reach nothing but the rig. Every client process runs once, while tcpdump writes a
// capture file and `dynwatch capture` watches from each live source; then each observer's sessions are compared with what the scenario says,
// and with each other.
//
// They need root and the packages in scripts/packages.txt and skip without, naming what is missing; with CI=true in the environment they fail
// instead. docs/e2e.md says what is tested with what.
package e2e
