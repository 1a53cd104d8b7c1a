package doctor

import "github.com/dynwatch/dynwatch/capture/library"

// Status is the outcome of a check.
type Status string

// The outcomes.
const (
	// OK: it is as it should be.
	OK Status = "ok"
	// Degraded: a capture works, and sees or tells less.
	Degraded Status = "degraded"
	// Missing: the source that the check is for does not work.
	Missing Status = "missing"
)

// Check is one thing that was looked at.
type Check struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	// Source is what the check is for: ebpf, packet, owners (who opened a connection), or "" for all.
	Source string `json:"source,omitempty"`
	// Detail is what was found, for a person to read. Remedy is a command or setting that mends it, "" where there is nothing to mend or to do.
	Detail string `json:"detail"`
	Remedy string `json:"remedy,omitempty"`
}

// Report is the outcome of all checks, in the order in which they explain each other.
type Report struct {
	Checks []Check `json:"checks"`
	// EBPF and Packet tell whether the source works.
	EBPF   bool `json:"ebpf"`
	Packet bool `json:"packet"`
	// Libraries is what was found of the TLS libraries of running processes, nil if nobody looked.
	Libraries *Libraries `json:"libraries,omitempty"`
}

// Libraries are the TLS libraries of running processes that library probes cannot be set in: what they are shown in TLS 1.3 is not seen.
type Libraries struct {
	// Processes were looked at; Without have one.
	Processes int `json:"processes"`
	Without   int `json:"without"`
	// Unprobed are kinds of them, the most frequent first. Others are processes of more kinds.
	Unprobed []library.Unprobed `json:"unprobed"`
	Others   int                `json:"others,omitempty"`
}

// Usable reports whether any live source works.
func (r *Report) Usable() bool { return r.EBPF || r.Packet }

// Problems are the checks of a source, and those that are for all, that are not OK: what to tell when the source cannot start.
func (r *Report) Problems(source string) []Check {
	var out []Check
	for _, c := range r.Checks {
		if c.Status != OK && (c.Source == source || c.Source == "") {
			out = append(out, c)
		}
	}
	return out
}
