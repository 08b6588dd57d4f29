"""Asks for many names that no contract allows, by one way: dns, sni, host, tls_host, connect or absolute. Prints what it met.

names.py WAY COUNT
"""
import collections
import json
import os
import socket
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor

WAY, COUNT = sys.argv[1], int(sys.argv[2])
CONTEXT = ssl.create_default_context()
KEY = os.environ["OPENAI_API_KEY"]


def plain(request):
    with socket.create_connection(("192.0.2.80", 80), timeout=20) as s:
        s.sendall(request.encode())
        return (s.recv(4096) or b"closed").split(b"\r\n")[0].decode()


def one(number):
    name = f"n{number}.refused.example"
    try:
        if WAY == "dns":
            return "resolved " + str(socket.getaddrinfo(name, 443)[0][4])
        if WAY == "sni":
            with socket.create_connection(("192.0.2.43", 443), timeout=20) as s, CONTEXT.wrap_socket(s, server_hostname=name):
                return "a handshake"
        if WAY == "tls_host":
            with socket.create_connection(("api.openai.com", 443), timeout=20) as s, CONTEXT.wrap_socket(s, server_hostname="api.openai.com") as t:
                t.sendall(f"GET /v1/models HTTP/1.1\r\nhost: {name}\r\nauthorization: Bearer {KEY}\r\n\r\n".encode())
                return (t.recv(4096) or b"closed").split(b"\r\n")[0].decode()
        return plain({"host": f"GET / HTTP/1.1\r\nhost: {name}\r\n\r\n",
                      "connect": f"CONNECT {name}:443 HTTP/1.1\r\nhost: {name}:443\r\n\r\n",
                      "absolute": f"GET http://{name}/ HTTP/1.1\r\nhost: {name}\r\n\r\n"}[WAY])
    except OSError as error:
        return type(error).__name__


with ThreadPoolExecutor(8) as pool:
    print(json.dumps(collections.Counter(pool.map(one, range(COUNT)))))
