// Package journal keeps records in an append-only file of checksummed lines, which other processes may read while it is written.
//
//	8c2f01aa {"journal":"history","schema":1}
//	5b77e3d0 {"entry":…}
//
// Each line is the CRC-32C of the rest in hex, a space, and a JSON value. One process writes, and holds a lock on PATH.lock; its owner keeps
// the state that the records add up to, and rewrites the file from it when it has grown. Readers need no lock: a line that is not whole yet
// fails its checksum, and a rewritten file takes the old one's place by rename, so that who reads the old one reads it to its end.
//
// What can go wrong is said, and nothing ends the program: a torn end (a crash while appending) is cut off; lines that do not bear out their
// checksum are left out, and the damaged file is kept aside under another name; a full disk is an error of Append, after which the file
// is as it was before. Blocks are reserved ahead, so that a disk that others filled does not stop the next few appends.
//
// It knows nothing of what records mean, starts no goroutine and maps no memory: a file that is cut short underneath is an error, and no
// signal. A Journal is used by one goroutine at a time.
package journal
