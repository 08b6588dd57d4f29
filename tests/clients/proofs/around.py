"""Sends by every way a program has, to one address outside, knowing nothing of a gate. A line of JSON a way: what it met.

around.py V4 V6 PORT
"""
import errno
import json
import os
import socket
import struct
import sys

V4, V6, PORT = sys.argv[1], sys.argv[2], int(sys.argv[3])
MAPPED = "::ffff:" + V4
QUESTION = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05proof\x07example\x00\x00\x01\x00\x01"


def tcp(family, address, port=PORT):
    with socket.socket(family, socket.SOCK_STREAM) as s:
        s.settimeout(3)
        s.connect((address, port))
        s.sendall(b"around\n")
        return s.recv(100).decode("utf-8", "replace")


def udp(family, address, port):
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.settimeout(1)
        s.sendto(QUESTION, (address, port))
        return s.recv(100).hex()


def udp_connected(family, address, port):
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.settimeout(1)
        s.connect((address, port))
        s.send(b"around")
        return s.recv(100).hex()


def icmp(kind, family=socket.AF_INET, address=V4, proto=socket.IPPROTO_ICMP):
    with socket.socket(family, kind, proto) as s:
        s.settimeout(1)
        s.sendto(struct.pack("!BBHHH", 8, 0, 0xF7F5, 1, 9) + b"around", (address, 0))
        return s.recv(100).hex()


def raw_udp():
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as s:
        s.settimeout(1)
        data = struct.pack("!HHHH", 4000, PORT, 14, 0) + b"around"
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(data), 1, 0, 64, 17, 0, b"\0" * 4, socket.inet_aton(V4))
        s.sendto(head + data, (V4, 0))
        return "sent"


def packet():
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as s:
        names = [name for _, name in socket.if_nameindex()]
        s.bind((names[-1], 0))
        s.send(b"\xff" * 12 + b"\x88\xb5" + b"around" * 10)
        return "sent by " + names[-1]


def sctp():
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132) as s:
        s.settimeout(1)
        s.connect((V4, PORT))
        return "connected"


def other(family):
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        return f"a socket of family {family}"


WAYS = {
    "tcp4": lambda: tcp(socket.AF_INET, V4),
    "tcp6": lambda: tcp(socket.AF_INET6, V6),
    "mapped": lambda: tcp(socket.AF_INET6, MAPPED),
    "tcp53": lambda: tcp(socket.AF_INET, V4, 53),
    "udp443": lambda: udp(socket.AF_INET, V4, 443),
    "udp443v6": lambda: udp(socket.AF_INET6, V6, 443),
    "udp443mapped": lambda: udp_connected(socket.AF_INET6, MAPPED, 443),
    "udp53": lambda: udp(socket.AF_INET, V4, 53),
    "udp53v6": lambda: udp(socket.AF_INET6, V6, 53),
    "multicast": lambda: udp(socket.AF_INET, "224.0.0.251", 5353),
    "broadcast": lambda: udp(socket.AF_INET, "255.255.255.255", 67),
    "icmp": lambda: icmp(socket.SOCK_DGRAM),
    "icmp_raw": lambda: icmp(socket.SOCK_RAW),
    "raw": raw_udp,
    "packet": packet,
    "sctp": sctp,
    "vsock": lambda: other(40),
    "xdp": lambda: other(44),
}
for name, way in WAYS.items():
    try:
        met = {"way": name, "got": way(), "error": None}
    except OSError as error:
        met = {"way": name, "got": None, "error": errno.errorcode.get(error.errno, type(error).__name__)}
    os.write(1, (json.dumps(met) + "\n").encode())
