"""Asks a `tollgate serve` for names of no contract, beside a name server that writes down what it is asked.

refused_names.py TOLLGATE FOLDER

Run in a network and a mount namespace of its own. Prints one line of JSON: what was answered, by way and status, and
what the name server was asked before and after a name that is in the contract.
"""
import collections
import json
import pathlib
import socket
import subprocess
import sys
import threading
import time

TOLLGATE, FOLDER = sys.argv[1], pathlib.Path(sys.argv[2])
SERVER = "127.0.0.53"
PROXY = ("127.0.0.1", 16802)
CONFIG = """
state: state
policy: policy
listen: { transparent: null, dns: null }
drain: { delay: 0s, streams: 1s }
"""
POLICY = """
policy_id: names
version: "1"
mode: enforce
agents:
  known: { identity: { any: [ { address: 127.0.0.1/32 } ] }, destinations: [allowed.example] }
"""


def name_of(question):
    labels, at = [], 12
    while question[at]:
        labels.append(question[at + 1 : at + 1 + question[at]].decode())
        at += 1 + question[at]
    return ".".join(labels)


def serve(asked):
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((SERVER, 53))
    tcp = socket.create_server((SERVER, 53))

    def questions():
        while True:
            question, of = udp.recvfrom(4096)
            asked.append(name_of(question))
            udp.sendto(question[:2] + b"\x81\x83" + question[4:], of)

    def connections():
        while True:
            tcp.accept()[0].close()
            asked.append("over tcp")

    for act in (questions, connections):
        threading.Thread(target=act, daemon=True).start()


def answer(connection):
    """The status of an answer, and its body away."""
    head = b""
    while b"\r\n\r\n" not in head:
        piece = connection.recv(65536)
        if not piece:
            return "closed"
        head += piece
    head, rest = head.split(b"\r\n\r\n", 1)
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    missing = int(fields.get(b"content-length", b"0")) - len(rest)
    while missing > 0:
        missing -= len(connection.recv(missing))
    return head.split(b" ")[1].decode()


def ask(source, lines):
    with socket.create_connection(PROXY, timeout=20, source_address=(source, 0)) as connection:
        connection.sendall(lines.encode())
        return answer(connection)


def connect(name, source):
    return ask(source, f"CONNECT {name}:443 HTTP/1.1\r\nHost: {name}:443\r\n\r\n")


def absolute(scheme):
    return lambda name, source: ask(
        source, f"GET {scheme}://{name}/ HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n"
    )


WAYS = {"connect": connect, "http": absolute("http"), "https": absolute("https")}


def main():
    resolv = FOLDER / "resolv.conf"
    resolv.write_text(f"nameserver {SERVER}\noptions timeout:1 attempts:1\n")
    subprocess.run(["mount", "--bind", resolv, "/etc/resolv.conf"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    asked = []
    serve(asked)
    (FOLDER / "policy").mkdir()
    (FOLDER / "policy/names.yaml").write_text(POLICY)
    (FOLDER / "tollgate.yaml").write_text(CONFIG)
    command = ["setpriv", "--pdeathsig", "KILL", TOLLGATE, "serve", "--config", FOLDER / "tollgate.yaml"]
    gate = subprocess.Popen(command)
    for _ in range(300):
        try:
            socket.create_connection(PROXY).close()
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
    met = collections.Counter()
    # A neighbour, whom nothing identifies, and the agent of the contract.
    for source, count in (("127.0.0.1", 1000), ("127.0.0.9", 100)):
        for way, act in WAYS.items():
            for number in range(count):
                status = act(f"refused-{number}.{way}.example", source)
                met[f"{source} {way} {status}"] += 1
    before = list(asked)
    WAYS["https"]("allowed.example", "127.0.0.1")
    gate.terminate()
    ended = gate.wait(60)
    print(json.dumps({"met": met, "before": before, "after": asked, "ended": ended}))


main()
