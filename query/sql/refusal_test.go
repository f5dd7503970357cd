package sql_test

import (
	"strings"
	"testing"

	"daos/internal/fault"
	"daos/query/sql"
)

func TestReadRefusal(t *testing.T) {
	r := sql.ReadRefusal(`{"exception_type":"Binder","exception_message":"Referenced column \"nme\" not found","candidates":"name,\"a.b\"","position":"7","error_subtype":"COLUMN_NOT_FOUND","name":"nme"}`)
	if r.Type != "Binder" || r.Subtype != "COLUMN_NOT_FOUND" || r.Name != "nme" || r.At != 7 || len(r.Candidates) != 2 || r.Candidates[1] != "a.b" {
		t.Errorf("%+v", r)
	}
	for text, want := range map[string]sql.Refusal{
		"Conversion Error: no number": {Type: "Conversion", Message: "no number", At: -1},
		"something":                   {Message: "something", At: -1},
		"":                            {At: -1},
		`{"exception_type":"Binder","exception_message":"x","position":"18446744073709551615"}`: {Type: "Binder", Message: "x", At: -1},
	} {
		if got := sql.ReadRefusal(text); got.Type != want.Type || got.Message != want.Message || got.At != want.At {
			t.Errorf("%q: %+v, not %+v", text, got, want)
		}
	}
}

func TestPlaces(t *testing.T) {
	tree := `{"a":[{"class":"X","type":"Y","query_location":30,"child":{"class":"C","type":"D","query_location":40}},{"class":"X","type":"Z","query_location":50}],"query_location":18446744073709551615}`
	ran := `{"a":[{"class":"X","type":"Y","query_location":3,"child":{"class":"C","type":"D","query_location":4}},{"class":"X","type":"OTHER","query_location":5},{"query_location":6}],"query_location":18446744073709551615}`
	place := sql.Places([]byte(tree), []byte(ran))
	for at, want := range map[int]int{3: 30, 4: 40, 5: -1, 6: -1, 0: -1} {
		if got := place(at); got != want {
			t.Errorf("%d is at %d, not %d", at, got, want)
		}
	}
	if got := sql.Places([]byte("{"), []byte("]"))(0); got != -1 {
		t.Errorf("in no tree it is at %d", got)
	}
}

// TestAFileIsRefusedWithWhatToDo: statements read no files of the machine.
func TestAFileIsRefusedWithWhatToDo(t *testing.T) {
	p := &sql.Plan{}
	err := p.Refused(sql.Refusal{Type: "Permission", Message: `Cannot access file "/etc/passwd" - file system operations are disabled by configuration`, At: -1})
	if !fault.Is(err, fault.Permission) || !strings.Contains(err.Error(), `"/etc/passwd" is a file`) || !strings.Contains(err.Error(), "daos tensor import") {
		t.Error(err)
	}
}

func TestRefusedKinds(t *testing.T) {
	p := &sql.Plan{}
	for kind, want := range map[string]fault.Kind{"Out of Memory": fault.TooBig, "INTERRUPT": fault.Canceled, "INTERNAL": fault.Internal, "FATAL": fault.Internal,
		"Permission": fault.Permission, "Binder": fault.Invalid, "": fault.Invalid} {
		err := p.Refused(sql.Refusal{Type: kind, Message: "first\nsecond", At: -1})
		if !fault.Is(err, want) || strings.Contains(err.Error(), "second") {
			t.Errorf("%q: %v (%v)", kind, err, fault.KindOf(err))
		}
	}
}
