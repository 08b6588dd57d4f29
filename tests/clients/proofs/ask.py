"""Asks a model over HTTP/1.1 with the standard library alone, from many threads; a line of JSON for each answer.

ask.py SPEC, where SPEC is JSON: api (chat|anthropic), model, prompt, stream, max (output limit or null), threads, each
(requests a thread), body (sent as it is), bomb (MiB that unpack from a little, twice over), upload (MiB), headers (added), host, path, method, gap (seconds between requests), linger (seconds to stay afterwards),
fork (leaves a process behind that has a session of its own).
"""
import gzip
import http.client
import json
import os
import ssl
import sys
import threading
import time

SPEC = json.loads(sys.argv[1])
ANTHROPIC = SPEC.get("api") == "anthropic"
HOST = SPEC.get("host") or ("api.anthropic.com" if ANTHROPIC else "api.openai.com")
PATH = SPEC.get("path") or ("/v1/messages" if ANTHROPIC else "/v1/chat/completions")
CONTEXT = ssl.create_default_context()
LOCK = threading.Lock()


def tell(line):
    with LOCK:
        os.write(1, (json.dumps(line) + "\n").encode())


def question():
    if SPEC.get("bomb"):
        bomb = gzip.compress(b'{"model":"gpt-5-mini","messages":[],"x":"' + b" " * (SPEC["bomb"] << 20) + b'"}')
        return gzip.compress(bomb) if SPEC.get("twice") else bomb
    if SPEC.get("upload"):
        return b'{"model":"gpt-5-mini","x":"' + b" " * (SPEC["upload"] << 20) + b'"}'
    if SPEC.get("body") is not None:
        return SPEC["body"].encode()
    ask = {"model": SPEC.get("model", "gpt-5-mini"), "messages": [{"role": "user", "content": SPEC.get("prompt", "say:hello")}]}
    if SPEC.get("stream"):
        ask["stream"] = True
    limit = SPEC.get("max", 50)
    if limit is not None:
        ask["max_tokens" if ANTHROPIC else "max_completion_tokens"] = limit
    return json.dumps(ask).encode()


def headers(trace):
    key = ({"x-api-key": os.environ.get("ANTHROPIC_API_KEY", ""), "anthropic-version": "2023-06-01"} if ANTHROPIC
           else {"authorization": "Bearer " + os.environ.get("OPENAI_API_KEY", "")})
    return {"content-type": "application/json", "traceparent": f"00-{trace}-0123456789abcdef-01", **key,
            **SPEC.get("headers", {})}


def ask(connection):
    trace = os.urandom(16).hex()
    said = {"trace": trace, "status": None, "whole": False, "body": "", "headers": {}, "error": None}
    begun = time.monotonic()
    try:
        connection.request(SPEC.get("method", "POST"), PATH, question(), headers(trace))
        answer = connection.getresponse()
        said["status"], said["headers"] = answer.status, {k.lower(): v for k, v in answer.getheaders()}
        if SPEC.get("stream"):
            tell({"trace": trace, "head": answer.status})
        body = b""
        while piece := answer.read1(65536):
            body += piece
        answer.close()
        said["body"], said["whole"] = body.decode("utf-8", "replace")[:65536], True
    except Exception as error:
        said["error"] = f"{type(error).__name__}: {error}"
        connection.close()
    said["took"] = time.monotonic() - begun
    tell(said)
    return said["error"] is None


def many():
    connection = None
    for _ in range(SPEC.get("each", 1)):
        connection = connection or http.client.HTTPSConnection(HOST, context=CONTEXT, timeout=SPEC.get("timeout", 45))
        if not ask(connection):
            connection = None
            time.sleep(0.05)
        time.sleep(SPEC.get("gap", 0))


if SPEC.get("fork") and os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True:
            time.sleep(60)
    os._exit(0)

threads = [threading.Thread(target=many) for _ in range(SPEC.get("threads", 1))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
time.sleep(SPEC.get("linger", 0))
