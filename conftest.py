"""Loaded before every other conftest, so that `pydaos` and `torch` are the packages.

pytest's importlib mode names a test file after its folders, ``pydaos.tests.test_x``, and
would otherwise make modules of the folders ``pydaos/`` and ``torch/`` themselves.
"""

import contextlib

import pydaos  # noqa: F401

with contextlib.suppress(ImportError):
    import torch  # noqa: F401
