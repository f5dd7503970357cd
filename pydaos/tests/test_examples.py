"""The examples in the docstrings are run, on a server of their own."""

import doctest
import importlib

import numpy as np

import pydaos
from pydaos import fs

MODULES = [
    "",
    "._array",
    "._arrays",
    "._client",
    "._dataset",
    "._manifest",
    "._pool",
    "._posix",
    "._scan",
    "._tensor",
    ".fs",
    ".testing",
]


def test_examples(own_server, monkeypatch):
    monkeypatch.setenv("DAOS_ADDR", own_server.unix)
    fs.DaosFileSystem.clear_instance_cache()  # fsspec keeps instances by their arguments
    with own_server.connect() as client:
        client.create_pool("p")
        photos = client.create_dataset("p/photos")
        for i in range(64):
            photos.write_bytes(f"train/{i:02}.png", bytes(5000 + i), parents=True)
        photos.snapshot("v1")
        table = client.create_dataset("p/table", type="tensor")
        names = {"pydaos": pydaos, "np": np, "client": client, "photos": photos, "table": table}
        tests = [
            test
            for module in MODULES
            for test in doctest.DocTestFinder().find(importlib.import_module(f"pydaos{module}"), extraglobs=names)
            if test.examples
        ]
        assert len(tests) >= 11
        assert not [t.name for t in tests for e in t.examples if doctest.SKIP in e.options]
        # In an order in which they don't see each other's pools and datasets.
        runner = doctest.DocTestRunner()
        order = lambda t: ('create_dataset("p/' in t.docstring, "create_pool" in t.docstring)  # noqa: E731
        for test in sorted(tests, key=order):
            runner.run(test)
        assert runner.failures == 0


def test_examples_of_keys_and_values(own_server, monkeypatch):
    monkeypatch.setenv("DAOS_ADDR", own_server.unix)
    pydaos.DaosClient.cleanup()
    with own_server.connect() as client:
        client.create_pool("p")
        client.create_pool("tank")
        client.kv("tank/neo", create=True)
        names = {"runs": client.kv("p/runs", create=True), "pydaos": pydaos, "client": client}
        runner = doctest.DocTestRunner()
        ran = 0
        for module in ("_kv", "_upstream"):
            for test in doctest.DocTestFinder().find(importlib.import_module(f"pydaos.{module}"), extraglobs=names):
                runner.run(test)
                ran += bool(test.examples)
        assert runner.failures == 0 and ran >= 5
    pydaos.DaosClient.cleanup()
