"""Runs handler.handle for each event of Lambda's runtime API.

The least that does it, with one connection that is kept: what Lambda's own
runtime for Python does beyond this would count against Python.
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import http.client
import json
import os

import handler

PATH = "/2018-06-01/runtime/invocation/"


def main():
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    while True:
        connection.request("GET", PATH + "next")
        response = connection.getresponse()
        request_id = response.headers["Lambda-Runtime-Aws-Request-Id"]
        event = json.loads(response.read())
        try:
            body, kind = handler.handle(event, None), "/response"
        except Exception as error:
            body = {"errorType": type(error).__name__, "errorMessage": str(error)}
            kind = "/error"
        connection.request("POST", PATH + request_id + kind, json.dumps(body))
        connection.getresponse().read()


main()
