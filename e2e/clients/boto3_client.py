"""boto3 in a script: the options are the first argument, in JSON; the outcome goes to stdout."""
import json
import sys

import dynamo

problem = dynamo.work(json.loads(sys.argv[1]))
print(json.dumps({"problem": problem}))
sys.stdout.flush()
