from pydaos._proto.daos.common.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Encoding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENCODING_UNSPECIFIED: _ClassVar[Encoding]
    ENCODING_JSON: _ClassVar[Encoding]
    ENCODING_STRUCT: _ClassVar[Encoding]

class OpKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OP_KIND_UNSPECIFIED: _ClassVar[OpKind]
    OP_KIND_PUT: _ClassVar[OpKind]
    OP_KIND_DELETE: _ClassVar[OpKind]
    OP_KIND_ADD: _ClassVar[OpKind]
    OP_KIND_APPEND: _ClassVar[OpKind]
    OP_KIND_DELETE_KEY: _ClassVar[OpKind]

class When(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WHEN_UNSPECIFIED: _ClassVar[When]
    WHEN_ABSENT: _ClassVar[When]
    WHEN_PRESENT: _ClassVar[When]
    WHEN_VERSION: _ClassVar[When]
ENCODING_UNSPECIFIED: Encoding
ENCODING_JSON: Encoding
ENCODING_STRUCT: Encoding
OP_KIND_UNSPECIFIED: OpKind
OP_KIND_PUT: OpKind
OP_KIND_DELETE: OpKind
OP_KIND_ADD: OpKind
OP_KIND_APPEND: OpKind
OP_KIND_DELETE_KEY: OpKind
WHEN_UNSPECIFIED: When
WHEN_ABSENT: When
WHEN_PRESENT: When
WHEN_VERSION: When

class Field(_message.Message):
    __slots__ = ("name", "type", "nullable")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    NULLABLE_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    nullable: bool
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ..., nullable: _Optional[bool] = ...) -> None: ...

class Schema(_message.Message):
    __slots__ = ("encoding", "fields")
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    encoding: Encoding
    fields: _containers.RepeatedCompositeFieldContainer[Field]
    def __init__(self, encoding: _Optional[_Union[Encoding, str]] = ..., fields: _Optional[_Iterable[_Union[Field, _Mapping]]] = ...) -> None: ...

class DefineRequest(_message.Message):
    __slots__ = ("dataset", "schema", "mutation")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    schema: Schema
    mutation: _common_pb2.Mutation
    def __init__(self, dataset: _Optional[str] = ..., schema: _Optional[_Union[Schema, _Mapping]] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ...) -> None: ...

class DefineResponse(_message.Message):
    __slots__ = ("changed",)
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    changed: _common_pb2.Changed
    def __init__(self, changed: _Optional[_Union[_common_pb2.Changed, _Mapping]] = ...) -> None: ...

class DescribeRequest(_message.Message):
    __slots__ = ("dataset", "count", "seen")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    count: bool
    seen: int
    def __init__(self, dataset: _Optional[str] = ..., count: _Optional[bool] = ..., seen: _Optional[int] = ...) -> None: ...

class DescribeResponse(_message.Message):
    __slots__ = ("schema", "pairs", "epoch")
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    schema: Schema
    pairs: int
    epoch: int
    def __init__(self, schema: _Optional[_Union[Schema, _Mapping]] = ..., pairs: _Optional[int] = ..., epoch: _Optional[int] = ...) -> None: ...

class Op(_message.Message):
    __slots__ = ("kind", "key", "akey", "size", "number", "when", "version")
    KIND_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    AKEY_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    WHEN_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    kind: OpKind
    key: bytes
    akey: bytes
    size: int
    number: int
    when: When
    version: int
    def __init__(self, kind: _Optional[_Union[OpKind, str]] = ..., key: _Optional[bytes] = ..., akey: _Optional[bytes] = ..., size: _Optional[int] = ..., number: _Optional[int] = ..., when: _Optional[_Union[When, str]] = ..., version: _Optional[int] = ...) -> None: ...

class Puts(_message.Message):
    __slots__ = ("keys", "key_sizes", "sizes", "akey")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    KEY_SIZES_FIELD_NUMBER: _ClassVar[int]
    SIZES_FIELD_NUMBER: _ClassVar[int]
    AKEY_FIELD_NUMBER: _ClassVar[int]
    keys: bytes
    key_sizes: _containers.RepeatedScalarFieldContainer[int]
    sizes: _containers.RepeatedScalarFieldContainer[int]
    akey: bytes
    def __init__(self, keys: _Optional[bytes] = ..., key_sizes: _Optional[_Iterable[int]] = ..., sizes: _Optional[_Iterable[int]] = ..., akey: _Optional[bytes] = ...) -> None: ...

class ApplyRequest(_message.Message):
    __slots__ = ("dataset", "ops", "mutation", "puts", "payload")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    OPS_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    PUTS_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    ops: _containers.RepeatedCompositeFieldContainer[Op]
    mutation: _common_pb2.Mutation
    puts: Puts
    payload: bytes
    def __init__(self, dataset: _Optional[str] = ..., ops: _Optional[_Iterable[_Union[Op, _Mapping]]] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ..., puts: _Optional[_Union[Puts, _Mapping]] = ..., payload: _Optional[bytes] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("number", "size", "removed")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    number: int
    size: int
    removed: int
    def __init__(self, number: _Optional[int] = ..., size: _Optional[int] = ..., removed: _Optional[int] = ...) -> None: ...

class ApplyResponse(_message.Message):
    __slots__ = ("results", "changed")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[Result]
    changed: _common_pb2.Changed
    def __init__(self, results: _Optional[_Iterable[_Union[Result, _Mapping]]] = ..., changed: _Optional[_Union[_common_pb2.Changed, _Mapping]] = ...) -> None: ...

class Name(_message.Message):
    __slots__ = ("key", "akey")
    KEY_FIELD_NUMBER: _ClassVar[int]
    AKEY_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    akey: bytes
    def __init__(self, key: _Optional[bytes] = ..., akey: _Optional[bytes] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("dataset", "keys", "names", "stat", "epoch", "seen", "bytes")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    STAT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    keys: _containers.RepeatedScalarFieldContainer[bytes]
    names: _containers.RepeatedCompositeFieldContainer[Name]
    stat: bool
    epoch: int
    seen: int
    bytes: int
    def __init__(self, dataset: _Optional[str] = ..., keys: _Optional[_Iterable[bytes]] = ..., names: _Optional[_Iterable[_Union[Name, _Mapping]]] = ..., stat: _Optional[bool] = ..., epoch: _Optional[int] = ..., seen: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class GetResponse(_message.Message):
    __slots__ = ("sizes", "versions", "served", "epoch", "payload")
    SIZES_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    SERVED_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    sizes: _containers.RepeatedScalarFieldContainer[int]
    versions: _containers.RepeatedScalarFieldContainer[int]
    served: int
    epoch: int
    payload: bytes
    def __init__(self, sizes: _Optional[_Iterable[int]] = ..., versions: _Optional[_Iterable[int]] = ..., served: _Optional[int] = ..., epoch: _Optional[int] = ..., payload: _Optional[bytes] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("dataset", "prefix", "start", "stop", "reverse", "limit", "values", "anchor", "epoch", "seen", "bytes")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    REVERSE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    ANCHOR_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    prefix: bytes
    start: bytes
    stop: bytes
    reverse: bool
    limit: int
    values: bool
    anchor: bytes
    epoch: int
    seen: int
    bytes: int
    def __init__(self, dataset: _Optional[str] = ..., prefix: _Optional[bytes] = ..., start: _Optional[bytes] = ..., stop: _Optional[bytes] = ..., reverse: _Optional[bool] = ..., limit: _Optional[int] = ..., values: _Optional[bool] = ..., anchor: _Optional[bytes] = ..., epoch: _Optional[int] = ..., seen: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class Pair(_message.Message):
    __slots__ = ("key", "akey", "size", "version", "large")
    KEY_FIELD_NUMBER: _ClassVar[int]
    AKEY_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LARGE_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    akey: bytes
    size: int
    version: int
    large: bool
    def __init__(self, key: _Optional[bytes] = ..., akey: _Optional[bytes] = ..., size: _Optional[int] = ..., version: _Optional[int] = ..., large: _Optional[bool] = ...) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("pairs", "anchor", "epoch", "payload")
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    ANCHOR_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    pairs: _containers.RepeatedCompositeFieldContainer[Pair]
    anchor: bytes
    epoch: int
    payload: bytes
    def __init__(self, pairs: _Optional[_Iterable[_Union[Pair, _Mapping]]] = ..., anchor: _Optional[bytes] = ..., epoch: _Optional[int] = ..., payload: _Optional[bytes] = ...) -> None: ...

class PutRequest(_message.Message):
    __slots__ = ("dataset", "key", "akey", "when", "version", "mutation", "payload")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    AKEY_FIELD_NUMBER: _ClassVar[int]
    WHEN_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    key: bytes
    akey: bytes
    when: When
    version: int
    mutation: _common_pb2.Mutation
    payload: bytes
    def __init__(self, dataset: _Optional[str] = ..., key: _Optional[bytes] = ..., akey: _Optional[bytes] = ..., when: _Optional[_Union[When, str]] = ..., version: _Optional[int] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ..., payload: _Optional[bytes] = ...) -> None: ...

class PutResponse(_message.Message):
    __slots__ = ("changed", "size")
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    changed: _common_pb2.Changed
    size: int
    def __init__(self, changed: _Optional[_Union[_common_pb2.Changed, _Mapping]] = ..., size: _Optional[int] = ...) -> None: ...

class ReadRequest(_message.Message):
    __slots__ = ("dataset", "key", "akey", "offset", "length", "epoch", "seen")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    AKEY_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    key: bytes
    akey: bytes
    offset: int
    length: int
    epoch: int
    seen: int
    def __init__(self, dataset: _Optional[str] = ..., key: _Optional[bytes] = ..., akey: _Optional[bytes] = ..., offset: _Optional[int] = ..., length: _Optional[int] = ..., epoch: _Optional[int] = ..., seen: _Optional[int] = ...) -> None: ...

class ReadResponse(_message.Message):
    __slots__ = ("size", "version", "epoch", "payload")
    SIZE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    size: int
    version: int
    epoch: int
    payload: bytes
    def __init__(self, size: _Optional[int] = ..., version: _Optional[int] = ..., epoch: _Optional[int] = ..., payload: _Optional[bytes] = ...) -> None: ...
