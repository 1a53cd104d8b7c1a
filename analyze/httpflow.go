package analyze

import (
	"slices"

	"github.com/dynwatch/dynwatch/analyze/endpoint"
	"github.com/dynwatch/dynwatch/analyze/httpwire"
	"github.com/dynwatch/dynwatch/analyze/session"
)

const (
	// maxFollowed is how many cleartext HTTP flows are read on although their first requests were not DynamoDB's: a keep-alive
	// connection, above all a proxy's, may carry other requests later. Beyond it such flows are dropped, and counted.
	maxFollowed = 4096
	// maxIdleHTTP is how many readers wait for another flow.
	maxIdleHTTP = 64
	// maxOperations and maxTables bound what is listed of one session.
	maxOperations = 32
	maxTables     = 32
)

func (a *Analyzer) takeHTTP(o httpwire.Options) *httpwire.Conn {
	n := len(a.idleHTTP)
	if n == 0 {
		return httpwire.New(o)
	}
	h := a.idleHTTP[n-1]
	a.idleHTTP = a.idleHTTP[:n-1]
	h.Reset(o)
	return h
}

func (a *Analyzer) putHTTP(h *httpwire.Conn) {
	if len(a.idleHTTP) < maxIdleHTTP {
		h.Reset(httpwire.Options{}) // secrets go now
		a.idleHTTP = append(a.idleHTTP, h)
	}
}

// followHTTP counts a flow that is read as HTTP.
func (a *Analyzer) followHTTP(c *conn) {
	if !c.following {
		c.following = true
		a.following++
	}
}

func (a *Analyzer) feedHTTP(c *conn, l *layer, dir uint8, data []byte) {
	side := c.side(dir)
	for len(data) > 0 {
		n, event := l.http.Feed(side, data)
		data = data[n:]
		switch event {
		case httpwire.RequestHead:
			a.request(c, l, l.http.Request())
		case httpwire.ResponseHead:
			a.response(c, l, l.http.Response())
		case httpwire.TableNames:
			c.tables(l.http.Request().Tables)
		case httpwire.Tunnelled:
			if l == &c.inner {
				return // a tunnel in a tunnel is not followed
			}
			c.tunnelled[dir] = true
			c.inner.offset = [2]int64{}
			a.consumeLayer(c, &c.inner, dir, data)
			return
		case httpwire.Unreadable:
			a.stats.Unreadable++
			a.doneHTTP(c, l, dir)
			return
		}
		if !c.inUse {
			return
		}
	}
	if l.http.Done(side) {
		a.doneHTTP(c, l, dir)
	}
}

// doneHTTP ends the reading of one side of cleartext HTTP.
func (a *Analyzer) doneHTTP(c *conn, l *layer, dir uint8) {
	if dir == c.client && !c.ours && !c.byAddr {
		a.ignore(c)
		return
	}
	a.stopReading(c, dir)
}

// request judges one request head.
func (a *Analyzer) request(c *conn, l *layer, r *httpwire.Request) {
	if r.Form == httpwire.AuthorityForm { // CONNECT
		a.connect(c, l, r)
		return
	}
	host, port := r.Asked(), c.askedPort()
	// An absolute-form target goes to a proxy, unless it is one of DynamoDB's own addresses.
	forwarded := r.Form == httpwire.AbsoluteForm && l == &c.outer && !c.byAddr
	if forwarded {
		port = httpPort
		c.forwardCredentials = c.forwardCredentials || r.Credentials.Proxy
	}
	ours := a.matchName(c, host, port, byHost)
	operation, service, by := r.DynamoDB()
	if len(by) > 0 && (by[0] != byScope || !endpoint.OtherAWSService(plainHost(host))) {
		ours = true
		c.ours = true
		for _, how := range by {
			c.matchedBy(how)
		}
		c.emulate(host, service, r.Credentials.Region)
	}
	if !forwarded {
		ours = a.matchServer(c, host, ours)
	}
	if c.web == nil {
		c.web = &session.HTTP{}
	}
	w := c.web
	w.Total++
	w.H2C = w.H2C || l.http.H2C()
	if !ours {
		if a.following > maxFollowed && !c.ours && !c.byAddr {
			a.stats.HTTPUnfollowed++
			a.ignore(c)
		}
		return
	}
	if w.Requests++; w.Requests == 1 {
		w.Method, w.Host, w.Path, w.UserAgent, w.Operation = r.Method, host, r.Path, r.UserAgent, operation
		if forwarded {
			c.useProxy(&session.Proxy{Target: r.Authority, CredentialsExposed: c.forwardCredentials})
		}
		if c.endpoint.Name == "" {
			c.endpoint.Name = plainHost(host)
		}
	}
	if operation != "" && len(w.Operations) < maxOperations && !slices.Contains(w.Operations, operation) {
		w.Operations = append(w.Operations, operation)
	}
	if w.AccessKeyID == "" {
		w.AccessKeyID = r.Credentials.AccessKeyID
	}
	w.SignatureExposed = w.SignatureExposed || r.Credentials.Signature
	w.SessionTokenExposed = w.SessionTokenExposed || r.Credentials.SessionToken
	if c.proxy != nil {
		c.proxy.CredentialsExposed = c.proxy.CredentialsExposed || r.Credentials.Proxy
	}
	if c.endpoint.Region == "" {
		c.endpoint.Region = r.Credentials.Region
	}
}

// connect notes a CONNECT request. A refused one may be followed by another, to the same target or to a different one.
func (a *Analyzer) connect(c *conn, l *layer, r *httpwire.Request) {
	if l == &c.inner {
		return // a tunnel in a tunnel is not followed
	}
	c.useProxy(&session.Proxy{})
	c.proxy.Connect = true
	if !c.proxy.Established {
		c.proxy.Target = r.Authority
	}
	c.proxy.CredentialsExposed = c.proxy.CredentialsExposed || r.Credentials.Proxy
	a.matchName(c, r.Authority, httpsPort, byConnect)
}

// emulate names the endpoint of a request that proves itself to be DynamoDB's, where its host does not: an emulator on this machine,
// or an endpoint that somebody gave a name of their own.
func (c *conn) emulate(host, service, region string) {
	if c.endpoint.Service != "" {
		return
	}
	ip, _ := c.server()
	n := endpoint.Name{Service: service, Region: region}
	if n.Service == "" {
		n.Service = endpoint.DynamoDB
	}
	if addr := ip.Addr(); (addr.IsLoopback() || isLocalHost(host)) && !c.byAddr {
		n.Service, n.Kind = endpoint.Local, endpoint.KindLocal
	}
	c.describe(n)
}

func (c *conn) useProxy(p *session.Proxy) {
	if c.proxy == nil {
		c.proxy = p
	}
}

// response judges one response head.
func (a *Analyzer) response(c *conn, l *layer, r *httpwire.Response) {
	if c.proxy != nil && c.proxy.Connect && l == &c.outer {
		if r.ToConnect {
			c.proxy.Status = r.Status
			c.proxy.Established = r.Status >= 200 && r.Status < 300
		}
		return
	}
	if c.web == nil {
		c.web = &session.HTTP{}
	}
	if c.web.Status == 0 && r.Status >= 200 {
		c.web.Status = r.Status
	}
	if a.o.Live && c.web.Requests > 0 {
		a.reportLive(c)
		return
	}
	if c.web.Total == 0 && !c.streams[c.client].seen && r.DynamoDB() {
		// Only the server's side was captured. At one of DynamoDB's addresses other answers prove nothing: the Host is not known.
		c.web.ResponseOnly = true
		c.ours = true
		c.matchedBy(byResponse)
		a.matchServer(c, "", false)
		c.describe(endpoint.Name{Service: endpoint.DynamoDB})
	}
}

// tables notes table names, which are only read when the operator asked for them.
func (c *conn) tables(names []string) {
	if c.web == nil || c.web.Requests == 0 {
		return
	}
	for _, n := range names {
		if len(c.web.Tables) < maxTables && !slices.Contains(c.web.Tables, n) {
			c.web.Tables = append(c.web.Tables, n)
		}
	}
}

func (a *Analyzer) feedDAX(c *conn, l *layer, dir uint8, data []byte) {
	if dir != c.client {
		return
	}
	l.dax.Feed(data)
	if l.dax.Done() {
		a.stopReading(c, dir)
	}
}
