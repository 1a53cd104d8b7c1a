package trust

import "strings"

// interceptors are products that terminate TLS in the path, by a part of an attribute of the issuer's name, folded. Vendors' documented
// defaults; operators rename them, attackers may borrow them.
var interceptors = []struct{ part, product string }{
	{"zscaler", "Zscaler"},
	{"zscloud", "Zscaler"},
	{"netskope", "Netskope"},
	{"goskope.com", "Netskope"},
	{"mitmproxy", "mitmproxy"},
	{"charles proxy", "Charles"},
	{"do_not_trust_fiddlerroot", "Fiddler"},
	{"fiddler", "Fiddler"},
	{"portswigger", "Burp Suite"},
	{"owasp zed attack proxy", "ZAP"},
	{"owasp root ca", "ZAP"},
	{"proxyman", "Proxyman"},
	{"http toolkit", "HTTP Toolkit"},
	{"sslsplit", "SSLsplit"},
	{"squid", "Squid"},
	{"palo alto networks", "Palo Alto Networks"},
	{"fortinet", "Fortinet"},
	{"fortigate", "Fortinet"},
	{"blue coat", "Blue Coat"},
	{"bluecoat", "Blue Coat"},
	{"cisco umbrella", "Cisco Umbrella"},
	{"opendns", "Cisco Umbrella"},
	{"cisco web security", "Cisco Secure Web Appliance"},
	{"ironport", "Cisco Secure Web Appliance"},
	{"sophos", "Sophos"},
	{"forcepoint", "Forcepoint"},
	{"websense", "Forcepoint"},
	{"skyhigh", "Skyhigh"},
	{"mcafee web gateway", "Skyhigh"},
	{"check point", "Check Point"},
	{"checkpoint", "Check Point"},
	{"barracuda", "Barracuda"},
	{"sonicwall", "SonicWall"},
	{"watchguard", "WatchGuard"},
	{"untangle", "Untangle"},
	{"iboss", "iboss"},
	{"menlo security", "Menlo Security"},
	{"contentwatch", "Net Nanny"},
	{"lightspeed systems", "Lightspeed"},
	{"securly", "Securly"},
	{"gateway ca - cloudflare", "Cloudflare Gateway"},
	{"cloudflare for teams", "Cloudflare Gateway"},
	{"kaspersky", "Kaspersky"},
	{"eset ssl filter", "ESET"},
	{"avast", "Avast"},
	{"avg web", "AVG"},
	{"bitdefender", "Bitdefender"},
	{"dr.web", "Dr.Web"},
	{"adguard", "AdGuard"},
	{"superfish", "Superfish"},
}

// interceptor names the product that a name of an issuer suggests, "" if none.
func interceptor(rawIssuer []byte) string {
	attributes, _ := readName(rawIssuer)
	for _, a := range attributes {
		switch oidString(a.oid) {
		case "2.5.4.3", "2.5.4.10", "2.5.4.11": // CN, O, OU
		default:
			continue
		}
		text, ok := a.text()
		if !ok || len(text) > 256 {
			continue
		}
		text = fold(text)
		for _, known := range interceptors {
			if strings.Contains(text, known.part) {
				return known.product
			}
		}
	}
	return ""
}
