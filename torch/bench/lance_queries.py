"""Lance beside our queries, in a process of its own with the interpreter of .venv/peers.

``lance_queries.py ROWS.parquet FOLDER`` writes the rows as a Lance dataset, in its default
format, and answers jobs, a JSON object a line. A filter is its scanner's, a GROUP BY is
DuckDB's over the dataset, as its documentation has it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from typing import Any

os.environ.setdefault("LANCE_CPU_THREADS", "2")


def main() -> None:
    import lance
    import pyarrow.parquet as pq

    source, folder = sys.argv[1:]
    rows = pq.ParquetFile(source)
    schema = rows.schema_arrow
    lance.write_dataset((b for b in rows.iter_batches()), folder, schema=schema)
    data = lance.dataset(folder)
    for line in sys.stdin:
        job: dict[str, Any] = json.loads(line)
        if job["sql"]:
            import duckdb

            duck = duckdb.connect()
            duck.execute("SET threads = 2")
            duck.register("data", data)
            table = duck.execute(job["sql"]).to_arrow_table()
        else:
            table = data.to_table(columns=job["columns"], filter=job["where"])
        print(json.dumps({"rows": table.num_rows}), flush=True)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
