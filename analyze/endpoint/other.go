package endpoint

import "strings"

// OtherAWSService reports whether host is a name below an AWS suffix that names another service than DynamoDB, Streams or DAX: a request
// for s3.us-east-1.amazonaws.com that reaches one of DynamoDB's addresses is not DynamoDB's. It allows what ParseName allows.
//
// A name below an AWS suffix whose service label speaks of DynamoDB, but which ParseName does not know (dynamodb.amazonaws.com, or a
// variant yet to come), is neither. So is the suffix itself, and one with a region alone in front.
func OtherAWSService(host string) bool {
	host, _, ok := splitHost(host)
	if !ok {
		return false
	}
	suf := findSuffix(host)
	if suf == nil {
		return false
	}
	rest := lowerASCII(host[:len(host)-len(suf.text)])
	if _, ours := parseBelow(rest, suf); ours {
		return false
	}
	service := serviceLabel(rest)
	return service != "" && !speaksOfDynamoDB(service)
}

// serviceLabel finds the label that names the service: AWS puts it in front of the region (bucket.s3.us-east-1) or at the end where
// there is no region or one stands earlier (us-west-2.elb, use1.cache, s3).
func serviceLabel(s string) string {
	s, label := cutLast(s)
	if label == "vpce" {
		s, label = cutLast(s)
	}
	if label == "cache" { // ElastiCache's, and the older names of DAX: …dax.use1.cache
		s, _ = cutLast(s)
		_, label = cutLast(s)
		return label
	}
	if PartitionOf(label) != "" {
		_, label = cutLast(s)
	}
	return label
}

// speaksOfDynamoDB errs on the side of DynamoDB: whoever asks will say less about a session once it is another service's.
func speaksOfDynamoDB(label string) bool {
	return strings.Contains(label, "dynamodb") || strings.Contains(label, "ddb") || strings.HasPrefix(label, "dax")
}
