package httpwire

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/analyze/session"
)

func one(t *testing.T, o Options, head string) Request {
	t.Helper()
	v := drive(o, []unit{client(head)}, 0, false)
	if len(v.requests) != 1 {
		t.Fatalf("%q: %s", head, v.summary())
	}
	return v.requests[0]
}

func TestRequestFields(t *testing.T) {
	got := one(t, Options{}, "POST /x?y=z HTTP/1.1\r\nHost: dynamodb.us-east-1.amazonaws.com:80\r\nx-amz-target:  DynamoDB_20120810.GetItem \r\n"+
		"Content-Type: application/x-amz-json-1.0; charset=utf-8\r\nUser-Agent: Boto3/1.26\x1b[31m é\r\nContent-Length: 0\r\nExpect: 100-Continue\r\n"+
		"Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host;x-amz-date, Signature=abcdef\r\n"+
		"X-Amz-Security-Token: tok\r\nProxy-Authorization: bearer abc\r\nCookie: a=b\r\n\r\n")
	want := Request{
		Method: "POST", Form: OriginForm, Major: 1, Minor: 1, Host: "dynamodb.us-east-1.amazonaws.com:80", HostSeen: true, Path: "/x",
		TargetPrefix: "DynamoDB_20120810", TargetOperation: "GetItem", ContentType: "application/x-amz-json-1.0; charset=utf-8",
		UserAgent: "Boto3/1.26?[31m ??", Expect: true,
		Credentials: Credentials{Scheme: "AWS4-HMAC-SHA256", AccessKeyID: "AKIA…MPLE", Region: "us-east-1", Service: "dynamodb",
			Signature: true, SessionToken: true, Proxy: true, ProxyScheme: "Bearer", Cookie: true},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestCredentials(t *testing.T) {
	for _, tt := range []struct {
		name, line string
		want       Credentials
	}{
		{"version 4", "GET / HTTP/1.1\r\nAuthorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260101/eu-west-1/s3/aws4_request,SignedHeaders=host,Signature=00",
			Credentials{Scheme: "AWS4-HMAC-SHA256", AccessKeyID: "AKIA…MPLE", Region: "eu-west-1", Service: "s3", Signature: true}},
		{"version 4A has no region", "GET / HTTP/1.1\r\nAuthorization: AWS4-ECDSA-P256-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260101/dynamodb/aws4_request, Signature=00",
			Credentials{Scheme: "AWS4-ECDSA-P256-SHA256", AccessKeyID: "AKIA…MPLE", Service: "dynamodb", Signature: true}},
		{"version 4 without signature", "GET / HTTP/1.1\r\nAuthorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260101/eu-west-1/s3/aws4_request, Signature=",
			Credentials{Scheme: "AWS4-HMAC-SHA256", AccessKeyID: "AKIA…MPLE", Region: "eu-west-1", Service: "s3"}},
		{"version 4 with a broken scope", "GET / HTTP/1.1\r\nAuthorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE, Signature=1",
			Credentials{Scheme: "AWS4-HMAC-SHA256", AccessKeyID: "AKIA…MPLE", Signature: true}},
		{"version 3, of 2012", "POST / HTTP/1.1\r\nAuthorization: AWS3 AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE,Algorithm=HmacSHA256,Signature=xx=",
			Credentials{Scheme: "AWS3", AccessKeyID: "AKIA…MPLE", Signature: true}},
		{"version 2", "GET / HTTP/1.1\r\nAuthorization: AWS AKIAIOSFODNN7EXAMPLE:frJIUN8DYpKDtOLCwo//yllqDzg=",
			Credentials{Scheme: "AWS", AccessKeyID: "AKIA…MPLE", Signature: true}},
		{"presigned", "GET /?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=ASIAIOSFODNN7EXAMPLE%2f20260101%2Fus-east-1%2Fdynamodb%2Faws4_request" +
			"&X-Amz-Security-Token=t&X-Amz-Signature=00#f HTTP/1.1",
			Credentials{AccessKeyID: "ASIA…MPLE", Region: "us-east-1", Service: "dynamodb", Signature: true, SessionToken: true, Presigned: true}},
		{"presigned by version 2", "GET /?Signature=x&AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE HTTP/1.1",
			Credentials{AccessKeyID: "AKIA…MPLE", Signature: true, Presigned: true}},
		{"an empty presigned signature is none", "GET /?X-Amz-Signature=&Signature=a HTTP/1.1", Credentials{}},
		{"a scheme nobody knows is not told", "GET / HTTP/1.1\r\nAuthorization: s3cr3t", Credentials{Scheme: "other"}},
		{"an empty token is none", "GET / HTTP/1.1\r\nX-Amz-Security-Token: ", Credentials{}},
		{"names of a body or URL are none", "GET /Authorization:AWS4-HMAC-SHA256?a=X-Amz-Signature=1 HTTP/1.1", Credentials{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := one(t, Options{}, tt.line+"\r\nHost: h\r\n\r\n").Credentials; got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestDynamoDB(t *testing.T) {
	scope := func(service string) string {
		return "Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260101/us-east-1/" + service + "/aws4_request, Signature=1\r\n"
	}
	rpc := "POST /service/DynamoDB_20120810/operation/GetItem HTTP/1.1\r\nHost: h\r\n"
	for _, tt := range []struct {
		name, head, operation, service string
		by                             []string
	}{
		{"target", "POST / HTTP/1.1\r\nX-Amz-Target: DynamoDB_20120810.GetItem\r\n", "GetItem", "dynamodb", []string{"target"}},
		{"target in any case of the name", "POST / HTTP/1.1\r\nx-AMZ-target: DynamoDB_20111205.GetItem\r\n", "GetItem", "dynamodb", []string{"target"}},
		{"target with an operation nobody knows yet", "POST / HTTP/1.1\r\nX-Amz-Target: DynamoDB_20120810.SearchVectors2\r\n", "SearchVectors2", "dynamodb", []string{"target"}},
		{"target whose operation is no name", "POST / HTTP/1.1\r\nX-Amz-Target: DynamoDB_20120810.a b\r\n", "", "dynamodb", []string{"target"}},
		{"streams", "POST / HTTP/1.1\r\nX-Amz-Target: DynamoDBStreams_20120810.GetRecords\r\n" + scope("dynamodb"), "GetRecords", "dynamodb-streams", []string{"target", "scope"}},
		{"management of DAX", "POST / HTTP/1.1\r\nX-Amz-Target: AmazonDAXV3.DescribeClusters\r\n" + scope("dax"), "DescribeClusters", "dax", []string{"target", "scope"}},
		{"target and scope", "POST / HTTP/1.1\r\nX-Amz-Target: DynamoDB_20120810.GetItem\r\n" + scope("dynamodb"), "GetItem", "dynamodb", []string{"target", "scope"}},
		{"rpc v2 cbor", rpc + "smithy-protocol: rpc-v2-cbor\r\n" + scope("dynamodb"), "GetItem", "dynamodb", []string{"path", "scope"}},
		{"rpc v2 json", rpc + "smithy-protocol: rpc-v2-json\r\n", "GetItem", "dynamodb", []string{"path"}},
		{"rpc v2 under a prefix", "POST /p/service/DynamoDBStreams_20120810/operation/GetRecords HTTP/1.1\r\nsmithy-protocol: rpc-v2-cbor\r\n", "GetRecords", "dynamodb-streams", []string{"path"}},
		{"the path alone is a path", rpc, "", "", nil},
		{"scope alone", "POST / HTTP/1.1\r\n" + scope("dynamodb"), "", "dynamodb", []string{"scope"}},
		{"kinesis", "POST / HTTP/1.1\r\nX-Amz-Target: Kinesis_20131202.ListStreams\r\n" + scope("kinesis"), "", "", nil},
		{"a look-alike", "POST / HTTP/1.1\r\nX-Amz-Target: DynamoDB_x.GetItem\r\nX-Target: DynamoDB_20120810.GetItem\r\n", "", "", nil},
		{"another look-alike", "POST / HTTP/1.1\r\nX-Amz-Target: MyDynamoDB_20120810.GetItem\r\n", "", "", nil},
		{"words in other fields", "GET /DynamoDB_20120810.GetItem HTTP/1.1\r\nUser-Agent: DynamoDB_20120810.GetItem\r\nReferer: X-Amz-Target: DynamoDB_20120810.GetItem\r\n", "", "", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := one(t, Options{}, tt.head+"\r\n")
			operation, service, by := r.DynamoDB()
			if operation != tt.operation || service != tt.service || !slices.Equal(by, tt.by) {
				t.Errorf("got %q %q %q, want %q %q %q", operation, service, by, tt.operation, tt.service, tt.by)
			}
		})
	}
}

func TestTables(t *testing.T) {
	head := func(target string) string {
		return "POST / HTTP/1.1\r\nHost: h\r\nX-Amz-Target: " + target + "\r\nContent-Type: application/x-amz-json-1.0\r\n"
	}
	long := strings.Repeat("x", 5000)
	for _, tt := range []struct {
		name, target, body string
		want               []string
	}{
		{"TableName", "DynamoDB_20120810.GetItem", `{"Key":{"TableName":{"S":"no{\"TableName\":\"no\"}"}}, "n":[1,-2.5e3,true,null], "TableName" : "Orders-1.a"}`, []string{"Orders-1.a"}},
		{"an ARN gives the name alone", "DynamoDB_20120810.GetItem", `{"TableName":"arn:aws:dynamodb:us-east-1:123456789012:table/Orders/index/i"}`, []string{"Orders"}},
		{"RequestItems", "DynamoDB_20120810.BatchGetItem", `{"RequestItems":{"Aaa":{"Keys":[{"TableName":{"S":"no-no"}}]},"Bbb":{},"Aaa":[]}}`, []string{"Aaa", "Bbb"}},
		{"TransactItems", "DynamoDB_20120810.TransactWriteItems", `{"TransactItems":[{"Put":{"Item":{"TableName":{"S":"no-no"}},"TableName":"Aaa"}},{"Update":{"TableName":"Bbb"}}]}`, []string{"Aaa", "Bbb"}},
		{"a value that is no name", "DynamoDB_20120810.GetItem", `{"TableName":"a b"}`, nil},
		{"cut in the middle", "DynamoDB_20120810.PutItem", `{"TableName":"Aaa","Item":{"a":{"S":"` + long, []string{"Aaa"}},
		{"behind 4 KiB", "DynamoDB_20120810.PutItem", `{"Item":{"a":{"S":"` + long + `"}},"TableName":"Aaa"}`, nil},
		{"no JSON", "DynamoDB_20120810.PutItem", "\x00\x01", nil},
		{"another service", "Kinesis_20131202.PutRecord", `{"TableName":"Aaa"}`, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			chunked := head(tt.target) + "Transfer-Encoding: chunked\r\n\r\n"
			for b := tt.body; b != ""; {
				n := min(100, len(b))
				chunked += fmt.Sprintf("%x\r\n%s\r\n", n, b[:n])
				b = b[n:]
			}
			for _, stream := range []string{fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head(tt.target), len(tt.body), tt.body), chunked + "0\r\n\r\n"} {
				for _, size := range []int{0, 1, 500} {
					v := drive(Options{Tables: true}, []unit{client(stream + plainGet)}, size, true)
					var got []string
					for _, e := range v.events {
						if names, ok := strings.CutPrefix(e, "client: tables "); ok {
							got = strings.Split(names, ",")
						}
					}
					if !slices.Equal(got, tt.want) || len(v.requests) != 2 {
						t.Errorf("pieces of %d: tables %q, want %q\n%s", size, got, tt.want, v.summary())
					}
					if b := v.conn.tables.body; strings.Contains(string(b[:cap(b)]), "able") {
						t.Error("body bytes stay behind")
					}
				}
				if v := drive(Options{}, []unit{client(stream)}, 0, false); len(v.events) != 1 {
					t.Errorf("tables were not asked for: %q", v.events)
				}
			}
		})
	}
}

// TestSecretsAreNotKept plants a secret wherever one can stand and prints everything that a caller can get hold of.
func TestSecretsAreNotKept(t *testing.T) {
	const planted = "PLANTED"
	heads := []string{
		"POST http://user:PLANTED1@dynamodb.us-east-1.amazonaws.com/?X-Amz-Credential=AKIAPLANTEDPLANTED99%2F20260101%2Fus-east-1%2Fdynamodb%2Faws4_request&" +
			"X-Amz-Signature=PLANTED2&X-Amz-Security-Token=PLANTED3&k=PLANTED4#PLANTED5 HTTP/1.1\r\nHost: u:PLANTED6@h\r\n" +
			"Authorization: AWS4-HMAC-SHA256 Credential=AKIAPLANTEDPLANTED99/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=PLANTED7, Signature=PLANTED8\r\n" +
			"X-Amz-Security-Token: PLANTED9\r\nX-Amz-Security-Token: PLANTED10\r\n folded PLANTED11\r\nProxy-Authorization: PLANTED12\r\nCookie: s=PLANTED13\r\n" +
			"X-Amz-Content-Sha256: PLANTED14\r\nX-Api-Key: PLANTED15\r\n: PLANTED16\r\nPLANTED17\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer PLANTED\r\nProxy-Authorization: Basic PLANTED\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\nAuthorization: PLANTED PLANTED\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\nAuthorization: AWS4-HMAC-SHA256 Credential=PLANTED/PLANTED/PLANTED/PLANTED/aws4_request,PLANTED,Signature=PLANTED\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\nAuthorization: AWS PLANTED:PLANTED\r\n",
		"CONNECT u:PLANTED@h:443?PLANTED HTTP/1.1\r\nHost: h\r\nProxy-Authorization: Digest PLANTED\r\n",
		"GET ftp://u:PLANTED@h HTTP/1.1\r\nHost: h\r\n",
	}
	check := func(t *testing.T, v *seen) {
		t.Helper()
		for i, r := range append(v.requests, *v.conn.Request()) {
			encoded, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{fmt.Sprintf("%+v %#v", r, r), string(encoded), fmt.Sprintf("%v %+v %#v %s", v.conn, v.conn, v.conn, v.conn), v.summary()} {
				if strings.Contains(text, planted) {
					t.Errorf("request %d: a secret shows in %s", i, text)
				}
			}
		}
		for i := range v.conn.side {
			if b := v.conn.side[i].buf; strings.Contains(string(b[:cap(b)]), planted) {
				t.Errorf("a secret stays in the head buffer: %q", b[:cap(b)])
			}
		}
		if b := v.conn.tables.body; strings.Contains(string(b[:cap(b)]), planted) {
			t.Errorf("a secret stays in the body buffer")
		}
	}
	for _, head := range heads {
		for _, size := range []int{0, 1, 9} {
			body := `{"TableName":"Orders","Item":{"a":{"S":"PLANTED"}}}`
			head := fmt.Sprintf("%sX-Amz-Target: DynamoDB_20120810.PutItem\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: %d\r\n\r\n", head, len(body))
			v := drive(Options{Tables: true}, []unit{client(head)}, size, false)
			check(t, v)
			if v.conn.Tunnel() || v.requests[0].Form == AuthorityForm {
				continue
			}
			v = drive(Options{Tables: true}, []unit{client(head + body), server("HTTP/1.1 200 PLANTED\r\nSet-Cookie: PLANTED\r\nContent-Length: 7\r\n\r\nPLANTED")}, size, false)
			check(t, v)
			if len(v.requests[0].Tables) == 0 && v.requests[0].Odd == 0 && len(v.conn.Request().Tables) != 1 {
				t.Errorf("tables %q", v.conn.Request().Tables)
			}
		}
	}
}

func TestSniff(t *testing.T) {
	for _, tt := range []struct {
		name  string
		from  session.Side
		first string
		want  Answer
	}{
		{"nothing", 0, "", NeedMore},
		{"half a method", 0, "PO", NeedMore},
		{"a method", 0, "POST ", NeedMore},
		{"a method and a path", 0, "POST /", Yes},
		{"a long path", 0, "GET /" + strings.Repeat("a", 5000), Yes},
		{"absolute-form", 0, "GET http://h", Yes},
		{"half a scheme", 0, "GET htt", NeedMore},
		{"CONNECT", 0, "CONNECT h:443 HTTP/1.0\r\n", Yes},
		{"CONNECT without end", 0, "CONNECT h:443 ", NeedMore},
		{"CONNECT without port", 0, "CONNECT h HTTP/1.0\r\n", No},
		{"OPTIONS *", 0, "OPTIONS * HTTP/1.1\r\n", Yes},
		{"an unusual method", 0, "MKCALENDAR /a HTTP/1.1\r\n", Yes},
		{"an unusual method without end", 0, "MKCALENDAR /" + strings.Repeat("a", 600), No},
		{"empty lines first", 0, "\r\n\r\nGET /", Yes},
		{"HTTP/2 in cleartext", 0, "PRI * HTTP/2.0\r\n", Yes},
		{"half of that", 0, "PRI * HT", NeedMore},
		{"TLS", 0, tlsBytes, No},
		{"SSH", 0, "SSH-2.0-Go\r\n", No},
		{"SMTP", 0, "EHLO h\r\n", No},
		{"redis inline", 0, "GET key\r\n", No},
		{"RTSP", 0, "OPTIONS * RTSP/1.0\r\n", No},
		{"SIP", 0, "OPTIONS sip:u@h SIP/2.0\r\n", No},
		{"HTTP/0.9", 0, "GET key", NeedMore},
		{"PROXY protocol", 0, "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n", No},
		{"DAX", 0, "\x67J7yne5G", NeedMore},
		{"DAX, some more", 0, "\x67J7yne5G\x00", No},
		{"a method of 17 letters", 0, "UPDATEREDIRECTREF /", No},
		{"a status line", 1, "HTTP/1.1 200 OK", Yes},
		{"half a status line", 1, "HTTP/1.", NeedMore},
		{"a response of another version", 1, "HTTP/2 200", No},
		{"a request from the server", 1, "GET / HTTP/1.1", No},
		{"TLS from the server", 1, tlsBytes, No},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Sniff([]byte(tt.first), tt.from); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

func TestResponseOfDynamoDB(t *testing.T) {
	const all = "x-amzn-RequestId: A\r\nx-amz-crc32: 1\r\nContent-Type: application/x-amz-json-1.0\r\n"
	for _, tt := range []struct {
		name, fields string
		want         bool
	}{
		{"all three marks", all, true},
		{"all three marks in any case", strings.ToUpper(all), true},
		{"no crc", strings.Replace(all, "crc", "c", 1), false},
		{"another media type", strings.Replace(all, "1.0", "1.1", 1), false},
		{"a longer media type", strings.Replace(all, "1.0", "1.0x", 1), false},
		{"CloudFront", "X-Amz-Cf-Id: x\r\nContent-Type: application/x-amz-json-1.0\r\n", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := drive(Options{}, []unit{server("HTTP/1.1 200 OK\r\n" + tt.fields + "Content-Length: 0\r\n\r\n")}, 0, false)
			if got := v.responses[0].DynamoDB(); got != tt.want {
				t.Errorf("%+v: %t", v.responses[0], got)
			}
		})
	}
}
