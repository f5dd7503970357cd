from pydaos._proto.daos.common.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NodeKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NODE_KIND_UNSPECIFIED: _ClassVar[NodeKind]
    NODE_KIND_GROUP: _ClassVar[NodeKind]
    NODE_KIND_ARRAY: _ClassVar[NodeKind]
NODE_KIND_UNSPECIFIED: NodeKind
NODE_KIND_GROUP: NodeKind
NODE_KIND_ARRAY: NodeKind

class ArraySpec(_message.Message):
    __slots__ = ("dtype", "shape", "chunks", "fill_value", "dims")
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    FILL_VALUE_FIELD_NUMBER: _ClassVar[int]
    DIMS_FIELD_NUMBER: _ClassVar[int]
    dtype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    chunks: _containers.RepeatedScalarFieldContainer[int]
    fill_value: bytes
    dims: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, dtype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., chunks: _Optional[_Iterable[int]] = ..., fill_value: _Optional[bytes] = ..., dims: _Optional[_Iterable[str]] = ...) -> None: ...

class Node(_message.Message):
    __slots__ = ("path", "kind", "spec", "attributes", "id")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    PATH_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    path: str
    kind: NodeKind
    spec: ArraySpec
    attributes: _containers.ScalarMap[str, bytes]
    id: int
    def __init__(self, path: _Optional[str] = ..., kind: _Optional[_Union[NodeKind, str]] = ..., spec: _Optional[_Union[ArraySpec, _Mapping]] = ..., attributes: _Optional[_Mapping[str, bytes]] = ..., id: _Optional[int] = ...) -> None: ...

class CreateGroupRequest(_message.Message):
    __slots__ = ("dataset", "path", "attributes", "exist_ok", "mutation")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    DATASET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    EXIST_OK_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    path: str
    attributes: _containers.ScalarMap[str, bytes]
    exist_ok: bool
    mutation: _common_pb2.Mutation
    def __init__(self, dataset: _Optional[str] = ..., path: _Optional[str] = ..., attributes: _Optional[_Mapping[str, bytes]] = ..., exist_ok: _Optional[bool] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ...) -> None: ...

class CreateGroupResponse(_message.Message):
    __slots__ = ("changed",)
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    changed: _common_pb2.Changed
    def __init__(self, changed: _Optional[_Union[_common_pb2.Changed, _Mapping]] = ...) -> None: ...

class CreateRequest(_message.Message):
    __slots__ = ("dataset", "path", "spec", "attributes", "overwrite", "mutation")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    DATASET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    OVERWRITE_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    path: str
    spec: ArraySpec
    attributes: _containers.ScalarMap[str, bytes]
    overwrite: bool
    mutation: _common_pb2.Mutation
    def __init__(self, dataset: _Optional[str] = ..., path: _Optional[str] = ..., spec: _Optional[_Union[ArraySpec, _Mapping]] = ..., attributes: _Optional[_Mapping[str, bytes]] = ..., overwrite: _Optional[bool] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ...) -> None: ...

class CreateResponse(_message.Message):
    __slots__ = ("node", "changed")
    NODE_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    node: Node
    changed: _common_pb2.Changed
    def __init__(self, node: _Optional[_Union[Node, _Mapping]] = ..., changed: _Optional[_Union[_common_pb2.Changed, _Mapping]] = ...) -> None: ...

class DescribeRequest(_message.Message):
    __slots__ = ("dataset", "path", "epoch", "seen")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    path: str
    epoch: int
    seen: int
    def __init__(self, dataset: _Optional[str] = ..., path: _Optional[str] = ..., epoch: _Optional[int] = ..., seen: _Optional[int] = ...) -> None: ...

class DescribeResponse(_message.Message):
    __slots__ = ("node", "epoch")
    NODE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    node: Node
    epoch: int
    def __init__(self, node: _Optional[_Union[Node, _Mapping]] = ..., epoch: _Optional[int] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("dataset", "path", "recursive", "after", "limit", "epoch", "seen")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    RECURSIVE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    path: str
    recursive: bool
    after: str
    limit: int
    epoch: int
    seen: int
    def __init__(self, dataset: _Optional[str] = ..., path: _Optional[str] = ..., recursive: _Optional[bool] = ..., after: _Optional[str] = ..., limit: _Optional[int] = ..., epoch: _Optional[int] = ..., seen: _Optional[int] = ...) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("nodes", "more", "epoch")
    NODES_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[Node]
    more: bool
    epoch: int
    def __init__(self, nodes: _Optional[_Iterable[_Union[Node, _Mapping]]] = ..., more: _Optional[bool] = ..., epoch: _Optional[int] = ...) -> None: ...

class SetAttributesRequest(_message.Message):
    __slots__ = ("dataset", "path", "set", "remove", "replace", "mutation")
    class SetEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    DATASET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    SET_FIELD_NUMBER: _ClassVar[int]
    REMOVE_FIELD_NUMBER: _ClassVar[int]
    REPLACE_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    path: str
    set: _containers.ScalarMap[str, bytes]
    remove: _containers.RepeatedScalarFieldContainer[str]
    replace: bool
    mutation: _common_pb2.Mutation
    def __init__(self, dataset: _Optional[str] = ..., path: _Optional[str] = ..., set: _Optional[_Mapping[str, bytes]] = ..., remove: _Optional[_Iterable[str]] = ..., replace: _Optional[bool] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ...) -> None: ...

class SetAttributesResponse(_message.Message):
    __slots__ = ("changed",)
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    changed: _common_pb2.Changed
    def __init__(self, changed: _Optional[_Union[_common_pb2.Changed, _Mapping]] = ...) -> None: ...

class ResizeRequest(_message.Message):
    __slots__ = ("dataset", "path", "shape", "mutation")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    path: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    mutation: _common_pb2.Mutation
    def __init__(self, dataset: _Optional[str] = ..., path: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ...) -> None: ...

class ResizeResponse(_message.Message):
    __slots__ = ("changed",)
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    changed: _common_pb2.Changed
    def __init__(self, changed: _Optional[_Union[_common_pb2.Changed, _Mapping]] = ...) -> None: ...

class RemoveRequest(_message.Message):
    __slots__ = ("dataset", "path", "recursive", "mutation")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    RECURSIVE_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    path: str
    recursive: bool
    mutation: _common_pb2.Mutation
    def __init__(self, dataset: _Optional[str] = ..., path: _Optional[str] = ..., recursive: _Optional[bool] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ...) -> None: ...

class RemoveResponse(_message.Message):
    __slots__ = ("changed",)
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    changed: _common_pb2.Changed
    def __init__(self, changed: _Optional[_Union[_common_pb2.Changed, _Mapping]] = ...) -> None: ...

class Axis(_message.Message):
    __slots__ = ("start", "count", "step", "indices")
    START_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    INDICES_FIELD_NUMBER: _ClassVar[int]
    start: int
    count: int
    step: int
    indices: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, start: _Optional[int] = ..., count: _Optional[int] = ..., step: _Optional[int] = ..., indices: _Optional[_Iterable[int]] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("dataset", "path", "axes", "epoch", "seen")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    AXES_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    path: str
    axes: _containers.RepeatedCompositeFieldContainer[Axis]
    epoch: int
    seen: int
    def __init__(self, dataset: _Optional[str] = ..., path: _Optional[str] = ..., axes: _Optional[_Iterable[_Union[Axis, _Mapping]]] = ..., epoch: _Optional[int] = ..., seen: _Optional[int] = ...) -> None: ...

class GetResponse(_message.Message):
    __slots__ = ("epoch", "shape", "array_shape", "id", "dtype", "payload")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    ARRAY_SHAPE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    shape: _containers.RepeatedScalarFieldContainer[int]
    array_shape: _containers.RepeatedScalarFieldContainer[int]
    id: int
    dtype: str
    payload: bytes
    def __init__(self, epoch: _Optional[int] = ..., shape: _Optional[_Iterable[int]] = ..., array_shape: _Optional[_Iterable[int]] = ..., id: _Optional[int] = ..., dtype: _Optional[str] = ..., payload: _Optional[bytes] = ...) -> None: ...

class ReadRequest(_message.Message):
    __slots__ = ("dataset", "path", "axes", "epoch", "seen")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    AXES_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    path: str
    axes: _containers.RepeatedCompositeFieldContainer[Axis]
    epoch: int
    seen: int
    def __init__(self, dataset: _Optional[str] = ..., path: _Optional[str] = ..., axes: _Optional[_Iterable[_Union[Axis, _Mapping]]] = ..., epoch: _Optional[int] = ..., seen: _Optional[int] = ...) -> None: ...

class ReadResponse(_message.Message):
    __slots__ = ("epoch", "shape", "array_shape", "payload")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    ARRAY_SHAPE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    shape: _containers.RepeatedScalarFieldContainer[int]
    array_shape: _containers.RepeatedScalarFieldContainer[int]
    payload: bytes
    def __init__(self, epoch: _Optional[int] = ..., shape: _Optional[_Iterable[int]] = ..., array_shape: _Optional[_Iterable[int]] = ..., payload: _Optional[bytes] = ...) -> None: ...

class WriteRequest(_message.Message):
    __slots__ = ("dataset", "path", "axes", "broadcast", "mutation", "payload")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    AXES_FIELD_NUMBER: _ClassVar[int]
    BROADCAST_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    path: str
    axes: _containers.RepeatedCompositeFieldContainer[Axis]
    broadcast: bool
    mutation: _common_pb2.Mutation
    payload: bytes
    def __init__(self, dataset: _Optional[str] = ..., path: _Optional[str] = ..., axes: _Optional[_Iterable[_Union[Axis, _Mapping]]] = ..., broadcast: _Optional[bool] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ..., payload: _Optional[bytes] = ...) -> None: ...

class WriteResponse(_message.Message):
    __slots__ = ("changed",)
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    changed: _common_pb2.Changed
    def __init__(self, changed: _Optional[_Union[_common_pb2.Changed, _Mapping]] = ...) -> None: ...

class AppendRequest(_message.Message):
    __slots__ = ("dataset", "path", "axis", "count", "expect_length", "mutation", "payload")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    AXIS_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    EXPECT_LENGTH_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    path: str
    axis: int
    count: int
    expect_length: int
    mutation: _common_pb2.Mutation
    payload: bytes
    def __init__(self, dataset: _Optional[str] = ..., path: _Optional[str] = ..., axis: _Optional[int] = ..., count: _Optional[int] = ..., expect_length: _Optional[int] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ..., payload: _Optional[bytes] = ...) -> None: ...

class AppendResponse(_message.Message):
    __slots__ = ("start", "count", "changed")
    START_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    start: int
    count: int
    changed: _common_pb2.Changed
    def __init__(self, start: _Optional[int] = ..., count: _Optional[int] = ..., changed: _Optional[_Union[_common_pb2.Changed, _Mapping]] = ...) -> None: ...

class ChunksRequest(_message.Message):
    __slots__ = ("dataset", "path", "after", "limit", "epoch", "seen")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    path: str
    after: _containers.RepeatedScalarFieldContainer[int]
    limit: int
    epoch: int
    seen: int
    def __init__(self, dataset: _Optional[str] = ..., path: _Optional[str] = ..., after: _Optional[_Iterable[int]] = ..., limit: _Optional[int] = ..., epoch: _Optional[int] = ..., seen: _Optional[int] = ...) -> None: ...

class ChunkStats(_message.Message):
    __slots__ = ("coords", "count", "nulls", "nans", "min", "max", "exact")
    COORDS_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    NULLS_FIELD_NUMBER: _ClassVar[int]
    NANS_FIELD_NUMBER: _ClassVar[int]
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    coords: _containers.RepeatedScalarFieldContainer[int]
    count: int
    nulls: int
    nans: int
    min: bytes
    max: bytes
    exact: bool
    def __init__(self, coords: _Optional[_Iterable[int]] = ..., count: _Optional[int] = ..., nulls: _Optional[int] = ..., nans: _Optional[int] = ..., min: _Optional[bytes] = ..., max: _Optional[bytes] = ..., exact: _Optional[bool] = ...) -> None: ...

class ChunksResponse(_message.Message):
    __slots__ = ("chunks", "more", "epoch")
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    chunks: _containers.RepeatedCompositeFieldContainer[ChunkStats]
    more: bool
    epoch: int
    def __init__(self, chunks: _Optional[_Iterable[_Union[ChunkStats, _Mapping]]] = ..., more: _Optional[bool] = ..., epoch: _Optional[int] = ...) -> None: ...

class PutKeyRequest(_message.Message):
    __slots__ = ("dataset", "key", "if_absent", "mutation", "payload")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    IF_ABSENT_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    key: str
    if_absent: bool
    mutation: _common_pb2.Mutation
    payload: bytes
    def __init__(self, dataset: _Optional[str] = ..., key: _Optional[str] = ..., if_absent: _Optional[bool] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ..., payload: _Optional[bytes] = ...) -> None: ...

class PutKeyResponse(_message.Message):
    __slots__ = ("changed", "present")
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    PRESENT_FIELD_NUMBER: _ClassVar[int]
    changed: _common_pb2.Changed
    present: bool
    def __init__(self, changed: _Optional[_Union[_common_pb2.Changed, _Mapping]] = ..., present: _Optional[bool] = ...) -> None: ...

class GetKeyRequest(_message.Message):
    __slots__ = ("dataset", "key", "offset", "length", "suffix", "size_only", "epoch", "seen")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    SUFFIX_FIELD_NUMBER: _ClassVar[int]
    SIZE_ONLY_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    key: str
    offset: int
    length: int
    suffix: int
    size_only: bool
    epoch: int
    seen: int
    def __init__(self, dataset: _Optional[str] = ..., key: _Optional[str] = ..., offset: _Optional[int] = ..., length: _Optional[int] = ..., suffix: _Optional[int] = ..., size_only: _Optional[bool] = ..., epoch: _Optional[int] = ..., seen: _Optional[int] = ...) -> None: ...

class GetKeyResponse(_message.Message):
    __slots__ = ("size", "epoch", "payload")
    SIZE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    size: int
    epoch: int
    payload: bytes
    def __init__(self, size: _Optional[int] = ..., epoch: _Optional[int] = ..., payload: _Optional[bytes] = ...) -> None: ...

class DeleteKeysRequest(_message.Message):
    __slots__ = ("dataset", "key", "prefix", "by_prefix", "mutation")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    BY_PREFIX_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    key: str
    prefix: str
    by_prefix: bool
    mutation: _common_pb2.Mutation
    def __init__(self, dataset: _Optional[str] = ..., key: _Optional[str] = ..., prefix: _Optional[str] = ..., by_prefix: _Optional[bool] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ...) -> None: ...

class DeleteKeysResponse(_message.Message):
    __slots__ = ("changed", "removed")
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    changed: _common_pb2.Changed
    removed: int
    def __init__(self, changed: _Optional[_Union[_common_pb2.Changed, _Mapping]] = ..., removed: _Optional[int] = ...) -> None: ...

class ListKeysRequest(_message.Message):
    __slots__ = ("dataset", "prefix", "directory", "after", "limit", "epoch", "seen")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    prefix: str
    directory: bool
    after: str
    limit: int
    epoch: int
    seen: int
    def __init__(self, dataset: _Optional[str] = ..., prefix: _Optional[str] = ..., directory: _Optional[bool] = ..., after: _Optional[str] = ..., limit: _Optional[int] = ..., epoch: _Optional[int] = ..., seen: _Optional[int] = ...) -> None: ...

class ListKeysResponse(_message.Message):
    __slots__ = ("keys", "sizes", "more", "epoch")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    SIZES_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedScalarFieldContainer[str]
    sizes: _containers.RepeatedScalarFieldContainer[int]
    more: bool
    epoch: int
    def __init__(self, keys: _Optional[_Iterable[str]] = ..., sizes: _Optional[_Iterable[int]] = ..., more: _Optional[bool] = ..., epoch: _Optional[int] = ...) -> None: ...
