package alert

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// WebhookOptions are a receiver of one POST for each alert.
type WebhookOptions struct {
	URL string
	// KeyFile holds the key of the HMAC signature; without it requests are not signed.
	KeyFile string
	HTTP    HTTPOptions
}

// Webhook posts each alert as a JSON object.
//
// Dynwatch-Id is the alert's id, the same at each attempt, so that a receiver can drop what it has. With a key, Dynwatch-Signature is
// "t=SECONDS,v1=HEX", where HEX is the HMAC-SHA256 of "SECONDS.BODY": a receiver checks both, and that the time is not long ago.
type Webhook struct {
	o      WebhookOptions
	url    *url.URL
	client *client
}

// webhookBody is what is posted. Receivers ignore what they do not know.
type webhookBody struct {
	Version int `json:"version"`
	*Alert
}

// NewWebhook checks the options; no connection is made.
func NewWebhook(o WebhookOptions) (*Webhook, error) {
	u, err := checkURL(o.URL)
	if err != nil {
		return nil, fmt.Errorf("webhook: %w", err)
	}
	if _, err := readSecret(o.KeyFile); err != nil {
		return nil, fmt.Errorf("webhook: key: %w", err)
	}
	c, err := newClient(o.HTTP)
	if err != nil {
		return nil, fmt.Errorf("webhook: %w", err)
	}
	return &Webhook{o, u, c}, nil
}

// Kind implements Sink.
func (w *Webhook) Kind() string { return "webhook" }

// Send implements Sink.
func (w *Webhook) Send(ctx context.Context, alerts []*Alert) error {
	for _, a := range alerts {
		body, err := json.Marshal(webhookBody{1, a})
		if err != nil {
			return &RefusedError{err}
		}
		header := http.Header{"Dynwatch-Id": {a.ID}}
		key, err := readSecret(w.o.KeyFile)
		if err != nil {
			return err
		}
		if key != "" {
			header.Set("Dynwatch-Signature", Sign([]byte(key), time.Now(), body))
		}
		if _, err := w.client.post(ctx, w.url, "application/json", body, header); err != nil {
			return err
		}
	}
	return nil
}

// Close implements Sink.
func (w *Webhook) Close() error {
	w.client.close()
	return nil
}

// Sign is the value of Dynwatch-Signature.
func Sign(key []byte, at time.Time, body []byte) string {
	seconds := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(seconds + "."))
	mac.Write(body)
	return "t=" + seconds + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

// Verify checks a signature as a receiver does: it must be right, and made within a tolerance of now.
func Verify(key []byte, signature string, now time.Time, tolerance time.Duration, body []byte) error {
	var seconds int64
	var sum string
	if _, err := fmt.Sscanf(signature, "t=%d,v1=%64s", &seconds, &sum); err != nil {
		return errors.New("the signature cannot be read")
	}
	at := time.Unix(seconds, 0)
	if d := now.Sub(at); d > tolerance || d < -tolerance {
		return errors.New("the signature is too old")
	}
	if !hmac.Equal([]byte(signature), []byte(Sign(key, at, body))) {
		return errors.New("the signature is wrong")
	}
	return nil
}
