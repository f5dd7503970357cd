"""What all rows share: the server, the client, the scratch folder, how many rounds."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from pairs import Row, measure

import pydaos
from pydaos.testing import Server, find_binary

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Bench:
    """One run of ``make bench``.

    ``peers`` are names of `standing.PEERS`; ``python`` is the interpreter that has them.
    """

    scratch: Path
    server: Server
    rounds: int
    quick: bool
    sizes: list[str] = field(default_factory=list)
    peers: list[str] = field(default_factory=list)
    python: str = sys.executable
    rows: list[dict[str, object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        # The server's process answers to its unix socket; children find it by this.
        os.environ["DAOS_ADDR"] = self.server.unix
        self.client = pydaos.connect(self.server.unix)
        self.client.create_pool("bench")

    def wants(self, size: str) -> bool:
        """Whether rows of this size were asked for."""
        return not self.sizes or size in self.sizes

    def say(self, text: str) -> None:
        """Replace the progress line of a terminal."""
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K{text}")
            sys.stderr.flush()

    def measure(self, row: Row) -> Row:
        """Warm every side once, not counted, then measure the row."""
        for side in row.sides:
            self.say(f"{row.what}: warming {side.name}")
            side.work()
        measure(row, self.rounds, self.server.pid, self.say)
        self.say("")
        return row

    def show(self, row: Row) -> None:
        """Print a measured row and keep it for ``--out``."""
        self.rows.append(row.as_dict())
        print(row.markdown(), flush=True)

    def run(self, row: Row) -> None:
        """Measure and print a row."""
        self.show(self.measure(row))

    def daos(self, *args: str) -> None:
        """Run the command line."""
        subprocess.run([find_binary(), *args], check=True, stdout=subprocess.DEVNULL)
