// Package agent is the loop of a watch that runs for months: it keeps a source open, has what it yields judged, counts and hands on what
// is concluded, takes a new configuration while it runs, and says whether it is well.
//
//	err := agent.Run(ctx, agent.Options{Settings: first, Reload: read, Listen: listener, …})
//
// One goroutine, Run's own, owns the source and the analysis; it never waits for anything else. A web server answers /metrics, /livez and
// /readyz, and a goroutine looks for changes of the configuration's files, reads them and hands the result to the loop, which takes it between
// two segments.
//
//   - /livez fails when the loop has not come round for a while: then nothing but a new start helps.
//   - /readyz fails as long as no source is attached.
//   - A source that cannot be opened, or breaks off, is opened again after a while. The rights for that are given up once a source was
//     opened, so a source that breaks off later may need a new start of the whole process: Run returns then.
//
// Everything that grows with traffic is bounded, in this package and in those it uses.
package agent
