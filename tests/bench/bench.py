#!/usr/bin/env python3
"""Measures the gate beside the floor on one machine and writes the tables of docs/performance.md.

Run by `cargo xtask bench`, which builds the programs and passes the folder they lie in. Everything is pinned: what is
measured on core 0, upstream and generator on core 1. Targets alternate, so that drift hits all alike.

CPU is utime+stime of the proxy's own processes over one generator run (warm-up included), divided by all requests of
that run. The gate's processes are those that run the `tollgate` binary; the generator runs under one `tollgate exec`
that lasts for all runs, driven through its stdin.
"""
import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
NAME = "api.openai.com"
PLAIN, TLS, FLOOR, FLOOR_TLS, H2 = 18080, 18081, 18082, 18083, 18084
PROXY_CORE, LOAD_CORE = "0", "1"
BEGIN, END = "<!-- {}:begin -->", "<!-- {}:end -->"


def stat(pid):
    """CPU seconds and resident bytes of one process; zero where it is gone."""
    try:
        fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK, int(fields[21]) * PAGE
    except (OSError, IndexError):
        return 0.0, 0


def running(binary):
    """The processes that run this binary."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.path.samefile(f"/proc/{pid}/exe", binary):
                found.append(int(pid))
        except OSError:
            pass
    return found


def wait_for(ready, what, seconds=30):
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            sys.exit(f"bench: {what} within {seconds} s")
        time.sleep(0.02)


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 0.5).close()
        return True
    except OSError:
        return False


class Direct:
    """The upstream itself: what the others are compared with."""

    name, url, tls = "direct", f"http://127.0.0.1:{PLAIN}", False

    def __init__(self, bench):
        self.bench = bench

    def arguments(self):
        return ["--url", self.url + "/v1/chat/completions", "--ca", self.bench.ca]

    def pids(self):
        return []

    def generate(self, words, wait=True):
        command = ["taskset", "-c", LOAD_CORE, self.bench.program("loadgen"), *words, *self.arguments()]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        return Lines(process.stdout, process)

    def stop(self):
        pass


class DirectTls(Direct):
    name, url = "direct-tls", f"https://{NAME}"

    def arguments(self):
        return [*super().arguments(), "--connect-to", f"127.0.0.1:{TLS}"]


class Floor(Direct):
    name, url, port = "floor", f"http://127.0.0.1:{FLOOR}", FLOOR

    def __init__(self, bench):
        super().__init__(bench)
        command = [bench.program("floor"), "--listen", f"127.0.0.1:{self.port}", *self.upstream()]
        self.process = bench.start(command, PROXY_CORE)
        wait_for(lambda: listens(self.port), f"{self.name} does not listen")

    def upstream(self):
        return ["--upstream", f"127.0.0.1:{PLAIN}"]

    def pids(self):
        return [self.process.pid]

    def stop(self):
        self.bench.stop(self.process)


class FloorTls(Floor):
    name, url, port = "floor-tls", f"https://{NAME}", FLOOR_TLS

    def upstream(self):
        own = self.bench.path("floor-ca.pem")
        return ["--upstream", f"127.0.0.1:{TLS}", "--ca", self.bench.ca, "--own-ca", own]

    def arguments(self):
        own = self.bench.path("floor-ca.pem")
        return ["--url", self.url + "/v1/chat/completions", "--ca", own, "--connect-to", f"127.0.0.1:{self.port}"]


class Gate(Direct):
    name, url = "tollgate", f"https://{NAME}"

    def __init__(self, bench):
        super().__init__(bench)
        self.state = bench.path(f"state-{time.monotonic_ns()}")
        environment = {**os.environ, "OPENAI_API_KEY": "sk-proj-" + "b" * 74 + "T3BlbkFJ" + "c" * 74}
        command = [*bench.exec_words(self.state), "--", "sh"]
        self.log = open(bench.path("tollgate.log"), "a")
        self.process = subprocess.Popen(
            ["taskset", "-c", PROXY_CORE, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
            text=True, env=environment)
        bench.processes.append(self.process)

    def arguments(self):
        # Inside, the CA is named by the environment.
        return ["--url", self.url + "/v1/chat/completions"]

    def pids(self):
        return running(self.bench.program("tollgate"))

    def generate(self, words, wait=True):
        command = ["taskset", "-c", LOAD_CORE, self.bench.program("loadgen"), *words, *self.arguments()]
        self.process.stdin.write(" ".join(command) + "\n")
        self.process.stdin.flush()
        return Lines(self.process.stdout, None)

    def stop(self):
        self.process.stdin.close()
        self.bench.stop(self.process)
        wait_for(lambda: not self.pids(), "the gate does not end")
        self.log.close()


class Lines:
    """What the generator writes, line by line."""

    def __init__(self, stream, process):
        self.stream, self.process = stream, process

    def next(self):
        line = self.stream.readline()
        if not line:
            sys.exit("bench: the generator ended without a word; see tollgate.log in the work folder")
        return line

    def result(self):
        result = json.loads(self.next())
        if self.process:
            self.process.wait()
        if result["errors"] or result["bad_status"]:
            sys.exit(f"bench: requests failed: {result}")
        return result


class Bench:
    def __init__(self, args):
        self.args = args
        self.work = tempfile.mkdtemp(prefix="tollgate-bench-")
        self.ca = self.path("ca.pem")
        self.processes = []
        self.rows = []
        self.h2_ca = self.path("h2-ca.pem")
        mock = [self.program("mock-upstream"), "--listen", f"127.0.0.1:{PLAIN}", "--tls-listen", f"127.0.0.1:{TLS}",
                "--h2-listen", f"127.0.0.1:{H2}", "--h2-ca", self.h2_ca]
        for port in (PLAIN, TLS, FLOOR, FLOOR_TLS, H2):
            if listens(port):
                sys.exit(f"bench: something already listens on port {port}")
        self.start([*mock, "--ca", self.ca], LOAD_CORE)
        wait_for(lambda: listens(TLS), "the upstream does not listen")

    def path(self, name):
        return os.path.join(self.work, name)

    def program(self, name):
        return os.path.join(self.args.bin, name)

    def exec_words(self, state):
        return [self.program("tollgate"), "exec", "--state", state, "--budget", "15", "--connect-to",
                f"{NAME}:443:127.0.0.1:{TLS}", "--upstream-ca", self.ca]

    def start(self, command, core):
        process = subprocess.Popen(["taskset", "-c", core, *command])
        self.processes.append(process)
        return process

    def stop(self, process):
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process in self.processes:
            self.processes.remove(process)

    def close(self):
        for process in list(self.processes):
            self.stop(process)
        shutil.rmtree(self.work, ignore_errors=True)

    def kinds(self, *kinds):
        return [kind for kind in kinds if kind is not Gate or not self.args.floor_only]

    def measure(self, mode, kinds, conns, **options):
        """Alternates the targets; each keeps its processes for all repetitions."""
        targets = [kind(self) for kind in self.kinds(*kinds)]
        self.alternate(mode, targets, conns, **options)
        for target in targets:
            target.stop()

    def alternate(self, mode, targets, conns, **options):
        words = [mode, "--conns", str(conns), "--secs", str(self.args.secs), "--warmup", "1"]
        for option, value in options.items():
            words += [f"--{option}", str(value)]
        for _ in range(self.args.reps):
            for target in targets:
                pids = target.pids()
                before = {pid: stat(pid)[0] for pid in pids}
                result = target.generate(words).result()
                spent = sum(stat(pid)[0] - before.get(pid, 0) for pid in set(pids) | set(target.pids()))
                units = result["events_total" if mode == "stream" else "requests_total"]
                result.update(kind=mode, target=target.name, cpu_us=spent * 1e6 / max(units, 1))
                self.rows.append(result)
                print(f"{mode} {target.name} c={conns} {options}: p50 {result['p50_us']} us, "
                      f"cpu {result['cpu_us']:.1f} us", file=sys.stderr, flush=True)

    def idle(self, kinds, streams):
        for kind in self.kinds(*kinds):
            target = kind(self)
            target.generate(["rr", "--conns", "64", "--secs", "1"]).result()
            before = sum(stat(pid)[1] for pid in target.pids())
            lines = target.generate(["hold", "--conns", str(streams), "--secs", "15", "--shape", "p5000000-n1000"])
            ready = int(lines.next().split()[1])
            after = sum(stat(pid)[1] for pid in target.pids())
            lines.result()
            self.rows.append({"kind": "idle", "target": target.name, "ready": ready,
                              "kib": (after - before) / 1024 / max(ready, 1)})
            print(f"idle {target.name}: {ready} streams, {self.rows[-1]['kib']:.1f} KiB each", file=sys.stderr)
            target.stop()

    def start_up(self):
        """`exec -- true` beside `true`, each from nothing: no gate is running before it."""
        if self.args.floor_only:
            return
        for name, command in (("true", ["true"]), ("tollgate", [*self.exec_words(self.path("start")), "--", "true"])):
            for _ in range(11):
                begin = time.monotonic()
                subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
                self.rows.append({"kind": "start", "target": name, "ms": (time.monotonic() - begin) * 1000})
                wait_for(lambda: not running(self.program("tollgate")), "the gate does not end")

    def value(self, kind, target, field, **where):
        found = [row[field] for row in self.rows if row["kind"] == kind and row["target"] == target
                 and all(row.get(key) == value for key, value in where.items())]
        return statistics.median(found) if found else None


def cell(value, form="{:.1f}"):
    return "–" if value is None else form.format(value)


def difference(left, right, scale=1):
    return None if left is None or right is None else (left - right) / scale


def ratio(left, right):
    return None if left is None or not right else left / right


def bars(bench):
    """The bars of the issue, each with what was measured."""
    one = {"conns": 1, "bytes": 1024}
    busy = {"conns": 64, "bytes": 1024}
    fast, slow = {"shape": "p0-n64"}, {"shape": "p5000-n64"}
    value = bench.value
    rows = [
        ("CPU per request, 64 connections, 1 KiB", 3.0, "× floor",
         ratio(value("rr", "tollgate", "cpu_us", **busy), value("rr", "floor", "cpu_us", **busy))),
        ("CPU per streamed event that is not held", 1.6, "× floor",
         ratio(value("stream", "tollgate", "cpu_us", **fast), value("stream", "floor", "cpu_us", **fast))),
        ("added p50 at 1 connection", 0.4, "ms",
         difference(value("rr", "tollgate", "p50_us", **one), value("rr", "direct-tls", "p50_us", **one), 1000)),
        ("added gap between events, p50", 50, "µs",
         difference(value("stream", "tollgate", "p50_us", **slow), value("stream", "direct-tls", "p50_us", **slow))),
        ("memory per quiet stream", 48, "KiB", value("idle", "tollgate", "kib")),
        ("`exec -- true` more than `true`", 100, "ms",
         difference(value("start", "tollgate", "ms"), value("start", "true", "ms"))),
    ]
    lines = ["| what | bar | measured | |", "|---|---|---|---|"]
    for what, bar, unit, measured in rows:
        verdict = "–" if measured is None else "met" if measured <= bar else "**missed**"
        lines.append(f"| {what} | ≤ {bar} {unit} | {cell(measured, '{:.2f}')} | {verdict} |")
    return lines


def tables(bench):
    value = bench.value
    lines = ["", "| request and answer | target | CPU µs/request | × floor | req/s | p50 µs | added p50 | p99 µs |",
             "|---|---|---|---|---|---|---|---|"]
    for size in bench.args.sizes:
        for conns in bench.args.conns:
            for target in ("direct", "direct-tls", "floor", "floor-tls", "tollgate"):
                where = {"conns": conns, "bytes": size}
                p50, direct = value("rr", target, "p50_us", **where), value("rr", "direct-tls", "p50_us", **where)
                if p50 is None:
                    continue
                cpu, floor = value("rr", target, "cpu_us", **where), value("rr", "floor", "cpu_us", **where)
                shown = "" if target.startswith("direct") else cell(cpu)
                times = "" if target.startswith("direct") else cell(ratio(cpu, floor), "{:.2f}")
                lines.append(f"| {size // 1024} KiB, {conns} connections | {target} | {shown} | {times} "
                             f"| {cell(value('rr', target, 'rps', **where), '{:.0f}')} | {cell(p50, '{:.0f}')} "
                             f"| {cell(difference(p50, direct), '{:.0f}')} "
                             f"| {cell(value('rr', target, 'p99_us', **where), '{:.0f}')} |")
    lines += ["", "| 32 streams of 64 events | target | CPU µs/event | × floor | event p50 µs | p99 µs | first p50 µs |",
              "|---|---|---|---|---|---|---|"]
    for shape, name in (("p0-n64", "without pause"), ("p5000-n64", "5 ms apart")):
        for target in ("direct", "direct-tls", "floor", "floor-tls", "tollgate"):
            cpu, floor = value("stream", target, "cpu_us", shape=shape), value("stream", "floor", "cpu_us", shape=shape)
            if cpu is None:
                continue
            shown = "" if target.startswith("direct") else cell(cpu, "{:.2f}")
            times = "" if target.startswith("direct") else cell(ratio(cpu, floor), "{:.2f}")
            fields = [cell(value("stream", target, field, shape=shape), "{:.0f}")
                      for field in ("p50_us", "p99_us", "first_p50_us")]
            lines.append(f"| {name} | {target} | {shown} | {times} | {' | '.join(fields)} |")
    lines += ["", "| 1,000 quiet streams | KiB per stream |", "|---|---|"]
    lines += [f"| {row['target']} | {row['kib']:.1f} |" for row in bench.rows if row["kind"] == "idle"]
    return lines


def write(path, part, lines):
    """Replaces what stands between the markers of a part."""
    text = open(path).read()
    begin, end = BEGIN.format(part), END.format(part)
    head, rest = text.split(begin)
    tail = rest.split(end)[1]
    with open(path, "w") as out:
        out.write(head + begin + "\n" + "\n".join(lines) + "\n" + end + tail)


def measured(bench):
    when = time.strftime("%Y-%m-%d", time.gmtime())
    return (f"Measured {when}, kernel {os.uname().release}, {os.cpu_count()} cores; "
            f"medians of {bench.args.reps} runs of {bench.args.secs:g} s.")


def exec_part(bench):
    """The gate as `tollgate exec`, beside the floor."""
    kinds = (Direct, DirectTls, Floor, FloorTls, Gate)
    for size in bench.args.sizes:
        for conns in bench.args.conns:
            bench.measure("rr", kinds, conns, bytes=size)
    for shape in ("p0-n64", "p5000-n64"):
        bench.measure("stream", kinds, 32, shape=shape)
    bench.idle((Floor, FloorTls, Gate), 1000)
    bench.start_up()
    return [measured(bench), "", *bars(bench), *tables(bench)]


def hooks_part(bench):
    """The kernel programs of a pod, beside the same without them; the program makes the table itself."""
    output = subprocess.run([bench.program("examples/hooks")], check=True, stdout=subprocess.PIPE, text=True).stdout
    when = time.strftime("%Y-%m-%d", time.gmtime())
    return [f"Measured {when}, kernel {os.uname().release}, {os.cpu_count()} cores.", "", *output.splitlines()]


PARTS = {"exec": ("bench", exec_part), "serve": ("serve", lambda bench: serve.part(bench)), "hooks": ("hooks", hooks_part)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True, help="the folder of the built programs")
    parser.add_argument("--page", help="the page whose tables are replaced; without it they are printed")
    parser.add_argument("--secs", type=float, default=6)
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--conns", type=int, nargs="+", default=[1, 64, 256])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 65536])
    parser.add_argument("--floor-only", action="store_true", help="without the gate, to see how steady the machine is")
    parser.add_argument("--most-agents", type=int, default=10_000, help="leave gates with more agents out")
    parser.add_argument("--part", action="append", choices=list(PARTS), help="one of the parts alone")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for part in args.part or PARTS:
        marker, measure = PARTS[part]
        bench = Bench(args)
        try:
            lines = measure(bench)
        finally:
            bench.close()
        if args.page:
            write(args.page, marker, lines)
        print("\n".join(lines), flush=True)


if __name__ == "__main__":
    # The other parts import this one by its name.
    sys.modules["bench"] = sys.modules["__main__"]
    import serve
    main()
