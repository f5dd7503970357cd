"""Addresses and paths."""

import pathlib

import pytest

import pydaos
from pydaos._address import Address, decode_path, encode_path


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("p/d", ("p", "d", "", b"")),
        ("p/d@v1", ("p", "d", "v1", b"")),
        ("p/d/", ("p", "d", "", b"")),
        ("p/d@v1/a/b.png", ("p", "d", "v1", b"a/b.png")),
        ("daos://p/d@v.1-x_2//a//b/", ("p", "d", "v.1-x_2", b"a/b")),
        ("p/d/a@b", ("p", "d", "", b"a@b")),
        ("p/d/häß", ("p", "d", "", "häß".encode())),
        ("p/d/\udcff", ("p", "d", "", b"\xff")),
    ],
)
def test_parse(text, parts):
    assert tuple(Address.parse(text)) == parts


@pytest.mark.parametrize("text", ["p/d", "p/d@v1", "p/d/a/b", "p/d@v1/a", "p/d/\udcff\udc80"])
def test_round_trip(text):
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "p", "daos://p", ".p/d", "-p/d", "p/.d", "p/d@", "p/d@-v", "p/d@a b", "p/" + "d" * 128, "p/d/../x", "p/d/x\0y",
     "p/ü", "p/d@v/./x"],
)  # fmt: skip
def test_refused(text):
    with pytest.raises(pydaos.InvalidError) as caught:
        Address.parse(text)
    assert caught.value.resolution or "NUL" in str(caught.value)


def test_paths_are_bytes_and_text():
    assert encode_path("/a//b/") == b"a/b"
    assert encode_path(b"\xff/x") == b"\xff/x"
    assert encode_path(decode_path(b"\xff\xc3\x28")) == b"\xff\xc3\x28"
    assert encode_path(pathlib.PurePosixPath("a/b")) == b"a/b"
    assert encode_path("") == b""
    assert encode_path("a/...") == b"a/..."
