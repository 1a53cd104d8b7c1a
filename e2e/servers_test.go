package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// startServers starts dynalite, nginx here and there, the proxies, the servers of openssl and the web applications, and waits for all.
func (r *rig) startServers() error {
	socket := filepath.Join(r.dir, "dynalite.sock")
	dynalite := []string{"node", filepath.Join(r.modules, "dynalite", "cli.js"), "--createTableMs", "0", "--port"}
	farHosts, err := r.writeHosts("origins", r.originHosts())
	if err != nil {
		return err
	}
	mitm := []string{"mitmdump", "--quiet", "--set", "confdir=" + filepath.Join(r.dir, "mitm"),
		"--set", "ssl_verify_upstream_trusted_ca=" + filepath.Join(r.dir, "roots.pem"), "--set", "connection_strategy=lazy"}
	tiny := filepath.Join(r.dir, "tinyproxy.conf")
	if err := os.WriteFile(tiny, []byte("Port 3128\nTimeout 60\nMaxClients 50\nLogLevel Warning\nConnectPort 443\n"), 0o644); err != nil {
		return err
	}
	squid := filepath.Join(r.dir, "squid.conf")
	if err := os.WriteFile(squid, []byte("http_port 8000\nhttp_access allow all\ncache deny all\naccess_log none\ncache_log /dev/null\n"+
		"pid_filename none\nnetdb_filename none\npinger_enable off\nvisible_hostname squid.invalid\nshutdown_lifetime 0 seconds\n"), 0o644); err != nil {
		return err
	}
	type service struct {
		where     place
		hosts     string
		name      string
		arguments []string
		ready     string // address to dial, or the path of a socket
	}
	origin := origins[0].address().String()
	services := []service{
		{here, "", "dynalite", append(dynalite, socket), socket},
		{here, "", "dynalite-tcp", append(dynalite, "8000"), "127.0.0.1:8000"},
		{there, farHosts, "mitm-connect", append(mitm, "--listen-port", "8080"), origin + ":8080"},
		{there, farHosts, "mitm-reverse", append(mitm, "--mode", "reverse:https://"+regional("us-east-1")+"/", "--listen-port", "8443"),
			origin + ":8443"},
		{there, farHosts, "tinyproxy", []string{"tinyproxy", "-d", "-c", tiny}, origin + ":3128"},
		{there, farHosts, "squid", []string{"squid", "-N", "-d", "1", "-f", squid}, origin + ":8000"},
		{here, farHosts, "tinyproxy-loopback", []string{"tinyproxy", "-d", "-c", tiny}, "127.0.0.1:3128"},
	}
	for where, name := range map[place]string{here: "nginx-loopback", there: "nginx"} {
		conf := filepath.Join(r.dir, name+".conf")
		if err := os.WriteFile(conf, []byte(r.nginxConf(where, socket)), 0o644); err != nil {
			return err
		}
		services = append(services, service{where, "", name, []string{"nginx", "-p", r.dir, "-e", "stderr", "-c", conf}, ""})
	}
	for _, s := range r.scenarios {
		if s.server.software == "openssl" {
			// It answers with a page about the session. Only the handshake is looked at.
			services = append(services, service{there, "", fmt.Sprintf("openssl-%s", s.addr), []string{"openssl", "s_server", "-www",
				"-accept", netip.AddrPortFrom(s.addr, 443).String(), "-cert", filepath.Join(r.dir, string(s.server.chain)+".pem"),
				"-cert_chain", filepath.Join(r.dir, string(s.server.chain)+".pem"),
				"-key", filepath.Join(r.dir, string(s.server.chain)+".key"), "-cipher", s.server.ciphers,
				"-" + strings.NewReplacer("TLSv", "tls", ".", "_").Replace(s.server.versions)},
				netip.AddrPortFrom(s.addr, 443).String()})
		}
	}
	clients, err := filepath.Abs("clients")
	if err != nil {
		return err
	}
	for _, app := range []string{"django", "flask"} {
		var lines []string
		for _, s := range r.scenarios {
			if s.client == app {
				lines = append(lines, s.addr.String()+" "+s.host)
			}
		}
		hosts, err := r.writeHosts(app, lines)
		if err != nil {
			return err
		}
		services = append(services, service{here, hosts, app, []string{"gunicorn", "--workers", "1", "--chdir", clients,
			"--bind", "unix:" + r.appSocket(app), app + "_app:application"}, r.appSocket(app)})
	}
	for _, s := range services {
		if _, err := r.startIn(s.where, s.hosts, s.name, s.arguments, nil); err != nil {
			return err
		}
	}
	for _, s := range services {
		switch {
		case s.ready == "":
		case strings.HasPrefix(s.ready, "/"):
			err = r.listening("unix", s.ready)
		default:
			err = r.listening("tcp", s.ready)
		}
		if err != nil {
			return err
		}
	}
	for _, s := range r.scenarios {
		if s.server.software == "" {
			if err := r.listening("tcp", netip.AddrPortFrom(s.addr, s.server.listenPort()).String()); err != nil {
				return err
			}
		}
	}
	for _, network := range []string{"unix:" + socket, "tcp:127.0.0.1:8000"} {
		if err := createTable(network); err != nil {
			return err
		}
	}
	return nil
}

func (r *rig) appSocket(app string) string { return filepath.Join(r.dir, app+".sock") }

func (s server) listenPort() uint16 {
	switch {
	case s.port != 0:
		return uint16(s.port)
	case s.plain:
		return 80
	}
	return 443
}

// nginxConf gives each scenario at an address of that namespace a server of its own, and there the origins of the proxies.
func (r *rig) nginxConf(where place, backend string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "daemon off;\nmaster_process off;\npid %s/nginx-%d.pid;\nerror_log stderr warn;\nevents { worker_connections 1000; }\n"+
		"http {\naccess_log off;\nclient_body_temp_path %[1]s/nginx-body-%[2]d;\nproxy_temp_path %[1]s/nginx-proxy-%[2]d;\n"+
		"fastcgi_temp_path %[1]s/nginx-fastcgi-%[2]d;\nuwsgi_temp_path %[1]s/nginx-uwsgi-%[2]d;\nscgi_temp_path %[1]s/nginx-scgi-%[2]d;\n",
		r.dir, where)
	add := func(a netip.Addr, s server) {
		fmt.Fprintf(&b, "server {\n")
		if s.plain {
			fmt.Fprintf(&b, "\tlisten %s:%d;\n", bracketed(a), s.listenPort())
		} else {
			versions, ciphers := s.versions, s.ciphers
			if versions == "" {
				versions = "TLSv1.2 TLSv1.3"
			}
			if ciphers == "" {
				ciphers = "ALL"
			}
			fmt.Fprintf(&b, "\tlisten %s:%d ssl;\n\tssl_certificate %s/%s.pem;\n\tssl_certificate_key %[3]s/%[4]s.key;\n"+
				"\tssl_protocols %s;\n\tssl_ciphers %s:@SECLEVEL=0;\n\tssl_prefer_server_ciphers on;\n",
				bracketed(a), s.listenPort(), r.dir, s.chain, versions, ciphers)
		}
		fmt.Fprintf(&b, "\tlocation / { proxy_pass http://unix:%s:; proxy_set_header Host $http_host; }\n}\n", backend)
	}
	for _, s := range r.scenarios {
		if s.server.software == "" && (s.at == loopback) == (where == here) {
			add(s.addr, s.server)
		}
	}
	if where == there {
		for _, o := range origins {
			add(o.address(), o.server)
			add(o.address(), server{plain: true})
		}
		add(markerAddress, server{plain: true})
	}
	b.WriteString("}\n")
	return b.String()
}

// originHosts are the lines of a hosts file by which the proxies find the origins.
func (r *rig) originHosts() []string {
	var lines []string
	for _, o := range origins {
		lines = append(lines, o.address().String()+" "+regional(o.region))
	}
	return lines
}

// writeHosts writes a hosts file and gives its name.
func (r *rig) writeHosts(name string, lines []string) (string, error) {
	file := filepath.Join(r.dir, "hosts", name)
	text := strings.Join(lines, "\n") + "\n"
	if !strings.Contains(text, "localhost") {
		text = "127.0.0.1 localhost\n" + text
	}
	return file, os.WriteFile(file, []byte(text), 0o644)
}

// createTable makes the table that every client uses, straight at dynalite.
func createTable(at string) error {
	network, address, _ := strings.Cut(at, ":")
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, address)
		},
	}}
	defer client.CloseIdleConnections()
	body := `{"TableName":"Orders","KeySchema":[{"AttributeName":"id","KeyType":"HASH"}],
		"AttributeDefinitions":[{"AttributeName":"id","AttributeType":"S"}],"BillingMode":"PAY_PER_REQUEST"}`
	req, err := http.NewRequest("POST", "http://dynalite/", bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.0")
	req.Header.Set("X-Amz-Target", "DynamoDB_20120810.CreateTable")
	req.Header.Set("X-Amz-Date", "20260101T000000Z")
	// dynalite demands the form of a signature, and does not check it.
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=x")
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("create the table: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		var b bytes.Buffer
		b.ReadFrom(res.Body)
		return fmt.Errorf("create the table: %s %s", res.Status, b.String())
	}
	return nil
}
