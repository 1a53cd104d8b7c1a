package httpwire

import "strings"

// The services that a request can name by itself.
const (
	serviceDynamoDB = "dynamodb"
	serviceStreams  = "dynamodb-streams"
	serviceDAX      = "dax" // the management API of DAX, which is ordinary HTTPS; its data protocol is package daxwire's
)

// maxOperation is the longest operation name that is believed; the longest today has 42 letters.
const maxOperation = 64

// proofs are the words for MatchedBy, by the bits target 1, path 2, scope 4.
var proofs = [8][]string{nil, {"target"}, {"path"}, {"target", "path"}, {"scope"}, {"target", "scope"}, {"path", "scope"},
	{"target", "path", "scope"}}

// DynamoDB tells what the head itself proves, its host names aside: the service (dynamodb, dynamodb-streams, dax) or "", the operation if
// it is named, and what proved it, shared and read-only:
//
//   - target: X-Amz-Target: DynamoDB_20120810.GetItem, DynamoDBStreams_…, AmazonDAXV3.…; any date, any operation, as both grow
//   - path: Smithy RPC v2, POST …/service/DynamoDB_20120810/operation/GetItem with a Smithy-Protocol field
//   - scope: a Signature Version 4 credential scope of service dynamodb, which the streams API signs with too, or dax
func (r *Request) DynamoDB() (operation, service string, by []string) {
	proof := 0
	if s := serviceOfShape(r.TargetPrefix); s != "" {
		proof, service = 1, s
		operation = operationName(r.TargetOperation)
	}
	if shape, op := r.rpcPath(); shape != "" {
		if s := serviceOfShape(shape); s != "" && (service == "" || service == s) {
			proof |= 2
			service = s
			if operation == "" {
				operation = operationName(op)
			}
		}
	}
	if s := r.Credentials.Service; s == serviceDynamoDB || s == serviceDAX {
		if service == "" {
			service = s
		}
		if service == s || service == serviceStreams && s == serviceDynamoDB {
			proof |= 4
		}
	}
	return operation, service, proofs[proof]
}

// serviceOfShape is the service of a Smithy service shape's name.
func serviceOfShape(shape string) string {
	if shape == "AmazonDAXV3" {
		return serviceDAX
	}
	name, date, _ := strings.Cut(shape, "_")
	if len(date) != len("20120810") || strings.Trim(date, "0123456789") != "" {
		return ""
	}
	switch name {
	case "DynamoDB":
		return serviceDynamoDB
	case "DynamoDBStreams":
		return serviceStreams
	}
	return ""
}

// rpcPath splits …/service/SHAPE/operation/OPERATION of a Smithy RPC v2 request.
func (r *Request) rpcPath() (shape, operation string) {
	if !strings.HasPrefix(r.SmithyProtocol, "rpc-v2-") || r.Method != "POST" {
		return "", ""
	}
	i := strings.LastIndex(r.Path, "/service/")
	if i < 0 {
		return "", ""
	}
	shape, operation, found := strings.Cut(r.Path[i+len("/service/"):], "/operation/")
	if !found {
		return "", ""
	}
	return shape, operation
}

// operationName is s if it can be an operation's name, else "".
func operationName(s string) string {
	if len(s) > maxOperation {
		return ""
	}
	for i := range len(s) {
		if x := s[i]; (x|0x20 < 'a' || x|0x20 > 'z') && (x < '0' || x > '9') {
			return ""
		}
	}
	return s
}

// hasTables reports whether the body can name tables: DynamoDB's JSON protocol, not compressed as far as the type tells.
func (r *Request) hasTables() bool {
	s := serviceOfShape(r.TargetPrefix)
	return (s == serviceDynamoDB || s == serviceStreams) && isAmzJSON(r.ContentType)
}
