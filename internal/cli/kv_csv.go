package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"io"
	"strings"

	"daos/internal/near"
	kvv1 "daos/proto/gen/daos/kv/v1"
)

// csvColumns says where in the rows of a file the parts of pairs are.
type csvColumns struct {
	key, akey, value int // -1: there is none
	fields           []csvField
}

// csvField is a column that is a field of the values.
type csvField struct {
	*kvv1.Field
	name []byte // as JSON
	at   int
}

// csvHead reads the first line of a file: key, perhaps akey, and value, or the
// fields that are declared for the values.
func (im *kvImporter) csvHead(ctx context.Context, head []string) (*csvColumns, error) {
	c := &csvColumns{key: -1, akey: -1, value: -1}
	var others []int
	for i, name := range head {
		switch {
		case name == "key" && c.key < 0:
			c.key = i
		case name == "akey" && c.akey < 0:
			c.akey = i
		case name == "value" && c.value < 0:
			c.value = i
		default:
			others = append(others, i)
		}
	}
	if c.key < 0 {
		return nil, im.bad("there is no column key").Do("begin the file with the line key,value, or key and the fields of the values")
	}
	d, err := im.c.KV.Describe(ctx, &kvv1.DescribeRequest{Dataset: im.x.DatasetName()})
	if err != nil {
		return nil, err
	}
	declared := d.GetSchema().GetFields()
	if c.value >= 0 && len(others) == 0 && !(len(declared) == 1 && declared[0].GetName() == "value") {
		return c, nil
	}
	if len(declared) == 0 {
		if len(others) == 0 {
			return nil, im.bad("there is no column value").Do("begin the file with the line key,value")
		}
		return nil, im.bad("the column %q is not one of pairs", head[others[0]]).
			Do("name the columns key, value and, where it is needed, akey; or declare fields: daos kv create --field NAME:TYPE")
	}
	if d.GetSchema().GetEncoding() != kvv1.Encoding_ENCODING_JSON {
		return nil, im.bad("fields in columns need values encoded as JSON").Do("import .ndjson, or make the dataset without --encoding struct")
	}
	if c.value >= 0 { // then it is the field of this name, or one too many
		others = append(others, c.value)
		c.value = -1
	}
	return c, im.csvFields(c, head, others, declared)
}

// csvFields finds the field of each column, and a column of each field that
// can't be left out.
func (im *kvImporter) csvFields(c *csvColumns, head []string, columns []int, declared []*kvv1.Field) error {
	names := make([]string, 0, len(declared))
	for _, f := range declared {
		names = append(names, f.GetName())
	}
	taken := map[string]bool{}
	for _, i := range columns {
		var field *kvv1.Field
		for _, f := range declared {
			if f.GetName() == head[i] {
				field = f
			}
		}
		switch {
		case field == nil:
			e := im.bad("no field %q is declared for the values", head[i])
			if n := near.Name(head[i], names); n != "" {
				return e.Do("did you mean %s?", n)
			}
			return e.Do("name the columns key, akey and %s", strings.Join(names, ", "))
		case taken[head[i]]:
			return im.bad("two columns are called %q", head[i])
		}
		taken[head[i]] = true
		name, err := json.Marshal(head[i])
		if err != nil {
			return err
		}
		c.fields = append(c.fields, csvField{field, name, i})
	}
	for _, f := range declared {
		if !f.GetNullable() && !taken[f.GetName()] {
			return im.bad("there is no column %q, a field that can't be null", f.GetName())
		}
	}
	return nil
}

// object is the value that the fields of a row make. An empty cell is null
// where the field may be.
func (c *csvColumns) object(row []string) ([]byte, error) {
	b := bytes.NewBufferString("{")
	for _, f := range c.fields {
		cell := row[f.at]
		if cell == "" && f.GetNullable() {
			continue
		}
		if b.Len() > 1 {
			b.WriteString(", ")
		}
		b.Write(f.name)
		b.WriteString(": ")
		text, err := csvCell(f.GetType(), cell)
		if err != nil {
			return nil, err
		}
		b.Write(text)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// csvCell is a cell as JSON. What is no number where one is declared goes as a
// string, which the server refuses in words that name the field.
func csvCell(kind, cell string) ([]byte, error) {
	switch lower := strings.ToLower(cell); {
	case kind == "bool" && (lower == "true" || lower == "false"):
		return []byte(lower), nil
	case strings.HasPrefix(kind, "float") && lower == "nan":
		cell = "NaN"
	case strings.HasPrefix(kind, "float") && (lower == "inf" || lower == "infinity"):
		cell = "Infinity"
	case strings.HasPrefix(kind, "float") && (lower == "-inf" || lower == "-infinity"):
		cell = "-Infinity"
	case strings.Contains(kind, "int") || strings.HasPrefix(kind, "float"):
		if json.Valid([]byte(cell)) && !strings.ContainsAny(cell, `"{[ `) {
			return []byte(cell), nil
		}
	}
	return json.Marshal(cell)
}

func (im *kvImporter) csv(ctx context.Context, in io.Reader) error {
	r := csv.NewReader(bufio.NewReaderSize(in, 1<<16))
	r.ReuseRecord = true
	head, err := r.Read()
	im.line = 1
	if isEOF(err) {
		return nil
	}
	if err != nil {
		return im.bad("not CSV").Because(err)
	}
	c, err := im.csvHead(ctx, head)
	if err != nil {
		return err
	}
	for {
		row, err := r.Read()
		if isEOF(err) {
			return nil
		}
		im.line, _ = r.FieldPos(0)
		if err != nil {
			return im.bad("not CSV").Because(err)
		}
		var akey, value []byte
		if c.akey >= 0 {
			akey = []byte(row[c.akey])
		}
		if c.value >= 0 {
			value = []byte(row[c.value])
		} else if value, err = c.object(row); err != nil {
			return im.bad("a cell that can't be JSON").Because(err)
		}
		if err := im.put(ctx, []byte(row[c.key]), akey, value); err != nil {
			return err
		}
	}
}
