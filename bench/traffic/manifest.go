package traffic

import (
	"encoding/json"
	"fmt"
	"os"
)

// Manifest says what a generated file holds. It is kept beside the file, as JSON.
type Manifest struct {
	Kind  Kind   `json:"kind"`
	Seed  uint64 `json:"seed"`
	Bytes int64  `json:"bytes"` // size of the file
	// Packets counts all, Wire their bytes without pcap's headers.
	Packets int64 `json:"packets"`
	Wire    int64 `json:"wire_bytes"`
	// TCPPort443 counts the packets that the filter "tcp port 443" takes.
	TCPPort443 int64 `json:"tcp_port_443_packets"`
	// Flows are TCP's; Payload of them carry payload; MaxOpen were open at a time, counting from the first to the last packet.
	Flows   int `json:"tcp_flows"`
	Payload int `json:"tcp_flows_with_payload"`
	MaxOpen int `json:"max_open_flows"`
	// TLS counts sessions with a complete handshake, DynamoDB's included.
	TLS int `json:"tls_sessions"`
	// DynamoDB counts DynamoDB's sessions by what they are.
	DynamoDB map[string]int `json:"dynamodb_sessions"`
	// Verdicts are those that DynamoDB's sessions deserve when CA is allowed.
	Verdicts map[string]int `json:"dynamodb_verdicts"`
	// Retransmitted, Reordered and Lost count segments that were sent twice, came late, or are missing from the file.
	Retransmitted int `json:"segments_retransmitted"`
	Reordered     int `json:"segments_reordered"`
	Lost          int `json:"segments_lost"`
	// CA is the certificate of the authority that stands for Amazon's here, in PEM.
	CA string `json:"ca"`
}

// Sessions is the number of DynamoDB's sessions.
func (m *Manifest) Sessions() int {
	n := 0
	for _, k := range m.DynamoDB {
		n += k
	}
	return n
}

// String is for people.
func (m *Manifest) String() string {
	return fmt.Sprintf("%s: %.1f MB, %d packets of %.0f bytes on average, %d TCP flows (%d with payload, up to %d open at a time), "+
		"%d TLS sessions, %d sessions of DynamoDB's",
		m.Kind, float64(m.Bytes)/1e6, m.Packets, float64(m.Wire)/float64(max(m.Packets, 1)), m.Flows, m.Payload, m.MaxOpen, m.TLS, m.Sessions())
}

// ReadManifest reads what Write wrote.
func ReadManifest(name string) (*Manifest, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	m := new(Manifest)
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return m, nil
}

// Write writes the manifest to a file.
func (m *Manifest) Write(name string) error {
	b, err := json.MarshalIndent(m, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(b, '\n'), 0o644)
}
