package cli

import (
	"slices"
	"strings"

	"daos/query/sql"
)

// sqlFunctions are the functions of DuckDB that the shell completes: those that
// people need for data sets, not all that there are.
func sqlFunctions() []string {
	return []string{
		"abs", "any_value", "approx_count_distinct", "arg_max", "arg_min", "array_agg", "avg", "bool_and", "bool_or", "ceil", "coalesce", "concat",
		"contains", "corr", "count", "count_if", "date_part", "date_trunc", "dense_rank", "ends_with", "entropy", "epoch", "exp", "first", "floor",
		"format", "greatest", "hash", "hex", "histogram", "if", "ifnull", "isfinite", "isnan", "json_extract", "json_extract_string", "kurtosis", "lag",
		"last", "lead", "least", "len", "length", "list", "list_aggregate", "list_contains", "list_slice", "list_sum", "ln", "log", "log10", "lower",
		"max", "median", "min", "mod", "mode", "now", "ntile", "nullif", "parse_filename", "parse_path", "pow", "prefix", "quantile", "quantile_cont",
		"rank", "regexp_extract", "regexp_full_match", "regexp_matches", "regexp_replace", "replace", "round", "row_number", "sign", "skewness", "split_part",
		"sqrt", "starts_with", "stddev", "strftime", "string_agg", "strptime", "substring", "suffix", "sum", "time_bucket", "trim", "typeof", "unnest", "upper",
		"var_samp",
	}
}

func isKeyword(s string) bool {
	_, found := slices.BinarySearch(sql.Keywords(), strings.ToUpper(s))
	return found
}
