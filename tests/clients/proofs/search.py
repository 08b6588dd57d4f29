"""Searches for a key everywhere this process and its own child can look: environments, memory, files. Counts what it read.

search.py FILE CHILD...: FILE holds the key's letters backwards, so that only this process ever has it whole; CHILD is a
command that is started first and searched while it lives.
"""
import json
import os
import stat
import subprocess
import sys
import time

ME = os.getpid()
KEY = open(sys.argv[1]).read().strip()[::-1].encode()
FORMS = {"clear": KEY, "tail": KEY[-40:]}
child = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL)
time.sleep(0)
while not os.path.exists("asked"):
    if child.poll() is not None:
        sys.exit("the child ended")
    time.sleep(0.01)

found, read = [], {"environ": 0, "memory": 0, "files": 0, "refused": []}


def look(kind, where, data):
    read[kind] += 1
    for form, needle in FORMS.items():
        if needle in data:
            found.append(f"{kind} {where} ({form})")


def memory(pid):
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as mem:
        for line in maps:
            span, mode, *_ = line.split()
            if not mode.startswith("r") or "[v" in line:
                continue
            begin, end = (int(at, 16) for at in span.split("-"))
            tail = b""
            for at in range(begin, min(end, begin + (64 << 20)), 1 << 20):
                try:
                    mem.seek(at)
                    piece = mem.read(min(1 << 20, end - at))
                except (OSError, OverflowError, ValueError):
                    break
                look("memory", f"{pid} {span}", tail + piece)
                tail = piece[-512:]


for pid in filter(str.isdigit, os.listdir("/proc")):
    for name in ("environ", "cmdline"):
        try:
            look("environ", f"/proc/{pid}/{name}", open(f"/proc/{pid}/{name}", "rb").read())
        except OSError:
            read["refused"].append(f"{pid} {name}")
    if int(pid) != ME:
        try:
            memory(pid)
        except OSError:
            read["refused"].append(f"{pid} mem")
        try:
            for fd in os.listdir(f"/proc/{pid}/fd"):
                path = f"/proc/{pid}/fd/{fd}"
                if stat.S_ISREG(os.stat(path).st_mode):
                    look("files", path, open(path, "rb").read(1 << 20))
        except OSError:
            read["refused"].append(f"{pid} fd")

SKIP = ("/proc", "/sys", "/usr", "/work", "/bin", "/lib", "/opt")
DEADLINE = time.monotonic() + 8
for root in ("/etc", "/run", "/dev", "/tmp", "/var/lib", "/var/tmp", "/var/run", os.environ["HOME"], os.getcwd(), "/root"):
    for folder, folders, files in os.walk(root):
        folders[:] = [f for f in folders if not os.path.join(folder, f).startswith(SKIP)
                      and f not in (".cargo", ".rustup", ".cache", ".pyenv", "node_modules", "dpkg", "apt")]
        for name in files:
            path = os.path.join(folder, name)
            try:
                if path != os.path.abspath(sys.argv[1]) and stat.S_ISREG(os.lstat(path).st_mode):
                    look("files", path, open(path, "rb").read(1 << 20))
            except OSError:
                pass
        if time.monotonic() > DEADLINE:
            break
child.kill()
print(json.dumps({"found": found, "read": read}))
