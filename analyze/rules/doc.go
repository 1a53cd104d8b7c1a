// Package rules holds what dynwatch concludes from a session: each rule is a value that looks at plain data and returns a finding or
// nothing.
//
//	in := &rules.Input{Session: s, Policy: policy, History: history}
//	s.Findings = rules.Evaluate(in)
//	s.Verdict = rules.Verdict(s, s.Findings)
//	history.Observe(s)
//
// Sessions are evaluated when their handshake is decided, or when they are over, best in the order of their starts: tls-downgrade looks
// back at earlier tries. Evaluating one while bytes are still to come may state what a later byte refutes.
//
// Three principles:
//
//   - A finding needs its evidence, and carries it. What was lost never makes a finding: each rule asks for the positive fact, and where a
//     fact that was lost could have refuted it, the rule is silent and Verdict says incomplete. The property test over loss holds all
//     rules to that. Facts that no capture of the flow could hold (a key log, a process, the operator's lists) may still refute.
//   - Unknown is not No. Fields of type session.Tri, zero versions and empty strings decide nothing.
//   - Names prove nothing, keys do. Issuer names stand in messages only.
//
// All times are packet times. The package reads no clock, opens nothing, and its memory over sessions (Recent) is bounded.
package rules
