package config

// Config is the whole configuration. Default has the defaults.
type Config struct {
	Observe    bool              `yaml:"observe" jsonschema:"default=false" jsonschema_description:"Record findings without alerting: nothing is sent, and findings count as suppressed. For the first week on a fleet."`
	Source     Source            `yaml:"source" jsonschema_description:"Where traffic is seen."`
	Probe      Probe             `yaml:"probe" jsonschema_description:"Connections of the agent's own to endpoints whose certificate nobody saw."`
	Policy     Policy            `yaml:"policy" jsonschema_description:"What is demanded and allowed; each key is the flag of the same name."`
	Severity   map[string]string `yaml:"severity" jsonschema_description:"Another severity for the findings of a rule: low, medium, high, critical, or none, which does not alert."`
	Exceptions []Exception       `yaml:"exceptions" jsonschema_description:"Findings that are known and do not alert, each with a reason and an end."`
	Alerts     Alerts            `yaml:"alerts" jsonschema_description:"How findings become alerts."`
	Receivers  []Receiver        `yaml:"receivers" jsonschema_description:"Who is told; any number, each of one kind."`
	StateDir   string            `yaml:"state_dir" jsonschema:"default=/var/lib/dynwatch" jsonschema_description:"Folder for what outlives the agent: alerts that wait, the inventory and the latest findings. Empty keeps no inventory; receivers need it."`
	History    History           `yaml:"history" jsonschema_description:"Bounds of the inventory and the findings that are kept."`
	Web        Web               `yaml:"web" jsonschema_description:"Where metrics and health are served."`
	Metrics    Metrics           `yaml:"metrics" jsonschema_description:"What is counted."`
	Log        Log               `yaml:"log" jsonschema_description:"The agent's own log, on standard error."`
	Limits     Limits            `yaml:"limits" jsonschema_description:"Bounds of memory."`
}

// Source says where traffic is seen.
type Source struct {
	Kind       string   `yaml:"kind" jsonschema:"enum=auto,enum=ebpf,enum=packet,default=auto" jsonschema_description:"ebpf: sockets of every container and network namespace; packet: packets of interfaces; auto: ebpf if it works, else packet."`
	Interfaces []string `yaml:"interfaces" jsonschema_description:"Interfaces to watch packets of, any for all; only with kind packet."`
	// LibraryProbes is one of ProbesAuto, ProbesAll, ProbesOff.
	LibraryProbes string `yaml:"library_probes" jsonschema:"enum=auto,enum=all,enum=off,default=auto" jsonschema_description:"Look inside the TLS libraries of processes, for the certificates of TLS 1.3 and checks that are off. auto: of those that talk to DynamoDB, with ebpf, where it works; all: of every process, and the agent is not ready without; off."`
}

// Whose TLS libraries have probes.
const (
	ProbesAuto = "auto" // of processes that talk to DynamoDB, where sockets are watched and the kernel and the rights allow it
	ProbesAll  = "all"  // of every process, whatever the source
	ProbesOff  = "off"
)

// Probe has the agent connect to endpoints itself.
type Probe struct {
	Enabled bool   `yaml:"enabled" jsonschema:"default=false" jsonschema_description:"Now and then make a handshake with an endpoint whose certificate nobody saw, from the agent's network namespace, and show beside the next sessions what it was shown: never as a judgement of them."`
	Every   string `yaml:"every" jsonschema:"default=1h" jsonschema_description:"Least time between two probes of the same name at the same address. An answer is shown for twice as long."`
	Pause   string `yaml:"pause" jsonschema:"default=10s" jsonschema_description:"Least time between any two probes; up to three times as long again is added at random."`
}

// Policy says what is demanded and allowed.
type Policy struct {
	MinVersion  string   `yaml:"min_version" jsonschema:"enum=1.0,enum=1.1,enum=1.2,enum=1.3,default=1.2" jsonschema_description:"Lowest TLS version that is no finding. Write it in quotes."`
	AllowCA     []string `yaml:"allow_ca" jsonschema_description:"Files of CA certificates (PEM or DER) that may sign for DynamoDB beside Amazon's."`
	Pin         []string `yaml:"pin" jsonschema_description:"SHA-256 of public keys (SPKI) that may sign for DynamoDB, in hex or base64."`
	AllowIssuer []string `yaml:"allow_issuer" jsonschema_description:"Weaker than allow_ca: DNs of a leaf's issuer, which anybody can write into a certificate."`
	AllowProxy  []string `yaml:"allow_proxy" jsonschema_description:"Proxies, HOST:PORT, that DynamoDB sessions may go through."`
	AllowRegion []string `yaml:"allow_region" jsonschema_description:"Regions that clients may talk to; others are findings. Empty allows all."`
	AllowKind   []string `yaml:"allow_kind" jsonschema:"enum=public,enum=fips,enum=dual-stack,enum=account,enum=interface" jsonschema_description:"Kinds of endpoint that clients may use; others are findings. Empty allows all."`
	Endpoint    []string `yaml:"endpoint" jsonschema_description:"NAME[:PORT] is DynamoDB's too; CIDR[:PORT] only says that a DynamoDB name may live there."`
	Ranges      string   `yaml:"ranges" jsonschema_description:"File with AWS's ip-ranges.json in place of the edition that is built in."`
}

// Exception takes findings of some processes out of the alerts, for a time. All patterns that it has must match.
type Exception struct {
	Rules     []string `yaml:"rules" jsonschema:"required,minItems=1" jsonschema_description:"The rules whose findings are excepted."`
	Process   string   `yaml:"process,omitempty" jsonschema_description:"Pattern for the program: its whole path if the pattern has a slash, else its file name."`
	Container string   `yaml:"container,omitempty" jsonschema_description:"Pattern for the container's name, or the beginning (12 digits or more) of its id."`
	Namespace string   `yaml:"namespace,omitempty" jsonschema_description:"Pattern for the pod's Kubernetes namespace."`
	Pod       string   `yaml:"pod,omitempty" jsonschema_description:"Pattern for the pod's name."`
	Unit      string   `yaml:"unit,omitempty" jsonschema_description:"Pattern for the systemd unit."`
	Reason    string   `yaml:"reason" jsonschema:"required,minLength=1" jsonschema_description:"Why; it stands in the log."`
	Expires   string   `yaml:"expires" jsonschema:"required" jsonschema_description:"Last day on which it applies (2027-01-31, UTC), or the moment at which it ends (2027-01-31T12:00:00Z)."`
}

// Alerts says how findings become alerts.
type Alerts struct {
	Window    string `yaml:"window" jsonschema:"default=1h" jsonschema_description:"How long findings of one kind (rule, workload, endpoint, issuer) are folded into one alert."`
	Hold      string `yaml:"hold" jsonschema:"default=15m" jsonschema_description:"How long after its latest finding an alert goes on, for Alertmanager."`
	PerMinute int    `yaml:"per_minute" jsonschema:"minimum=1,maximum=10000,default=60" jsonschema_description:"Alerts a minute; what is beyond is told as one a minute and rule."`
	Burst     int    `yaml:"burst" jsonschema:"minimum=1,maximum=10000,default=120" jsonschema_description:"Alerts at once."`
}

// Receiver is somebody who is told. One of the kinds is set.
type Receiver struct {
	Name         string       `yaml:"name,omitempty" jsonschema_description:"Its name in logs and metrics; the same over restarts. Without one it is its kind."`
	MinSeverity  string       `yaml:"min_severity,omitempty" jsonschema:"enum=low,enum=medium,enum=high,enum=critical" jsonschema_description:"What is milder is not told."`
	Alertmanager Alertmanager `yaml:"alertmanager,omitempty" jsonschema_description:"Prometheus's Alertmanager, API v2."`
	Webhook      Webhook      `yaml:"webhook,omitempty" jsonschema_description:"A POST of JSON for each alert."`
	Syslog       Syslog       `yaml:"syslog,omitempty" jsonschema_description:"Syslog, RFC 5424."`
	Journal      bool         `yaml:"journal,omitempty" jsonschema_description:"The systemd journal of this host."`
	OTLP         OTLP         `yaml:"otlp,omitempty" jsonschema_description:"An OpenTelemetry collector that takes logs over HTTP."`
}

// Alertmanager is a cluster of Alertmanagers.
type Alertmanager struct {
	URLs   []string          `yaml:"urls" jsonschema_description:"All instances of the cluster."`
	Labels map[string]string `yaml:"labels,omitempty" jsonschema_description:"Added to every alert: cluster, environment."`
	HTTP   HTTP              `yaml:"http,omitempty" jsonschema_description:"TLS and passwords."`
}

// Webhook is a receiver of JSON.
type Webhook struct {
	URL     string `yaml:"url" jsonschema_description:"Where to post."`
	KeyFile string `yaml:"key_file,omitempty" jsonschema_description:"File with the key of the HMAC signature."`
	HTTP    HTTP   `yaml:"http,omitempty" jsonschema_description:"TLS and passwords."`
}

// Syslog is a syslog receiver.
type Syslog struct {
	Network  string `yaml:"network" jsonschema:"enum=unix,enum=udp,enum=tcp,enum=tls" jsonschema_description:"unix is a socket of this host."`
	Address  string `yaml:"address,omitempty" jsonschema_description:"HOST:PORT, or the socket's path (/dev/log)."`
	Facility int    `yaml:"facility,omitempty" jsonschema:"minimum=0,maximum=23" jsonschema_description:"Number of the facility; 10, authpriv, without one."`
	TLS      TLS    `yaml:"tls,omitempty" jsonschema_description:"How the receiver is verified."`
}

// OTLP is an OpenTelemetry collector.
type OTLP struct {
	URL      string            `yaml:"url" jsonschema_description:"http://collector:4318/v1/logs"`
	Resource map[string]string `yaml:"resource,omitempty" jsonschema_description:"Further attributes of the resource: k8s.node.name, deployment.environment.name."`
	HTTP     HTTP              `yaml:"http,omitempty" jsonschema_description:"TLS and passwords."`
}

// HTTP is what receivers that speak it have in common.
type HTTP struct {
	Username     string `yaml:"username,omitempty" jsonschema_description:"Name for basic authentication."`
	PasswordFile string `yaml:"password_file,omitempty" jsonschema_description:"File with the password; read at each request."`
	BearerFile   string `yaml:"bearer_file,omitempty" jsonschema_description:"File with a bearer token; read at each request."`
	TLS          TLS    `yaml:"tls,omitempty" jsonschema_description:"How the receiver is verified."`
}

// TLS says how a receiver is verified; there is no way to switch that off.
type TLS struct {
	CAFile     string `yaml:"ca_file,omitempty" jsonschema_description:"CAs in place of the system's."`
	CertFile   string `yaml:"cert_file,omitempty" jsonschema_description:"The agent's own certificate."`
	KeyFile    string `yaml:"key_file,omitempty" jsonschema_description:"Its key."`
	ServerName string `yaml:"server_name,omitempty" jsonschema_description:"The name in the receiver's certificate, where that is not the address."`
}

// History bounds what is kept in the state folder, in memory and about as much on disk.
type History struct {
	MaxEntries  int `yaml:"max_entries" jsonschema:"minimum=100,maximum=1000000,default=5000" jsonschema_description:"Entries of the inventory: a workload, endpoint, version, cipher, issuer and verdict each."`
	MaxFindings int `yaml:"max_findings" jsonschema:"minimum=10,maximum=100000,default=2000" jsonschema_description:"Latest findings."`
	MaxMiB      int `yaml:"max_mib" jsonschema:"minimum=1,maximum=1024,default=16" jsonschema_description:"What both take together, in MiB."`
}

// Web says where metrics and health are served.
type Web struct {
	Listen     string `yaml:"listen" jsonschema:"default=127.0.0.1:9464" jsonschema_description:"Address and port."`
	ConfigFile string `yaml:"config_file" jsonschema_description:"File of Prometheus's exporter-toolkit, for TLS and passwords; it is read again when it changes."`
}

// Metrics says what is counted.
type Metrics struct {
	Workloads bool `yaml:"workloads" jsonschema:"default=false" jsonschema_description:"Count sessions and findings by workload too: at most 304 more series."`
}

// Log says how the agent logs.
type Log struct {
	Level  string `yaml:"level" jsonschema:"enum=debug,enum=info,enum=warn,enum=error,default=info" jsonschema_description:"The least that is logged."`
	Format string `yaml:"format" jsonschema:"enum=json,enum=text,default=json" jsonschema_description:"One JSON object a line, or key=value text."`
}

// Limits bounds memory.
type Limits struct {
	Flows     int `yaml:"flows" jsonschema:"minimum=1024,maximum=4194304,default=16384" jsonschema_description:"Connections that are kept in mind. Beyond it room is made by one that nobody answers, else one that is over, has ended, begins or is read, in this order; among equals by the idlest."`
	MemoryMiB int `yaml:"memory_mib" jsonschema:"minimum=4,maximum=4096,default=24" jsonschema_description:"What connections may take while their handshakes are read, in MiB; beyond it the heaviest gives way."`
}

// Default is the configuration without a file.
func Default() *Config {
	return &Config{
		Source:   Source{Kind: "auto", LibraryProbes: ProbesAuto},
		Probe:    Probe{Every: "1h", Pause: "10s"},
		Policy:   Policy{MinVersion: "1.2"},
		Alerts:   Alerts{Window: "1h", Hold: "15m", PerMinute: 60, Burst: 120},
		StateDir: "/var/lib/dynwatch", History: History{MaxEntries: 5_000, MaxFindings: 2_000, MaxMiB: 16},
		Web:    Web{Listen: "127.0.0.1:9464"},
		Log:    Log{Level: "info", Format: "json"},
		Limits: Limits{Flows: 16384, MemoryMiB: 24},
	}
}
