"""Makes up the output of a command on a simulated machine, as a script of lines and pauses. Pure.

The figures are those of the machine's sample at that instant, so that `uptime`, `free` and `df` agree with the twin.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from mirror_stage.core.instants import SECOND
from mirror_stage.simulator.behaviour import Vitals
from mirror_stage.simulator.fleet import GIB, Disk, Machine
from mirror_stage.simulator.wire import PROCESS_MEMORY_WEIGHTS, PROCESS_WEIGHTS, pid_of

NOT_FOUND, WRONG_USE = 127, 2
LONGEST_SECONDS = 86_400.0
KIB, MIB = 2**10, 2**20

UNITS_BY_ROLE: Mapping[str, Sequence[str]] = {
    "web": ("nginx", "varnish"),
    "app": ("app", "redis-server"),
    "db": ("postgresql", "pgbouncer"),
    "cache": ("redis-server", "memcached"),
    "store": ("ceph-osd@0", "ceph-mon"),
    "titan": ("ray", "nvidia-persistenced"),
    "build": ("gitlab-runner", "docker"),
    "switch": ("bgp", "swss"),
}
UNITS_OF_ALL = ("ssh", "cron", "systemd-journald", "mirror-stage-reflector")
FILES_BY_FOLDER: Mapping[str, str] = {
    "/": "bin  boot  dev  etc  home  lib  lib64  media  mnt  opt  proc  root  run  sbin  srv  sys  tmp  usr  var",
    "/etc": "apt  cron.d  default  fstab  group  hostname  hosts  mirror-stage  network  passwd  resolv.conf  ssh  systemd",
    "/var/log": "apt  auth.log  btmp  dpkg.log  journal  kern.log  lastlog  syslog  wtmp",
    "/srv": "backup  data  lost+found",
    "/tmp": "",
    "/root": "",
}
JOURNAL = (
    "systemd[1]: Starting logrotate.service - Rotate log files...",
    "systemd[1]: logrotate.service: Deactivated successfully.",
    "sshd[{pid}]: Accepted publickey for ops from 10.0.0.100 port 51322 ssh2",
    "systemd-logind[612]: New session 482 of user ops.",
    "mirror-stage-reflector[{pid}]: 1 sample accepted",
    "CRON[{pid}]: (root) CMD (test -x /usr/sbin/anacron || run-parts /etc/cron.daily)",
    "kernel: perf: interrupt took too long (2511 > 2500), lowering kernel.perf_event_max_sample_rate",
)


@dataclass(frozen=True)
class Line:
    """A piece of output, printed `after` seconds from the start of the command."""

    after: float
    text: str
    stream: str = "stdout"


@dataclass(frozen=True)
class Script:
    """What a command prints and when, its exit code, and how many seconds it takes."""

    lines: tuple[Line, ...]
    exit_code: int = 0
    seconds: float = 0.0


def answer(machine: Machine, vitals: Vitals, command: str) -> Script:
    """The script of a command line on a machine. Of shell syntax it knows only `;` and `&&` between programs."""
    lines: list[Line] = []
    seconds, exit_code = 0.0, 0
    for separator, words in _programs(command):
        if separator == "&&" and exit_code != 0:
            continue
        script = _run(machine, vitals, words)
        lines += [Line(seconds + line.after, line.text, line.stream) for line in script.lines]
        seconds, exit_code = seconds + script.seconds, script.exit_code
    return Script(tuple(lines), exit_code, seconds)


def _programs(command: str) -> Iterator[tuple[str, list[str] | None]]:
    """(the `;` or `&&` before it, its words) of each program; the words are None if a quote is not closed."""
    try:
        lexer = shlex.shlex(command, posix=True, punctuation_chars=";&")
        lexer.whitespace_split = True
        words = list(lexer)
    except ValueError:
        yield "", None
        return
    separator, program = "", list[str]()
    for word in [*words, ";"]:
        if word in {";", "&&"}:
            if program:
                yield separator, program
            separator, program = word, []
        else:
            program.append(word)


def _run(machine: Machine, vitals: Vitals, words: list[str] | None) -> Script:
    if words is None:
        return _failed("bash: -c: line 1: unexpected EOF while looking for matching quote", WRONG_USE)
    name = words[0].rpartition("/")[2]
    program = PROGRAMS.get(name)
    if program is None or (name == "nvidia-smi" and machine.gpu_load is None):
        return _failed(f"bash: line 1: {words[0]}: command not found", NOT_FOUND)
    return program(machine, vitals, words[1:])


def _printed(*rows: str) -> Script:
    return Script((Line(0.0, "".join(f"{row}\n" for row in rows)),))


def _failed(reason: str, exit_code: int = 1) -> Script:
    return Script((Line(0.0, f"{reason}\n", "stderr"),), exit_code)


def _paced(rows: Sequence[str], every: float) -> Script:
    """Prints the rows one after the other, `every` so many seconds."""
    return Script(
        tuple(Line(place * every, f"{row}\n") for place, row in enumerate(rows)), seconds=every * max(0, len(rows) - 1)
    )


def _uptime(machine: Machine, vitals: Vitals, words: list[str]) -> Script:
    days, rest = divmod(int(vitals.uptime_seconds), 86_400)
    clock = f"{rest // 3_600}:{rest % 3_600 // 60:02d}"
    up = f"{days} day{'s' if days != 1 else ''}, {clock}" if days else clock
    if words == ["-p"]:
        return _printed(f"up {days} days, {rest // 3_600} hours, {rest % 3_600 // 60} minutes")
    now, load = _now(vitals), vitals.load_average
    return _printed(
        f" {now:%H:%M:%S} up {up},  1 user,  load average: {load:.2f}, {load * 0.97:.2f}, {load * 0.94:.2f}"
    )


def _df(machine: Machine, vitals: Vitals, words: list[str]) -> Script:
    size = _human if any("h" in word.lstrip("-") for word in words) else _kib
    heading = "Size" if size is _human else "1K-blocks"
    rows = [("Filesystem", heading, "Used", "Avail", "Use%", "Mounted on")]
    for disk in machine.disks:
        used = int(_fill(disk, vitals) * disk.total_bytes)
        rows.append(
            (
                disk.device,
                size(disk.total_bytes),
                size(used),
                size(disk.total_bytes - used),
                f"{round(100 * _fill(disk, vitals))}%",
                disk.mountpoint,
            )
        )
    memory = machine.hardware.memory_gib * GIB
    rows.append(("tmpfs", size(memory // 2), size(0), size(memory // 2), "0%", "/dev/shm"))
    return _printed(*_table(rows))


def _free(machine: Machine, vitals: Vitals, words: list[str]) -> Script:
    memory = machine.hardware.memory_gib * GIB
    used = int(memory * vitals.memory)
    cached = int((memory - used) * 0.7)
    kinds: Mapping[str, Callable[[int], str]] = {
        "-h": _human,
        "-g": lambda count: str(count // GIB),
        "-m": lambda count: str(count // MIB),
        "-b": str,
    }
    size = next((kinds[word] for word in words if word in kinds), _kib)
    swap = 0 if machine.is_switch else 8 * GIB
    swapped = int(swap * 0.016)
    shown = [size(count) for count in (memory, used, memory - used - cached, 96 * MIB, cached, memory - used)]
    rest = [size(count) for count in (swap, swapped, swap - swapped)]
    heading = ["total", "used", "free", "shared", "buff/cache", "available"]
    rows = (("", heading), ("Mem:", shown), ("Swap:", rest))
    return _printed(*(f"{name:14}" + "".join(f" {cell:>11}" for cell in cells) for name, cells in rows))


def _uname(machine: Machine, vitals: Vitals, words: list[str]) -> Script:
    kernel = machine.hardware.kernel
    parts = {"s": "Linux", "n": machine.hostname, "r": kernel, "m": "x86_64", "o": "GNU/Linux"}
    flags = "".join(word.lstrip("-") for word in words) or "s"
    if "a" in flags:
        return _printed(f"Linux {machine.hostname} {kernel} #1 SMP PREEMPT_DYNAMIC x86_64 GNU/Linux")
    wrong = [flag for flag in flags if flag not in parts]
    if wrong:
        return _failed(f"uname: invalid option -- '{wrong[0]}'")
    return _printed(" ".join(text for flag, text in parts.items() if flag in flags))


def _systemctl(machine: Machine, vitals: Vitals, words: list[str]) -> Script:
    verb, unit = [*[word for word in words if not word.startswith("-")], "", ""][:2]
    name = unit.removesuffix(".service")
    units = (*UNITS_BY_ROLE[machine.role], *UNITS_OF_ALL)
    if not unit:
        return _system(machine, verb, units)
    if verb not in UNIT_VERBS:
        return _failed(f"Unknown command verb '{verb}'.")
    if name in units:
        return UNIT_VERBS[verb](machine, vitals, name)
    if verb == "is-active":
        return Script((Line(0.0, "inactive\n"),), 3)
    return _failed(f"Unit {name}.service could not be found.", 4 if verb == "status" else 5)


def _system(machine: Machine, verb: str, units: Sequence[str]) -> Script:
    """What systemctl prints when no unit is named."""
    rows = {
        "is-system-running": ["running"],
        "status": [f"● {machine.hostname}", "    State: running", "     Jobs: 0 queued", "   Failed: 0 units"],
    }
    return _printed(*rows.get(verb, [f"  {unit + '.service':36} loaded active running" for unit in units]))


def _unit_status(machine: Machine, vitals: Vitals, unit: str) -> Script:
    since = _now(vitals) - timedelta(seconds=vitals.uptime_seconds)
    is_main = unit == UNITS_BY_ROLE[machine.role][0]
    memory = machine.hardware.memory_gib * vitals.memory * PROCESS_MEMORY_WEIGHTS[0 if is_main else -1]
    return _printed(
        f"● {unit}.service - {unit}",
        f"     Loaded: loaded (/lib/systemd/system/{unit}.service; enabled; preset: enabled)",
        f"     Active: active (running) since {since:%a %Y-%m-%d %H:%M:%S} UTC",
        f"   Main PID: {pid_of(machine, 0 if is_main else len(unit))} ({unit.partition('@')[0]})",
        f"     Memory: {memory:.1f}G",
        f"     CGroup: /system.slice/{unit}.service",
    )


def _unit_changes(machine: Machine, vitals: Vitals, unit: str) -> Script:
    return Script((), seconds=1.4)


UNIT_VERBS: Mapping[str, Callable[[Machine, Vitals, str], Script]] = {
    "is-active": lambda machine, vitals, unit: _printed("active"),
    "status": _unit_status,
    **dict.fromkeys(("reload", "restart", "start", "stop"), _unit_changes),
}


def _ls(machine: Machine, vitals: Vitals, words: list[str]) -> Script:
    folder = next((word for word in words if not word.startswith("-")), "/root")
    names = FILES_BY_FOLDER.get(folder.rstrip("/") or "/")
    if names is None:
        return _failed(f"ls: cannot access '{folder}': No such file or directory", WRONG_USE)
    if any(word.startswith("-") and "l" in word for word in words):
        day = _now(vitals) - timedelta(seconds=vitals.uptime_seconds)
        rows = [f"drwxr-xr-x  4 root root  4096 {day:%b %d %H:%M} {name}" for name in names.split()]
        return _printed(f"total {4 * len(rows)}", *rows)
    return _printed(names) if names else Script(())


def _cat(machine: Machine, vitals: Vitals, words: list[str]) -> Script:
    hardware, load = machine.hardware, vitals.load_average
    texts = {
        "/etc/hostname": machine.hostname,
        "/etc/os-release": f'NAME="{hardware.distro}"\nVERSION_ID="{hardware.release}"',
        "/proc/loadavg": f"{load:.2f} {load * 0.97:.2f} {load * 0.94:.2f} {1 + int(load)}/812 {pid_of(machine, 9)}",
        "/proc/uptime": f"{vitals.uptime_seconds:.2f} {vitals.uptime_seconds * hardware.cores * 1.2:.2f}",
        "/etc/hosts": f"127.0.0.1 localhost\n{machine.ip} {machine.hostname}",
    }
    missing = [word for word in words if word not in texts]
    if missing:
        return _failed(f"cat: {missing[0]}: No such file or directory")
    return _printed(*(texts[word] for word in words))


def _sleep(machine: Machine, vitals: Vitals, words: list[str]) -> Script:
    units = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
    seconds = 0.0
    for word in words:
        match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smhd]?)", word)
        if match is None:
            return _failed(f"sleep: invalid time interval '{word}'")
        seconds += float(match[1]) * units[match[2]]
    return Script((), seconds=min(seconds, LONGEST_SECONDS)) if words else _failed("sleep: missing operand")


def _ps(machine: Machine, vitals: Vitals, words: list[str]) -> Script:
    rows = [
        f"{'USER':12}{'PID':>8}{'%CPU':>8}{'%MEM':>6} COMMAND",
        f"{'root':12}{1:>8}{0.0:>8.1f}{0.0:>6.1f} /sbin/init",
    ]
    for place, (name, user) in enumerate(machine.processes):
        cpu = 100 * vitals.load * 2 * machine.hardware.cores * PROCESS_WEIGHTS[place]
        memory = 100 * machine.memory * PROCESS_MEMORY_WEIGHTS[place]
        rows.append(f"{user:12}{pid_of(machine, place):>8}{cpu:>8.1f}{memory:>6.1f} {name}")
    return _printed(*rows)


def _ip(machine: Machine, vitals: Vitals, words: list[str]) -> Script:
    if "route" in words or "r" in words:
        gateway = machine.ip.rpartition(".")[0] + ".1"
        return _printed(f"default via {gateway} dev eno1 proto static", f"10.0.0.0/8 dev eno1 src {machine.ip}")
    return _printed(
        "1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 state UNKNOWN",
        "    inet 127.0.0.1/8 scope host lo",
        "2: eno1: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 9000 state UP",
        f"    inet {machine.ip}/24 brd {machine.ip.rpartition('.')[0]}.255 scope global eno1",
    )


def _ping(machine: Machine, vitals: Vitals, words: list[str]) -> Script:
    count, target = 5, ""
    rest = iter(words)
    for word in rest:
        if word == "-c":
            text = next(rest, "")
            if not text.isdigit() or not 1 <= int(text) <= 10_000:
                return _failed(f"ping: invalid argument: '{text}'")
            count = int(text)
        elif not word.startswith("-"):
            target = word
    if not target:
        return _failed("ping: usage error: Destination address required")
    times = [0.18 + 0.05 * vitals.core_loads[place % 8] for place in range(count)]
    rows = [
        f"64 bytes from {target}: icmp_seq={place + 1} ttl=64 time={milliseconds:.3f} ms"
        for place, milliseconds in enumerate(times)
    ]
    rows[0] = f"PING {target} 56(84) bytes of data.\n{rows[0]}"
    rows[-1] += (
        f"\n\n--- {target} ping statistics ---\n{count} packets transmitted, {count} received, 0% packet loss\n"
        f"rtt min/avg/max = {min(times):.3f}/{sum(times) / count:.3f}/{max(times):.3f} ms"
    )
    return _paced(rows, every=1.0)


def _journalctl(machine: Machine, vitals: Vitals, words: list[str]) -> Script:
    follows, now = any(word in {"-f", "--follow"} for word in words), _now(vitals)
    rows = [
        f"{now - timedelta(seconds=23 * (20 - place)):%b %d %H:%M:%S} {machine.hostname} "
        + JOURNAL[(place + len(machine.hostname)) % len(JOURNAL)].format(pid=pid_of(machine, place))
        for place in range(20)
    ]
    if not follows:
        return _printed(*rows)
    script = _paced(rows, every=0.7)
    return Script(script.lines, seconds=LONGEST_SECONDS)  # until a cancel or the timeout


def _nvidia_smi(machine: Machine, vitals: Vitals, words: list[str]) -> Script:
    return _printed(
        "+-----------------------------------------------------------------------------+",
        "| GPU  Name              Temp   GPU-Util          Memory-Usage                |",
        "|-----------------------------------------------------------------------------|",
        f"|   0  NVIDIA A100 80GB  {vitals.gpu_celsius or 0:3.0f}C   {100 * vitals.load:5.0f} %   {81_559 * vitals.memory:10.0f}MiB / 81559MiB          |",
        "+-----------------------------------------------------------------------------+",
    )


def _date(machine: Machine, vitals: Vitals, words: list[str]) -> Script:
    return _printed(f"{_now(vitals):%a %b %d %H:%M:%S} UTC {_now(vitals):%Y}")


Program = Callable[[Machine, Vitals, list[str]], Script]
PROGRAMS: Mapping[str, Program] = {
    "cat": _cat,
    "date": _date,
    "df": _df,
    "echo": lambda machine, vitals, words: _printed(" ".join(words)),
    "false": lambda machine, vitals, words: Script((), 1),
    "free": _free,
    "hostname": lambda machine, vitals, words: _printed(machine.ip if words == ["-I"] else machine.hostname),
    "id": lambda machine, vitals, words: _printed(
        "uid=990(mirror-stage) gid=990(mirror-stage) groups=990(mirror-stage)"
    ),
    "ip": _ip,
    "journalctl": _journalctl,
    "ls": _ls,
    "nproc": lambda machine, vitals, words: _printed(str(machine.hardware.cores * 2)),
    "nvidia-smi": _nvidia_smi,
    "ping": _ping,
    "ps": _ps,
    "sleep": _sleep,
    "systemctl": _systemctl,
    "true": lambda machine, vitals, words: Script(()),
    "uname": _uname,
    "uptime": _uptime,
    "whoami": lambda machine, vitals, words: _printed("mirror-stage"),
}


def _now(vitals: Vitals) -> datetime:
    """The time by the machine's own clock."""
    return datetime.fromtimestamp(vitals.at // SECOND, timezone.utc)


def _fill(disk: Disk, vitals: Vitals) -> float:
    return disk.fill + vitals.disk_shift


def _kib(count: int) -> str:
    return str(count // KIB)


def _human(count: int) -> str:
    """A size as df -h and free -h print it."""
    size, unit = float(count), "B"
    for unit in ("B", "K", "M", "G", "T"):
        if size < 1024 or unit == "T":
            break
        size /= 1024
    return f"{size:.1f}{unit}" if size < 10 and unit != "B" else f"{size:.0f}{unit}"


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The rows as aligned columns: the first and the last column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [text.rjust(width) for text, width in zip(row[1:-1], widths[1:-1])]
        yield " ".join([row[0].ljust(widths[0]), *cells, row[-1]])
