from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("version", "root", "pid", "uptime_seconds", "addresses", "epoch", "targets", "connections", "ephemeral", "map_version")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ROOT_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    UPTIME_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    EPHEMERAL_FIELD_NUMBER: _ClassVar[int]
    MAP_VERSION_FIELD_NUMBER: _ClassVar[int]
    version: str
    root: str
    pid: int
    uptime_seconds: float
    addresses: _containers.RepeatedScalarFieldContainer[str]
    epoch: int
    targets: _containers.RepeatedCompositeFieldContainer[Target]
    connections: int
    ephemeral: bool
    map_version: int
    def __init__(self, version: _Optional[str] = ..., root: _Optional[str] = ..., pid: _Optional[int] = ..., uptime_seconds: _Optional[float] = ..., addresses: _Optional[_Iterable[str]] = ..., epoch: _Optional[int] = ..., targets: _Optional[_Iterable[_Union[Target, _Mapping]]] = ..., connections: _Optional[int] = ..., ephemeral: _Optional[bool] = ..., map_version: _Optional[int] = ...) -> None: ...

class Target(_message.Message):
    __slots__ = ("id", "state", "index_bytes", "segment_bytes", "segments")
    ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    INDEX_BYTES_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    id: int
    state: str
    index_bytes: int
    segment_bytes: int
    segments: int
    def __init__(self, id: _Optional[int] = ..., state: _Optional[str] = ..., index_bytes: _Optional[int] = ..., segment_bytes: _Optional[int] = ..., segments: _Optional[int] = ...) -> None: ...

class PingRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PingResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ScrubRequest(_message.Message):
    __slots__ = ("dataset",)
    DATASET_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    def __init__(self, dataset: _Optional[str] = ...) -> None: ...

class ScrubResponse(_message.Message):
    __slots__ = ("records", "errors")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    records: int
    errors: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, records: _Optional[int] = ..., errors: _Optional[_Iterable[str]] = ...) -> None: ...

class SweepRequest(_message.Message):
    __slots__ = ("dataset",)
    DATASET_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    def __init__(self, dataset: _Optional[str] = ...) -> None: ...

class SweepResponse(_message.Message):
    __slots__ = ("versions", "bytes")
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    versions: int
    bytes: int
    def __init__(self, versions: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...
