from pydaos._proto.daos.scan.v1 import scan_service_pb2 as _scan_service_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Command(_message.Message):
    __slots__ = ("scan", "tensor")
    SCAN_FIELD_NUMBER: _ClassVar[int]
    TENSOR_FIELD_NUMBER: _ClassVar[int]
    scan: _scan_service_pb2.ScanRequest
    tensor: TensorRead
    def __init__(self, scan: _Optional[_Union[_scan_service_pb2.ScanRequest, _Mapping]] = ..., tensor: _Optional[_Union[TensorRead, _Mapping]] = ...) -> None: ...

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

class Ticket(_message.Message):
    __slots__ = ("version", "command", "mac")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    MAC_FIELD_NUMBER: _ClassVar[int]
    version: int
    command: bytes
    mac: bytes
    def __init__(self, version: _Optional[int] = ..., command: _Optional[bytes] = ..., mac: _Optional[bytes] = ...) -> None: ...
