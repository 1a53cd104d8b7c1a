package endpoint

// maskedDigits of an account id's twelve are hidden; the rest tells accounts apart well enough.
const maskedDigits = 8

// MaskHost hides the AWS account id in a host name for output: "123456789012.ddb.us-east-1.amazonaws.com" becomes
// "********9012.ddb.us-east-1.amazonaws.com". Account-based names carry the id in clear, and so do some names of other services
// (123456789012.dkr.ecr.us-east-1.amazonaws.com): every label of exactly twelve digits below an AWS suffix is masked.
// Any other host comes back as it is.
func MaskHost(host string) string {
	name, _, ok := splitHost(host)
	if !ok {
		return host
	}
	suf := findSuffix(name)
	if suf == nil {
		return host
	}
	var masked []byte
	end := len(name) - len(suf.text)
	for start := 0; start <= end; {
		stop := start
		for stop < end && name[stop] != '.' {
			stop++
		}
		if isAccount(name[start:stop]) {
			if masked == nil {
				masked = []byte(host)
			}
			copy(masked[start:], MaskAccount(name[start:stop]))
		}
		start = stop + 1
	}
	if masked == nil {
		return host
	}
	return string(masked)
}

// MaskAccount hides all but the last four digits of an account id. What is no account id is hidden whole.
func MaskAccount(id string) string {
	const stars = "************"
	if !isAccount(id) {
		return stars[:min(len(id), len(stars))]
	}
	return stars[:maskedDigits] + id[maskedDigits:]
}
