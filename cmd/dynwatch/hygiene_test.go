package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"

	"github.com/dynwatch/dynwatch/internal/synth"
	"github.com/dynwatch/dynwatch/internal/testenv"
)

// What a service would not like to find in a report. None is a real one.
const (
	secretKeyID     = "AKIAQ7PLANTED5X2KEYS"
	secretTokenID   = "ASIAQ7PLANTED6Y3KEYS"
	secretSignature = "5ec2e75160a7u2e5ec2e75160a7u2e5ec2e75160a7u2e5ec2e75160a7u2e0001"
	secretToken     = "IQoJb3JpZ2luX2VjPLANTEDTOKEN/////////wEaCXVz+Q=="
	secretCookie    = "plantedsessioncookie8842"
	secretPassword  = "planted-hunter2-password"
	secretItem      = "planted-card-4111111111111111"
	secretQuery     = "plantedquerysignature991"
	secretTable     = "planted-payroll-table"
	secretBearer    = "plantedbearer.eyJhbGciOi.zzz"
	secretUser      = "planted-proxy-user"
	secretDAX       = "planteddaxsignature00112233445566778899"
)

// planted are the secrets in the forms that they travel in.
func planted() []string {
	basic := base64.StdEncoding.EncodeToString([]byte(secretUser + ":" + secretPassword))
	return []string{
		secretKeyID, secretTokenID, secretSignature, secretToken, secretCookie, secretPassword, secretItem, secretQuery, secretTable, secretBearer,
		secretUser, secretDAX, basic, basic[:12], secretToken[:24], secretSignature[:16], "Q7PLANTED",
		hex.EncodeToString([]byte(secretItem)), base64.StdEncoding.EncodeToString([]byte(secretItem)),
	}
}

func request(line, host string, more ...string) []byte {
	head := line + "\r\nHost: " + host + "\r\nX-Amz-Target: DynamoDB_20120810.PutItem\r\n" +
		"Authorization: AWS4-HMAC-SHA256 Credential=" + secretKeyID + "/20261121/us-east-1/dynamodb/aws4_request, SignedHeaders=host;x-amz-date, Signature=" + secretSignature + "\r\n" +
		"X-Amz-Security-Token: " + secretToken + "\r\nCookie: session=" + secretCookie + "\r\nUser-Agent: Boto3/1.26\r\n" +
		"Content-Type: application/x-amz-json-1.0\r\n"
	body := `{"TableName":"` + secretTable + `","Item":{"card":{"S":"` + secretItem + `"}}}`
	for _, m := range more {
		head += m + "\r\n"
	}
	return fmt.Appendf(nil, "%sContent-Length: %d\r\n\r\n%s", head, len(body), body)
}

func answer() []byte {
	body := `{"Attributes":{"card":{"S":"` + secretItem + `"}}}`
	return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nSet-Cookie: session=%s\r\nContent-Length: %d\r\n\r\n%s", secretCookie, len(body), body)
}

// h2c is a cleartext HTTP/2 request with the same secrets (RFC 9113, Sections 3.4, 4.1 and 6).
func h2c() []byte {
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	for _, f := range [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", "/?X-Amz-Signature=" + secretQuery}, {":authority", "dynamodb.us-east-1.amazonaws.com"},
		{"x-amz-target", "DynamoDB_20120810.PutItem"}, {"x-amz-security-token", secretToken}, {"cookie", "session=" + secretCookie},
		{"authorization", "AWS4-HMAC-SHA256 Credential=" + secretTokenID + "/20261121/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=" + secretSignature},
	} {
		e.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	frame := func(kind, flags byte, stream uint32, payload []byte) []byte {
		b := make([]byte, 9, 9+len(payload))
		b[0], b[1], b[2] = byte(len(payload)>>16), byte(len(payload)>>8), byte(len(payload))
		b[3], b[4] = kind, flags
		binary.BigEndian.PutUint32(b[5:], stream)
		return append(b, payload...)
	}
	out := []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	out = append(out, frame(4, 0, 0, nil)...)
	out = append(out, frame(1, 4, 1, block.Bytes())...)
	return append(out, frame(0, 1, 1, []byte(`{"TableName":"`+secretTable+`","Item":{"card":{"S":"`+secretItem+`"}}}`))...)
}

// dax is the opening of the cleartext DAX protocol with an authorizeConnection call, in CBOR (RFC 8949).
func dax() []byte {
	text := func(s string) []byte {
		if len(s) < 24 {
			return append([]byte{0x60 | byte(len(s))}, s...)
		}
		return append([]byte{0x78, byte(len(s))}, s...)
	}
	out := append(text("J7yne5G"), 0x00)
	out = append(out, text("")...)
	out = append(out, 0xa1)
	out = append(out, text("UserAgent")...)
	out = append(out, text("DaxPythonClient-1.0")...)
	out = append(out, 0x00)
	out = append(out, 0x01, 0x1a) // service, and the method's number as it stands in the clients
	out = binary.BigEndian.AppendUint32(out, 1489122155)
	for _, s := range []string{secretKeyID, secretDAX, "stringToSign " + secretItem, secretToken} {
		out = append(out, text(s)...)
	}
	return out
}

// secretTraffic are flows that show all secrets, each in a way that the analysis reads.
func secretTraffic() []synth.Packet {
	const name = "dynamodb.us-east-1.amazonaws.com"
	var packets []synth.Packet
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	port := uint16(50000)
	add := func(server string, d synth.Dialogue) {
		port++
		at = at.Add(time.Second)
		packets = append(packets, synth.Flow{
			Client: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.10"), port), Server: netip.MustParseAddrPort(server), Start: at,
			ClientISN: 7, ServerISN: 9,
		}.Packets(d)...)
	}
	talk := func(client []byte, server []byte) (d synth.Dialogue) {
		d.Client(client)
		d.Server(server)
		return d
	}
	proxyAuth := "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(secretUser+":"+secretPassword))
	connect := "CONNECT " + name + ":80 HTTP/1.1\r\nHost: " + name + ":80\r\n" + proxyAuth + "\r\n\r\n"

	add("52.94.5.7:80", talk(request("POST / HTTP/1.1", name), answer()))
	add("52.94.5.7:80", talk(request("POST /?X-Amz-Credential="+secretTokenID+"&X-Amz-Signature="+secretQuery+"&X-Amz-Security-Token="+secretToken+" HTTP/1.1", name), answer()))
	add("52.94.5.7:80", talk(request("POST / HTTP/1.1", secretUser+":"+secretPassword+"@"+name), answer()))
	add("192.0.2.80:3128", talk(request("POST http://"+secretUser+":"+secretPassword+"@"+name+"/?X-Amz-Signature="+secretQuery+" HTTP/1.1", name, proxyAuth), answer()))
	var tunnel synth.Dialogue
	tunnel.Client([]byte(connect))
	tunnel.Server([]byte("HTTP/1.1 200 Connection established\r\n\r\n"))
	tunnel.Client(request("POST / HTTP/1.1", name))
	tunnel.Server(answer())
	add("192.0.2.80:3128", tunnel)
	add("192.0.2.80:3128", talk([]byte(connect), []byte("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")))
	add("52.94.5.7:80", talk(h2c(), nil))
	add("192.0.2.90:8111", talk(dax(), nil))
	add("127.0.0.1:8000", talk(request("POST / HTTP/1.1", "localhost:8000", "Authorization: Bearer "+secretBearer), answer()))
	// Heads that cannot be read, or are cut, must not end up in an error message.
	add("52.94.5.7:80", talk(append([]byte("POST / HTTP/1.1\r\nHost: "+name+"\r\nAuthorization "+secretSignature+"\r\n"), bytes.Repeat([]byte(secretToken), 9000)...), nil))
	add("52.94.5.7:80", talk([]byte(secretItem+" "+secretToken+"\r\n\r\n"), answer()))
	add("52.94.5.7:443", talk([]byte(secretItem+secretToken), answer()))
	cut := request("POST / HTTP/1.1", name)
	add("52.94.5.7:80", talk(cut[:200], nil))
	// Only the server's side was captured.
	before := len(packets)
	add("52.94.5.7:80", talk(nil, append([]byte("HTTP/1.1 200 OK\r\nServer: Server\r\nx-amzn-RequestId: ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGHIJKLMNOP\r\nx-amz-crc32: 1\r\n"+
		"Content-Type: application/x-amz-json-1.0\r\nSet-Cookie: s="+secretCookie+"\r\nContent-Length: 32\r\n\r\n"), secretItem...)))
	server := netip.MustParseAddr("52.94.5.7").As4()
	return append(packets[:before], slices.DeleteFunc(packets[before:], func(p synth.Packet) bool { return !bytes.Equal(p.Data[26:30], server[:]) })...)
}

// pcapOf is a little-endian pcap file with microseconds.
func pcapOf(packets []synth.Packet) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	b = binary.LittleEndian.AppendUint16(b, 2)
	b = binary.LittleEndian.AppendUint16(b, 4)
	for _, v := range []uint32{0, 0, 262144, 1} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	for _, p := range packets {
		for _, v := range []uint32{uint32(p.Time.Unix()), uint32(p.Time.Nanosecond() / 1000), uint32(len(p.Data)), uint32(len(p.Data))} {
			b = binary.LittleEndian.AppendUint32(b, v)
		}
		b = append(b, p.Data...)
	}
	return b
}

// everyOutput runs dynwatch over a capture in every form and returns what came out, by name.
func everyOutput(t *testing.T, path string, args ...string) map[string]string {
	t.Helper()
	out := make(map[string]string)
	copyTo := filepath.Join(t.TempDir(), "copy.pcapng")
	for name, more := range map[string][]string{
		"text": {}, "colour": {"--color", "always"}, "all": {"--all"}, "json": {"-o", "json"}, "json all": {"-o", "json", "--all"},
		"fail": {"--fail-on", "low"}, "copy": {"-w", copyTo, "--all"}, "copy to stdout": {"-w", "-"}, "part": {"-c", "7"},
	} {
		stdout, stderr, _ := call(nil, append(append([]string{"capture", "-r", path}, more...), args...)...)
		out[name+", standard output"], out[name+", standard error"] = stdout, stderr
	}
	data, err := os.ReadFile(copyTo)
	if err != nil {
		t.Fatal(err)
	}
	out["the copy"] = string(data)
	return out
}

func TestNoSecretLeaves(t *testing.T) {
	capture := pcapOf(secretTraffic())
	for _, secret := range []string{secretKeyID, secretSignature, secretToken, secretCookie, secretItem, secretQuery, secretTable, secretBearer, secretDAX} {
		if !bytes.Contains(capture, []byte(secret)) {
			t.Errorf("%s is not in the capture: the test tests nothing", secret)
		}
	}
	path := filepath.Join(t.TempDir(), "secrets.pcap")
	if err := os.WriteFile(path, capture, 0o600); err != nil {
		t.Fatal(err)
	}
	outputs := everyOutput(t, path)
	for name, text := range outputs {
		for _, secret := range planted() {
			if i := strings.Index(text, secret); i >= 0 {
				t.Errorf("%s holds %q: …%s…", name, secret, text[max(i-80, 0):min(i+120, len(text))])
			}
		}
	}
	// All this was read, and not passed over.
	report := outputs["json, standard output"]
	for _, part := range []string{
		`"access_key":"AKIA…KEYS"`, `"session_token":"exposed"`, `"method":"CONNECT"`, `"method":"forward"`, `"h2c":true`, `"transport":"dax"`,
		`"transport":"connect+http"`, `"operation":"PutItem"`, `"service":"dynamodb-local"`, `"response_only":true`, `"proxy":{"target":"dynamodb.us-east-1.amazonaws.com`,
	} {
		if !strings.Contains(report, part) {
			t.Errorf("the report does not have %s:\n%s", part, report)
		}
	}
	// Table names are secret as long as nobody asks for them; with --tables they are all that comes on top.
	withTables, _, _ := call(nil, "capture", "-r", path, "-o", "json", "--tables")
	if !strings.Contains(withTables, secretTable) {
		t.Error("--tables does not name the table")
	}
	for _, secret := range planted() {
		if secret != secretTable && strings.Contains(withTables, secret) {
			t.Errorf("with --tables the report holds %q", secret)
		}
	}
}

// secretField finds what follows the names of fields that hold secrets, as they stand in a capture.
var secretField = regexp.MustCompile(`(?i)(?:(?:\r\n|^)(?:proxy-authorization|cookie|set-cookie|x-amz-security-token): *(?:basic +)?([^\r\n]{8,})|Signature=([0-9a-f]{32,})|Credential=([A-Z0-9]{12,})/|"(?:S|N)": ?"([^"]{9,})"|"TableName": ?"([^"]{4,})")`)

func TestNoRecordedSecretLeaves(t *testing.T) {
	dir := testenv.Shared(t, "corpus", "dynamodb")
	var files []string
	for _, pattern := range []string{"connect-*.pcap", "http-*.pcap", "awsaddr*-http-*.pcap", "dax-plaintext-*.pcap", "midstream-http.pcap"} {
		found, _ := filepath.Glob(filepath.Join(dir, pattern))
		files = append(files, found...)
	}
	slices.Sort(files)
	found := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		secrets := make(map[string]bool)
		for _, m := range secretField.FindAllSubmatch(data, -1) {
			for _, s := range m[1:] {
				if len(s) > 0 {
					secrets[string(s)] = true
				}
			}
		}
		found += len(secrets)
		for name, text := range everyOutput(t, file, "--allow-ca", filepath.Join(dir, "certs/test-roots.pem")) {
			for s := range secrets {
				if strings.Contains(text, s) {
					t.Errorf("%s: %s holds %q", filepath.Base(file), name, s)
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d secrets were found in the captures: the test tests little", found)
	}
	t.Logf("%d secrets of %d captures looked for", found, len(files))
}

// TestTheCopyHasNoApplicationDataWithoutEncryption: with a NULL suite the records behind the handshake are in clear.
func TestTheCopyHasNoApplicationDataWithoutEncryption(t *testing.T) {
	file := testenv.Shared(t, "corpus", "tls", "dw-weak-null.pcap")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const clear = "HTTP/1."
	if !bytes.Contains(data, []byte(clear)) {
		t.Fatal("no request in clear in this capture")
	}
	for name, text := range everyOutput(t, file) {
		if strings.Contains(text, clear) {
			t.Errorf("%s holds application data", name)
		}
	}
}
