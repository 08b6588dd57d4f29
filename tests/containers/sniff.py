"""Says which of the attempts in a file arrived: sniff.py DEVICE ATTEMPTS, until its input ends.

An attempt is a line of JSON with the destinations `v4` and `v6` and the `marker` of its payload, each its own."""
import json, select, socket, sys

device, file = sys.argv[1:]
attempts = [json.loads(line) for line in open(file)]
names = {}
for attempt in attempts:
    names[socket.inet_aton(attempt["v4"])] = attempt["name"]
    names[socket.inet_pton(socket.AF_INET6, attempt["v6"])] = attempt["name"]
    names[attempt["marker"].encode()] = attempt["name"]
seen = {}
heard = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
heard.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE: none is lost
heard.bind((device, 0))
print("ready", flush=True)
OUTGOING = 4
while True:
    ready, _, _ = select.select([heard, sys.stdin], [], [])
    if heard in ready:
        frame, (_, _, kind, _, _) = heard.recvfrom(65536)
        # Who asks for a neighbour says whom it would like to send to, and sends nothing.
        if kind == OUTGOING or frame[12:14] == b"\x08\x06" or (frame[12:14] == b"\x86\xdd" and frame[54:55] in b"\x85\x86\x87\x88"):
            continue
        for what, name in names.items():
            if what in frame:
                seen[name] = seen.get(name, 0) + 1
                break
    elif sys.stdin in ready and not sys.stdin.readline():
        break
print(json.dumps({"attempts": len(attempts), "arrived": sorted(seen)}))
