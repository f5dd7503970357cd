from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KIND_UNSPECIFIED: _ClassVar[Kind]
    KIND_INVALID: _ClassVar[Kind]
    KIND_NOT_FOUND: _ClassVar[Kind]
    KIND_EXISTS: _ClassVar[Kind]
    KIND_PERMISSION: _ClassVar[Kind]
    KIND_UNAUTHENTICATED: _ClassVar[Kind]
    KIND_NO_SPACE: _ClassVar[Kind]
    KIND_OVERLOADED: _ClassVar[Kind]
    KIND_STALE: _ClassVar[Kind]
    KIND_NOT_LEADER: _ClassVar[Kind]
    KIND_CONFLICT: _ClassVar[Kind]
    KIND_UNREACHABLE: _ClassVar[Kind]
    KIND_TIMEOUT: _ClassVar[Kind]
    KIND_CORRUPT: _ClassVar[Kind]
    KIND_DATA_LOSS: _ClassVar[Kind]
    KIND_TOO_BIG: _ClassVar[Kind]
    KIND_UNSUPPORTED: _ClassVar[Kind]
    KIND_INTERNAL: _ClassVar[Kind]
    KIND_NOT_DIRECTORY: _ClassVar[Kind]
    KIND_IS_DIRECTORY: _ClassVar[Kind]
    KIND_NOT_EMPTY: _ClassVar[Kind]
    KIND_CANCELED: _ClassVar[Kind]
    KIND_EPOCH_GONE: _ClassVar[Kind]
    KIND_READ_ONLY: _ClassVar[Kind]
KIND_UNSPECIFIED: Kind
KIND_INVALID: Kind
KIND_NOT_FOUND: Kind
KIND_EXISTS: Kind
KIND_PERMISSION: Kind
KIND_UNAUTHENTICATED: Kind
KIND_NO_SPACE: Kind
KIND_OVERLOADED: Kind
KIND_STALE: Kind
KIND_NOT_LEADER: Kind
KIND_CONFLICT: Kind
KIND_UNREACHABLE: Kind
KIND_TIMEOUT: Kind
KIND_CORRUPT: Kind
KIND_DATA_LOSS: Kind
KIND_TOO_BIG: Kind
KIND_UNSUPPORTED: Kind
KIND_INTERNAL: Kind
KIND_NOT_DIRECTORY: Kind
KIND_IS_DIRECTORY: Kind
KIND_NOT_EMPTY: Kind
KIND_CANCELED: Kind
KIND_EPOCH_GONE: Kind
KIND_READ_ONLY: Kind

class Error(_message.Message):
    __slots__ = ("kind", "op", "resource", "detail", "resolution", "retry_after_millis")
    KIND_FIELD_NUMBER: _ClassVar[int]
    OP_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    RESOLUTION_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MILLIS_FIELD_NUMBER: _ClassVar[int]
    kind: Kind
    op: str
    resource: str
    detail: str
    resolution: str
    retry_after_millis: int
    def __init__(self, kind: _Optional[_Union[Kind, str]] = ..., op: _Optional[str] = ..., resource: _Optional[str] = ..., detail: _Optional[str] = ..., resolution: _Optional[str] = ..., retry_after_millis: _Optional[int] = ...) -> None: ...

class Mutation(_message.Message):
    __slots__ = ("request_id",)
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    request_id: bytes
    def __init__(self, request_id: _Optional[bytes] = ...) -> None: ...

class Changed(_message.Message):
    __slots__ = ("epoch", "replayed")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    replayed: bool
    def __init__(self, epoch: _Optional[int] = ..., replayed: _Optional[bool] = ...) -> None: ...
