package sql

import (
	"encoding/json"
	"slices"
	"strings"

	"daos/internal/fault"
)

// changing are DuckDB's functions whose value is another one at every run: those
// that its catalogue calls volatile or consistent within a query, and aggregates
// that draw.
var changing = []string{"current_connection_id", "current_database", "current_date", "current_localtime", "current_localtimestamp", "current_query", "current_query_id",
	"current_schema", "current_schemas", "current_time", "current_timestamp", "current_transaction_id", "currval", "error", "gen_random_uuid",
	"get_current_time", "get_current_timestamp", "in_search_path", "localtime", "localtimestamp", "nextval", "now", "random", "reservoir_quantile", "setseed",
	"sleep_ms", "stats", "today", "transaction_timestamp", "txid_current", "uuid", "uuidv4", "uuidv7", "write_log"}

// Repeatable refuses a statement (the tree of Rewrite) that could give other rows
// at another run on the same data.
func Repeatable(ast []byte, text string) error {
	var tree any
	if err := json.Unmarshal(ast, &tree); err != nil {
		return fault.New(fault.Internal, "query.sql", "statement", "the tree of the statement is not readable").Because(err)
	}
	return repeatable(tree, text)
}

func repeatable(x any, text string) error {
	switch n := x.(type) {
	case []any:
		for _, y := range n {
			if err := repeatable(y, text); err != nil {
				return err
			}
		}
	case map[string]any:
		name := ""
		switch str(n, "class") {
		case "FUNCTION":
			name = str(n, "function_name")
		case "COLUMN_REF": // current_date is written as a column is
			if names := list(n, "column_names"); len(names) == 1 {
				name, _ = names[0].(string)
			}
		}
		low, call := strings.ToLower(name), str(n, "class") == "FUNCTION"
		if call && (low == "query" || strings.HasPrefix(low, "duckdb_") || strings.HasPrefix(low, "pragma_")) {
			return Problem(text, place(n), fault.Invalid, "%s shows what is only known when it runs, and this result must be the same whenever it is read", name).
				Do("write the query itself, or run the statement with daos query sql")
		}
		if slices.Contains(changing, low) || call && low == "age" && len(list(n, "children")) == 1 { // the age today
			return Problem(text, place(n), fault.Invalid, "%s has another value at every run, and this result must be the same whenever it is read", name).
				Do("write the value itself, or run the statement with daos query sql")
		}
		if n["sample_size"] != nil {
			if seed, ok := n["seed"].(float64); ok && seed < 0 {
				return Problem(text, -1, fault.Invalid, "a sample without a seed has other rows at every run, and this result must be the same whenever it is read").
					Do("give it one: TABLESAMPLE ... REPEATABLE (7)")
			}
		}
		for _, y := range n {
			if err := repeatable(y, text); err != nil {
				return err
			}
		}
	}
	return nil
}
