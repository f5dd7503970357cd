from pydaos._proto.daos.common.v1 import common_pb2 as _common_pb2
from pydaos._proto.daos.query.v1 import query_service_pb2 as _query_service_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class View(_message.Message):
    __slots__ = ("dataset", "name", "revision", "snapshot", "owns_snapshot", "epoch", "snapshot_gone", "path", "samples", "ordered", "digest", "left_out", "kind", "query", "user", "created_unix_nanos", "refreshed_unix_nanos", "refreshed_by")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    OWNS_SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_GONE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    ORDERED_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    CREATED_UNIX_NANOS_FIELD_NUMBER: _ClassVar[int]
    REFRESHED_UNIX_NANOS_FIELD_NUMBER: _ClassVar[int]
    REFRESHED_BY_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    name: str
    revision: int
    snapshot: str
    owns_snapshot: bool
    epoch: int
    snapshot_gone: bool
    path: bytes
    samples: int
    ordered: bool
    digest: str
    left_out: int
    kind: str
    query: str
    user: str
    created_unix_nanos: int
    refreshed_unix_nanos: int
    refreshed_by: str
    def __init__(self, dataset: _Optional[str] = ..., name: _Optional[str] = ..., revision: _Optional[int] = ..., snapshot: _Optional[str] = ..., owns_snapshot: _Optional[bool] = ..., epoch: _Optional[int] = ..., snapshot_gone: _Optional[bool] = ..., path: _Optional[bytes] = ..., samples: _Optional[int] = ..., ordered: _Optional[bool] = ..., digest: _Optional[str] = ..., left_out: _Optional[int] = ..., kind: _Optional[str] = ..., query: _Optional[str] = ..., user: _Optional[str] = ..., created_unix_nanos: _Optional[int] = ..., refreshed_unix_nanos: _Optional[int] = ..., refreshed_by: _Optional[str] = ...) -> None: ...

class SaveViewRequest(_message.Message):
    __slots__ = ("name", "scan", "sql", "of", "replace", "mutation", "seen")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SCAN_FIELD_NUMBER: _ClassVar[int]
    SQL_FIELD_NUMBER: _ClassVar[int]
    OF_FIELD_NUMBER: _ClassVar[int]
    REPLACE_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    name: str
    scan: _query_service_pb2.ScanRequest
    sql: _query_service_pb2.SqlRequest
    of: str
    replace: bool
    mutation: _common_pb2.Mutation
    seen: int
    def __init__(self, name: _Optional[str] = ..., scan: _Optional[_Union[_query_service_pb2.ScanRequest, _Mapping]] = ..., sql: _Optional[_Union[_query_service_pb2.SqlRequest, _Mapping]] = ..., of: _Optional[str] = ..., replace: _Optional[bool] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ..., seen: _Optional[int] = ...) -> None: ...

class SaveViewResponse(_message.Message):
    __slots__ = ("view", "changed")
    VIEW_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    view: View
    changed: _common_pb2.Changed
    def __init__(self, view: _Optional[_Union[View, _Mapping]] = ..., changed: _Optional[_Union[_common_pb2.Changed, _Mapping]] = ...) -> None: ...

class ListViewsRequest(_message.Message):
    __slots__ = ("dataset",)
    DATASET_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    def __init__(self, dataset: _Optional[str] = ...) -> None: ...

class ListViewsResponse(_message.Message):
    __slots__ = ("views",)
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    views: _containers.RepeatedCompositeFieldContainer[View]
    def __init__(self, views: _Optional[_Iterable[_Union[View, _Mapping]]] = ...) -> None: ...

class GetViewRequest(_message.Message):
    __slots__ = ("dataset", "name")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    name: str
    def __init__(self, dataset: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class GetViewResponse(_message.Message):
    __slots__ = ("view",)
    VIEW_FIELD_NUMBER: _ClassVar[int]
    view: View
    def __init__(self, view: _Optional[_Union[View, _Mapping]] = ...) -> None: ...

class RefreshViewRequest(_message.Message):
    __slots__ = ("dataset", "name", "snapshot", "names", "mutation", "seen")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    name: str
    snapshot: str
    names: int
    mutation: _common_pb2.Mutation
    seen: int
    def __init__(self, dataset: _Optional[str] = ..., name: _Optional[str] = ..., snapshot: _Optional[str] = ..., names: _Optional[int] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ..., seen: _Optional[int] = ...) -> None: ...

class RefreshViewResponse(_message.Message):
    __slots__ = ("view", "added", "removed", "added_names", "removed_names", "not_compared", "changed")
    VIEW_FIELD_NUMBER: _ClassVar[int]
    ADDED_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    ADDED_NAMES_FIELD_NUMBER: _ClassVar[int]
    REMOVED_NAMES_FIELD_NUMBER: _ClassVar[int]
    NOT_COMPARED_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    view: View
    added: int
    removed: int
    added_names: _containers.RepeatedScalarFieldContainer[bytes]
    removed_names: _containers.RepeatedScalarFieldContainer[bytes]
    not_compared: bool
    changed: _common_pb2.Changed
    def __init__(self, view: _Optional[_Union[View, _Mapping]] = ..., added: _Optional[int] = ..., removed: _Optional[int] = ..., added_names: _Optional[_Iterable[bytes]] = ..., removed_names: _Optional[_Iterable[bytes]] = ..., not_compared: _Optional[bool] = ..., changed: _Optional[_Union[_common_pb2.Changed, _Mapping]] = ...) -> None: ...

class RemoveViewRequest(_message.Message):
    __slots__ = ("dataset", "name", "mutation")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    name: str
    mutation: _common_pb2.Mutation
    def __init__(self, dataset: _Optional[str] = ..., name: _Optional[str] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ...) -> None: ...

class RemoveViewResponse(_message.Message):
    __slots__ = ("snapshot", "kept_for")
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    KEPT_FOR_FIELD_NUMBER: _ClassVar[int]
    snapshot: str
    kept_for: str
    def __init__(self, snapshot: _Optional[str] = ..., kept_for: _Optional[str] = ...) -> None: ...
