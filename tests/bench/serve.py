"""The part of the bench about `tollgate serve`: many agents, a neighbour with large bodies, many quiet streams.

Agents call the gate's port over TLS with keys of their own; the gate calls the upstream over TLS and HTTP/2.
"""
import json
import os
import statistics
import subprocess
import sys
import time

from bench import (H2, LOAD_CORE, NAME, PROXY_CORE, Direct, DirectTls, Floor, FloorTls, cell, listens, measured, ratio,
                   stat, wait_for)

AGENTS = (1, 100, 10_000)
ACTIVE = 100
PORT = 18090
BULK, BULK_TLS = 18085, 18086
LARGE = 32 << 20
# Of the small requests beside large ones: a quarter of what one core can carry.
RATE = 300


class Serve(Direct):
    """A gate with so many agents, each with a key; a hundred of them are active."""

    def __init__(self, bench, agents):
        super().__init__(bench)
        self.agents, self.port = agents, PORT + 2 * AGENTS.index(agents)
        self.name = f"serve-{agents}"
        self.folder = bench.path(self.name)
        os.makedirs(os.path.join(self.folder, "policy"))
        self.config, self.keys = self.file("tollgate.yaml"), self.file("keys")
        self.write()
        self.cert = bench.certificate()
        began = time.monotonic()
        self.log = open(bench.path("tollgate.log"), "a")
        command = ["taskset", "-c", PROXY_CORE, bench.program("tollgate"), "serve", "--config", self.config]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        bench.processes.append(self.process)
        wait_for(lambda: listens(self.port), f"{self.name} does not listen", 60)
        self.started_ms = (time.monotonic() - began) * 1000
        secret = self.file("secret")
        with open(secret, "w") as out:
            out.write("sk-proj-" + "b" * 74 + "T3BlbkFJ" + "c" * 74)
        for name in ("openai", "bulk"):
            self.tollgate("credential", "add", name, "--provider", "openai", "--from-file", secret)
        self.make_keys()

    def file(self, name):
        return os.path.join(self.folder, name)

    def write(self):
        cert, key, bulk = self.bench.certificate(), self.bench.path("serve.key"), self.bench.path("bulk-ca.pem")
        with open(self.config, "w") as out:
            out.write(f"""state: {self.file("state")}
policy: {self.file("policy")}
credentials: {{ openai: {{ provider: openai, from: sealed }}, bulk: {{ provider: bulk, from: sealed }} }}
providers:
  bulk: {{ dialect: openai, url: "https://localhost:{BULK_TLS}", credential: bulk, price: free, ca: {bulk} }}
drain: {{ delay: 0s, streams: 1s }}
limits: {{ per_address: 16384 }}
listen:
  proxy: 127.0.0.1:{self.port}
  transparent: null
  dns: null
  health: 127.0.0.1:{self.port + 1}
  tls: {{ cert: {cert}, key: {key} }}
upstream: {{ ca: [{self.bench.h2_ca}], connect_to: ["{NAME}:443:127.0.0.1:{H2}",
  "localhost:{BULK_TLS}:127.0.0.1:{BULK_TLS}"] }}
""")
        # A hundred agents in a file, as teams have them.
        for first in range(0, self.agents, 100):
            with open(self.file(f"policy/{first:05}.yaml"), "w") as out:
                out.write(f'policy_id: t{first}\nversion: "1"\nmode: enforce\nteam: t{first}\nagents:\n')
                for agent in range(first, min(first + 100, self.agents)):
                    out.write(f"  a{agent}:\n    bearer: true\n    models: [gpt-5-nano]\n"
                              f'    destinations: [{NAME}, "localhost:{BULK_TLS}:write"]\n')

    def tollgate(self, *words):
        command = [self.bench.program("tollgate"), *words, "--state", self.file("state")]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"bench: {' '.join(words)}: {done.stderr}")
        return done.stdout.strip()

    def make_keys(self):
        """A key for each agent; several at a time, as every one is a process and a commit of its own."""
        began, made, waiting = time.monotonic(), [], []
        for agent in range(self.agents):
            command = [self.bench.program("tollgate"), "key", "create", f"k{agent}", "--agent", f"a{agent}",
                       "--credential", "openai", "--state", self.file("state")]
            waiting.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True))
            if len(waiting) == 16 or agent + 1 == self.agents:
                made += [process.communicate()[0].strip() for process in waiting]
                waiting = []
        if not all(made):
            sys.exit("bench: a key was not made; see tollgate.log")
        step = max(self.agents // ACTIVE, 1)
        with open(self.keys, "w") as out:
            out.write("\n".join(made[::step][:ACTIVE]) + "\n")
        print(f"{self.name}: {self.agents} keys in {time.monotonic() - began:.1f} s, started in "
              f"{self.started_ms:.0f} ms", file=sys.stderr, flush=True)

    def arguments(self, path="/openai/v1"):
        return ["--url", f"https://localhost:{self.port}{path}/chat/completions", "--ca", self.cert,
                "--connect-to", f"127.0.0.1:{self.port}", "--keys", self.keys]

    def pids(self):
        return [self.process.pid]

    def stop(self):
        self.bench.stop(self.process)
        self.log.close()


def certificate(bench):
    """The gate's own, which its clients trust as it is."""
    cert, key = bench.path("serve.pem"), bench.path("serve.key")
    if not os.path.exists(cert):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-subj", "/CN=localhost", "-days", "2", "-addext", "subjectAltName=DNS:localhost",
                        "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", cert],
                       check=True, capture_output=True)
    return cert


def small(bench, target, secs):
    """Small requests of one agent at a steady rate."""
    words = ["rr", "--conns", "16", "--secs", str(secs), "--warmup", "1", "--rate", str(RATE), "--bytes", "1024"]
    result = target.generate(words).result()
    return result["p50_us"], result["p99_us"]


def neighbours(bench, serve):
    """p50 and p99 of a small agent alone and beside one that sends the largest bodies there are, alternating. Of their
    core, generator and upstream of the large ones have what the small ones leave, so that it is the gate's core that is
    fought over."""
    secs = 5
    own = serve.file("bulk.key")
    with open(own, "w") as out:
        out.write(serve.tollgate("key", "create", "bulk", "--agent", "a1", "--credential", "bulk") + "\n")
    url = f"https://localhost:{serve.port}/custom/bulk/v1/chat/completions"
    for _ in range(bench.args.reps + 1):
        alone = small(bench, serve, secs)
        command = ["chrt", "--idle", "0", "taskset", "-c", LOAD_CORE, bench.program("loadgen"), "rr", "--conns", "2",
                   "--secs", str(secs + 3), "--warmup", "0", "--bytes", str(LARGE), "--answer", "1024", "--url", url, "--ca",
                   serve.cert,
                   "--connect-to", f"127.0.0.1:{serve.port}", "--keys", own]
        large = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        time.sleep(1)
        cpu = stat(serve.process.pid)[0]
        beside = small(bench, serve, secs)
        cpu = stat(serve.process.pid)[0] - cpu
        said = json.loads(large.communicate()[0])
        if said["errors"] or said["bad_status"] or not said["requests_total"]:
            sys.exit(f"bench: large bodies failed: {said}")
        bench.rows.append({"kind": "neighbour", "target": serve.name, "alone": alone, "beside": beside,
                           "large": said["rps"], "cpu": cpu / (secs + 1.2)})
        print(f"alone p50 {alone[0]} p99 {alone[1]} us, beside p50 {beside[0]} p99 {beside[1]} us; "
              f"core {cpu / (secs + 1.2):.0%}; {said['rps']:.1f} large ones/s", file=sys.stderr, flush=True)


def held(bench, serve, streams=10_000):
    """Quiet streams of a hundred agents, each on a connection of its own."""
    pid = serve.process.pid
    descriptors = lambda: len(os.listdir(f"/proc/{pid}/fd"))
    before, had = stat(pid)[1], descriptors()
    began = time.monotonic()
    lines = serve.generate(["hold", "--conns", str(streams), "--secs", "25", "--shape", "p5000000-n1000"])
    ready, took = int(lines.next().split()[1]), time.monotonic() - began
    after, has = stat(pid)[1], descriptors()
    lines.result()
    wait_for(lambda: descriptors() < had + 400, "descriptors stay open after their streams", 30)
    bench.rows.append({"kind": "held", "ready": ready, "kib": (after - before) / 1024 / max(ready, 1),
                       "descriptors": has, "left": descriptors(), "took": took})
    print(f"held: {bench.rows[-1]}", file=sys.stderr, flush=True)


def part(bench):
    bench.certificate = lambda: certificate(bench)
    bench.start(["chrt", "--idle", "0", bench.program("mock-upstream"), "--listen", f"127.0.0.1:{BULK}", "--tls-listen",
                 f"127.0.0.1:{BULK_TLS}", "--ca", bench.path("bulk-ca.pem")], LOAD_CORE)
    wait_for(lambda: listens(BULK_TLS), "the upstream of large bodies does not listen")
    serves = [Serve(bench, agents) for agents in AGENTS if agents <= bench.args.most_agents]
    targets = [kind(bench) for kind in (DirectTls, Floor, FloorTls)] + serves
    for conns, size in ((1, 1024), (64, 1024), (64, 65536)):
        bench.alternate("rr", targets, conns, bytes=size)
    bench.alternate("stream", targets, 32, shape="p0-n64")
    for target in targets:
        if target is not serves[min(1, len(serves) - 1)]:
            target.stop()
    middle = serves[min(1, len(serves) - 1)]
    if middle.agents > 1:
        neighbours(bench, middle)
        held(bench, middle)
    middle.stop()
    return [measured(bench), "", *tables(bench, serves)]


def tables(bench, serves):
    value = bench.value
    names = [serve.name for serve in serves]
    lines = ["| request and answer | target | CPU µs/request | × floor | req/s | p50 µs | p99 µs |",
             "|---|---|---|---|---|---|---|"]
    for conns, size in ((1, 1024), (64, 1024), (64, 65536)):
        for target in ("direct-tls", "floor", "floor-tls", *names):
            where = {"conns": conns, "bytes": size}
            cpu, floor = value("rr", target, "cpu_us", **where), value("rr", "floor", "cpu_us", **where)
            direct = target.startswith("direct")
            fields = [cell(value("rr", target, field, **where), "{:.0f}") for field in ("rps", "p50_us", "p99_us")]
            lines.append(f"| {size // 1024} KiB, {conns} connections | {target} | {'' if direct else cell(cpu)} "
                         f"| {'' if direct else cell(ratio(cpu, floor), '{:.2f}')} | {' | '.join(fields)} |")
    lines += ["", "| 32 streams of 64 events | CPU µs/event | × floor |", "|---|---|---|"]
    for target in ("floor", "floor-tls", *names):
        cpu, floor = (value("stream", name, "cpu_us", shape="p0-n64") for name in (target, "floor"))
        lines.append(f"| {target} | {cell(cpu, '{:.2f}')} | {cell(ratio(cpu, floor), '{:.2f}')} |")
    rows = [row for row in bench.rows if row["kind"] == "neighbour"]
    if rows:
        lines += ["", "| small requests of one agent | p50 µs | p99 µs |", "|---|---|---|"]
        for name in ("alone", "beside"):
            p50, p99 = (statistics.median(row[name][at] for row in rows) for at in (0, 1))
            rate = statistics.median(row["large"] for row in rows)
            what = "alone" if name == "alone" else f"beside {rate:.1f} bodies of 32 MiB a second"
            lines.append(f"| {what} | {p50:.0f} | {p99:.0f} |")
        more = statistics.median(row["beside"][1] / row["alone"][1] - 1 for row in rows)
        lines += ["", f"The neighbour moves p99 by {more:+.0%} (bar: 20 %)."]
    for row in (row for row in bench.rows if row["kind"] == "held"):
        lines += ["", "| quiet streams held open | KiB per stream | descriptors of the gate | open after |",
                  "|---|---|---|---|",
                  f"| {row['ready']:,} in {row['took']:.0f} s | {row['kib']:.1f} | {row['descriptors']:,} "
                  f"| {row['left']} |"]
    starts = ", ".join(f"{serve.agents:,} agents: {serve.started_ms:.0f} ms" for serve in serves)
    return [*lines, "", f"From the start of `serve` to its first accepted connection: {starts}."]
