// Package report is what a guest of the kernel tests tells its host: one JSON object on the console, between two marks.
package report

// Marks around the object, each on a line of its own. What the kernel itself prints stands outside of them, or makes the object unreadable,
// which the host then says.
const (
	Begin = "@@DYNWATCH-BEGIN"
	End   = "@@DYNWATCH-END"
)

// Full, on the kernel's command line, asks for the tests of capture/ebpf as well, which take minutes under emulation.
const Full = "dynwatch.full"

// Update, there too, asks for what the verifier processed to become the new ceilings, instead of being held to the old ones.
const Update = "dynwatch.update"

// Report is all that one boot found out.
type Report struct {
	// Release and Lockdown are as the kernel itself names them.
	Release, Lockdown string
	Checks            []Check
	// Skipped are the tests that were.
	Skipped []string
	// Doctor is what `dynwatch doctor` prints.
	Doctor string
	// Ceilings are new lines of bpf/testdata/verifier.txt for this kernel, after Update.
	Ceilings string
}

// Check is one thing that was tried.
type Check struct {
	Name string
	// Failed says what went wrong; "" is a pass.
	Failed string
	// Detail is for a person to read.
	Detail string
}
