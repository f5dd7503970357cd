from pydaos._proto.daos.common.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FileType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FILE_TYPE_UNSPECIFIED: _ClassVar[FileType]
    FILE_TYPE_FILE: _ClassVar[FileType]
    FILE_TYPE_DIRECTORY: _ClassVar[FileType]
    FILE_TYPE_SYMLINK: _ClassVar[FileType]
FILE_TYPE_UNSPECIFIED: FileType
FILE_TYPE_FILE: FileType
FILE_TYPE_DIRECTORY: FileType
FILE_TYPE_SYMLINK: FileType

class Attr(_message.Message):
    __slots__ = ("type", "mode", "uid", "gid", "size", "mtime_unix_nanos", "ctime_unix_nanos", "inode", "nlink", "symlink_target", "epoch")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    GID_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    MTIME_UNIX_NANOS_FIELD_NUMBER: _ClassVar[int]
    CTIME_UNIX_NANOS_FIELD_NUMBER: _ClassVar[int]
    INODE_FIELD_NUMBER: _ClassVar[int]
    NLINK_FIELD_NUMBER: _ClassVar[int]
    SYMLINK_TARGET_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    type: FileType
    mode: int
    uid: int
    gid: int
    size: int
    mtime_unix_nanos: int
    ctime_unix_nanos: int
    inode: int
    nlink: int
    symlink_target: bytes
    epoch: int
    def __init__(self, type: _Optional[_Union[FileType, str]] = ..., mode: _Optional[int] = ..., uid: _Optional[int] = ..., gid: _Optional[int] = ..., size: _Optional[int] = ..., mtime_unix_nanos: _Optional[int] = ..., ctime_unix_nanos: _Optional[int] = ..., inode: _Optional[int] = ..., nlink: _Optional[int] = ..., symlink_target: _Optional[bytes] = ..., epoch: _Optional[int] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("name", "attr")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ATTR_FIELD_NUMBER: _ClassVar[int]
    name: bytes
    attr: Attr
    def __init__(self, name: _Optional[bytes] = ..., attr: _Optional[_Union[Attr, _Mapping]] = ...) -> None: ...

class StatRequest(_message.Message):
    __slots__ = ("dataset", "path", "inode", "follow", "seen")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    INODE_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    path: bytes
    inode: int
    follow: bool
    seen: int
    def __init__(self, dataset: _Optional[str] = ..., path: _Optional[bytes] = ..., inode: _Optional[int] = ..., follow: _Optional[bool] = ..., seen: _Optional[int] = ...) -> None: ...

class StatResponse(_message.Message):
    __slots__ = ("attr",)
    ATTR_FIELD_NUMBER: _ClassVar[int]
    attr: Attr
    def __init__(self, attr: _Optional[_Union[Attr, _Mapping]] = ...) -> None: ...

class ListDirRequest(_message.Message):
    __slots__ = ("dataset", "path", "after", "limit", "epoch", "seen")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    path: bytes
    after: bytes
    limit: int
    epoch: int
    seen: int
    def __init__(self, dataset: _Optional[str] = ..., path: _Optional[bytes] = ..., after: _Optional[bytes] = ..., limit: _Optional[int] = ..., epoch: _Optional[int] = ..., seen: _Optional[int] = ...) -> None: ...

class ListDirResponse(_message.Message):
    __slots__ = ("entries", "more", "epoch")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    more: bool
    epoch: int
    def __init__(self, entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., more: _Optional[bool] = ..., epoch: _Optional[int] = ...) -> None: ...

class MakeDirRequest(_message.Message):
    __slots__ = ("dataset", "path", "mode", "parents", "mutation")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    PARENTS_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    path: bytes
    mode: int
    parents: bool
    mutation: _common_pb2.Mutation
    def __init__(self, dataset: _Optional[str] = ..., path: _Optional[bytes] = ..., mode: _Optional[int] = ..., parents: _Optional[bool] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ...) -> None: ...

class MakeDirResponse(_message.Message):
    __slots__ = ("attr", "changed")
    ATTR_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    attr: Attr
    changed: _common_pb2.Changed
    def __init__(self, attr: _Optional[_Union[Attr, _Mapping]] = ..., changed: _Optional[_Union[_common_pb2.Changed, _Mapping]] = ...) -> None: ...

class CreateRequest(_message.Message):
    __slots__ = ("dataset", "path", "mode", "exclusive", "truncate", "parents", "payload", "mutation")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    EXCLUSIVE_FIELD_NUMBER: _ClassVar[int]
    TRUNCATE_FIELD_NUMBER: _ClassVar[int]
    PARENTS_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    path: bytes
    mode: int
    exclusive: bool
    truncate: bool
    parents: bool
    payload: bytes
    mutation: _common_pb2.Mutation
    def __init__(self, dataset: _Optional[str] = ..., path: _Optional[bytes] = ..., mode: _Optional[int] = ..., exclusive: _Optional[bool] = ..., truncate: _Optional[bool] = ..., parents: _Optional[bool] = ..., payload: _Optional[bytes] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ...) -> None: ...

class CreateResponse(_message.Message):
    __slots__ = ("attr", "changed")
    ATTR_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    attr: Attr
    changed: _common_pb2.Changed
    def __init__(self, attr: _Optional[_Union[Attr, _Mapping]] = ..., changed: _Optional[_Union[_common_pb2.Changed, _Mapping]] = ...) -> None: ...

class ReadRequest(_message.Message):
    __slots__ = ("dataset", "path", "inode", "offset", "length", "epoch", "seen")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    INODE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    path: bytes
    inode: int
    offset: int
    length: int
    epoch: int
    seen: int
    def __init__(self, dataset: _Optional[str] = ..., path: _Optional[bytes] = ..., inode: _Optional[int] = ..., offset: _Optional[int] = ..., length: _Optional[int] = ..., epoch: _Optional[int] = ..., seen: _Optional[int] = ...) -> None: ...

class ReadResponse(_message.Message):
    __slots__ = ("size", "epoch", "payload")
    SIZE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    size: int
    epoch: int
    payload: bytes
    def __init__(self, size: _Optional[int] = ..., epoch: _Optional[int] = ..., payload: _Optional[bytes] = ...) -> None: ...

class ReadStreamRequest(_message.Message):
    __slots__ = ("dataset", "path", "inode", "offset", "length", "epoch", "seen")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    INODE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    path: bytes
    inode: int
    offset: int
    length: int
    epoch: int
    seen: int
    def __init__(self, dataset: _Optional[str] = ..., path: _Optional[bytes] = ..., inode: _Optional[int] = ..., offset: _Optional[int] = ..., length: _Optional[int] = ..., epoch: _Optional[int] = ..., seen: _Optional[int] = ...) -> None: ...

class ReadStreamResponse(_message.Message):
    __slots__ = ("offset", "size", "payload")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    offset: int
    size: int
    payload: bytes
    def __init__(self, offset: _Optional[int] = ..., size: _Optional[int] = ..., payload: _Optional[bytes] = ...) -> None: ...

class WriteRequest(_message.Message):
    __slots__ = ("dataset", "path", "inode", "offset", "append", "mutation", "payload")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    INODE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    APPEND_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    path: bytes
    inode: int
    offset: int
    append: bool
    mutation: _common_pb2.Mutation
    payload: bytes
    def __init__(self, dataset: _Optional[str] = ..., path: _Optional[bytes] = ..., inode: _Optional[int] = ..., offset: _Optional[int] = ..., append: _Optional[bool] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ..., payload: _Optional[bytes] = ...) -> None: ...

class WriteResponse(_message.Message):
    __slots__ = ("offset", "size", "changed")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    offset: int
    size: int
    changed: _common_pb2.Changed
    def __init__(self, offset: _Optional[int] = ..., size: _Optional[int] = ..., changed: _Optional[_Union[_common_pb2.Changed, _Mapping]] = ...) -> None: ...

class TruncateRequest(_message.Message):
    __slots__ = ("dataset", "path", "inode", "size", "mutation")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    INODE_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    path: bytes
    inode: int
    size: int
    mutation: _common_pb2.Mutation
    def __init__(self, dataset: _Optional[str] = ..., path: _Optional[bytes] = ..., inode: _Optional[int] = ..., size: _Optional[int] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ...) -> None: ...

class TruncateResponse(_message.Message):
    __slots__ = ("changed",)
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    changed: _common_pb2.Changed
    def __init__(self, changed: _Optional[_Union[_common_pb2.Changed, _Mapping]] = ...) -> None: ...

class RenameRequest(_message.Message):
    __slots__ = ("dataset", "old_path", "new_path", "exclusive", "mutation")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    OLD_PATH_FIELD_NUMBER: _ClassVar[int]
    NEW_PATH_FIELD_NUMBER: _ClassVar[int]
    EXCLUSIVE_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    old_path: bytes
    new_path: bytes
    exclusive: bool
    mutation: _common_pb2.Mutation
    def __init__(self, dataset: _Optional[str] = ..., old_path: _Optional[bytes] = ..., new_path: _Optional[bytes] = ..., exclusive: _Optional[bool] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ...) -> None: ...

class RenameResponse(_message.Message):
    __slots__ = ("changed",)
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    changed: _common_pb2.Changed
    def __init__(self, changed: _Optional[_Union[_common_pb2.Changed, _Mapping]] = ...) -> None: ...

class RemoveRequest(_message.Message):
    __slots__ = ("dataset", "path", "recursive", "directory", "mutation")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    RECURSIVE_FIELD_NUMBER: _ClassVar[int]
    DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    path: bytes
    recursive: bool
    directory: bool
    mutation: _common_pb2.Mutation
    def __init__(self, dataset: _Optional[str] = ..., path: _Optional[bytes] = ..., recursive: _Optional[bool] = ..., directory: _Optional[bool] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ...) -> None: ...

class RemoveResponse(_message.Message):
    __slots__ = ("changed",)
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    changed: _common_pb2.Changed
    def __init__(self, changed: _Optional[_Union[_common_pb2.Changed, _Mapping]] = ...) -> None: ...

class LinkRequest(_message.Message):
    __slots__ = ("dataset", "old_path", "new_path", "mutation")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    OLD_PATH_FIELD_NUMBER: _ClassVar[int]
    NEW_PATH_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    old_path: bytes
    new_path: bytes
    mutation: _common_pb2.Mutation
    def __init__(self, dataset: _Optional[str] = ..., old_path: _Optional[bytes] = ..., new_path: _Optional[bytes] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ...) -> None: ...

class LinkResponse(_message.Message):
    __slots__ = ("changed",)
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    changed: _common_pb2.Changed
    def __init__(self, changed: _Optional[_Union[_common_pb2.Changed, _Mapping]] = ...) -> None: ...

class SymlinkRequest(_message.Message):
    __slots__ = ("dataset", "target", "path", "mutation")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    target: bytes
    path: bytes
    mutation: _common_pb2.Mutation
    def __init__(self, dataset: _Optional[str] = ..., target: _Optional[bytes] = ..., path: _Optional[bytes] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ...) -> None: ...

class SymlinkResponse(_message.Message):
    __slots__ = ("changed",)
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    changed: _common_pb2.Changed
    def __init__(self, changed: _Optional[_Union[_common_pb2.Changed, _Mapping]] = ...) -> None: ...

class SetAttrRequest(_message.Message):
    __slots__ = ("dataset", "path", "inode", "mode", "uid", "gid", "mtime_unix_nanos", "mutation")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    INODE_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    GID_FIELD_NUMBER: _ClassVar[int]
    MTIME_UNIX_NANOS_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    path: bytes
    inode: int
    mode: int
    uid: int
    gid: int
    mtime_unix_nanos: int
    mutation: _common_pb2.Mutation
    def __init__(self, dataset: _Optional[str] = ..., path: _Optional[bytes] = ..., inode: _Optional[int] = ..., mode: _Optional[int] = ..., uid: _Optional[int] = ..., gid: _Optional[int] = ..., mtime_unix_nanos: _Optional[int] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ...) -> None: ...

class SetAttrResponse(_message.Message):
    __slots__ = ("attr", "changed")
    ATTR_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    attr: Attr
    changed: _common_pb2.Changed
    def __init__(self, attr: _Optional[_Union[Attr, _Mapping]] = ..., changed: _Optional[_Union[_common_pb2.Changed, _Mapping]] = ...) -> None: ...

class GetXattrRequest(_message.Message):
    __slots__ = ("dataset", "path", "name", "seen")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    path: bytes
    name: bytes
    seen: int
    def __init__(self, dataset: _Optional[str] = ..., path: _Optional[bytes] = ..., name: _Optional[bytes] = ..., seen: _Optional[int] = ...) -> None: ...

class GetXattrResponse(_message.Message):
    __slots__ = ("value",)
    VALUE_FIELD_NUMBER: _ClassVar[int]
    value: bytes
    def __init__(self, value: _Optional[bytes] = ...) -> None: ...

class ListXattrsRequest(_message.Message):
    __slots__ = ("dataset", "path", "seen")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    path: bytes
    seen: int
    def __init__(self, dataset: _Optional[str] = ..., path: _Optional[bytes] = ..., seen: _Optional[int] = ...) -> None: ...

class ListXattrsResponse(_message.Message):
    __slots__ = ("names",)
    NAMES_FIELD_NUMBER: _ClassVar[int]
    names: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, names: _Optional[_Iterable[bytes]] = ...) -> None: ...

class SetXattrRequest(_message.Message):
    __slots__ = ("dataset", "path", "name", "value", "remove", "exclusive", "mutation")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    REMOVE_FIELD_NUMBER: _ClassVar[int]
    EXCLUSIVE_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    path: bytes
    name: bytes
    value: bytes
    remove: bool
    exclusive: bool
    mutation: _common_pb2.Mutation
    def __init__(self, dataset: _Optional[str] = ..., path: _Optional[bytes] = ..., name: _Optional[bytes] = ..., value: _Optional[bytes] = ..., remove: _Optional[bool] = ..., exclusive: _Optional[bool] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ...) -> None: ...

class SetXattrResponse(_message.Message):
    __slots__ = ("changed",)
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    changed: _common_pb2.Changed
    def __init__(self, changed: _Optional[_Union[_common_pb2.Changed, _Mapping]] = ...) -> None: ...

class StageRequest(_message.Message):
    __slots__ = ("dataset", "ttl_seconds", "mutation")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    TTL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    ttl_seconds: int
    mutation: _common_pb2.Mutation
    def __init__(self, dataset: _Optional[str] = ..., ttl_seconds: _Optional[int] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ...) -> None: ...

class StageResponse(_message.Message):
    __slots__ = ("inode",)
    INODE_FIELD_NUMBER: _ClassVar[int]
    inode: int
    def __init__(self, inode: _Optional[int] = ...) -> None: ...

class WriteStagedRequest(_message.Message):
    __slots__ = ("dataset", "inode", "offset", "mutation", "payload")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    INODE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    inode: int
    offset: int
    mutation: _common_pb2.Mutation
    payload: bytes
    def __init__(self, dataset: _Optional[str] = ..., inode: _Optional[int] = ..., offset: _Optional[int] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ..., payload: _Optional[bytes] = ...) -> None: ...

class WriteStagedResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PublishRequest(_message.Message):
    __slots__ = ("dataset", "inode", "path", "size", "mode", "parents", "exclusive", "mtime_unix_nanos", "mutation")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    INODE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    PARENTS_FIELD_NUMBER: _ClassVar[int]
    EXCLUSIVE_FIELD_NUMBER: _ClassVar[int]
    MTIME_UNIX_NANOS_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    inode: int
    path: bytes
    size: int
    mode: int
    parents: bool
    exclusive: bool
    mtime_unix_nanos: int
    mutation: _common_pb2.Mutation
    def __init__(self, dataset: _Optional[str] = ..., inode: _Optional[int] = ..., path: _Optional[bytes] = ..., size: _Optional[int] = ..., mode: _Optional[int] = ..., parents: _Optional[bool] = ..., exclusive: _Optional[bool] = ..., mtime_unix_nanos: _Optional[int] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ...) -> None: ...

class PublishResponse(_message.Message):
    __slots__ = ("attr", "changed")
    ATTR_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    attr: Attr
    changed: _common_pb2.Changed
    def __init__(self, attr: _Optional[_Union[Attr, _Mapping]] = ..., changed: _Optional[_Union[_common_pb2.Changed, _Mapping]] = ...) -> None: ...

class DiscardRequest(_message.Message):
    __slots__ = ("dataset", "inode")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    INODE_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    inode: int
    def __init__(self, dataset: _Optional[str] = ..., inode: _Optional[int] = ...) -> None: ...

class DiscardResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ImportEntry(_message.Message):
    __slots__ = ("path", "type", "mode", "mtime_unix_nanos", "size", "symlink_target")
    PATH_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    MTIME_UNIX_NANOS_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SYMLINK_TARGET_FIELD_NUMBER: _ClassVar[int]
    path: bytes
    type: FileType
    mode: int
    mtime_unix_nanos: int
    size: int
    symlink_target: bytes
    def __init__(self, path: _Optional[bytes] = ..., type: _Optional[_Union[FileType, str]] = ..., mode: _Optional[int] = ..., mtime_unix_nanos: _Optional[int] = ..., size: _Optional[int] = ..., symlink_target: _Optional[bytes] = ...) -> None: ...

class ImportRequest(_message.Message):
    __slots__ = ("dataset", "entries", "overwrite", "mutation", "payload")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    OVERWRITE_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    entries: _containers.RepeatedCompositeFieldContainer[ImportEntry]
    overwrite: bool
    mutation: _common_pb2.Mutation
    payload: bytes
    def __init__(self, dataset: _Optional[str] = ..., entries: _Optional[_Iterable[_Union[ImportEntry, _Mapping]]] = ..., overwrite: _Optional[bool] = ..., mutation: _Optional[_Union[_common_pb2.Mutation, _Mapping]] = ..., payload: _Optional[bytes] = ...) -> None: ...

class ImportResponse(_message.Message):
    __slots__ = ("changed", "entries")
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    changed: _common_pb2.Changed
    entries: int
    def __init__(self, changed: _Optional[_Union[_common_pb2.Changed, _Mapping]] = ..., entries: _Optional[int] = ...) -> None: ...
