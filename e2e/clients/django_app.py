"""A Django application with one view, which uses boto3. Made for gunicorn."""
import json
import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path

import dynamo

settings.configure(DEBUG=False, ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="not-secret-in-tests")


def order(request):
    problem = dynamo.work(json.loads(request.body))
    return JsonResponse({"problem": problem, "pid": os.getpid()})


urlpatterns = [path("order", order)]
application = get_wsgi_application()
