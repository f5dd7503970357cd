"""Execute every notebook of a folder, each in a fresh kernel; print one line each.

    python internal/devtools/notebooks.py notebooks

The notebooks start servers of their own, with ./bin/daos, under a runtime folder
of their own. Outputs are thrown away: what is committed has none.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

TIMEOUT = 300


def main(folder: str) -> int:
    """Return the number of notebooks that failed."""
    root = Path(__file__).resolve().parents[2]
    notebooks = sorted(Path(folder).glob("*.ipynb"))
    if not notebooks:
        print(f"{folder}: no notebooks", file=sys.stderr)
        return 1
    runtime = tempfile.mkdtemp(prefix="daos-nb-")
    os.environ["PATH"] = f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}"
    os.environ["XDG_RUNTIME_DIR"] = runtime
    os.environ.setdefault("MPLBACKEND", "agg")
    for name in ("DAOS_ADDR", "DAOS_TOKEN"):
        os.environ.pop(name, None)
    failed = 0
    try:
        for path in notebooks:
            book = nbformat.read(path, as_version=4)
            began = time.monotonic()
            try:
                where = {"metadata": {"path": str(path.parent)}}
                NotebookClient(book, timeout=TIMEOUT, startup_timeout=TIMEOUT, resources=where).execute()
            except CellExecutionError as err:
                failed += 1
                print(f"{path}: failed\n{err}", file=sys.stderr)
            else:
                cells = sum(c.cell_type == "code" for c in book.cells)
                print(f"{path}: {cells} cells executed in {time.monotonic() - began:.1f} s")
    finally:
        shutil.rmtree(runtime, ignore_errors=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
