// Package history keeps what a host's agent has seen: an inventory of who talks to which endpoint and how, the latest findings, and the
// rules' memory of what was usual.
//
//	h, err := history.Open(history.Options{Path: "/var/lib/dynwatch/history.journal"})
//	analyze.Options{History: h.Memory(), Emit: func(s *session.Session) { h.Add(s) }, …}
//	err = h.Run(ctx) // writes until ctx ends
//
// An inventory entry is one workload, endpoint, transport, version, cipher, issuer and verdict, with the first and the latest session and
// their number. Entries and findings are bounded in number and in bytes; what was seen longest ago goes, and is counted.
//
// State is in memory and in a journal (package journal): changes are appended every few seconds, findings within a second, and a kill -9 costs
// what was not written yet. Other processes read the journal with [Read], also while the agent writes it.
//
// Nothing secret comes in: package session holds none. Entries come from sessions that are DynamoDB's; others are passed over.
package history
