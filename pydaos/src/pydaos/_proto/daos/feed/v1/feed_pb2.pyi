from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Hello(_message.Message):
    __slots__ = ("version", "token", "client", "pid", "features")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    version: int
    token: str
    client: str
    pid: int
    features: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, version: _Optional[int] = ..., token: _Optional[str] = ..., client: _Optional[str] = ..., pid: _Optional[int] = ..., features: _Optional[_Iterable[str]] = ...) -> None: ...

class HelloReply(_message.Message):
    __slots__ = ("version", "features", "max_meta", "max_payload", "incarnation", "epoch", "map_version")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    MAX_META_FIELD_NUMBER: _ClassVar[int]
    MAX_PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    MAP_VERSION_FIELD_NUMBER: _ClassVar[int]
    version: int
    features: _containers.RepeatedScalarFieldContainer[str]
    max_meta: int
    max_payload: int
    incarnation: int
    epoch: int
    map_version: int
    def __init__(self, version: _Optional[int] = ..., features: _Optional[_Iterable[str]] = ..., max_meta: _Optional[int] = ..., max_payload: _Optional[int] = ..., incarnation: _Optional[int] = ..., epoch: _Optional[int] = ..., map_version: _Optional[int] = ...) -> None: ...

class Call(_message.Message):
    __slots__ = ("method", "message", "timeout_millis", "traceparent")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MILLIS_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    method: str
    message: bytes
    timeout_millis: int
    traceparent: str
    def __init__(self, method: _Optional[str] = ..., message: _Optional[bytes] = ..., timeout_millis: _Optional[int] = ..., traceparent: _Optional[str] = ...) -> None: ...
