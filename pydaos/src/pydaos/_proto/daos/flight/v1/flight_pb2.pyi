from pydaos._proto.daos.array.v1 import array_service_pb2 as _array_service_pb2
from pydaos._proto.daos.query.v1 import query_service_pb2 as _query_service_pb2
from pydaos._proto.daos.scan.v1 import scan_service_pb2 as _scan_service_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Command(_message.Message):
    __slots__ = ("entries", "tensor", "write", "kv", "array", "scan", "sql", "view", "scan_part", "sql_part", "array_write")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    TENSOR_FIELD_NUMBER: _ClassVar[int]
    WRITE_FIELD_NUMBER: _ClassVar[int]
    KV_FIELD_NUMBER: _ClassVar[int]
    ARRAY_FIELD_NUMBER: _ClassVar[int]
    SCAN_FIELD_NUMBER: _ClassVar[int]
    SQL_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    SCAN_PART_FIELD_NUMBER: _ClassVar[int]
    SQL_PART_FIELD_NUMBER: _ClassVar[int]
    ARRAY_WRITE_FIELD_NUMBER: _ClassVar[int]
    entries: _scan_service_pb2.ScanRequest
    tensor: TensorRead
    write: TensorWrite
    kv: KvRead
    array: ArrayRead
    scan: _query_service_pb2.ScanRequest
    sql: _query_service_pb2.SqlRequest
    view: ViewRead
    scan_part: ScanPart
    sql_part: SqlPart
    array_write: ArrayWrite
    def __init__(self, entries: _Optional[_Union[_scan_service_pb2.ScanRequest, _Mapping]] = ..., tensor: _Optional[_Union[TensorRead, _Mapping]] = ..., write: _Optional[_Union[TensorWrite, _Mapping]] = ..., kv: _Optional[_Union[KvRead, _Mapping]] = ..., array: _Optional[_Union[ArrayRead, _Mapping]] = ..., scan: _Optional[_Union[_query_service_pb2.ScanRequest, _Mapping]] = ..., sql: _Optional[_Union[_query_service_pb2.SqlRequest, _Mapping]] = ..., view: _Optional[_Union[ViewRead, _Mapping]] = ..., scan_part: _Optional[_Union[ScanPart, _Mapping]] = ..., sql_part: _Optional[_Union[SqlPart, _Mapping]] = ..., array_write: _Optional[_Union[ArrayWrite, _Mapping]] = ...) -> None: ...

class ViewRead(_message.Message):
    __slots__ = ("dataset", "name", "columns", "start", "stop", "epoch", "manifest")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    name: str
    columns: _containers.RepeatedScalarFieldContainer[str]
    start: int
    stop: int
    epoch: int
    manifest: str
    def __init__(self, dataset: _Optional[str] = ..., name: _Optional[str] = ..., columns: _Optional[_Iterable[str]] = ..., start: _Optional[int] = ..., stop: _Optional[int] = ..., epoch: _Optional[int] = ..., manifest: _Optional[str] = ...) -> None: ...

class ScanPart(_message.Message):
    __slots__ = ("scan", "want", "parts", "to", "bounds")
    SCAN_FIELD_NUMBER: _ClassVar[int]
    WANT_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    BOUNDS_FIELD_NUMBER: _ClassVar[int]
    scan: _query_service_pb2.ScanRequest
    want: int
    parts: int
    to: int
    bounds: int
    def __init__(self, scan: _Optional[_Union[_query_service_pb2.ScanRequest, _Mapping]] = ..., want: _Optional[int] = ..., parts: _Optional[int] = ..., to: _Optional[int] = ..., bounds: _Optional[int] = ..., **kwargs) -> None: ...

class SqlPart(_message.Message):
    __slots__ = ("statement", "sources")
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    statement: _query_service_pb2.SqlRequest
    sources: _containers.RepeatedCompositeFieldContainer[SqlSource]
    def __init__(self, statement: _Optional[_Union[_query_service_pb2.SqlRequest, _Mapping]] = ..., sources: _Optional[_Iterable[_Union[SqlSource, _Mapping]]] = ...) -> None: ...

class SqlSource(_message.Message):
    __slots__ = ("address", "dataset_id", "epoch")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    address: str
    dataset_id: int
    epoch: int
    def __init__(self, address: _Optional[str] = ..., dataset_id: _Optional[int] = ..., epoch: _Optional[int] = ...) -> None: ...

class TensorRead(_message.Message):
    __slots__ = ("dataset", "columns", "start", "stop", "epoch")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    columns: _containers.RepeatedScalarFieldContainer[str]
    start: int
    stop: int
    epoch: int
    def __init__(self, dataset: _Optional[str] = ..., columns: _Optional[_Iterable[str]] = ..., start: _Optional[int] = ..., stop: _Optional[int] = ..., epoch: _Optional[int] = ...) -> None: ...

class KvRead(_message.Message):
    __slots__ = ("dataset", "columns", "prefix", "start", "stop", "reverse", "limit", "epoch")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    REVERSE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    columns: _containers.RepeatedScalarFieldContainer[str]
    prefix: bytes
    start: bytes
    stop: bytes
    reverse: bool
    limit: int
    epoch: int
    def __init__(self, dataset: _Optional[str] = ..., columns: _Optional[_Iterable[str]] = ..., prefix: _Optional[bytes] = ..., start: _Optional[bytes] = ..., stop: _Optional[bytes] = ..., reverse: _Optional[bool] = ..., limit: _Optional[int] = ..., epoch: _Optional[int] = ...) -> None: ...

class ArrayRead(_message.Message):
    __slots__ = ("dataset", "path", "axes", "epoch")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    AXES_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    path: str
    axes: _containers.RepeatedCompositeFieldContainer[_array_service_pb2.Axis]
    epoch: int
    def __init__(self, dataset: _Optional[str] = ..., path: _Optional[str] = ..., axes: _Optional[_Iterable[_Union[_array_service_pb2.Axis, _Mapping]]] = ..., epoch: _Optional[int] = ...) -> None: ...

class TensorWrite(_message.Message):
    __slots__ = ("dataset", "overwrite", "start", "expect_length", "request_id")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    OVERWRITE_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    EXPECT_LENGTH_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    overwrite: bool
    start: int
    expect_length: int
    request_id: bytes
    def __init__(self, dataset: _Optional[str] = ..., overwrite: _Optional[bool] = ..., start: _Optional[int] = ..., expect_length: _Optional[int] = ..., request_id: _Optional[bytes] = ...) -> None: ...

class ArrayWrite(_message.Message):
    __slots__ = ("dataset", "path", "start", "axes", "expect_length", "request_id")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    AXES_FIELD_NUMBER: _ClassVar[int]
    EXPECT_LENGTH_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    path: str
    start: int
    axes: _containers.RepeatedCompositeFieldContainer[_array_service_pb2.Axis]
    expect_length: int
    request_id: bytes
    def __init__(self, dataset: _Optional[str] = ..., path: _Optional[str] = ..., start: _Optional[int] = ..., axes: _Optional[_Iterable[_Union[_array_service_pb2.Axis, _Mapping]]] = ..., expect_length: _Optional[int] = ..., request_id: _Optional[bytes] = ...) -> None: ...

class Ticket(_message.Message):
    __slots__ = ("version", "command", "mac", "dataset_id")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    MAC_FIELD_NUMBER: _ClassVar[int]
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    version: int
    command: bytes
    mac: bytes
    dataset_id: int
    def __init__(self, version: _Optional[int] = ..., command: _Optional[bytes] = ..., mac: _Optional[bytes] = ..., dataset_id: _Optional[int] = ...) -> None: ...
