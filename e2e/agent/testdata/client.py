"""Writes an item in clear and again over TLS, unverified; then stays until its standard input ends, so that others may look at it."""
import os
import sys

import boto3
from botocore.config import Config

for ssl in (False, True):
    client = boto3.client("dynamodb", region_name="us-east-1", use_ssl=ssl, verify=False, config=Config(retries={"max_attempts": 0}, read_timeout=20))
    client.put_item(TableName="Orders", Item={"id": {"S": "1"}, "card": {"S": os.environ["CARD"]}})
print("done", flush=True)
sys.stdin.read()
