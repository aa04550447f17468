"""A man in the middle: a network namespace of his own between a host and EGO, and what he does with their connections.

He stands on the host's way to EGO's address. As a program (`python -m tests.man FOLDER EGO CHAIN KEY`) he takes each connection
and treats it as the file `mode` in his folder says:

- `pass`: he passes all bytes on, and keeps them.
- `own`: he shows a certificate of his own, and would read what comes.
- `plain`: he answers in plain HTTP, with a script of his own.
- `edit`: he changes a byte in each piece that EGO sends after its first one.
- `repeat`: he sends each piece of the host after its first one twice.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mirror_stage.tls import certificates
from tests.servers import ROOT, wait_until

MODES = ("own", "plain", "edit", "repeat")
ADDRESS, PORT = "10.0.0.100", 3000  # EGO's, as the host knows it
AT_HOST, AT_EGO = "10.9.0", "10.9.1"  # his own two cables
SCRIPT = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 26\r\n\r\ntouch /tmp/of-the-man; id\r\n"


@dataclass
class Man:
    """The man, his namespace and his cables to the namespaces of a host and an EGO."""

    folder: Path
    host: str
    ego: str
    namespace: str = field(default_factory=lambda: f"man-{os.getpid()}")
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Lay the cables, and begin to listen. Nobody comes to him before `stand_between`."""
        self.folder.mkdir(exist_ok=True)
        chain, key = certificate_of_his_own(self.folder)
        _run("ip", "netns", "add", self.namespace)
        for number, (net, other) in enumerate(((AT_HOST, self.host), (AT_EGO, self.ego))):
            mine, theirs = (f"m{os.getpid()}{number}{end}"[-15:] for end in "ab")
            _run("ip", "link", "add", mine, "netns", self.namespace, "type", "veth",
                 "peer", "name", theirs, "netns", other)  # fmt: skip
            for namespace, device, last in ((self.namespace, mine, 1), (other, theirs, 2)):
                _run("ip", "-n", namespace, "address", "add", f"{net}.{last}/24", "dev", device)
                _run("ip", "-n", namespace, "link", "set", device, "up")
        _run("ip", "-n", self.namespace, "link", "set", "lo", "up")
        _run("ip", "-n", self.namespace, "address", "add", f"{ADDRESS}/32", "dev", "lo")
        self.turn("pass")
        program = [sys.executable, "-m", "tests.man", str(self.folder), f"{AT_EGO}.2", str(chain), str(key)]
        self._process = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, *program], env=os.environ | {"PYTHONPATH": str(ROOT)}
        )
        wait_until((self.folder / "listens").exists, 20)

    def turn(self, mode: str) -> None:
        """From the next connection on, do this."""
        (self.folder / "mode").write_text(mode)

    def stand_between(self) -> None:
        """Lead the host's way to EGO through his hands."""
        _run("ip", "-n", self.host, "route", "add", f"{ADDRESS}/32", "via", f"{AT_HOST}.1")

    def step_aside(self) -> None:
        """Give the host its own way back."""
        _run("ip", "-n", self.host, "route", "delete", f"{ADDRESS}/32", "via", f"{AT_HOST}.1")

    def count(self, mode: str) -> int:
        """How many connections he has treated like this."""
        return len([*self.folder.glob(f"{mode}-*.sent")])

    def heard(self, mode: str) -> bytes:
        """What hosts have sent on these connections, as he could read it."""
        return b"".join(file.read_bytes() for file in sorted(self.folder.glob(f"{mode}-*.sent")))

    def replay(self) -> int:
        """Send what hosts have sent before to EGO once more, connection by connection. Returns how many answers are HTTP."""
        script = (
            "import pathlib, socket, sys\n"
            "for file in pathlib.Path(sys.argv[1]).glob('pass-*.sent'):\n"
            "    with socket.create_connection((sys.argv[2], 3000), 10) as ego:\n"
            "        ego.sendall(file.read_bytes())\n"
            "        ego.shutdown(socket.SHUT_WR)\n"
            "        try: print(b''.join(iter(lambda: ego.recv(65536), b'')).count(b'HTTP/1.'))\n"
            "        except OSError: print(0)\n"
        )
        words = ["ip", "netns", "exec", self.namespace, sys.executable, "-c", script, str(self.folder), f"{AT_EGO}.2"]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        return sum(map(int, done.stdout.split()))

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
        subprocess.run(["ip", "netns", "delete", self.namespace], check=False)


def certificate_of_his_own(folder: Path) -> tuple[Path, Path]:
    """The files of a certificate for EGO's address and its key, from an authority that he has made."""
    root_key, key, now = certificates.new_key(), certificates.new_key(), time.time()
    root = certificates.make_root(root_key, "MIRROR STAGE EGO", now)
    (folder / "chain.pem").write_bytes(certificates.make_server(key, (ADDRESS,), root, root_key, now))
    (folder / "key.pem").write_bytes(key)
    return folder / "chain.pem", folder / "key.pem"


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


# ------------------------------------------------------------------ the program


def _serve(folder: Path, ego: str, chain: str, key: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    with socket.create_server((ADDRESS, PORT)) as listener:
        (folder / "listens").touch()
        for number in range(1_000_000):
            client, _ = listener.accept()
            mode = (folder / "mode").read_text()
            kept = folder / f"{mode}-{number}.sent"
            kept.touch()
            thread = threading.Thread(target=_treat, args=(client, mode, kept, ego, context), daemon=True)
            thread.start()


def _treat(client: socket.socket, mode: str, kept: Path, ego: str, context: ssl.SSLContext) -> None:
    with contextlib.suppress(OSError), client:
        client.settimeout(60)
        if mode == "own":
            with context.wrap_socket(client, server_side=True) as inside:
                kept.write_bytes(inside.recv(65536))
        elif mode == "plain":
            kept.write_bytes(client.recv(65536))
            client.sendall(SCRIPT)
        else:
            with socket.create_connection((ego, PORT), 10) as server:
                server.settimeout(60)
                back = threading.Thread(
                    target=_pump, args=(server, client, _edited if mode == "edit" else bytes), daemon=True
                )
                back.start()
                _pump(client, server, _twice if mode == "repeat" else bytes, kept)
                back.join(60)


def _edited(part: bytes) -> bytes:
    return part[:-1] + bytes([part[-1] ^ 1])


def _twice(part: bytes) -> bytes:
    return part + part


def _pump(
    source: socket.socket, target: socket.socket, change: Callable[[bytes], bytes], kept: Path | None = None
) -> None:
    """Pass on what comes until one side ends, each piece but the first one changed."""
    with contextlib.suppress(OSError):
        for number in range(1_000_000):
            part = source.recv(4096)
            if not part:
                break
            if kept is not None:
                with kept.open("ab") as file:
                    file.write(part)
            target.sendall(change(part) if number else part)
        target.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), *sys.argv[2:5])
