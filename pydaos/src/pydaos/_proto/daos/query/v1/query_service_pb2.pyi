from pydaos._proto.daos.common.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Function(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FUNCTION_UNSPECIFIED: _ClassVar[Function]
    FUNCTION_EQ: _ClassVar[Function]
    FUNCTION_NE: _ClassVar[Function]
    FUNCTION_LT: _ClassVar[Function]
    FUNCTION_LE: _ClassVar[Function]
    FUNCTION_GT: _ClassVar[Function]
    FUNCTION_GE: _ClassVar[Function]
    FUNCTION_BETWEEN: _ClassVar[Function]
    FUNCTION_IN: _ClassVar[Function]
    FUNCTION_IS_NULL: _ClassVar[Function]
    FUNCTION_NOT_NULL: _ClassVar[Function]
    FUNCTION_AND: _ClassVar[Function]
    FUNCTION_OR: _ClassVar[Function]
    FUNCTION_NOT: _ClassVar[Function]
    FUNCTION_LIKE: _ClassVar[Function]
    FUNCTION_GLOB: _ClassVar[Function]
    FUNCTION_PREFIX: _ClassVar[Function]
    FUNCTION_ADD: _ClassVar[Function]
    FUNCTION_SUB: _ClassVar[Function]
    FUNCTION_MUL: _ClassVar[Function]
    FUNCTION_DIV: _ClassVar[Function]
    FUNCTION_MOD: _ClassVar[Function]
    FUNCTION_LENGTH: _ClassVar[Function]
    FUNCTION_LOWER: _ClassVar[Function]
    FUNCTION_ABS: _ClassVar[Function]
    FUNCTION_ELEMENT: _ClassVar[Function]
    FUNCTION_NEGATE: _ClassVar[Function]
    FUNCTION_IS_NAN: _ClassVar[Function]
    FUNCTION_CONTAINS: _ClassVar[Function]
    FUNCTION_SUFFIX: _ClassVar[Function]
    FUNCTION_UPPER: _ClassVar[Function]

class AggregateFunction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AGGREGATE_FUNCTION_UNSPECIFIED: _ClassVar[AggregateFunction]
    AGGREGATE_FUNCTION_COUNT: _ClassVar[AggregateFunction]
    AGGREGATE_FUNCTION_SUM: _ClassVar[AggregateFunction]
    AGGREGATE_FUNCTION_MIN: _ClassVar[AggregateFunction]
    AGGREGATE_FUNCTION_MAX: _ClassVar[AggregateFunction]
    AGGREGATE_FUNCTION_AVG: _ClassVar[AggregateFunction]
FUNCTION_UNSPECIFIED: Function
FUNCTION_EQ: Function
FUNCTION_NE: Function
FUNCTION_LT: Function
FUNCTION_LE: Function
FUNCTION_GT: Function
FUNCTION_GE: Function
FUNCTION_BETWEEN: Function
FUNCTION_IN: Function
FUNCTION_IS_NULL: Function
FUNCTION_NOT_NULL: Function
FUNCTION_AND: Function
FUNCTION_OR: Function
FUNCTION_NOT: Function
FUNCTION_LIKE: Function
FUNCTION_GLOB: Function
FUNCTION_PREFIX: Function
FUNCTION_ADD: Function
FUNCTION_SUB: Function
FUNCTION_MUL: Function
FUNCTION_DIV: Function
FUNCTION_MOD: Function
FUNCTION_LENGTH: Function
FUNCTION_LOWER: Function
FUNCTION_ABS: Function
FUNCTION_ELEMENT: Function
FUNCTION_NEGATE: Function
FUNCTION_IS_NAN: Function
FUNCTION_CONTAINS: Function
FUNCTION_SUFFIX: Function
FUNCTION_UPPER: Function
AGGREGATE_FUNCTION_UNSPECIFIED: AggregateFunction
AGGREGATE_FUNCTION_COUNT: AggregateFunction
AGGREGATE_FUNCTION_SUM: AggregateFunction
AGGREGATE_FUNCTION_MIN: AggregateFunction
AGGREGATE_FUNCTION_MAX: AggregateFunction
AGGREGATE_FUNCTION_AVG: AggregateFunction

class Expr(_message.Message):
    __slots__ = ("column", "literal", "call")
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    LITERAL_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    column: str
    literal: Literal
    call: Call
    def __init__(self, column: _Optional[str] = ..., literal: _Optional[_Union[Literal, _Mapping]] = ..., call: _Optional[_Union[Call, _Mapping]] = ...) -> None: ...

class Literal(_message.Message):
    __slots__ = ("null", "boolean", "integer", "unsigned", "number", "decimal", "text", "blob", "time_unix_nanos")
    NULL_FIELD_NUMBER: _ClassVar[int]
    BOOLEAN_FIELD_NUMBER: _ClassVar[int]
    INTEGER_FIELD_NUMBER: _ClassVar[int]
    UNSIGNED_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    DECIMAL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    BLOB_FIELD_NUMBER: _ClassVar[int]
    TIME_UNIX_NANOS_FIELD_NUMBER: _ClassVar[int]
    null: bool
    boolean: bool
    integer: int
    unsigned: int
    number: float
    decimal: str
    text: str
    blob: bytes
    time_unix_nanos: int
    def __init__(self, null: _Optional[bool] = ..., boolean: _Optional[bool] = ..., integer: _Optional[int] = ..., unsigned: _Optional[int] = ..., number: _Optional[float] = ..., decimal: _Optional[str] = ..., text: _Optional[str] = ..., blob: _Optional[bytes] = ..., time_unix_nanos: _Optional[int] = ...) -> None: ...

class Call(_message.Message):
    __slots__ = ("function", "args")
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    function: Function
    args: _containers.RepeatedCompositeFieldContainer[Expr]
    def __init__(self, function: _Optional[_Union[Function, str]] = ..., args: _Optional[_Iterable[_Union[Expr, _Mapping]]] = ...) -> None: ...

class Field(_message.Message):
    __slots__ = ("name", "type")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ...) -> None: ...

class TableFunction(_message.Message):
    __slots__ = ("name", "args")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    name: str
    args: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., args: _Optional[_Iterable[str]] = ...) -> None: ...

class SchemaRequest(_message.Message):
    __slots__ = ("dataset", "seen", "epoch", "function")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    seen: int
    epoch: int
    function: TableFunction
    def __init__(self, dataset: _Optional[str] = ..., seen: _Optional[int] = ..., epoch: _Optional[int] = ..., function: _Optional[_Union[TableFunction, _Mapping]] = ...) -> None: ...

class SchemaResponse(_message.Message):
    __slots__ = ("fields", "type", "rows", "epoch")
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    fields: _containers.RepeatedCompositeFieldContainer[Field]
    type: str
    rows: int
    epoch: int
    def __init__(self, fields: _Optional[_Iterable[_Union[Field, _Mapping]]] = ..., type: _Optional[str] = ..., rows: _Optional[int] = ..., epoch: _Optional[int] = ...) -> None: ...

class Aggregate(_message.Message):
    __slots__ = ("function", "column")
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    function: AggregateFunction
    column: str
    def __init__(self, function: _Optional[_Union[AggregateFunction, str]] = ..., column: _Optional[str] = ...) -> None: ...

class Top(_message.Message):
    __slots__ = ("column", "descending", "k")
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    DESCENDING_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    column: str
    descending: bool
    k: int
    def __init__(self, column: _Optional[str] = ..., descending: _Optional[bool] = ..., k: _Optional[int] = ...) -> None: ...

class Sample(_message.Message):
    __slots__ = ("fraction", "n", "seed", "stratify_by")
    FRACTION_FIELD_NUMBER: _ClassVar[int]
    N_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    STRATIFY_BY_FIELD_NUMBER: _ClassVar[int]
    fraction: float
    n: int
    seed: int
    stratify_by: str
    def __init__(self, fraction: _Optional[float] = ..., n: _Optional[int] = ..., seed: _Optional[int] = ..., stratify_by: _Optional[str] = ...) -> None: ...

class ScanRequest(_message.Message):
    __slots__ = ("dataset", "columns", "where", "predicate", "offset", "limit", "top", "sample", "group_by", "aggregates", "batch_rows", "epoch", "seen", "label", "function")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    PREDICATE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    GROUP_BY_FIELD_NUMBER: _ClassVar[int]
    AGGREGATES_FIELD_NUMBER: _ClassVar[int]
    BATCH_ROWS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    columns: _containers.RepeatedScalarFieldContainer[str]
    where: str
    predicate: Expr
    offset: int
    limit: int
    top: Top
    sample: Sample
    group_by: _containers.RepeatedScalarFieldContainer[str]
    aggregates: _containers.RepeatedCompositeFieldContainer[Aggregate]
    batch_rows: int
    epoch: int
    seen: int
    label: str
    function: TableFunction
    def __init__(self, dataset: _Optional[str] = ..., columns: _Optional[_Iterable[str]] = ..., where: _Optional[str] = ..., predicate: _Optional[_Union[Expr, _Mapping]] = ..., offset: _Optional[int] = ..., limit: _Optional[int] = ..., top: _Optional[_Union[Top, _Mapping]] = ..., sample: _Optional[_Union[Sample, _Mapping]] = ..., group_by: _Optional[_Iterable[str]] = ..., aggregates: _Optional[_Iterable[_Union[Aggregate, _Mapping]]] = ..., batch_rows: _Optional[int] = ..., epoch: _Optional[int] = ..., seen: _Optional[int] = ..., label: _Optional[str] = ..., function: _Optional[_Union[TableFunction, _Mapping]] = ...) -> None: ...

class Counters(_message.Message):
    __slots__ = ("chunks", "chunks_pruned", "chunks_read", "rows_scanned", "rows_matched", "rows_out", "bytes_read", "bytes_out", "elapsed_nanos")
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_PRUNED_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_READ_FIELD_NUMBER: _ClassVar[int]
    ROWS_SCANNED_FIELD_NUMBER: _ClassVar[int]
    ROWS_MATCHED_FIELD_NUMBER: _ClassVar[int]
    ROWS_OUT_FIELD_NUMBER: _ClassVar[int]
    BYTES_READ_FIELD_NUMBER: _ClassVar[int]
    BYTES_OUT_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_NANOS_FIELD_NUMBER: _ClassVar[int]
    chunks: int
    chunks_pruned: int
    chunks_read: int
    rows_scanned: int
    rows_matched: int
    rows_out: int
    bytes_read: int
    bytes_out: int
    elapsed_nanos: int
    def __init__(self, chunks: _Optional[int] = ..., chunks_pruned: _Optional[int] = ..., chunks_read: _Optional[int] = ..., rows_scanned: _Optional[int] = ..., rows_matched: _Optional[int] = ..., rows_out: _Optional[int] = ..., bytes_read: _Optional[int] = ..., bytes_out: _Optional[int] = ..., elapsed_nanos: _Optional[int] = ...) -> None: ...

class ScanResponse(_message.Message):
    __slots__ = ("payload", "query", "epoch", "done", "counters")
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    payload: bytes
    query: str
    epoch: int
    done: bool
    counters: Counters
    def __init__(self, payload: _Optional[bytes] = ..., query: _Optional[str] = ..., epoch: _Optional[int] = ..., done: _Optional[bool] = ..., counters: _Optional[_Union[Counters, _Mapping]] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("scan", "analyze")
    SCAN_FIELD_NUMBER: _ClassVar[int]
    ANALYZE_FIELD_NUMBER: _ClassVar[int]
    scan: ScanRequest
    analyze: bool
    def __init__(self, scan: _Optional[_Union[ScanRequest, _Mapping]] = ..., analyze: _Optional[bool] = ...) -> None: ...

class Conjunct(_message.Message):
    __slots__ = ("table", "conjunct", "pushed", "why")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    CONJUNCT_FIELD_NUMBER: _ClassVar[int]
    PUSHED_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    table: str
    conjunct: str
    pushed: bool
    why: str
    def __init__(self, table: _Optional[str] = ..., conjunct: _Optional[str] = ..., pushed: _Optional[bool] = ..., why: _Optional[str] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("conjuncts", "fields", "counters", "epoch")
    CONJUNCTS_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    conjuncts: _containers.RepeatedCompositeFieldContainer[Conjunct]
    fields: _containers.RepeatedCompositeFieldContainer[Field]
    counters: Counters
    epoch: int
    def __init__(self, conjuncts: _Optional[_Iterable[_Union[Conjunct, _Mapping]]] = ..., fields: _Optional[_Iterable[_Union[Field, _Mapping]]] = ..., counters: _Optional[_Union[Counters, _Mapping]] = ..., epoch: _Optional[int] = ...) -> None: ...

class Param(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: Literal
    def __init__(self, name: _Optional[str] = ..., value: _Optional[_Union[Literal, _Mapping]] = ...) -> None: ...

class SqlRequest(_message.Message):
    __slots__ = ("text", "params", "memory_bytes", "label", "seen")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    text: str
    params: _containers.RepeatedCompositeFieldContainer[Param]
    memory_bytes: int
    label: str
    seen: int
    def __init__(self, text: _Optional[str] = ..., params: _Optional[_Iterable[_Union[Param, _Mapping]]] = ..., memory_bytes: _Optional[int] = ..., label: _Optional[str] = ..., seen: _Optional[int] = ...) -> None: ...

class ExplainSqlRequest(_message.Message):
    __slots__ = ("statement", "analyze")
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    ANALYZE_FIELD_NUMBER: _ClassVar[int]
    statement: SqlRequest
    analyze: bool
    def __init__(self, statement: _Optional[_Union[SqlRequest, _Mapping]] = ..., analyze: _Optional[bool] = ...) -> None: ...

class SqlResponse(_message.Message):
    __slots__ = ("payload", "query", "done", "counters", "epochs")
    class EpochsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    payload: bytes
    query: str
    done: bool
    counters: Counters
    epochs: _containers.ScalarMap[str, int]
    def __init__(self, payload: _Optional[bytes] = ..., query: _Optional[str] = ..., done: _Optional[bool] = ..., counters: _Optional[_Union[Counters, _Mapping]] = ..., epochs: _Optional[_Mapping[str, int]] = ...) -> None: ...

class ExplainSqlResponse(_message.Message):
    __slots__ = ("conjuncts", "fields", "counters", "epochs")
    class EpochsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    CONJUNCTS_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    conjuncts: _containers.RepeatedCompositeFieldContainer[Conjunct]
    fields: _containers.RepeatedCompositeFieldContainer[Field]
    counters: Counters
    epochs: _containers.ScalarMap[str, int]
    def __init__(self, conjuncts: _Optional[_Iterable[_Union[Conjunct, _Mapping]]] = ..., fields: _Optional[_Iterable[_Union[Field, _Mapping]]] = ..., counters: _Optional[_Union[Counters, _Mapping]] = ..., epochs: _Optional[_Mapping[str, int]] = ...) -> None: ...

class SqlTask(_message.Message):
    __slots__ = ("statement", "socket", "token", "memory_bytes", "threads", "temp_dir", "temp_bytes", "explain", "analyze", "epochs", "describe", "repeatable", "query")
    class EpochsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    SOCKET_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    TEMP_DIR_FIELD_NUMBER: _ClassVar[int]
    TEMP_BYTES_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    ANALYZE_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    DESCRIBE_FIELD_NUMBER: _ClassVar[int]
    REPEATABLE_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    statement: SqlRequest
    socket: str
    token: str
    memory_bytes: int
    threads: int
    temp_dir: str
    temp_bytes: int
    explain: bool
    analyze: bool
    epochs: _containers.ScalarMap[str, int]
    describe: bool
    repeatable: bool
    query: str
    def __init__(self, statement: _Optional[_Union[SqlRequest, _Mapping]] = ..., socket: _Optional[str] = ..., token: _Optional[str] = ..., memory_bytes: _Optional[int] = ..., threads: _Optional[int] = ..., temp_dir: _Optional[str] = ..., temp_bytes: _Optional[int] = ..., explain: _Optional[bool] = ..., analyze: _Optional[bool] = ..., epochs: _Optional[_Mapping[str, int]] = ..., describe: _Optional[bool] = ..., repeatable: _Optional[bool] = ..., query: _Optional[str] = ...) -> None: ...

class SqlReply(_message.Message):
    __slots__ = ("batch", "plan", "error")
    BATCH_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    batch: SqlResponse
    plan: ExplainSqlResponse
    error: _common_pb2.Error
    def __init__(self, batch: _Optional[_Union[SqlResponse, _Mapping]] = ..., plan: _Optional[_Union[ExplainSqlResponse, _Mapping]] = ..., error: _Optional[_Union[_common_pb2.Error, _Mapping]] = ...) -> None: ...

class ListQueriesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Query(_message.Message):
    __slots__ = ("id", "dataset", "text", "user", "begun_unix_nanos", "counters")
    ID_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    BEGUN_UNIX_NANOS_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    id: str
    dataset: str
    text: str
    user: str
    begun_unix_nanos: int
    counters: Counters
    def __init__(self, id: _Optional[str] = ..., dataset: _Optional[str] = ..., text: _Optional[str] = ..., user: _Optional[str] = ..., begun_unix_nanos: _Optional[int] = ..., counters: _Optional[_Union[Counters, _Mapping]] = ...) -> None: ...

class ListQueriesResponse(_message.Message):
    __slots__ = ("queries",)
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    queries: _containers.RepeatedCompositeFieldContainer[Query]
    def __init__(self, queries: _Optional[_Iterable[_Union[Query, _Mapping]]] = ...) -> None: ...

class KillQueryRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class KillQueryResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
