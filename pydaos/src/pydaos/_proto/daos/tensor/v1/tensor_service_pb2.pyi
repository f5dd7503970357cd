from pydaos._proto.daos.common.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Layout(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LAYOUT_UNSPECIFIED: _ClassVar[Layout]
    LAYOUT_FIXED: _ClassVar[Layout]
    LAYOUT_RAGGED: _ClassVar[Layout]
    LAYOUT_BYTES: _ClassVar[Layout]
    LAYOUT_STRING: _ClassVar[Layout]
LAYOUT_UNSPECIFIED: Layout
LAYOUT_FIXED: Layout
LAYOUT_RAGGED: Layout
LAYOUT_BYTES: Layout
LAYOUT_STRING: Layout

class Column(_message.Message):
    __slots__ = ("name", "layout", "dtype", "shape", "nullable", "chunk_samples")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    NULLABLE_FIELD_NUMBER: _ClassVar[int]
    CHUNK_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    name: str
    layout: Layout
    dtype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    nullable: bool
    chunk_samples: int
    def __init__(self, name: _Optional[str] = ..., layout: _Optional[_Union[Layout, str]] = ..., dtype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., nullable: _Optional[bool] = ..., chunk_samples: _Optional[int] = ...) -> None: ...

class ChunkStats(_message.Message):
    __slots__ = ("first", "count", "nulls", "min", "max", "nans", "bytes")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    NULLS_FIELD_NUMBER: _ClassVar[int]
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    NANS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    first: int
    count: int
    nulls: int
    min: bytes
    max: bytes
    nans: int
    bytes: int
    def __init__(self, first: _Optional[int] = ..., count: _Optional[int] = ..., nulls: _Optional[int] = ..., min: _Optional[bytes] = ..., max: _Optional[bytes] = ..., nans: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class DefineRequest(_message.Message):
    __slots__ = ("dataset", "columns", "mutation")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    columns: _containers.RepeatedCompositeFieldContainer[Column]
    mutation: _common_pb2.Mutation
    def __init__(self, dataset: _Optional[str] = ..., columns: _Optional[_Iterable[_Union[Column, _Mapping]]] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ...) -> None: ...

class DefineResponse(_message.Message):
    __slots__ = ("changed",)
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    changed: _common_pb2.Changed
    def __init__(self, changed: _Optional[_Union[_common_pb2.Changed, _Mapping]] = ...) -> None: ...

class DescribeRequest(_message.Message):
    __slots__ = ("dataset", "stats", "seen")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    STATS_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    stats: _containers.RepeatedScalarFieldContainer[str]
    seen: int
    def __init__(self, dataset: _Optional[str] = ..., stats: _Optional[_Iterable[str]] = ..., seen: _Optional[int] = ...) -> None: ...

class DescribeResponse(_message.Message):
    __slots__ = ("columns", "length", "epoch", "stats")
    class StatsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: ColumnStats
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[ColumnStats, _Mapping]] = ...) -> None: ...
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    STATS_FIELD_NUMBER: _ClassVar[int]
    columns: _containers.RepeatedCompositeFieldContainer[Column]
    length: int
    epoch: int
    stats: _containers.MessageMap[str, ColumnStats]
    def __init__(self, columns: _Optional[_Iterable[_Union[Column, _Mapping]]] = ..., length: _Optional[int] = ..., epoch: _Optional[int] = ..., stats: _Optional[_Mapping[str, ColumnStats]] = ...) -> None: ...

class ColumnStats(_message.Message):
    __slots__ = ("chunks",)
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    chunks: _containers.RepeatedCompositeFieldContainer[ChunkStats]
    def __init__(self, chunks: _Optional[_Iterable[_Union[ChunkStats, _Mapping]]] = ...) -> None: ...

class AppendRequest(_message.Message):
    __slots__ = ("dataset", "mutation", "expect_length", "payload")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    EXPECT_LENGTH_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    mutation: _common_pb2.Mutation
    expect_length: int
    payload: bytes
    def __init__(self, dataset: _Optional[str] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ..., expect_length: _Optional[int] = ..., payload: _Optional[bytes] = ...) -> None: ...

class AppendResponse(_message.Message):
    __slots__ = ("start", "count", "changed")
    START_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    start: int
    count: int
    changed: _common_pb2.Changed
    def __init__(self, start: _Optional[int] = ..., count: _Optional[int] = ..., changed: _Optional[_Union[_common_pb2.Changed, _Mapping]] = ...) -> None: ...

class OverwriteRequest(_message.Message):
    __slots__ = ("dataset", "start", "mutation", "payload")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    start: int
    mutation: _common_pb2.Mutation
    payload: bytes
    def __init__(self, dataset: _Optional[str] = ..., start: _Optional[int] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ..., payload: _Optional[bytes] = ...) -> None: ...

class OverwriteResponse(_message.Message):
    __slots__ = ("changed",)
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    changed: _common_pb2.Changed
    def __init__(self, changed: _Optional[_Union[_common_pb2.Changed, _Mapping]] = ...) -> None: ...

class ReadRequest(_message.Message):
    __slots__ = ("dataset", "columns", "indices", "start", "stop", "step", "by_index", "epoch", "seen")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    INDICES_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    BY_INDEX_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    columns: _containers.RepeatedScalarFieldContainer[str]
    indices: _containers.RepeatedScalarFieldContainer[int]
    start: int
    stop: int
    step: int
    by_index: bool
    epoch: int
    seen: int
    def __init__(self, dataset: _Optional[str] = ..., columns: _Optional[_Iterable[str]] = ..., indices: _Optional[_Iterable[int]] = ..., start: _Optional[int] = ..., stop: _Optional[int] = ..., step: _Optional[int] = ..., by_index: _Optional[bool] = ..., epoch: _Optional[int] = ..., seen: _Optional[int] = ...) -> None: ...

class ReadResponse(_message.Message):
    __slots__ = ("epoch", "payload")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    payload: bytes
    def __init__(self, epoch: _Optional[int] = ..., payload: _Optional[bytes] = ...) -> None: ...
