"""A neighbour that counts every frame that reaches its one interface, by what it is, and answers TCP and UDP.

neighbour.py INTERFACE PORT: a line of JSON for each frame that is not the interface's own housekeeping.
"""
import json
import os
import socket
import struct
import sys
import threading

INTERFACE, PORT = sys.argv[1], int(sys.argv[2])


def listen(port):
    s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.bind(("::", port))
    s.listen(64)
    while True:
        c, _ = s.accept()
        c.sendall(b"the neighbour\n")
        c.close()


def datagrams(port):
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.bind(("::", port))
    while True:
        data, peer = s.recvfrom(2048)
        s.sendto(data, peer)


for port in (PORT, 53):
    threading.Thread(target=listen, args=(port,), daemon=True).start()
for port in (443, 53):
    threading.Thread(target=datagrams, args=(port,), daemon=True).start()

sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
sniffer.bind((INTERFACE, 0))
os.write(1, b'{"ready": true}\n')
while True:
    frame, (_, _, kind, _, _) = sniffer.recvfrom(65536)
    if kind == socket.PACKET_OUTGOING:
        continue
    ether = struct.unpack("!H", frame[12:14])[0]
    what, port = {0x0806: "arp", 0x0800: "ip4", 0x86DD: "ip6"}.get(ether, hex(ether)), None
    if what == "ip4":
        proto, at = frame[23], 14 + (frame[14] & 15) * 4
    elif what == "ip6":
        proto, at = frame[20], 54
        if proto in (0, 58):
            continue  # multicast listener reports and neighbour discovery
    else:
        proto = None
    if what == "arp":
        continue
    if proto in (6, 17):
        port = struct.unpack("!H", frame[at + 2:at + 4])[0]
    os.write(1, (json.dumps({"what": what, "proto": proto, "port": port, "data": b"around" in frame}) + "\n").encode())
