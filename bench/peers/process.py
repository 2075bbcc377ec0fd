"""The runner's side of the protocol: a peer's process."""

import json
import os
import pathlib
import subprocess
import time

import peers
from environments import Unavailable

TICK = os.sysconf("SC_CLK_TCK")


class Process:
    """A peer that has loaded its data and waits. `log`: where its other output goes."""

    def __init__(self, name, work, folder, log):
        self.name = name
        peer = peers.PEERS[name]
        self.log = pathlib.Path(log)
        self.idle_seconds = 0.0
        command = peer.serve(work, folder)
        with open(log, "w") as file:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                env=os.environ | peers.VARIABLES | peer.variables,
            )
        first = self._read()
        if "skip" in first:
            self.quit()
            raise Unavailable(first["skip"])
        self.versions = first["ready"]
        self._rest()

    def ask(self, command):
        """The answer to a command, as a dictionary."""
        # What it took of the processor since its last answer: as good as nothing, or it disturbed
        # whoever's turn it was.
        self.idle_seconds += self._cpu_seconds() - self._cpu_at_rest
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        answer = self._read()
        self._rest()
        return answer

    def memory(self):
        """Bytes in memory now, and at most so far."""
        status = pathlib.Path(f"/proc/{self._process.pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines())
        kib = {key: int(fields[key].split()[0]) for key in ("VmRSS", "VmHWM")}
        return {"now": kib["VmRSS"] * 1024, "peak": kib["VmHWM"] * 1024}

    def quit(self):
        if self._process.poll() is None:
            try:
                self._process.stdin.close()
                self._process.wait(10)
            except (subprocess.TimeoutExpired, BrokenPipeError):
                self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def _rest(self):
        # Threads fall asleep a moment after the answer.
        time.sleep(0.05)
        self._cpu_at_rest = self._cpu_seconds()

    def _cpu_seconds(self):
        stat = pathlib.Path(f"/proc/{self._process.pid}/stat").read_text()
        fields = stat.rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def _read(self):
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            tail = self.log.read_text().strip().splitlines()[-1:] or ["no message"]
            raise Unavailable(f"ended with exit status {status}: {tail[0]} (see {self.log})")
        return json.loads(line)
