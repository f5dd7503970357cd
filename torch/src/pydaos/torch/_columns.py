"""A batch as it was received, and its columns as tensors over that memory.

Not which samples are read, nor how: that is `_source`. The layout of a payload
is that of a BATCH_REPLY frame (docs/protocol.md).
"""

from __future__ import annotations

import io
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import torch

from pydaos._manifest import FIXED, RAGGED, STRING
from pydaos.torch._batch import Ragged

if TYPE_CHECKING:
    from pydaos._feed import BatchMeta, Part
    from pydaos._manifest import Column

__all__ = ["Raw", "bytes_at", "column_of", "data_of", "decode_image", "offsets_of", "torch_dtype"]


class Raw:
    """One batch as received: column descriptors and the leased buffer they point into.

    Attributes
    ----------
    count : int
        Number of samples.
    columns : tuple of Part
        Where each column lies in the buffer.
    array : np.ndarray
        The buffer, uint8.
    shared : bool
        The buffer is torch's shared memory: what is handed out is made of `payload`.
    """

    __slots__ = ("_payload", "array", "columns", "count", "shared")

    def __init__(self, meta: BatchMeta, array: Any, payload: torch.Tensor | None = None) -> None:
        # A named tuple's own `count` method hides behind the field for type checkers.
        self.count: int = meta[0]
        self.columns: tuple[Part, ...] = meta[1]
        self.shared = payload is not None
        if payload is not None:
            array = payload.numpy()  # which keeps it
        # A batch of nothing but empty samples has no payload.
        self.array: npt.NDArray[np.uint8] = array if len(array) else np.empty(0, np.uint8)
        self._payload = payload

    @property
    def payload(self) -> torch.Tensor:
        """The buffer as a tensor."""
        if self._payload is None:
            self._payload = torch.from_numpy(self.array)
        return self._payload


_DTYPES = {
    np.dtype("bool"): torch.bool,
    np.dtype("int8"): torch.int8,
    np.dtype("int16"): torch.int16,
    np.dtype("int32"): torch.int32,
    np.dtype("int64"): torch.int64,
    np.dtype("uint8"): torch.uint8,
    np.dtype("uint16"): torch.uint16,
    np.dtype("uint32"): torch.uint32,
    np.dtype("uint64"): torch.uint64,
    np.dtype("float16"): torch.float16,
    np.dtype("float32"): torch.float32,
    np.dtype("float64"): torch.float64,
}


def torch_dtype(dtype: np.dtype[Any]) -> torch.dtype:
    """Return torch's word for a dtype; TypeError if it has none."""
    try:
        return _DTYPES[dtype]
    except KeyError:
        raise TypeError(f"dtype {dtype} has no torch equivalent; leave the column out with columns=") from None


def bytes_at(raw: Raw, d: Part, i: int) -> memoryview:
    """A view of sample i's bytes in the batch buffer."""
    if d.layout == FIXED:
        start, stop = d.data_offset + i * d.item_size, d.data_offset + (i + 1) * d.item_size
    else:
        ends = raw.payload[d.offsets_offset + 8 * i : d.offsets_offset + 8 * i + 16].view(torch.int64).tolist()
        start, stop = d.data_offset + ends[0], d.data_offset + ends[1]
    return memoryview(cast("Any", raw.payload[start:stop].numpy()))


def data_of(raw: Raw, d: Part) -> torch.Tensor:
    """A column's bytes, those of all samples."""
    return raw.payload[d.data_offset : d.data_offset + d.data_len]


def offsets_of(raw: Raw, d: Part) -> torch.Tensor:
    """Byte offsets of the samples of a column of variable length, int64 of shape ``[B + 1]``."""
    return raw.payload[d.offsets_offset : d.offsets_offset + 8 * (raw.count + 1)].view(torch.int64)


def column_of(raw: Raw, c: Column, d: Part) -> Any:
    """A column of a batch: ``[B, ...]``, a `Ragged`, or a list of strings or bytes.

    ValueError for nulls in a column that is not of floats, which get NaN.
    """
    if d.layout == FIXED:
        dtype = torch_dtype(c.dtype)
        if raw.shared:
            values = data_of(raw, d).view(dtype).view(raw.count, *c.shape)
        else:
            # Sliced and shaped in numpy, which takes a third of torch's time for it.
            flat = raw.array[d.data_offset : d.data_offset + d.data_len]
            values = torch.from_numpy(flat.view(c.dtype).reshape(raw.count, *c.shape))
        if d.nulls:
            missing = raw.payload[d.validity_offset : d.validity_offset + raw.count] == 0
            if bool(missing.any()):
                if not values.is_floating_point():
                    raise ValueError(
                        f"column {c.name!r} of dtype {c.dtype} has nulls in this batch; "
                        "fill them or leave it out with columns="
                    )
                values[missing] = float("nan")
        return values
    if d.layout == RAGGED:
        offsets = offsets_of(raw, d)
        return Ragged(
            data_of(raw, d).view(torch_dtype(c.dtype)), offsets // d.item_size if d.item_size > 1 else offsets
        )
    return _strings(raw, d, text=d.layout == STRING)


def _strings(raw: Raw, d: Part, *, text: bool) -> list[Any]:
    flat = memoryview(cast("Any", data_of(raw, d).numpy()))
    ends = offsets_of(raw, d).tolist()
    valid = raw.payload[d.validity_offset : d.validity_offset + raw.count].tolist() if d.nulls else None
    out: list[Any] = []
    for i, (start, stop) in enumerate(pairwise(ends)):
        if valid is not None and not valid[i]:
            out.append(None)
        else:
            out.append(str(flat[start:stop], "utf-8") if text else bytes(flat[start:stop]))
    return out


def decode_image(data: bytes) -> torch.Tensor:
    """Decode an image with Pillow into a uint8 tensor of shape ``[C, H, W]``."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        array = np.array(image if image.mode in ("L", "RGB") else image.convert("RGB"))
    tensor = torch.from_numpy(array)
    return tensor[None] if tensor.dim() == 2 else tensor.permute(2, 0, 1).contiguous()
