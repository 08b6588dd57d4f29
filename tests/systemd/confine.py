"""Starts a program under the restrictions of deploy/systemd/tollgate.service, applied by hand where no systemd runs.

confine.py UNIT FOLDER PROGRAM [ARGUMENT…]

Run in a mount and a network namespace of its own. FOLDER has `state`, `run` and `etc`, which become /var/lib/tollgate,
/run/tollgate and /etc/tollgate, and `notify`, the socket that becomes /run/systemd/notify. Every setting of [Service] is
applied, or is one of MANAGER: what only a service manager does. One that is neither ends this with 2.
"""
import ctypes
import errno
import os
import re
import resource
import subprocess
import sys

import seccomp
from seccomp import ALLOW, EQ, ERRNO, GT, LT, MASKED_EQ, NE, Arg, SyscallFilter

UNIT, FOLDER, PROGRAM, *ARGUMENTS = sys.argv[1:]
LIBC = ctypes.CDLL(None, use_errno=True)

# What becomes of a process that ended, failed or was told to, and what starts it.
MANAGER = {
    "Type", "NotifyAccess", "ExecStart", "ExecReload", "Restart", "RestartSec", "KillMode", "TimeoutStopSec", "OOMPolicy",
}
CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_BPF": 39}
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10}
NAMESPACES = [0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000, 0x00000080]
PROT_WRITE, PROT_EXEC, SHM_EXEC = 2, 4, 0o100000
SET_ID = [0o4000, 0o2000]
O_CREAT = 0o100


def must(done, what):
    if done < 0:
        number = ctypes.get_errno()
        sys.exit(f"{what}: {os.strerror(number)}")


def mount(*words):
    subprocess.run(["mount", *words], check=True)


def settings():
    """The lines of [Service], in their order."""
    section = None
    for line in open(UNIT, encoding="utf-8"):
        line = line.strip()
        if line.startswith("["):
            section = line
        elif section == "[Service]" and line and not line.startswith("#"):
            yield line.split("=", 1)


def named(group):
    """The calls of a group of systemd's, such as @system-service."""
    if not group.startswith("@"):
        return {group}
    text = subprocess.run(["systemd-analyze", "syscall-filter", group], check=True, capture_output=True, text=True)
    words = [line.strip() for line in text.stdout.splitlines()[1:]]
    return set().union(*(named(word) for word in words if word and not word.startswith("#")))


def rule(filtered, action, call, *arguments):
    """A call that this architecture does not have needs no rule."""
    try:
        number = seccomp.resolve_syscall(seccomp.Arch(), call)
    except (RuntimeError, ValueError):
        return
    if number >= 0:
        filtered.add_rule(action, number, *arguments)


def refused(calls, number=errno.EPERM):
    filtered = SyscallFilter(ALLOW)
    for call in calls:
        rule(filtered, ERRNO(number), call)
    return filtered


class Files:
    """Mounts, before the powers to make them are gone."""

    def start(self):
        mount("--make-rprivate", "/")
        for place in ["/run", "/mnt", "/var/lib"]:
            mount("-t", "tmpfs", "tmpfs", place)
        upper = "/mnt/etc"
        for part in ["upper", "work"]:
            os.makedirs(f"{upper}/{part}")
        mount("-t", "overlay", "overlay", "-o", f"lowerdir=/etc,upperdir={upper}/upper,workdir={upper}/work", "/etc")
        for name, place in [("state", "/var/lib/tollgate"), ("run", "/run/tollgate"), ("etc", "/etc/tollgate")]:
            os.makedirs(place, exist_ok=True)
            mount("--bind", f"{FOLDER}/{name}", place)
        os.makedirs("/run/systemd")
        for source, place in [(f"{FOLDER}/notify", "/run/systemd/notify"), (PROGRAM, "/mnt/program")]:
            open(place, "w").close()
            mount("--bind", source, place)

    def strict(self):
        """ProtectSystem=strict: all is read-only but the folders of the service, what is private, /dev, /proc and /sys."""
        kept = ("/dev", "/proc", "/sys", "/tmp", "/var/tmp", "/var/lib/tollgate", "/run/tollgate")
        points = [line.split()[4] for line in open("/proc/self/mountinfo", encoding="utf-8")]
        for point in points:
            point = re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), point)
            if not any(point == place or point.startswith(place + "/") for place in kept):
                subprocess.run(["mount", "-o", "remount,bind,ro", point], check=False, stderr=subprocess.DEVNULL)


def devices():
    """PrivateDevices: only what every program may use."""
    os.makedirs("/mnt/dev", exist_ok=True)
    mount("-t", "tmpfs", "-o", "mode=755,nosuid,noexec", "tmpfs", "/mnt/dev")
    for name in ["null", "zero", "full", "random", "urandom", "tty"]:
        open(f"/mnt/dev/{name}", "w").close()
        mount("--bind", f"/dev/{name}", f"/mnt/dev/{name}")
    for name, to in [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")]:
        os.symlink(to, f"/mnt/dev/{name}")
    os.makedirs("/mnt/dev/shm")
    mount("--move", "/mnt/dev", "/dev")


def read_only(*places):
    for place in places:
        if os.path.exists(place):
            mount("--rbind", place, place)
            subprocess.run(["mount", "-o", "remount,bind,ro", place], check=False, stderr=subprocess.DEVNULL)


def addresses(value):
    """RestrictAddressFamilies, as systemd does it: the families allowed, and every other refused."""
    allowed = sorted(FAMILIES[name] for name in value.split())
    filtered = SyscallFilter(ALLOW)
    no = ERRNO(errno.EAFNOSUPPORT)
    rule(filtered, no, "socket", Arg(0, LT, allowed[0]))
    rule(filtered, no, "socket", Arg(0, GT, allowed[-1]))
    for family in range(allowed[0], allowed[-1]):
        if family not in allowed:
            rule(filtered, no, "socket", Arg(0, EQ, family))
    return filtered


def namespaces():
    filtered = refused(["unshare", "setns"])
    for flag in NAMESPACES:
        rule(filtered, ERRNO(errno.EPERM), "clone", Arg(0, MASKED_EQ, flag, flag))
    rule(filtered, ERRNO(errno.ENOSYS), "clone3")
    return filtered


def set_ids():
    """RestrictSUIDSGID; `openat2` keeps its flags where a filter cannot see them and is refused whole."""
    filtered = SyscallFilter(ALLOW)
    for bit in SET_ID:
        for call, place in [("chmod", 1), ("fchmod", 1), ("fchmodat", 2), ("mkdir", 1), ("mkdirat", 2), ("mknod", 1)]:
            rule(filtered, ERRNO(errno.EPERM), call, Arg(place, MASKED_EQ, bit, bit))
        for call, flags, mode in [("open", 1, 2), ("openat", 2, 3)]:
            created = Arg(flags, MASKED_EQ, O_CREAT, O_CREAT)
            rule(filtered, ERRNO(errno.EPERM), call, created, Arg(mode, MASKED_EQ, bit, bit))
    rule(filtered, ERRNO(errno.ENOSYS), "openat2")
    return filtered


def write_or_execute():
    filtered = SyscallFilter(ALLOW)
    both = PROT_WRITE | PROT_EXEC
    rule(filtered, ERRNO(errno.EPERM), "mmap", Arg(2, MASKED_EQ, both, both))
    for call in ["mprotect", "pkey_mprotect"]:
        rule(filtered, ERRNO(errno.EPERM), call, Arg(2, MASKED_EQ, PROT_EXEC, PROT_EXEC))
    rule(filtered, ERRNO(errno.EPERM), "shmat", Arg(2, MASKED_EQ, SHM_EXEC, SHM_EXEC))
    return filtered


def personality():
    filtered = SyscallFilter(ALLOW)
    rule(filtered, ERRNO(errno.EPERM), "personality", Arg(0, NE, 0))
    return filtered


def real_time():
    filtered = SyscallFilter(ALLOW)
    for policy in [1, 2, 6]:
        rule(filtered, ERRNO(errno.EPERM), "sched_setscheduler", Arg(1, EQ, policy))
    return filtered


def listed(lines, number):
    """SystemCallFilter: what is listed, less what is taken out, plus what is added after; any other call fails."""
    calls = named("@default")
    for line in lines:
        taken = line.startswith("~")
        for word in line.lstrip("~").split():
            calls = calls - named(word) if taken else calls | named(word)
    filtered = SyscallFilter(ERRNO(number))
    for call in sorted(calls):
        rule(filtered, ALLOW, call)
    return filtered


def limit(what, most):
    """Never above what this process may raise it to, where its machine sets a limit of its own."""
    _, hard = resource.getrlimit(what)
    most = int(most) if hard == resource.RLIM_INFINITY else min(int(most), hard)
    resource.setrlimit(what, (most, most))


def main():
    files, calls, lines, number, bounding = Files(), [], [], errno.EPERM, None
    files.start()
    strict = False
    for name, value in settings():
        if name in MANAGER:
            continue
        match name, value:
            case ("StateDirectory" | "RuntimeDirectory" | "ConfigurationDirectory"), "tollgate":
                pass
            case "StateDirectoryMode", mode:
                os.chmod("/var/lib/tollgate", int(mode, 8))
            case "RuntimeDirectoryMode", mode:
                os.chmod("/run/tollgate", int(mode, 8))
            case "UMask", mask:
                os.umask(int(mask, 8))
            case "CapabilityBoundingSet", names:
                bounding = {CAPABILITIES[word] for word in names.split()}
            case "AmbientCapabilities", "":
                must(LIBC.prctl(47, 4, 0, 0, 0), "clearing ambient capabilities")
            case "NoNewPrivileges", "yes":
                must(LIBC.prctl(38, 1, 0, 0, 0), "no new privileges")
            case "ProtectSystem", "strict":
                strict = True
            case "ProtectHome", "yes":
                for place in ["/home", "/root"]:
                    mount("-t", "tmpfs", "-o", "mode=000,ro", "tmpfs", place)
            case "PrivateTmp", "yes":
                for place in ["/tmp", "/var/tmp"]:
                    mount("-t", "tmpfs", "-o", "mode=1777,nosuid,nodev", "tmpfs", place)
            case "PrivateMounts", "yes":
                pass  # the namespace this runs in
            case "PrivateDevices", "yes":
                devices()
                calls.append(refused(named("@raw-io")))
            case "ProtectProc", "invisible":
                mount("-t", "proc", "-o", "hidepid=invisible", "proc", "/proc")
            case "ProtectKernelTunables", "yes":
                read_only("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/sys")
            case "ProtectKernelModules", "yes":
                calls.append(refused(named("@module")))
            case "ProtectKernelLogs", "yes":
                calls.append(refused(["syslog"]))
            case "ProtectControlGroups", "yes":
                read_only("/sys/fs/cgroup")
            case "ProtectClock", "yes":
                calls.append(refused(named("@clock")))
            case "ProtectHostname", "yes":
                must(LIBC.unshare(0x04000000), "a UTS namespace")
                calls.append(refused(["sethostname", "setdomainname"]))
            case "RestrictAddressFamilies", families:
                calls.append(addresses(families))
            case "RestrictNamespaces", "yes":
                calls.append(namespaces())
            case "RestrictRealtime", "yes":
                calls.append(real_time())
            case "RestrictSUIDSGID", "yes":
                calls.append(set_ids())
            case "LockPersonality", "yes":
                calls.append(personality())
            case "MemoryDenyWriteExecute", "yes":
                calls.append(write_or_execute())
            case "SystemCallArchitectures", "native":
                pass  # each filter kills what another architecture calls
            case "SystemCallFilter", line:
                lines.append(line)
            case "SystemCallErrorNumber", word:
                number = getattr(errno, word)
            case "KeyringMode", "private":
                must(LIBC.syscall(250, 1, None), "a session keyring")
            case "LimitNOFILE", most:
                limit(resource.RLIMIT_NOFILE, most)
            case "LimitCORE", most:
                limit(resource.RLIMIT_CORE, most)
            case "OOMScoreAdjust", by:
                try:
                    with open("/proc/self/oom_score_adj", "w", encoding="utf-8") as score:
                        score.write(by)
                except PermissionError:
                    print(f"{name}: not applied, it takes CAP_SYS_RESOURCE", file=sys.stderr)
            case _:
                print(f"{name}={value}: not applied here; apply it, or list it in MANAGER", file=sys.stderr)
                sys.exit(2)
    calls.append(listed(lines, number))
    if strict:
        files.strict()
    last = int(open("/proc/sys/kernel/cap_last_cap", encoding="utf-8").read())
    for capability in set(range(last + 1)) - bounding:
        must(LIBC.prctl(24, capability, 0, 0, 0), f"dropping capability {capability}")
    os.environ["NOTIFY_SOCKET"] = "/run/systemd/notify"
    for filtered in calls:
        filtered.load()
    os.execv("/mnt/program", ["/mnt/program", *ARGUMENTS])


main()
