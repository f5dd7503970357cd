"""Array datasets: `Arrays`, which `Client.dataset` returns for them.

Arrays lie in groups, named by paths; `_array` has the one array. Beside them lie the keys
of a zarr store, which are ``pydaos.zarr``'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pydaos import _errors as errors
from pydaos._array import Array, Attributes, encoded, where_of
from pydaos._dataset import Dataset
from pydaos._dtypes import converted, dtype_name
from pydaos._proto.daos.array.v1 import array_service_pb2 as pb

if TYPE_CHECKING:
    from pydaos._client import Client


class Group:
    """A group of arrays; from `Arrays.group`."""

    def __init__(self, client: Client, address: str, path: str) -> None:
        self.client, self.address, self.path = client, address, path

    @property
    def attrs(self) -> Attributes:
        """User attributes."""
        return Attributes(self.client, self.address, self.path)

    def __repr__(self) -> str:
        return f"<pydaos.Group {where_of(self.address, self.path)}>"


class Arrays(Dataset):
    """An array dataset, or its frozen state at a snapshot: arrays and groups by path.

    Examples
    --------
    >>> weather = client.create_dataset("p/weather", type="array")
    >>> t2m = weather.create_array("obs/t2m", shape=(0, 181, 360), dtype="f4", dims=("time", "lat", "lon"))
    >>> t2m.append(np.zeros((24, 181, 360)))
    range(0, 24)
    >>> weather["obs/t2m"][0:24, ::2, 5].shape
    (24, 91)
    >>> list(weather)
    ['obs/t2m']
    """

    def create_array(
        self,
        path: str,
        *,
        shape: Sequence[int] | int | None = None,
        dtype: Any = None,
        chunks: Sequence[int] | int | None = None,
        fill_value: Any = None,
        dims: Sequence[str] = (),
        attrs: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        data: npt.ArrayLike | None = None,
    ) -> Array:
        """Make an array and the groups above it.

        Parameters
        ----------
        path
            ``"x"``, or ``"train/x"`` in a group.
        shape
            Elements along each axis; a 0 is fine along an axis that is appended to. Without: that of
            `data`.
        dtype
            A numpy dtype, or a name: ``"bfloat16"``, ``"float8_e4m3fn"``, ``"float8_e5m2"``, or
            an Arrow type of fixed width, ``"timestamp[ns]"``. Without: that of `data`, or float64.
        chunks
            Elements of a chunk along each axis, at most 64 MiB. Without: about 1 MiB.
        fill_value
            What stands where nothing was written; zeros by default.
        dims
            Names of the axes.
        attrs
            User attributes: anything that has a JSON form.
        overwrite
            Replace an array of this path; without it that is an ExistsError.
        data
            Elements to write.
        """
        values = None if data is None else np.asarray(data)
        if shape is None:
            shape = () if values is None else values.shape
        if dtype is None:
            dtype = "float64" if values is None else values.dtype
        name = dtype_name(dtype)
        fill = b""
        if fill_value is not None:
            fill = converted(fill_value, name).tobytes()
        spec = pb.ArraySpec(
            dtype=name,
            shape=[shape] if isinstance(shape, (int, np.integer)) else [int(n) for n in shape],
            chunks=[] if chunks is None else [chunks] if isinstance(chunks, int) else [int(n) for n in chunks],
            fill_value=fill,
            dims=dims,
        )
        request = pb.CreateRequest(
            dataset=self.address, path=path, spec=spec, attributes=encoded(attrs), overwrite=overwrite
        )
        reply = self.client.call("array.Create", request, pb.CreateResponse)
        made = Array(self.client, self.address, reply.node)
        if values is not None and values.size:
            made[...] = values
        return made

    def array(self, path: str) -> Array:
        """Open an array; NotFoundError if there is none of that path."""
        node = self._node(path)
        if node.kind != pb.NODE_KIND_ARRAY:
            where = where_of(self.address, path)
            raise errors.InvalidError(f"{where}: it is a group, not an array", resource=where)
        return Array(self.client, self.address, node)

    def arrays(self, group: str = "") -> list[Array]:
        """List the arrays below a group, at any depth, in byte order of their paths."""
        return [Array(self.client, self.address, n) for n in self._nodes(group, True) if n.kind == pb.NODE_KIND_ARRAY]

    def create_group(self, path: str, *, attrs: Mapping[str, Any] | None = None, exist_ok: bool = False) -> Group:
        """Make a group, and the groups above it."""
        request = pb.CreateGroupRequest(dataset=self.address, path=path, attributes=encoded(attrs), exist_ok=exist_ok)
        self.client.call("array.CreateGroup", request, pb.CreateGroupResponse)
        return Group(self.client, self.address, path)

    def group(self, path: str = "") -> Group:
        """Open a group; the root by default."""
        node = self._node(path)
        if node.kind != pb.NODE_KIND_GROUP:
            where = where_of(self.address, path)
            raise errors.InvalidError(f"{where}: it is an array, not a group", resource=where)
        return Group(self.client, self.address, path)

    def groups(self, group: str = "") -> list[Group]:
        """List the groups below a group, at any depth."""
        return [
            Group(self.client, self.address, n.path) for n in self._nodes(group, True) if n.kind == pb.NODE_KIND_GROUP
        ]

    def remove_array(self, path: str, *, recursive: bool = False) -> None:
        """Remove an array, or a group (with `recursive` with all that is in it)."""
        request = pb.RemoveRequest(dataset=self.address, path=path, recursive=recursive)
        self.client.call("array.Remove", request, pb.RemoveResponse)

    def __getitem__(self, path: str) -> Array:  # type: ignore[override]
        """Open an array; NotFoundError, which is a KeyError, if there is none."""
        return self.array(path)

    def __contains__(self, path: object) -> bool:
        """Tell whether there is an array or a group of that path."""
        try:
            self._node(str(path))
        except errors.NotFoundError:
            return False
        return True

    def __iter__(self) -> Iterator[str]:  # type: ignore[override]
        """Iterate over the paths of the arrays, in byte order."""
        return (a.path for a in self.arrays())

    def __len__(self) -> int:
        """Return the number of arrays."""
        return len(self.arrays())

    def _node(self, path: str) -> pb.Node:
        request = pb.DescribeRequest(dataset=self.address, path=path)
        return self.client.call("array.Describe", request, pb.DescribeResponse).node

    def _nodes(self, path: str, recursive: bool) -> Iterator[pb.Node]:
        request = pb.ListRequest(dataset=self.address, path=path, recursive=recursive)
        while True:
            reply = self.client.call("array.List", request, pb.ListResponse)
            yield from reply.nodes
            if not reply.more:
                return
            request.after, request.epoch = reply.nodes[-1].path, reply.epoch
