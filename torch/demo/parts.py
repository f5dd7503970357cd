"""What the demo's processes share: the images, the local tree, the model."""

from __future__ import annotations

import gzip
import os
import random
import shutil
import subprocess
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

PACKAGE = "dataset-fashion-mnist"
INSTALLED = Path("/usr/share/datasets/fashion-mnist")
NAMES = ["0-top", "1-trouser", "2-pullover", "3-dress", "4-coat", "5-sandal", "6-shirt", "7-sneaker", "8-bag", "9-boot"]


def _unpacked(cache: Path) -> Path | None:
    """Where the Debian package's files lie: installed, or unpacked here without root."""
    if INSTALLED.is_dir():
        return INSTALLED
    folder = cache / "fashion-mnist"
    inside = folder / INSTALLED.relative_to("/")
    if inside.is_dir():
        return inside
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        return None
    folder.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(["apt-get", "download", PACKAGE], cwd=folder, check=True, capture_output=True, timeout=120)
        package = next(folder.glob(f"{PACKAGE}_*.deb"))
        subprocess.run(["dpkg-deb", "-x", str(package), str(folder)], check=True, capture_output=True, timeout=120)
        package.unlink()
    except (subprocess.SubprocessError, StopIteration, OSError):
        return None
    return inside if inside.is_dir() else None


def _idx(path: Path) -> np.ndarray[Any, Any]:
    with gzip.open(path, "rb") as f:
        data = f.read()
    ndim = data[3]
    shape = tuple(int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(ndim))
    return np.frombuffer(data, np.uint8, offset=4 + 4 * ndim).reshape(shape)


def fashion_mnist(scratch: Path, limit: int = 0) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], str]:
    """Return 70,000 images uint8 [N, 28, 28], labels int64 [N] and where they are from."""
    folder = _unpacked(Path(os.environ.get("DEMO_CACHE", scratch / "cache")))
    if folder is not None:
        images = np.concatenate([_idx(folder / f"{part}-images-idx3-ubyte.gz") for part in ("train", "t10k")])
        labels = np.concatenate([_idx(folder / f"{part}-labels-idx1-ubyte.gz") for part in ("train", "t10k")])
        note = f"{len(images):,} images of the Debian package {PACKAGE}"
    else:
        rng = np.random.default_rng(0)
        labels = rng.integers(0, 10, 70000, dtype=np.uint8)
        base = rng.integers(0, 256, (10, 28, 28))
        noise = rng.integers(-60, 60, (70000, 28, 28))
        images = np.clip(base[labels] + noise, 0, 255).astype(np.uint8)
        note = f"the Debian package {PACKAGE} can't be had here: a generated stand-in of the same shape is used"
    if limit:
        # Spread over both parts, so that train and test stay there.
        pick = np.linspace(0, len(images) - 1, limit).astype(np.int64)
        images, labels = images[pick], labels[pick]
    return np.ascontiguousarray(images), labels.astype(np.int64), note


def write_tree(
    tree: Path, images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], progress: Callable[[int], None]
) -> None:
    """Write train/CLASS/00000.png and test/CLASS/00000.png, six sevenths and one."""
    from PIL import Image

    train = len(images) * 6 // 7
    for part in ("train", "test"):
        for name in NAMES:
            (tree / part / name).mkdir(parents=True)
    for i, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        part = "train" if i < train else "test"
        Image.fromarray(pixels).save(tree / part / NAMES[label] / f"{i:05d}.png", compress_level=1)
        if i % 500 == 499 or i + 1 == len(images):
            progress(i + 1)


def scandir_stat(top: Path) -> int:
    """Count the entries below a folder the usual way: os.scandir and stat of each."""
    count = 0
    stack = [os.fspath(top)]
    while stack:
        with os.scandir(stack.pop()) as entries:
            for entry in entries:
                count += 1
                if entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)
                _ = entry.stat(follow_symlinks=False).st_size
    return count


def sizes_below(top: Path) -> list[tuple[int, str]]:
    """Return (bytes, path) of all files two folders below, as the local file system has them."""
    return [(p.stat().st_size, str(p)) for p in top.glob("*/*")]


def local_loop(top: Path, batch: int) -> int:
    """Read all files in shuffled batches the usual way: open, read, frombuffer."""
    paths = sorted(str(p) for p in top.glob("*/*.png"))
    random.Random(1).shuffle(paths)
    seen = 0
    for i in range(0, len(paths), batch):
        tensors = []
        for path in paths[i : i + batch]:
            with open(path, "rb") as f:
                tensors.append(torch.frombuffer(bytearray(f.read()), dtype=torch.uint8))
        flat = torch.cat(tensors)
        seen += len(tensors) if flat.numel() else 0
    return seen


def fingerprint(batch: Any) -> int:
    """A checksum of a batch: of its tensors, or of the two of a `pydaos.torch.Ragged`."""
    value = 0
    for part in batch if isinstance(batch, (tuple, list)) else (batch,):
        for tensor in (part,) if isinstance(part, torch.Tensor) else (part.values, part.offsets):
            value = zlib.crc32(memoryview(tensor.numpy()).cast("B"), value)
    return value


def write_raw(folder: Path, images: np.ndarray[Any, Any], progress: Callable[[int], None]) -> None:
    """Write one file of 784 bytes an image."""
    folder.mkdir()
    for i, pixels in enumerate(images):
        (folder / f"{i:05d}").write_bytes(pixels.tobytes())
        if i % 500 == 499 or i + 1 == len(images):
            progress(i + 1)


def raw_batches(folder: Path, ids: np.ndarray[Any, Any], batch: int) -> Iterator[torch.Tensor]:
    """Read such files in batches the usual way: open, read, frombuffer, stack."""
    paths = [f"{folder}/{i:05d}" for i in ids.tolist()]
    for at in range(0, len(paths), batch):
        tensors = []
        for path in paths[at : at + batch]:
            with open(path, "rb") as f:
                tensors.append(torch.frombuffer(bytearray(f.read()), dtype=torch.uint8))
        yield torch.stack(tensors)


def mapped_batches(images: np.ndarray[Any, Any], ids: np.ndarray[Any, Any], batch: int) -> Iterator[torch.Tensor]:
    """Take batches of a memory-mapped array."""
    for at in range(0, len(ids), batch):
        yield torch.from_numpy(images[ids[at : at + batch]])


def model() -> nn.Module:
    """A small CNN for 28 x 28 images, the same at every call."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 49, 10)
    )


def prepare() -> None:
    """One thread and deterministic kernels: the loss is a function of the samples and their order."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
