"""Upstream's interface: its documented examples, as programs written for it say them."""

import os
import pickle
import subprocess
import sys

import pytest

import pydaos


@pytest.fixture
def neo(client, server, pool, monkeypatch):
    """A container ``pool/neo``, found by programs as upstream's are: without an address."""
    client.create_dataset(f"{pool}/neo", type="kv")
    monkeypatch.setenv("DAOS_ADDR", server.unix)
    pydaos.DaosClient.cleanup()
    yield pydaos.DCont(pool, "neo")
    pydaos.DaosClient.cleanup()


def test_container(neo, pool):
    assert str(neo) == f"{pool}/neo" and repr(neo) == f"daos://{pool}/neo"
    assert str(pydaos.DCont(path=f"daos://{pool}/neo")) == str(neo)
    with pytest.raises(pydaos.PyDError, match=r"^failed to access container: DER_NONEXIST$"):
        pydaos.DCont(pool, "morpheus")
    with pytest.raises(pydaos.PyDError, match=r"^invalid pool or container UUID: DER_INVAL$"):
        pydaos.DCont(pool)
    with pytest.raises(pydaos.InvalidModeError):
        pydaos.DCont(pool, "neo", open_mode="WO")


def test_container_of_another_type(client, neo, pool):
    client.create_dataset(f"{pool}/files")
    with pytest.raises(pydaos.PyDError, match="DER_INVAL"):
        pydaos.DCont(pool, "files")


def test_dictionary_as_documented(neo, capsys):
    dd = neo.dict("stadium", {"Barcelona": "Camp Nou", "London": "Wembley"})
    print(dd)
    assert capsys.readouterr().out == "stadium\n" and len(dd) == 2
    with pytest.raises(pydaos.PyDError) as e:
        neo.dict("stadium")
    assert str(e.value) == "failed to create DAOS dict: DER_EXIST"
    dd1 = neo.get("stadium")
    dd["Milano"] = "San Siro"
    dd["Rio"] = "Maracanã"
    assert dd1["Milano"] == b"San Siro" and len(dd1) == 4 and neo["stadium"] == dd
    dd.bput({"Madrid": "Santiago-Bernabéu", "Manchester": "Old Trafford"})
    assert len(dd) == 6
    assert dd.bget({"Madrid": None, "Manchester": None}) == {
        "Madrid": "Santiago-Bernabéu".encode(),
        "Manchester": b"Old Trafford",
    }
    del dd["Madrid"]
    assert dd.pop("Rio") is None
    assert len(dd) == 4
    assert {key: dd[key] for key in dd} == {
        "Manchester": b"Old Trafford",
        "Barcelona": b"Camp Nou",
        "Milano": b"San Siro",
        "London": b"Wembley",
    }
    d = dd.dump()
    assert d == dd and dd == d
    dd["Rio"] = "Maracanã"
    assert d != dd and dd != d
    assert "Rio" in dd and "Paris" not in dd
    with pytest.raises(KeyError) as missing:
        dd["Paris"]
    assert missing.value.args == ("Paris",)
    dd.put("Rio", "")
    dd.put("Milano", None)
    assert "Rio" not in dd and "Milano" not in dd and bool(dd)
    with pytest.raises(pydaos.DObjNotFound, match=r"^Failed to open 'arena'$") as lost:
        neo.get("arena")
    assert lost.value.name == "arena" and pickle.loads(pickle.dumps(lost.value)).name == "arena"


def test_two_dictionaries_keep_apart(neo):
    a, ab = neo.dict("a"), neo.dict("a/b")
    a["/b"] = "1"
    a["b"] = "2"
    ab["x"] = "3"
    assert a.dump() == {"/b": b"1", "b": b"2"} and ab.dump() == {"x": b"3"} and not neo.dict("empty")
    neo.destroy("a")
    with pytest.raises(pydaos.DObjNotFound):
        neo.destroy("a")
    assert ab.dump() == {"x": b"3"} and neo.dict("a").dump() == {}
    for bad in ("", "a\0b"):
        with pytest.raises(pydaos.PyDError):
            neo.dict(bad)


def test_large_and_many(neo):
    kv = neo.dict("my_test_kv")
    kv["a"] = "a"
    kv["list"] = pickle.dumps(list(range(1, 100_000)))
    kv.bput({str(i): pickle.dumps(list(range(1, 10))) for i in range(20_000)})
    kv["large"] = bytes(20 << 20)
    kv.value_size = 32
    data = dict.fromkeys(kv)
    data["no-key"] = None
    assert kv.bget(data, value_size=16) is data
    assert data.pop("no-key") is None and all(data.values()) and len(data) == 20_003
    assert pickle.loads(data["list"]) == list(range(1, 100_000)) and data["large"] == bytes(20 << 20)
    neo.destroy("my_test_kv")
    assert pydaos.check(neo.pool, neo.cont) == []


def test_object_classes(neo):
    assert len(neo.dict("object1", {"Monday": "1"}, "OC_S2")) == 1
    assert len(neo.dict("object2", {"Monday": "1", "Tuesday": "2"})) == 2
    assert len(neo.dict("object3", None, pydaos.ObjClassID.OC_SX)) == 0
    with pytest.raises(pydaos.PyDError, match="DER_INVAL"):
        neo.dict("object4", None, "OC_NONE")


def test_read_only(neo, pool):
    neo.dict("d", {"a": "1"})
    ro = pydaos.DCont(pool, "neo", open_mode="RO")
    assert ro["d"]["a"] == b"1"
    for change in (lambda: ro.dict("e"), lambda: ro["d"].put("a", "2"), lambda: ro.destroy("d")):
        with pytest.raises(pydaos.PyDError, match="DER_NO_PERM"):
            change()


def test_check_names_what_was_half_destroyed(client, neo, pool):
    neo.dict("d", {"a": "1", "b": "2"})
    neo.dict("e", {"x": "1"})
    del client.dataset(f"{pool}/neo")[b"\0d"]
    with pytest.raises(pydaos.DObjNotFound):
        neo.get("d")
    assert pydaos.check(pool, "neo") == ["d"] and neo["d"].dump() == {"a": b"1", "b": b"2"}
    assert pydaos.check(path=f"daos://{pool}/neo") == []


def test_a_program_of_its_own(neo, pool):
    program = f"""
import pydaos
dcont = pydaos.DCont({pool!r}, "neo")
dd = dcont.dict("stadium", {{"London": "Wembley"}})
print(dcont, dd, len(dd), dd["London"])
try:
    dcont.dict("stadium")
except pydaos.PyDError as e:
    print(e)
"""
    run = subprocess.run([sys.executable, "-c", program], env=os.environ, capture_output=True, text=True, check=True)
    assert run.stdout == f"{pool}/neo stadium 1 b'Wembley'\nfailed to create DAOS dict: DER_EXIST\n"


def test_without_a_server(monkeypatch, tmp_path):
    monkeypatch.setenv("DAOS_ADDR", f"unix:{tmp_path}/none")
    pydaos.DaosClient.cleanup()
    with pytest.raises(pydaos.PyDError, match="DER_UNREACH"):
        pydaos.DCont("tank", "neo")
