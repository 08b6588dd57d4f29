"""A client that goes away: at each point of an exchange, once politely and once with a reset.

gone.py POINT... prints {"point", "trace", "rst"} for each, before it goes.
"""
import json
import os
import socket
import ssl
import struct
import sys

HOST = "api.openai.com"
CONTEXT = ssl.create_default_context()


def gone(point, rst):
    trace = os.urandom(16).hex()
    body = json.dumps({"model": "gpt-5-mini", "stream": True, "max_completion_tokens": 50,
                       "messages": [{"role": "user", "content": "slow:20 split:2 say:one two three four five six"}]}).encode()
    head = (f"POST /v1/chat/completions HTTP/1.1\r\nhost: {HOST}\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {os.environ['OPENAI_API_KEY']}\r\ntraceparent: 00-{trace}-0123456789abcdef-01\r\n"
            f"content-length: {len(body)}\r\n\r\n").encode()
    raw = socket.create_connection((HOST, 443), timeout=30)
    if rst:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sent = {"connect": b"", "tls": b"", "half_head": head[:60], "head": head, "half_body": head + body[: len(body) // 2]}
    said = b""
    if point != "connect":
        tls = CONTEXT.wrap_socket(raw, server_hostname=HOST)
        tls.sendall(sent.get(point, head + body))
        wanted = {"answer": b"\r\n\r\n", "events": b'"content":"tw"', "end": b"data: [DONE]"}.get(point)
        while wanted and wanted not in said:
            piece = tls.recv(65536)
            if not piece:
                sys.exit(f"{point}: the answer ended too early: {said!r}")
            said += piece
        raw = tls
    os.write(1, (json.dumps({"point": point, "trace": trace, "rst": rst, "answered": bool(said)}) + "\n").encode())
    raw.close()


for name in sys.argv[1:]:
    for reset in (False, True):
        gone(name, reset)
