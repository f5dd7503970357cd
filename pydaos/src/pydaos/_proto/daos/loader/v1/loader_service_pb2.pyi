from pydaos._proto.daos.tensor.v1 import tensor_service_pb2 as _tensor_service_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OpenManifestRequest(_message.Message):
    __slots__ = ("dataset", "path", "glob", "columns", "label_dirname", "view", "where")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    GLOB_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    LABEL_DIRNAME_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    path: bytes
    glob: str
    columns: _containers.RepeatedScalarFieldContainer[str]
    label_dirname: bool
    view: str
    where: str
    def __init__(self, dataset: _Optional[str] = ..., path: _Optional[bytes] = ..., glob: _Optional[str] = ..., columns: _Optional[_Iterable[str]] = ..., label_dirname: _Optional[bool] = ..., view: _Optional[str] = ..., where: _Optional[str] = ...) -> None: ...

class OpenManifestResponse(_message.Message):
    __slots__ = ("entries", "manifest")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    entries: int
    manifest: Manifest
    def __init__(self, entries: _Optional[int] = ..., manifest: _Optional[_Union[Manifest, _Mapping]] = ...) -> None: ...

class Manifest(_message.Message):
    __slots__ = ("id", "handle", "samples", "columns", "epoch", "snapshot", "dataset", "symlinks_skipped", "classes", "bytes", "max_sample_bytes", "built", "class_sizes", "view", "view_revision", "where", "classes_scattered", "path")
    ID_FIELD_NUMBER: _ClassVar[int]
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    SYMLINKS_SKIPPED_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_SAMPLE_BYTES_FIELD_NUMBER: _ClassVar[int]
    BUILT_FIELD_NUMBER: _ClassVar[int]
    CLASS_SIZES_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    VIEW_REVISION_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    CLASSES_SCATTERED_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    id: str
    handle: int
    samples: int
    columns: _containers.RepeatedCompositeFieldContainer[_tensor_service_pb2.Column]
    epoch: int
    snapshot: str
    dataset: str
    symlinks_skipped: int
    classes: _containers.RepeatedScalarFieldContainer[str]
    bytes: int
    max_sample_bytes: int
    built: bool
    class_sizes: _containers.RepeatedScalarFieldContainer[int]
    view: str
    view_revision: int
    where: str
    classes_scattered: bool
    path: bytes
    def __init__(self, id: _Optional[str] = ..., handle: _Optional[int] = ..., samples: _Optional[int] = ..., columns: _Optional[_Iterable[_Union[_tensor_service_pb2.Column, _Mapping]]] = ..., epoch: _Optional[int] = ..., snapshot: _Optional[str] = ..., dataset: _Optional[str] = ..., symlinks_skipped: _Optional[int] = ..., classes: _Optional[_Iterable[str]] = ..., bytes: _Optional[int] = ..., max_sample_bytes: _Optional[int] = ..., built: _Optional[bool] = ..., class_sizes: _Optional[_Iterable[int]] = ..., view: _Optional[str] = ..., view_revision: _Optional[int] = ..., where: _Optional[str] = ..., classes_scattered: _Optional[bool] = ..., path: _Optional[bytes] = ...) -> None: ...

class ReadBatchRequest(_message.Message):
    __slots__ = ("handle", "indices")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    INDICES_FIELD_NUMBER: _ClassVar[int]
    handle: int
    indices: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, handle: _Optional[int] = ..., indices: _Optional[_Iterable[int]] = ...) -> None: ...

class ReadBatchResponse(_message.Message):
    __slots__ = ("meta", "payload")
    META_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    meta: bytes
    payload: bytes
    def __init__(self, meta: _Optional[bytes] = ..., payload: _Optional[bytes] = ...) -> None: ...

class SamplesRequest(_message.Message):
    __slots__ = ("handle", "indices", "start", "count")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    INDICES_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    handle: int
    indices: _containers.RepeatedScalarFieldContainer[int]
    start: int
    count: int
    def __init__(self, handle: _Optional[int] = ..., indices: _Optional[_Iterable[int]] = ..., start: _Optional[int] = ..., count: _Optional[int] = ...) -> None: ...

class SamplesResponse(_message.Message):
    __slots__ = ("paths", "sizes")
    PATHS_FIELD_NUMBER: _ClassVar[int]
    SIZES_FIELD_NUMBER: _ClassVar[int]
    paths: _containers.RepeatedScalarFieldContainer[bytes]
    sizes: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, paths: _Optional[_Iterable[bytes]] = ..., sizes: _Optional[_Iterable[int]] = ...) -> None: ...

class ReadElementsRequest(_message.Message):
    __slots__ = ("handle", "column", "extra", "count", "starts", "samples")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    STARTS_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    handle: int
    column: str
    extra: int
    count: int
    starts: _containers.RepeatedScalarFieldContainer[int]
    samples: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, handle: _Optional[int] = ..., column: _Optional[str] = ..., extra: _Optional[int] = ..., count: _Optional[int] = ..., starts: _Optional[_Iterable[int]] = ..., samples: _Optional[_Iterable[int]] = ...) -> None: ...

class ReadElementsResponse(_message.Message):
    __slots__ = ("runs", "total", "payload")
    RUNS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    runs: _containers.RepeatedScalarFieldContainer[int]
    total: int
    payload: bytes
    def __init__(self, runs: _Optional[_Iterable[int]] = ..., total: _Optional[int] = ..., payload: _Optional[bytes] = ...) -> None: ...

class PlacesRequest(_message.Message):
    __slots__ = ("handle", "start", "count")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    handle: int
    start: int
    count: int
    def __init__(self, handle: _Optional[int] = ..., start: _Optional[int] = ..., count: _Optional[int] = ...) -> None: ...

class PlacesResponse(_message.Message):
    __slots__ = ("segments", "positions")
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    segments: _containers.RepeatedScalarFieldContainer[int]
    positions: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, segments: _Optional[_Iterable[int]] = ..., positions: _Optional[_Iterable[int]] = ...) -> None: ...
