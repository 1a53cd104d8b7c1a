// Package page is the web page of a host's agent: what it watches, what it found and how to mend it, who talks to DynamoDB and how, and what
// was lost.
//
//	mux.Handle("GET /", page.New(page.Options{Host: name, Ready: health.Ready, Metrics: registry, History: store.Snapshot}))
//
// The page is one embedded file each of HTML, CSS and JavaScript, without anything from elsewhere. It asks for /api/state, a JSON object, every
// few seconds while somebody looks at it. Everything in that object is text to the page: it puts nothing from the wire into HTML, and its
// Content-Security-Policy lets nothing but its own files run.
package page
