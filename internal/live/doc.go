// Package live opens the source of a watch over this host, keeps it looking where DynamoDB is, and gives up the rights that it no longer needs.
//
//	w, err := live.Open(live.Options{Kind: "auto", Endpoints: set})
//	kept, err := w.DropRights(0)
//	for w.Next(&seg) == nil { … }     // a capture.Source
//	w.Follow(answer.Addrs)            // what DNS says of DynamoDB's names
//
// It is what capture and the agent share; what becomes of the segments is theirs.
package live
