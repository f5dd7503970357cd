"""Which process this is, without a system call: forks are counted.

What belongs to one process (connections, memory of batches) keeps the count of the
process that made it. Asking for the process id instead costs as much as the rest of
a lookup, many times a batch.
"""

from __future__ import annotations

import os

#: Forks between the process that imported this module and this one.
forks = 0


def _forked() -> None:
    global forks
    forks += 1


os.register_at_fork(after_in_child=_forked)
