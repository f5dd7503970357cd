from pydaos._proto.daos.common.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TYPE_UNSPECIFIED: _ClassVar[Type]
    TYPE_POSIX: _ClassVar[Type]
    TYPE_KV: _ClassVar[Type]
    TYPE_ARRAY: _ClassVar[Type]
    TYPE_TENSOR: _ClassVar[Type]
TYPE_UNSPECIFIED: Type
TYPE_POSIX: Type
TYPE_KV: Type
TYPE_ARRAY: Type
TYPE_TENSOR: Type

class Dataset(_message.Message):
    __slots__ = ("pool", "name", "id", "type", "object_class", "chunk_bytes", "quota_bytes", "used_bytes", "records", "attributes", "created_unix_nanos", "epoch", "snapshot", "snapshots")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    POOL_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    OBJECT_CLASS_FIELD_NUMBER: _ClassVar[int]
    CHUNK_BYTES_FIELD_NUMBER: _ClassVar[int]
    QUOTA_BYTES_FIELD_NUMBER: _ClassVar[int]
    USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    CREATED_UNIX_NANOS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOTS_FIELD_NUMBER: _ClassVar[int]
    pool: str
    name: str
    id: int
    type: Type
    object_class: str
    chunk_bytes: int
    quota_bytes: int
    used_bytes: int
    records: int
    attributes: _containers.ScalarMap[str, bytes]
    created_unix_nanos: int
    epoch: int
    snapshot: str
    snapshots: int
    def __init__(self, pool: _Optional[str] = ..., name: _Optional[str] = ..., id: _Optional[int] = ..., type: _Optional[_Union[Type, str]] = ..., object_class: _Optional[str] = ..., chunk_bytes: _Optional[int] = ..., quota_bytes: _Optional[int] = ..., used_bytes: _Optional[int] = ..., records: _Optional[int] = ..., attributes: _Optional[_Mapping[str, bytes]] = ..., created_unix_nanos: _Optional[int] = ..., epoch: _Optional[int] = ..., snapshot: _Optional[str] = ..., snapshots: _Optional[int] = ...) -> None: ...

class Snapshot(_message.Message):
    __slots__ = ("name", "epoch", "created_unix_nanos", "expires_unix_nanos", "auto")
    NAME_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    CREATED_UNIX_NANOS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_UNIX_NANOS_FIELD_NUMBER: _ClassVar[int]
    AUTO_FIELD_NUMBER: _ClassVar[int]
    name: str
    epoch: int
    created_unix_nanos: int
    expires_unix_nanos: int
    auto: bool
    def __init__(self, name: _Optional[str] = ..., epoch: _Optional[int] = ..., created_unix_nanos: _Optional[int] = ..., expires_unix_nanos: _Optional[int] = ..., auto: _Optional[bool] = ...) -> None: ...

class CreateDatasetRequest(_message.Message):
    __slots__ = ("dataset", "type", "object_class", "chunk_bytes", "quota_bytes", "attributes", "mutation")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    DATASET_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    OBJECT_CLASS_FIELD_NUMBER: _ClassVar[int]
    CHUNK_BYTES_FIELD_NUMBER: _ClassVar[int]
    QUOTA_BYTES_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    type: Type
    object_class: str
    chunk_bytes: int
    quota_bytes: int
    attributes: _containers.ScalarMap[str, bytes]
    mutation: _common_pb2.Mutation
    def __init__(self, dataset: _Optional[str] = ..., type: _Optional[_Union[Type, str]] = ..., object_class: _Optional[str] = ..., chunk_bytes: _Optional[int] = ..., quota_bytes: _Optional[int] = ..., attributes: _Optional[_Mapping[str, bytes]] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ...) -> None: ...

class CreateDatasetResponse(_message.Message):
    __slots__ = ("dataset",)
    DATASET_FIELD_NUMBER: _ClassVar[int]
    dataset: Dataset
    def __init__(self, dataset: _Optional[_Union[Dataset, _Mapping]] = ...) -> None: ...

class GetDatasetRequest(_message.Message):
    __slots__ = ("dataset",)
    DATASET_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    def __init__(self, dataset: _Optional[str] = ...) -> None: ...

class GetDatasetResponse(_message.Message):
    __slots__ = ("dataset",)
    DATASET_FIELD_NUMBER: _ClassVar[int]
    dataset: Dataset
    def __init__(self, dataset: _Optional[_Union[Dataset, _Mapping]] = ...) -> None: ...

class ListDatasetsRequest(_message.Message):
    __slots__ = ("pool",)
    POOL_FIELD_NUMBER: _ClassVar[int]
    pool: str
    def __init__(self, pool: _Optional[str] = ...) -> None: ...

class ListDatasetsResponse(_message.Message):
    __slots__ = ("datasets",)
    DATASETS_FIELD_NUMBER: _ClassVar[int]
    datasets: _containers.RepeatedCompositeFieldContainer[Dataset]
    def __init__(self, datasets: _Optional[_Iterable[_Union[Dataset, _Mapping]]] = ...) -> None: ...

class SetDatasetRequest(_message.Message):
    __slots__ = ("dataset", "quota_bytes", "set_quota", "set_attributes", "remove_attributes", "mutation")
    class SetAttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    DATASET_FIELD_NUMBER: _ClassVar[int]
    QUOTA_BYTES_FIELD_NUMBER: _ClassVar[int]
    SET_QUOTA_FIELD_NUMBER: _ClassVar[int]
    SET_ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    REMOVE_ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    quota_bytes: int
    set_quota: bool
    set_attributes: _containers.ScalarMap[str, bytes]
    remove_attributes: _containers.RepeatedScalarFieldContainer[str]
    mutation: _common_pb2.Mutation
    def __init__(self, dataset: _Optional[str] = ..., quota_bytes: _Optional[int] = ..., set_quota: _Optional[bool] = ..., set_attributes: _Optional[_Mapping[str, bytes]] = ..., remove_attributes: _Optional[_Iterable[str]] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ...) -> None: ...

class SetDatasetResponse(_message.Message):
    __slots__ = ("dataset",)
    DATASET_FIELD_NUMBER: _ClassVar[int]
    dataset: Dataset
    def __init__(self, dataset: _Optional[_Union[Dataset, _Mapping]] = ...) -> None: ...

class DestroyDatasetRequest(_message.Message):
    __slots__ = ("dataset", "mutation")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    mutation: _common_pb2.Mutation
    def __init__(self, dataset: _Optional[str] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ...) -> None: ...

class DestroyDatasetResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CreateSnapshotRequest(_message.Message):
    __slots__ = ("dataset", "name", "ttl_seconds", "auto", "seen", "mutation")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TTL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    AUTO_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    name: str
    ttl_seconds: int
    auto: bool
    seen: int
    mutation: _common_pb2.Mutation
    def __init__(self, dataset: _Optional[str] = ..., name: _Optional[str] = ..., ttl_seconds: _Optional[int] = ..., auto: _Optional[bool] = ..., seen: _Optional[int] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ...) -> None: ...

class CreateSnapshotResponse(_message.Message):
    __slots__ = ("snapshot",)
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    snapshot: Snapshot
    def __init__(self, snapshot: _Optional[_Union[Snapshot, _Mapping]] = ...) -> None: ...

class ListSnapshotsRequest(_message.Message):
    __slots__ = ("dataset",)
    DATASET_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    def __init__(self, dataset: _Optional[str] = ...) -> None: ...

class ListSnapshotsResponse(_message.Message):
    __slots__ = ("snapshots",)
    SNAPSHOTS_FIELD_NUMBER: _ClassVar[int]
    snapshots: _containers.RepeatedCompositeFieldContainer[Snapshot]
    def __init__(self, snapshots: _Optional[_Iterable[_Union[Snapshot, _Mapping]]] = ...) -> None: ...

class DestroySnapshotRequest(_message.Message):
    __slots__ = ("dataset", "mutation", "force")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    mutation: _common_pb2.Mutation
    force: bool
    def __init__(self, dataset: _Optional[str] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ..., force: _Optional[bool] = ...) -> None: ...

class DestroySnapshotResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class TouchSnapshotRequest(_message.Message):
    __slots__ = ("dataset",)
    DATASET_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    def __init__(self, dataset: _Optional[str] = ...) -> None: ...

class TouchSnapshotResponse(_message.Message):
    __slots__ = ("snapshot",)
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    snapshot: Snapshot
    def __init__(self, snapshot: _Optional[_Union[Snapshot, _Mapping]] = ...) -> None: ...
