"""What every Python client of the tests does: write an item and read it again, over a connection as the scenario wants it.

The options are a dict: region, endpoint (a URL), use_ssl, verify (False, or a CA file), token (a session token), service; ready and until
are files: the client makes the one when it has worked, waits for the other, and reads the item once more over the same connection.
"""
import os
import time

import boto3
from botocore.config import Config


def client(options):
    arguments = {"region_name": options["region"], "config": Config(retries={"max_attempts": 0}, connect_timeout=10, read_timeout=20)}
    if "endpoint" in options:
        arguments["endpoint_url"] = options["endpoint"]
    if "use_ssl" in options:
        arguments["use_ssl"] = options["use_ssl"]
    if "verify" in options:
        arguments["verify"] = options["verify"]
    if "token" in options:
        arguments["aws_session_token"] = options["token"]
        arguments["aws_access_key_id"] = "ASIAIOSFODNN7EXAMPLE"
        arguments["aws_secret_access_key"] = "temporary-secret-of-the-tests"
    return boto3.client(options.get("service", "dynamodb"), **arguments)


def work(options):
    """Returns what went wrong, or an empty string."""
    try:
        dynamodb = client(options)
        if options.get("service") == "dynamodbstreams":
            dynamodb.list_streams()
            return ""
        item = {"id": {"S": "customer-of-the-tests"}, "note": {"S": os.environ["E2E_NOTE"]}}
        dynamodb.put_item(TableName="Orders", Item=item)
        found = dynamodb.get_item(TableName="Orders", Key={"id": item["id"]})
        if "ready" in options:
            open(options["ready"], "w").close()
            while not os.path.exists(options["until"]):
                time.sleep(0.05)
            found = dynamodb.get_item(TableName="Orders", Key={"id": item["id"]})
        return "" if found["Item"] == item else "another item came back"
    except Exception as e:  # every failure is a result here
        return f"{type(e).__name__}: {e}"
