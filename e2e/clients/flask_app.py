"""A Flask application with one view, which uses boto3. Made for gunicorn."""
import os

from flask import Flask, jsonify, request

import dynamo

application = Flask(__name__)


@application.post("/order")
def order():
    problem = dynamo.work(request.get_json(force=True))
    return jsonify(problem=problem, pid=os.getpid())
