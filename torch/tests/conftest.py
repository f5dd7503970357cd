"""Fixtures: a real server, a client, pools and datasets of the test's own (pydaos.testing)."""

from pydaos.testing import *  # noqa: F403
