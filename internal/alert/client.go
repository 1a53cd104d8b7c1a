package alert

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// TLSOptions are how a receiver's certificate is checked, and which the client shows. The zero value is the system's roots and no client
// certificate. There is no way to switch the check off.
type TLSOptions struct {
	CAFile, CertFile, KeyFile string
	// ServerName is the name that the receiver's certificate bears, where that is not the address.
	ServerName string
}

// config reads the files. TLS 1.2 is the least.
func (o *TLSOptions) config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: o.ServerName}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: no certificate in it", o.CAFile)
		}
	}
	if (o.CertFile == "") != (o.KeyFile == "") {
		return nil, errors.New("a client certificate needs its key, and a key its certificate")
	}
	if o.CertFile != "" {
		if _, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile); err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		// Read at each handshake: certificates are renewed.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
			return &pair, err
		}
	}
	return c, nil
}

// HTTPOptions are what the sinks that speak HTTP have in common.
type HTTPOptions struct {
	TLS TLSOptions
	// Username with PasswordFile, or BearerFile, is what the receiver asks for. The files are read at each request.
	Username, PasswordFile string
	BearerFile             string
	// Dial makes connections; nil is the network's own. Not for operators.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// client posts to receivers.
type client struct {
	o    HTTPOptions
	http *http.Client
}

func newClient(o HTTPOptions) (*client, error) {
	if o.BearerFile != "" && (o.Username != "" || o.PasswordFile != "") {
		return nil, errors.New("use a password or a bearer token, not both")
	}
	if (o.Username == "") != (o.PasswordFile == "") {
		return nil, errors.New("a user name needs a password file, and the other way round")
	}
	for _, file := range []string{o.PasswordFile, o.BearerFile} {
		if _, err := readSecret(file); err != nil {
			return nil, err
		}
	}
	conf, err := o.TLS.config()
	if err != nil {
		return nil, err
	}
	return &client{o, &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: o.Dial, TLSClientConfig: conf, ForceAttemptHTTP2: true,
			TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 15 * time.Second, IdleConnTimeout: 90 * time.Second, MaxIdleConnsPerHost: 2,
		},
		// A redirect would take the signature, and the alert, to who knows where.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// readSecret reads a key or password without the newline at its end; "" for no file. The error names the file only.
func readSecret(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	s := strings.TrimRight(string(b), "\r\n")
	if s == "" {
		return "", fmt.Errorf("%s is empty", file)
	}
	return s, nil
}

// checkURL takes http and https without user and password: those belong into files.
func checkURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, errors.New("the URL cannot be read") // its text may hold a secret
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, errors.New("the URL must begin with http:// or https:// and a host")
	case u.User != nil:
		return nil, errors.New("the URL holds a user or password: use a user name and a password file")
	}
	return u, nil
}

// post sends a body and returns the head of the answer's body. A 2xx status is no error. Errors say the receiver's scheme and host alone:
// paths and queries of webhooks are secrets.
func (c *client) post(ctx context.Context, u *url.URL, contentType string, body []byte, header http.Header) ([]byte, error) {
	where := u.Scheme + "://" + u.Host
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s: the request cannot be made", where)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("User-Agent", "dynwatch")
	switch {
	case c.o.BearerFile != "":
		token, err := readSecret(c.o.BearerFile)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+token)
	case c.o.PasswordFile != "":
		password, err := readSecret(c.o.PasswordFile)
		if err != nil {
			return nil, err
		}
		req.SetBasicAuth(c.o.Username, password)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // without the URL
		}
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // the status is what counts
	if resp.StatusCode/100 == 2 {
		return answer, nil
	}
	err = fmt.Errorf("%s answered %s", where, resp.Status)
	switch resp.StatusCode {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return nil, &RefusedError{err}
	}
	if after, ok := retryAfter(resp.Header.Get("Retry-After"), time.Now()); ok {
		return nil, &LaterError{err, after}
	}
	return nil, err
}

// retryAfter reads the header's two forms (RFC 9110, Section 10.2.3).
func retryAfter(s string, now time.Time) (time.Duration, bool) {
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		return time.Duration(n) * time.Second, true
	}
	if t, err := http.ParseTime(s); err == nil {
		return max(t.Sub(now), 0), true
	}
	return 0, false
}

func (c *client) close() { c.http.CloseIdleConnections() }
