package token_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"daos/internal/fault"
	"daos/loader/order"
	"daos/loader/token"
)

var sample = token.Token{Manifest: strings.Repeat("ab", 16), Snapshot: "p/photos@v1", Order: order.Shuffle, OrderV: 1, Seed: 1 << 63, Pass: 2, Position: 123456789}

func TestRoundTrip(t *testing.T) {
	b := sample.Encode()
	const want = `{"v":1,"manifest":"abababababababababababababababab","snapshot":"p/photos@v1","order":"shuffle","order_v":1,"seed":9223372036854775808,"pass":2,"position":123456789}`
	if string(b) != want || len(b) >= token.MaxLen {
		t.Fatalf("%d bytes: %s", len(b), b)
	}
	got, err := token.Parse(b)
	if err != nil || *got != sample {
		t.Fatalf("%+v, %v", got, err)
	}
}

func TestRefusals(t *testing.T) {
	good := string(sample.Encode())
	for _, c := range []struct {
		old, new, words string
		kind            fault.Kind
	}{
		{`"v":1`, `"v":2`, "version 2", fault.Unsupported},
		{`"v":1,`, ``, `"v" is missing`, fault.Invalid},
		{`"order_v":1`, `"order_v":9`, "version 9", fault.Unsupported},
		{`"shuffle"`, `"riffle"`, "riffle", fault.Unsupported},
		{`"position":123456789`, `"position":-1`, `"position"`, fault.Invalid},
		{`"position":123456789`, `"position":1.5`, `"position"`, fault.Invalid},
		{`"position":123456789`, `"position":1e3`, `"position"`, fault.Invalid},
		{`"position":123456789`, `"position":18446744073709551616`, `2^64`, fault.Invalid},
		{`"pass":2`, `"pass":"2"`, "pass", fault.Invalid},
		{`"seed":9223372036854775808`, `"seed":true`, "seed", fault.Invalid},
		{`"seed":9223372036854775808`, `"seed":-1`, `"seed" is -1, not from 0 to 2^64-1`, fault.Invalid},
		{`"seed":9223372036854775808`, `"seed":18446744073709551616`, "2^64", fault.Invalid},
		{`"manifest":"` + sample.Manifest + `",`, ``, `"manifest" is missing`, fault.Invalid},
		{`{"v"`, `{"extra":1,"v"`, "extra", fault.Invalid},
		{`"pass"`, `"PASS"`, "PASS", fault.Invalid},
		{`789}`, `789,"params":{}}`, "params", fault.Invalid},
		{`789}`, `789,"params":{"block":1}}`, `no parameter "block"`, fault.Invalid},
		{`}`, `} x`, "follows", fault.Invalid},
		{`{`, ``, "not a token", fault.Invalid},
		{`{`, strings.Repeat(" ", 5000) + `{`, "long", fault.Invalid},
	} {
		_, err := token.Parse([]byte(strings.Replace(good, c.old, c.new, 1)))
		if !fault.Is(err, c.kind) || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s -> %s: %v", c.old, c.new, err)
		}
	}
	if err := sample.Check(sample.Manifest, 1<<40); err != nil {
		t.Error(err)
	}
	if err := sample.Check("other", 1<<40); !fault.Is(err, fault.Conflict) {
		t.Error(err)
	}
	if err := sample.Check(sample.Manifest, 5); !fault.Is(err, fault.Invalid) {
		t.Error(err)
	}
}

// others are tokens of orders with parameters, as long as they get.
func others() []token.Token {
	var out []token.Token
	for _, c := range []struct {
		kind order.Kind
		p    order.Params
	}{
		{order.Block, order.Params{Block: 1 << 62}},
		{order.Window, order.Params{Window: 1 << 62}},
		{order.Window, order.Params{Window: 1 << 62, Block: 1 << 62}},
		{order.Weighted, order.Params{Samples: 1 << 62, Weights: "0123456789abcdef"}},
		{order.Stratified, order.Params{Strata: "0123456789abcdef"}},
	} {
		t := sample
		t.Snapshot, t.Order, t.Params, t.Seed, t.Pass, t.Position = "pool/dataset@snapshot-with-a-name", c.kind, c.p, 1<<64-1, 1<<32, 1<<62
		out = append(out, t)
	}
	return out
}

func TestParameters(t *testing.T) {
	for _, want := range others() {
		b := want.Encode()
		if len(b) >= token.MaxLen {
			t.Errorf("%d bytes: %s", len(b), b)
		}
		got, err := token.Parse(b)
		if err != nil || *got != want {
			t.Errorf("%s: %+v, %v", b, got, err)
		}
		if !strings.Contains(string(b), `,"params":{"`) || !strings.HasSuffix(string(b), "}}") {
			t.Errorf("%s", b)
		}
		without := string(b[:strings.Index(string(b), `,"params"`)]) + "}"
		if _, err := token.Parse([]byte(without)); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s is taken: %v", without, err)
		}
	}
}

// TestVectors reads what pydaos' tests read too: each text is a token, or not.
func TestVectors(t *testing.T) {
	b, err := os.ReadFile("testdata/tokens.json")
	if err != nil {
		t.Fatal(err)
	}
	var f struct{ Good, Bad []string }
	if err := json.Unmarshal(b, &f); err != nil || len(f.Good) < 5 || len(f.Bad) < 20 {
		t.Fatalf("%d and %d: %v", len(f.Good), len(f.Bad), err)
	}
	for _, s := range f.Good {
		if tok, err := token.Parse([]byte(s)); err != nil || string(tok.Encode()) != s {
			t.Errorf("%s: %+v, %v", s, tok, err)
		}
	}
	for _, s := range f.Bad {
		if tok, err := token.Parse([]byte(s)); err == nil {
			t.Errorf("%s is taken: %+v", s, tok)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sample.Encode())
	for _, t := range others() {
		f.Add(t.Encode())
	}
	f.Add([]byte(`{"v":1e400}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		tok, err := token.Parse(b)
		if err != nil {
			return
		}
		again, err := token.Parse(tok.Encode())
		if err != nil || *again != *tok {
			t.Fatalf("%s: %+v, then %+v, %v", b, tok, again, err)
		}
	})
}
