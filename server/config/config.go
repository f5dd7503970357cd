// Package config is the configuration of a server: a closed list of keys, each
// with a type, bounds, a default and a sentence of documentation. A value comes
// from the first of: a flag, the environment (DAOS_LOG_LEVEL for log.level), a
// YAML file (--config, else ROOT/daos.yaml), the default.
//
// Where a client finds a server is not configuration of the server; see
// docs/protocol.md. Start with Load; keys.go has the list.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"daos/internal/fault"
	"daos/internal/near"
)

// DefaultListen is the port that is tried where nobody has chosen one.
const DefaultListen = "127.0.0.1:7447"

// FileName is the configuration file looked for in the root.
const FileName = "daos.yaml"

// NoListen as the value of listen means: no TCP port.
const NoListen = "none"

// Config is a checked configuration.
type Config struct {
	Root         string // absolute
	Listen       string // HOST:PORT or NoListen
	Socket       string // empty: in the runtime folder
	Targets      int
	Ephemeral    bool
	Linger       time.Duration
	DrainTimeout time.Duration
	Log          struct{ Level, Format string }
	TLS          struct{ Cert, Key string }
	OTLP         struct {
		Endpoint string
		Insecure bool
	}
	Engine struct {
		Window time.Duration
		Sweep  time.Duration
		Cache  int64
	}
	Collect time.Duration
	Limits  struct {
		Connections   int
		Streams       int
		Message       int
		ConnBytes     int64
		TotalBytes    int64
		CallTimeout   time.Duration
		StreamTimeout time.Duration
	}
	Query struct {
		Memory     int64
		Temp       int64
		Time       time.Duration
		Threads    int
		Statements int
	}

	// ListenChosen: somebody asked for this very address, so that taking
	// another port instead would be wrong.
	ListenChosen bool
	// Settings tells where each value came from, in the order of the keys.
	Settings []Setting
}

// Setting is one key with its effective value.
type Setting struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Origin string `json:"origin"` // "default", "file PATH", "environment DAOS_X", "flag --x"
}

// Flags defines the server's flags on a flag set, and --config.
func Flags(fs *pflag.FlagSet) {
	fs.String("config", "", "YAML file with the configuration (default ROOT/"+FileName+" where it exists)")
	for _, k := range keys() {
		if k.flag == "" {
			continue
		}
		usage := strings.ReplaceAll(k.doc, "`", "'")
		if k.kind == kindBool {
			fs.Bool(k.flag, k.def == "true", usage)
		} else {
			fs.String(k.flag, k.def, usage)
		}
	}
}

// Env looks an environment variable up, like os.LookupEnv.
type Env func(name string) (value string, ok bool)

// Load merges defaults, file, environment and flags, and checks everything.
// flags has been parsed and has the flags of Flags, or is nil.
func Load(flags *pflag.FlagSet, env Env) (Config, error) {
	if flags == nil {
		flags = pflag.NewFlagSet("", pflag.ContinueOnError)
		Flags(flags)
	}
	l := loader{flags: flags, env: env, v: viper.New(), keys: keys()}
	return l.load()
}

type loader struct {
	flags *pflag.FlagSet
	env   Env
	v     *viper.Viper // holds the file
	file  string       // its path, empty: none
	keys  []key
}

func (l *loader) load() (Config, error) {
	root, err := l.root()
	if err != nil {
		return Config{}, err
	}
	if err := l.readFile(root); err != nil {
		return Config{}, err
	}
	var c Config
	for i := range l.keys {
		k := &l.keys[i]
		text, origin, chosen := l.lookup(k)
		v, err := k.parse(text, origin)
		if err != nil {
			return Config{}, err
		}
		k.set(&c, v)
		if k.name == "listen" {
			c.ListenChosen = chosen
		}
		c.Settings = append(c.Settings, Setting{Key: k.name, Value: text, Origin: origin})
	}
	if c.Root == "" {
		c.Root = root
	}
	if c.Root == "" {
		return Config{}, fault.New(fault.Invalid, "config.load", "root", "no root is named and there is no home folder").Do("name a folder: --root FOLDER")
	}
	if c.Root, err = filepath.Abs(c.Root); err != nil {
		return Config{}, fault.Wrap(err, "config.load", c.Root)
	}
	c.Settings[0].Value = c.Root
	return c, c.check()
}

// lookup finds the text of a key: flag, environment, file, default.
func (l *loader) lookup(k *key) (text, origin string, chosen bool) {
	if k.flag != "" && l.flags.Changed(k.flag) {
		return l.flags.Lookup(k.flag).Value.String(), "flag --" + k.flag, true
	}
	if s, ok := l.env(k.env()); ok {
		return s, "environment " + k.env(), true
	}
	if l.v.InConfig(k.name) || l.v.IsSet(k.name) {
		return l.v.GetString(k.name), "file " + l.file, true
	}
	return k.def, "default", false
}

// root is the root as far as it can be known before the file is read.
func (l *loader) root() (string, error) {
	text, _, chosen := l.lookup(&l.keys[0])
	if !chosen {
		if dir, ok := l.env("XDG_DATA_HOME"); ok && filepath.IsAbs(dir) {
			return filepath.Join(dir, "daos"), nil
		}
		if home, ok := l.env("HOME"); ok && home != "" {
			return filepath.Join(home, ".local", "share", "daos"), nil
		}
		return "", nil
	}
	if text == "" {
		return "", fault.New(fault.Invalid, "config.load", "root", "the root is empty").Do("name a folder: --root FOLDER")
	}
	return text, nil
}

// readFile reads --config, else ROOT/daos.yaml where it exists.
func (l *loader) readFile(root string) error {
	path, chosen := "", l.flags.Changed("config")
	if chosen {
		path = l.flags.Lookup("config").Value.String()
	} else if s, ok := l.env("DAOS_CONFIG"); ok && s != "" {
		path, chosen = s, true
	} else if root != "" {
		path = filepath.Join(root, FileName)
	}
	if path == "" {
		return nil
	}
	b, err := os.ReadFile(path)
	// A root that is a file is for the server to refuse, in words about the root.
	if !chosen && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)) {
		return nil
	}
	if err != nil {
		return fault.New(fault.KindOf(err), "config.load", path, "the configuration file can't be read").Because(err)
	}
	l.file = path
	l.v.SetConfigType("yaml")
	if err := l.v.ReadConfig(bytes.NewReader(b)); err != nil {
		return fault.New(fault.Invalid, "config.load", path, "the configuration file is not YAML").Because(err)
	}
	known := make([]string, 0, len(l.keys))
	for _, k := range l.keys {
		known = append(known, k.name)
	}
	have := l.v.AllKeys()
	slices.Sort(have)
	for _, name := range have {
		if !slices.Contains(known, name) {
			return unknown(path, name, known)
		}
		if s := l.v.Get(name); !scalar(s) {
			return fault.New(fault.Invalid, "config.load", path, "the value of %s is a %T", name, s).Do("write one value")
		}
	}
	if !chosen && l.v.IsSet("root") {
		return fault.New(fault.Invalid, "config.load", path, "a file in the root can't say where the root is").Do("remove the key root, or name the file with --config")
	}
	return nil
}

func scalar(v any) bool {
	switch v.(type) {
	case string, bool, int, int64, uint64, float64:
		return true
	}
	return false
}

func unknown(path, name string, known []string) error {
	e := fault.New(fault.Invalid, "config.load", path, "unknown key %q", name)
	best := near.Name(name, known)
	if best != "" {
		return e.Do("did you mean %s?", best)
	}
	return e.Do("`daos config print` shows all keys")
}

// check finds contradictions between keys.
func (c *Config) check() error {
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		return fault.New(fault.Invalid, "config.load", "tls", "tls.cert and tls.key go together").Do("set both or none")
	}
	if c.Listen == NoListen {
		return nil
	}
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fault.New(fault.Invalid, "config.load", "listen", "%q is not HOST:PORT", c.Listen).Do("write 127.0.0.1:PORT, or none")
	}
	if c.TLS.Cert == "" && !loopback(host) {
		return fault.New(fault.Invalid, "config.load", "listen", "%s can be reached from other machines, and there is no TLS: the token would be sent in the clear", c.Listen).
			Do("listen on 127.0.0.1, or set tls.cert and tls.key")
	}
	return nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// Print renders settings as a table of key, value and origin.
func Print(settings []Setting) string {
	var w1, w2 int
	for _, s := range settings {
		w1, w2 = max(w1, len(s.Key)), max(w2, len(s.Value))
	}
	var b strings.Builder
	for _, s := range settings {
		fmt.Fprintf(&b, "%-*s  %-*s  %s\n", w1, s.Key, w2, s.Value, s.Origin)
	}
	return b.String()
}

// Markdown renders the documentation of all keys, for docs/configuration.md.
func Markdown() string {
	var b strings.Builder
	b.WriteString("| key | flag | environment | default | meaning |\n|---|---|---|---|---|\n")
	for _, k := range keys() {
		flag := "-"
		if k.flag != "" {
			flag = "`--" + k.flag + "`"
		}
		def := k.defDoc
		if def == "" && k.def != "" {
			def = "`" + k.def + "`"
		} else if def == "" {
			def = "-"
		}
		doc := k.doc
		switch {
		case len(k.oneOf) > 0:
			doc += " One of " + strings.Join(k.oneOf, ", ") + "."
		case k.min != 0 || k.max != 0:
			doc += " Allowed: " + k.bounds() + "."
		}
		fmt.Fprintf(&b, "| `%s` | %s | `%s` | %s | %s |\n", k.name, flag, k.env(), def, doc)
	}
	return b.String()
}
