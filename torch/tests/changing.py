"""A writer for tests, as a program: changes a POSIX and a tensor dataset until it is told to stop.

``changing.py FILES ROWS`` with DAOS_ADDR set; prints a line after the first change of
each, and the number of changes when its standard input ends. Imports no torch.
"""

from __future__ import annotations

import sys
import threading

import numpy as np

import pydaos


def main() -> None:
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    client = pydaos.connect(retry=60)
    files, rows = client.dataset(sys.argv[1]), client.dataset(sys.argv[2])
    k = 0
    while not stop.is_set():
        files.write_bytes(f"a/new-{k % 50:03d}", b"new")
        files.write_bytes("b/00001", b"changed" * (k % 9))
        files.rename(f"a/new-{k % 50:03d}", f"c/!{k % 50:03d}")
        rows.overwrite(k % 50, {"id": np.full(3, -1, np.int64)})
        if k % 10 == 9:
            rows.append({"id": np.full(2, -2, np.int64), "pad": np.zeros((2, 5), np.uint8)})
            files.remove(f"c/!{(k - 5) % 50:03d}")
        if k == 0:
            print("changed", flush=True)
        k += 1
        stop.wait(0.005)
    print(k, flush=True)
    client.close()


if __name__ == "__main__":
    main()
