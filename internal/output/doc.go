// Package output prints sessions, DNS answers and the summary: as text for people, or as one JSON object a line for programs.
//
// Strings that came off the wire are hostile: the text printer shows control and other unprintable characters escaped, so that nobody's
// terminal is driven by a certificate's subject, and the JSON printer does so too, in JSON's own way. No printer has anything secret to print, because
// package session holds none.
package output
