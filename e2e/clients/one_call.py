"""One call of DynamoDB's ListTables, by a library as it is told: how (requests, urllib3, boto3), name, and verify (False, or a CA file).

The options are the first argument, in JSON. With "waits", the library is loaded and a line is read from stdin before anything is sent.
"""
import json
import sys

options = json.loads(sys.argv[1])
how, url, verify = options["how"], "https://" + options["name"] + "/", options["verify"]
headers = {"X-Amz-Target": "DynamoDB_20120810.ListTables", "Content-Type": "application/x-amz-json-1.0"}

if how == "requests":
    import requests

    def call():
        return requests.post(url, data="{}", headers=headers, verify=verify, timeout=20).status_code == 200
elif how == "urllib3":
    import urllib3

    def call():
        checks = {"cert_reqs": "CERT_REQUIRED", "ca_certs": verify} if verify else {"cert_reqs": "CERT_NONE"}
        return urllib3.PoolManager(timeout=20, **checks).request("POST", url, body="{}", headers=headers).status == 200
else:
    import boto3
    from botocore.config import Config

    def call():
        config = Config(retries={"max_attempts": 0}, connect_timeout=10, read_timeout=20)
        client = boto3.client("dynamodb", region_name=options["name"].split(".")[1], verify=verify, config=config)
        return client.list_tables()["TableNames"] == []

if options.get("waits"):
    print("waiting", flush=True)
    sys.stdin.readline()
if not call():
    sys.exit("another answer came")
