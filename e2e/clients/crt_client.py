"""DynamoDB over the AWS Common Runtime, whose TLS is s2n: gets one item and says so, or what the trouble was, in JSON.

Arguments: host; the certificates that are trusted, in PEM, or "insecure"; the least version, 1.2 or 1.3. Without the latter the runtime of
Debian 12 offers no TLS 1.3.
"""
import json
import sys
from io import BytesIO

from awscrt import http, io

BODY = b'{"TableName":"Orders","Key":{"id":{"S":"1"}}}'
# dynalite demands the form of a signature, and does not check it.
HEADERS = [
    ("Content-Type", "application/x-amz-json-1.0"), ("X-Amz-Target", "DynamoDB_20120810.GetItem"), ("X-Amz-Date", "20260101T000000Z"),
    ("Authorization", "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=x"),
    ("Content-Length", str(len(BODY))),
]


def work(host, trusted, least):
    loops = io.EventLoopGroup(1)
    bootstrap = io.ClientBootstrap(loops, io.DefaultHostResolver(loops))
    options = io.TlsContextOptions()
    if trusted == "insecure":
        options.verify_peer = False
    else:
        options.override_default_trust_store_from_path(ca_filepath=trusted)
    options.min_tls_ver = {"1.2": io.TlsVersion.TLSv1_2, "1.3": io.TlsVersion.TLSv1_3}[least]
    tls = io.ClientTlsContext(options).new_connection_options()
    tls.set_server_name(host)
    connection = http.HttpClientConnection.new(host, 443, bootstrap, io.SocketOptions(), tls).result(20)
    status = []
    request = http.HttpRequest("POST", "/", http.HttpHeaders([("Host", host)] + HEADERS), BytesIO(BODY))
    stream = connection.request(request, lambda http_stream, status_code, headers, **_: status.append(status_code))
    stream.activate()
    stream.completion_future.result(20)
    connection.close().result(20)
    return "" if status == [200] else f"status {status}"


try:
    problem = work(*sys.argv[1:])
except Exception as e:  # every failure is a result here
    problem = f"{type(e).__name__}: {e}"
print(json.dumps({"problem": problem}))
