"""Particle's own clients as subprocesses: a private home, no proxy, no way out of this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CLI = HERE / "node_modules" / "particle-cli" / "src" / "index.js"
TIMEOUT = 120.0  # seconds one command may take on a busy machine


class ParticleClients:
    """particle-cli and particle-api-js, pointed at the cloud at ``url``. ``home`` is theirs alone."""

    def __init__(self, home: Path, url: str) -> None:
        node = shutil.which("node")
        assert node, "node is needed: scripts/setup test installs it"
        assert CLI.exists(), "particle-cli is missing: scripts/setup test installs it"
        self._node = node
        self._home = home
        self._url = url
        self._outside = home / "outside.log"
        settings = home / ".particle"
        settings.mkdir(parents=True)
        (settings / "profile.json").write_text(json.dumps({"name": "local"}))
        (settings / "local.config.json").write_text(json.dumps({"apiUrl": url}))

    @property
    def outside_hosts(self) -> list[str]:
        """Every host outside of this machine that a client tried to reach."""
        return self._outside.read_text().split() if self._outside.exists() else []

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``particle ARGUMENTS`` to its end; output of both kinds in ``stdout``."""
        return self._run(str(CLI), *arguments)

    def node(self, *arguments: str) -> str:
        """Run ``node ARGUMENTS`` in the same surroundings and return its output."""
        result = self._run(*arguments)
        assert result.returncode == 0, result.stdout
        return result.stdout

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._node, *arguments],
            env=self._environment(),
            cwd=self._home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )

    def expect(self, *arguments: str) -> str:
        """As :meth:`cli`, but it must succeed. Returns its output."""
        result = self.cli(*arguments)
        assert result.returncode == 0, f"particle {' '.join(arguments)}: {result.stdout}"
        return result.stdout

    def listen(self, *arguments: str) -> Listener:
        """Start ``particle ARGUMENTS``, which goes on until it is stopped."""
        return Listener([self._node, str(CLI), *arguments], self._environment(), self._home)

    def api_session(self, user: str, password: str, device_id: str, firmware: Path) -> dict[str, Any]:
        """Run ``api_session.js``; what it said, by step."""
        script = str(HERE / "api_session.js")
        output = self.node(script, self._url, user, password, device_id, str(firmware))
        said = [json.loads(line) for line in output.splitlines()]
        return {line["step"]: line["value"] for line in said}

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self._home),
            "PARTICLE_DISABLE_UPDATE": "1",
            "NODE_OPTIONS": f"--require {HERE / 'loopback_only.js'}",
            "HIL_OUTSIDE_LOG": str(self._outside),
        }


class Listener:
    """A command that keeps running; its lines can be waited for."""

    def __init__(self, command: list[str], environment: dict[str, str], cwd: Path) -> None:
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._process = subprocess.Popen(
            command,
            env=environment,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, text: str, within: float = TIMEOUT) -> str:
        """The first line that contains ``text``."""
        with self._news:
            found = self._news.wait_for(lambda: any(text in line for line in self._lines), within)
            assert found, f"no line with {text!r} among {self._lines}"
            return next(line for line in self._lines if text in line)

    def stop(self) -> None:
        """End the command."""
        self._process.terminate()
        self._process.wait(TIMEOUT)
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout:
            for line in self._process.stdout:
                with self._news:
                    self._lines.append(line.rstrip())
                    self._news.notify_all()
