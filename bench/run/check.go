package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"

	"github.com/dynwatch/dynwatch/bench/traffic"
)

// counts are what dynwatch reports of a capture.
type counts struct {
	packets  int64
	dynamoDB int
	tls      int
	verdicts map[string]int // of DynamoDB's sessions
}

// count has dynwatch judge a capture and counts its lines. The authority of the manifest is allowed.
func (o *options) count(name string, all bool) (counts, error) {
	args := []string{"capture", "-r", name, "-o", "json", "--allow-ca", name + ".ca.pem"}
	if all {
		args = append(args, "--all")
	}
	cmd := exec.Command(o.binary, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return counts{}, err
	}
	if err := cmd.Start(); err != nil {
		return counts{}, err
	}
	c, err := countLines(out)
	if err != nil {
		_, _ = io.Copy(io.Discard, out) // so that it can end; err is told
		_ = cmd.Wait()
		return counts{}, err
	}
	if err := cmd.Wait(); err != nil {
		return counts{}, fmt.Errorf("%v: %w", cmd.Args, err)
	}
	return c, nil
}

func countLines(r io.Reader) (counts, error) {
	c := counts{verdicts: make(map[string]int)}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct {
			Type     string          `json:"type"`
			Verdict  string          `json:"verdict"`
			Endpoint *struct{}       `json:"endpoint"`
			TLS      *struct{}       `json:"tls"`
			Packets  json.RawMessage `json:"packets"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return c, fmt.Errorf("a line of dynwatch's output: %w", err)
		}
		switch line.Type {
		case "session":
			if line.TLS != nil {
				c.tls++
			}
			if line.Endpoint != nil {
				c.dynamoDB++
				c.verdicts[line.Verdict]++
			}
		case "summary":
			if err := json.Unmarshal(line.Packets, &c.packets); err != nil {
				return c, fmt.Errorf("packets of the summary: %w", err)
			}
		}
	}
	return c, lines.Err()
}

// check compares what was found with what was generated.
func check(m *traffic.Manifest, got counts, all bool) error {
	if got.packets != m.Packets {
		return fmt.Errorf("dynwatch read %d packets of %d", got.packets, m.Packets)
	}
	if got.dynamoDB != m.Sessions() || !maps.Equal(got.verdicts, m.Verdicts) {
		return fmt.Errorf("dynwatch found %d sessions of DynamoDB's with verdicts %v; the capture has %d with %v",
			got.dynamoDB, got.verdicts, m.Sessions(), m.Verdicts)
	}
	if all && got.tls != m.TLS {
		return fmt.Errorf("dynwatch found %d TLS sessions; the capture has %d", got.tls, m.TLS)
	}
	return nil
}
