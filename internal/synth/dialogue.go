package synth

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// Message is what one end sends at one go.
type Message struct {
	FromClient bool
	Data       []byte
}

// Dialogue is what two ends say to each other, in order.
type Dialogue []Message

// Client and Server append a message.
func (d *Dialogue) Client(data []byte) { *d = append(*d, Message{true, append([]byte(nil), data...)}) }

// Server appends a message of the server.
func (d *Dialogue) Server(data []byte) { *d = append(*d, Message{false, append([]byte(nil), data...)}) }

// TLS records a handshake between crypto/tls's client and server, the client's request and the server's answer, and both closings.
// An error of either end is returned with what had been said until then: a refused certificate is a dialogue too. The ends speak in turn, so
// that the dialogue is the same each time but for what crypto/tls draws at random.
func TLS(client, server *tls.Config, request, answer []byte) (Dialogue, error) {
	var (
		mu sync.Mutex
		d  Dialogue
	)
	c, s := newPipe()
	tee := func(fromClient bool) func([]byte) {
		return func(b []byte) {
			mu.Lock()
			defer mu.Unlock()
			d = append(d, Message{fromClient, append([]byte(nil), b...)})
		}
	}
	done := make(chan error, 1)
	go func() {
		done <- serve(tls.Server(&teeConn{s, tee(false)}, server), len(request), answer)
		s.Close()
	}()
	err := ask(tls.Client(&teeConn{c, tee(true)}, client), request, len(answer))
	c.Close()
	return d, errors.Join(err, <-done)
}

func ask(conn *tls.Conn, request []byte, answer int) error {
	if err := conn.Handshake(); err != nil {
		return fmt.Errorf("client handshake: %w", err)
	}
	if len(request) > 0 {
		if _, err := conn.Write(request); err != nil {
			return fmt.Errorf("client write: %w", err)
		}
		if _, err := io.ReadFull(conn, make([]byte, answer)); err != nil {
			return fmt.Errorf("client read: %w", err)
		}
	}
	return conn.CloseWrite()
}

func serve(conn *tls.Conn, request int, answer []byte) error {
	if err := conn.Handshake(); err != nil {
		return fmt.Errorf("server handshake: %w", err)
	}
	if request > 0 {
		if _, err := io.ReadFull(conn, make([]byte, request)); err != nil {
			return fmt.Errorf("server read: %w", err)
		}
		if _, err := conn.Write(answer); err != nil {
			return fmt.Errorf("server write: %w", err)
		}
	}
	_, _ = conn.Read(make([]byte, 1)) // wait for the client's close_notify; its error is the end
	return nil
}

// teeConn shows what is written.
type teeConn struct {
	net.Conn
	wrote func([]byte)
}

func (t *teeConn) Write(b []byte) (int, error) {
	t.wrote(b)
	return t.Conn.Write(b)
}
