package sql

import (
	"strings"
	"testing"
)

func TestRepeatable_NamesWhatChanges(t *testing.T) {
	const date = `{"statements":[{"node":{"select_list":[{"class":"COLUMN_REF","query_location":7,"column_names":["Current_Date"]}]}}]}`
	err := Repeatable([]byte(date), "select current_date")
	if err == nil || !strings.Contains(err.Error(), "Current_Date") {
		t.Errorf("%v", err)
	}
	for tree, bad := range map[string]bool{
		`{"a":[{"class":"FUNCTION","function_name":"random","children":[]}]}`:                    true,
		`{"a":[{"class":"FUNCTION","function_name":"abs","children":[]}]}`:                       false,
		`{"a":[{"class":"FUNCTION","function_name":"query","children":[{}]}]}`:                   true,
		`{"a":[{"class":"FUNCTION","function_name":"duckdb_settings","children":[]}]}`:           true,
		`{"a":[{"class":"FUNCTION","function_name":"age","children":[{}]}]}`:                     true,
		`{"a":[{"class":"FUNCTION","function_name":"age","children":[{},{}]}]}`:                  false,
		`{"a":[{"class":"COLUMN_REF","column_names":["t","now"]}]}`:                              false,
		`{"sample":{"sample_size":{"value":10},"method":"Reservoir","seed":-1}}`:                 true,
		`{"sample":{"sample_size":{"value":10},"method":"Reservoir","seed":7}}`:                  false,
		`{"x":{"y":[[{"z":{"class":"FUNCTION","function_name":"GEN_RANDOM_UUID"}}]]}}`:           true,
		`{"class":"CONSTANT","value":{"type":{"id":"VARCHAR"},"is_null":false,"value":"now()"}}`: false,
	} {
		if err := Repeatable([]byte(tree), "select"); (err != nil) != bad {
			t.Errorf("%s: %v", tree, err)
		}
	}
}
