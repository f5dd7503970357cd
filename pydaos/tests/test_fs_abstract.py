"""fsspec's own suite for reading ("get"), over trees that are made through `pydaos.Dataset`."""

import pytest
from fsspec.tests import abstract

import pydaos
import pydaos.fs


class Writable(pydaos.fs.DaosFileSystem):
    """What the suite needs to make its trees; the file system itself only reads."""

    protocol = "daos-test"

    def _split(self, path):
        return self._dataset(self._strip_protocol(path))

    def makedirs(self, path, exist_ok=True):
        dataset, inside = self._split(path)
        dataset.mkdir(inside, parents=True)

    mkdir = makedirs

    def touch(self, path, **_):
        self.pipe(path, b"")

    def pipe(self, path, value):
        dataset, inside = self._split(path)
        dataset.write_bytes(inside, value, parents=True)

    def rm(self, path, recursive=False):
        dataset, inside = self._split(path)
        dataset.remove(inside, recursive=recursive)


class Fixtures(abstract.AbstractFixtures):
    @pytest.fixture
    def fs(self, server):
        return Writable(addr=server.unix)

    @pytest.fixture
    def fs_path(self, posix_dataset):
        return posix_dataset.address

    @pytest.fixture
    def fs_join(self):
        return lambda *parts: "/".join(parts)


class TestGet(abstract.AbstractGetTests, Fixtures):
    pass
