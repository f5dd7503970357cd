from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Filter(_message.Message):
    __slots__ = ("name", "path", "types", "min_size", "max_size", "min_mtime_unix_nanos", "max_mtime_unix_nanos", "min_depth", "max_depth")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    TYPES_FIELD_NUMBER: _ClassVar[int]
    MIN_SIZE_FIELD_NUMBER: _ClassVar[int]
    MAX_SIZE_FIELD_NUMBER: _ClassVar[int]
    MIN_MTIME_UNIX_NANOS_FIELD_NUMBER: _ClassVar[int]
    MAX_MTIME_UNIX_NANOS_FIELD_NUMBER: _ClassVar[int]
    MIN_DEPTH_FIELD_NUMBER: _ClassVar[int]
    MAX_DEPTH_FIELD_NUMBER: _ClassVar[int]
    name: str
    path: str
    types: _containers.RepeatedScalarFieldContainer[int]
    min_size: int
    max_size: int
    min_mtime_unix_nanos: int
    max_mtime_unix_nanos: int
    min_depth: int
    max_depth: int
    def __init__(self, name: _Optional[str] = ..., path: _Optional[str] = ..., types: _Optional[_Iterable[int]] = ..., min_size: _Optional[int] = ..., max_size: _Optional[int] = ..., min_mtime_unix_nanos: _Optional[int] = ..., max_mtime_unix_nanos: _Optional[int] = ..., min_depth: _Optional[int] = ..., max_depth: _Optional[int] = ...) -> None: ...

class PlanRequest(_message.Message):
    __slots__ = ("dataset", "anchors", "seen")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    ANCHORS_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    anchors: int
    seen: int
    def __init__(self, dataset: _Optional[str] = ..., anchors: _Optional[int] = ..., seen: _Optional[int] = ...) -> None: ...

class PlanResponse(_message.Message):
    __slots__ = ("anchors", "epoch")
    ANCHORS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    anchors: _containers.RepeatedScalarFieldContainer[bytes]
    epoch: int
    def __init__(self, anchors: _Optional[_Iterable[bytes]] = ..., epoch: _Optional[int] = ...) -> None: ...

class ScanRequest(_message.Message):
    __slots__ = ("dataset", "path", "filter", "columns", "anchor", "epoch", "batch_rows", "limit", "seen")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    ANCHOR_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    BATCH_ROWS_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    path: bytes
    filter: Filter
    columns: _containers.RepeatedScalarFieldContainer[str]
    anchor: bytes
    epoch: int
    batch_rows: int
    limit: int
    seen: int
    def __init__(self, dataset: _Optional[str] = ..., path: _Optional[bytes] = ..., filter: _Optional[_Union[Filter, _Mapping]] = ..., columns: _Optional[_Iterable[str]] = ..., anchor: _Optional[bytes] = ..., epoch: _Optional[int] = ..., batch_rows: _Optional[int] = ..., limit: _Optional[int] = ..., seen: _Optional[int] = ...) -> None: ...

class ScanResponse(_message.Message):
    __slots__ = ("payload", "anchor", "epoch", "done", "rows_scanned", "rows_out")
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    ANCHOR_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    ROWS_SCANNED_FIELD_NUMBER: _ClassVar[int]
    ROWS_OUT_FIELD_NUMBER: _ClassVar[int]
    payload: bytes
    anchor: bytes
    epoch: int
    done: bool
    rows_scanned: int
    rows_out: int
    def __init__(self, payload: _Optional[bytes] = ..., anchor: _Optional[bytes] = ..., epoch: _Optional[int] = ..., done: _Optional[bool] = ..., rows_scanned: _Optional[int] = ..., rows_out: _Optional[int] = ...) -> None: ...
