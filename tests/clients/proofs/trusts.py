"""Asks for the models with each certificate file as the only one that is trusted; a line of JSON each.

trusts.py HOST FILE... ; with `-` for FILE, none is.
"""
import http.client
import json
import os
import ssl
import sys

for file in sys.argv[2:]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if file != "-":
        context.load_verify_locations(cafile=file)
    # What some libraries of the newest Python ask for: a chain that is right in every word.
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    connection = http.client.HTTPSConnection(sys.argv[1], context=context, timeout=20)
    try:
        connection.request("GET", "/v1/models", headers={"authorization": "Bearer " + os.environ["OPENAI_API_KEY"]})
        met = connection.getresponse().status
    except ssl.SSLError as error:
        met = error.reason
    print(json.dumps({"file": os.path.basename(file), "met": met}), flush=True)
    connection.close()
