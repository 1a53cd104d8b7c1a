// Package doctor finds out what this host can do for a live capture: which source works, what is missing, and the command that mends it.
//
//	report := doctor.Run(doctor.Options{Hooks: hooks})
//	for _, c := range report.Checks { fmt.Println(c.Name, c.Status, c.Detail, c.Remedy) }
//
// What can be tried is tried for real, and undone: sockets are opened, hooks attached. What is only read (the kernel's version, mounts,
// capabilities) explains why a trial failed. Nothing is changed.
package doctor
