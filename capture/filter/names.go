package filter

import (
	"maps"
	"slices"
)

// constants are the named numbers of pcap-filter(7): offsets of header fields and their values (RFC 792, RFC 4443 and its
// companions, RFC 9293).
var constants = map[string]uint32{
	"tcpflags": 13, "icmptype": 0, "icmpcode": 1, "icmp6type": 0, "icmp6code": 1,

	"tcp-fin": 0x01, "tcp-syn": 0x02, "tcp-rst": 0x04, "tcp-push": 0x08,
	"tcp-ack": 0x10, "tcp-urg": 0x20, "tcp-ece": 0x40, "tcp-cwr": 0x80,

	"icmp-echoreply": 0, "icmp-unreach": 3, "icmp-sourcequench": 4, "icmp-redirect": 5, "icmp-echo": 8, "icmp-routeradvert": 9,
	"icmp-routersolicit": 10, "icmp-timxceed": 11, "icmp-paramprob": 12, "icmp-tstamp": 13, "icmp-tstampreply": 14,
	"icmp-ireq": 15, "icmp-ireqreply": 16, "icmp-maskreq": 17, "icmp-maskreply": 18,

	"icmp6-destinationunreach": 1, "icmp6-packettoobig": 2, "icmp6-timeexceeded": 3, "icmp6-parameterproblem": 4,
	"icmp6-echo": 128, "icmp6-echoreply": 129, "icmp6-multicastlistenerquery": 130, "icmp6-multicastlistenerreportv1": 131,
	"icmp6-multicastlistenerdone": 132, "icmp6-routersolicit": 133, "icmp6-routeradvert": 134, "icmp6-neighborsolicit": 135,
	"icmp6-neighboradvert": 136, "icmp6-redirect": 137, "icmp6-routerrenum": 138, "icmp6-nodeinformationquery": 139,
	"icmp6-nodeinformationresponse": 140, "icmp6-ineighbordiscoverysolicit": 141, "icmp6-ineighbordiscoveryadvert": 142,
	"icmp6-multicastlistenerreportv2": 143, "icmp6-homeagentdiscoveryrequest": 144, "icmp6-homeagentdiscoveryreply": 145,
	"icmp6-mobileprefixsolicit": 146, "icmp6-mobileprefixadvert": 147, "icmp6-certpathsolicit": 148, "icmp6-certpathadvert": 149,
	"icmp6-multicastrouteradvert": 151, "icmp6-multicastroutersolicit": 152, "icmp6-multicastrouterterm": 153,
}

// IP protocol numbers and EtherTypes that the compiler itself needs (IANA registries).
const (
	protoICMP, protoIGMP, protoTCP, protoIGRP, protoUDP, protoFragment = 1, 2, 6, 9, 17, 44
	protoESP, protoAH, protoICMP6, protoPIM, protoVRRP, protoSCTP      = 50, 51, 58, 103, 112, 132

	typeIP, typeARP, typeRARP, typeIP6, typeMPLS      = 0x0800, 0x0806, 0x8035, 0x86dd, 0x8847
	typeVLAN, typeQinQ, typeQinQOld                   = 0x8100, 0x88a8, 0x9100
	typePPPoED, typePPPoES, typeAppleTalk, typeAppARP = 0x8863, 0x8864, 0x809b, 0x80f3
)

// ipProtocols are the names that "proto" takes, as /etc/protocols has them; plain IP's pseudo number 0 is left out on purpose.
var ipProtocols = map[string]uint32{
	"hopopt": 0, "icmp": protoICMP, "igmp": protoIGMP, "ipencap": 4, "tcp": protoTCP, "egp": 8, "igp": 9, "udp": protoUDP, "dccp": 33,
	"ipv6": 41, "ipv6-route": 43, "ipv6-frag": protoFragment, "rsvp": 46, "gre": 47, "esp": protoESP, "ah": protoAH,
	"ipv6-icmp": protoICMP6, "icmp6": protoICMP6, "ipv6-nonxt": 59, "ipv6-opts": 60, "eigrp": 88, "ospf": 89, "ipip": 94,
	"etherip": 97, "pim": protoPIM, "ipcomp": 108, "vrrp": protoVRRP, "l2tp": 115, "sctp": protoSCTP, "udplite": 136, "mpls-in-ip": 137,
}

// etherProtocols are the names that "ether proto" takes.
var etherProtocols = map[string]uint32{
	"ip": typeIP, "ip6": typeIP6, "arp": typeARP, "rarp": typeRARP, "loopback": 0x9000,
	"decnet": 0x6003, "lat": 0x6004, "mopdl": 0x6001, "moprc": 0x6002, "sca": 0x6007,
}

// transport is the set of protocols that a port is looked for in.
type transport uint8

const (
	overTCP transport = 1 << iota
	overUDP
	overSCTP
	overAny = overTCP | overUDP | overSCTP
)

// service is a named port. Like tcpdump, a name that is registered for TCP and UDP alike stands for the number alone.
type service struct {
	port uint32
	over transport
}

// services are the port names that expressions may use, a selection of IANA's registry as Debian ships it in /etc/services.
var services = map[string]service{
	"ftp-data": {20, overTCP}, "ftp": {21, overTCP}, "ssh": {22, overTCP}, "telnet": {23, overTCP}, "smtp": {25, overTCP},
	"domain": {53, overAny}, "bootps": {67, overUDP}, "bootpc": {68, overUDP}, "tftp": {69, overUDP},
	"http": {80, overTCP}, "www": {80, overTCP}, "kerberos": {88, overAny}, "pop3": {110, overTCP}, "sunrpc": {111, overAny},
	"ntp": {123, overUDP}, "netbios-ns": {137, overUDP}, "imap2": {143, overTCP}, "imap": {143, overTCP},
	"snmp": {161, overAny}, "snmp-trap": {162, overAny}, "bgp": {179, overTCP}, "ldap": {389, overAny}, "https": {443, overAny},
	"microsoft-ds": {445, overTCP}, "submissions": {465, overTCP}, "syslog": {514, overUDP}, "submission": {587, overTCP},
	"ldaps": {636, overAny}, "domain-s": {853, overAny}, "rsync": {873, overTCP}, "imaps": {993, overTCP}, "pop3s": {995, overTCP},
	"socks": {1080, overTCP}, "nfs": {2049, overAny}, "mysql": {3306, overTCP}, "sip": {5060, overAny}, "mdns": {5353, overUDP},
	"postgresql": {5432, overTCP}, "postgres": {5432, overTCP}, "redis": {6379, overTCP},
	"http-alt": {8080, overTCP}, "webcache": {8080, overTCP}, "git": {9418, overTCP},
}

func names[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
