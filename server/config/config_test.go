package config_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"daos/internal/fault"
	"daos/server/config"
)

var update = flag.Bool("update", false, "write docs/configuration.md anew")

func load(t *testing.T, env map[string]string, args ...string) (config.Config, error) {
	t.Helper()
	fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	config.Flags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return config.Load(fs, func(name string) (string, bool) { v, ok := env[name]; return v, ok })
}

func origin(c config.Config, key string) (value, from string) {
	for _, s := range c.Settings {
		if s.Key == key {
			return s.Value, s.Origin
		}
	}
	return "", ""
}

func TestPrecedence(t *testing.T) {
	root := t.TempDir()
	file := filepath.Join(root, config.FileName)
	if err := os.WriteFile(file, []byte("log:\n  level: warn\n  format: json\ntargets: 2\nengine.window: 5m\nlimits:\n  memory: 2GiB\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"DAOS_LOG_LEVEL": "error", "DAOS_TARGETS": "3", "DAOS_ADDR": "ignored: it is the clients'"}
	c, err := load(t, env, "--root", root, "--targets", "8")
	if err != nil {
		t.Fatal(err)
	}
	if c.Targets != 8 || c.Log.Level != "error" || c.Log.Format != "json" || c.Engine.Window != 5*time.Minute || c.Limits.TotalBytes != 2<<30 || c.Linger != 5*time.Second {
		t.Fatalf("merged to %+v", c)
	}
	for key, want := range map[string]string{
		"targets": "flag --targets", "log.level": "environment DAOS_LOG_LEVEL", "log.format": "file " + file, "linger": "default", "root": "flag --root",
	} {
		if _, from := origin(c, key); from != want {
			t.Errorf("%s comes from %q, want %q", key, from, want)
		}
	}
	if c.ListenChosen || c.Listen != config.DefaultListen {
		t.Errorf("listen %q chosen %v", c.Listen, c.ListenChosen)
	}
	if c, err = load(t, nil, "--root", root, "--listen", config.DefaultListen); err != nil || !c.ListenChosen {
		t.Errorf("an explicit listen: %v %v", c.ListenChosen, err)
	}
	text := config.Print(c.Settings)
	if !strings.Contains(text, "log.level") || !strings.Contains(text, "file "+file) {
		t.Errorf("print shows\n%s", text)
	}
}

func TestDefaultRoot(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{"HOME": "/home/u"}, "/home/u/.local/share/daos"},
		{map[string]string{"HOME": "/home/u", "XDG_DATA_HOME": "/data"}, "/data/daos"},
		{map[string]string{"HOME": "/home/u", "DAOS_ROOT": "/elsewhere"}, "/elsewhere"},
	} {
		got, err := load(t, c.env)
		if err != nil || got.Root != c.want {
			t.Errorf("root with %v = %q, %v; want %q", c.env, got.Root, err, c.want)
		}
	}
	if _, err := load(t, nil); !fault.Is(err, fault.Invalid) {
		t.Errorf("without a home: %v", err)
	}
}

func TestRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		file string
		env  map[string]string
		args []string
		says string
	}{
		"typo":           {file: "log:\n  levl: warn\n", says: "did you mean log.level?"},
		"typo at top":    {file: "target: 4\n", says: "did you mean targets?"},
		"unlike":         {file: "zzzzzzzzzz: 4\n", says: "daos config print"},
		"not a mapping":  {file: "- a\n", says: "not YAML"},
		"a list":         {file: "targets: [1, 2]\n", says: "one value"},
		"section":        {file: "log: 3\n", says: "unknown key"},
		"root in root":   {file: "root: /x\n", says: "where the root is"},
		"bad number":     {args: []string{"--targets", "many"}, says: "whole number"},
		"out of range":   {args: []string{"--targets", "65"}, says: "1 to 64"},
		"bad time":       {env: map[string]string{"DAOS_LINGER": "5"}, says: "DAOS_LINGER"},
		"bad size":       {env: map[string]string{"DAOS_LIMITS_MEMORY": "huge"}, says: "size"},
		"bad choice":     {args: []string{"--log-level", "loud"}, says: "debug, info, warn, error"},
		"bad address":    {args: []string{"--listen", "7447"}, says: "HOST:PORT"},
		"reachable":      {args: []string{"--listen", "0.0.0.0:7447"}, says: "no TLS"},
		"every address":  {args: []string{"--listen", ":7447"}, says: "no TLS"},
		"half of TLS":    {args: []string{"--tls-cert", "x"}, says: "go together"},
		"no such config": {args: []string{"--config", "/nonexistent.yaml"}, says: "can't be read"},
	} {
		root := t.TempDir()
		if c.file != "" {
			if err := os.WriteFile(filepath.Join(root, config.FileName), []byte(c.file), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_, err := load(t, c.env, append(c.args, "--root", root)...)
		if !fault.Is(err, fault.Invalid, fault.NotFound) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want it to say %q", name, err, c.says)
		}
	}
}

// TestDocumentation keeps the table in docs/configuration.md equal to the keys.
func TestDocumentation(t *testing.T) {
	const path = "../../docs/configuration.md"
	const begin, end = "<!-- keys: written by go test ./server/config -update -->\n", "<!-- end of keys -->\n"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok1 := strings.Cut(string(b), begin)
	table, tail, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no place for the table", path)
	}
	if table == config.Markdown() {
		return
	}
	if !*update {
		t.Fatalf("%s is out of date; run go test ./server/config -update", path)
	}
	if err := os.WriteFile(path, []byte(head+begin+config.Markdown()+end+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}
