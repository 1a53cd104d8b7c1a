// Package libraries holds the library probes to what they say of each version of the libraries: its tests run a client of every one against
// good and bad chains, told to verify and told not to, while dynwatch watches. docs/libraries.md has the results.
//
// Without flags they use what is installed, and the oldest Go whose programs have probes. scripts/test-libraries gets the other versions, and
// names their directory with -versions.
package libraries
