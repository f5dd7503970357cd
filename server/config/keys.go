package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"daos/internal/fault"
)

// kind is the type of a key's value.
type kind uint8

const (
	kindString kind = iota
	kindInt
	kindBool
	kindDuration
	kindSize
)

func (k kind) String() string {
	return [...]string{"text", "number", "true or false", "time, such as 90s or 10m", "size, such as 64MiB"}[k]
}

// key is one thing that can be configured.
type key struct {
	name     string
	flag     string // empty: only by file and environment
	kind     kind
	def      string
	defDoc   string // what the documentation says instead of def
	doc      string
	min, max int64                // of numbers, sizes and times (ns); max 0: none
	oneOf    []string             // of texts
	set      func(*Config, value) // takes a checked value over
}

// value is a checked value; which field holds it depends on the kind.
type value struct {
	s string
	n int64
	b bool
	d time.Duration
}

// keys is the list of all keys, in the order of the documentation.
func keys() []key {
	return []key{
		{name: "root", flag: "root", def: "", defDoc: "`$XDG_DATA_HOME/daos`, else `~/.local/share/daos`", doc: "Folder with the data. It is made (mode 0700) if it is not there; one server at a time uses it.", set: func(c *Config, v value) { c.Root = v.s }},
		{name: "listen", flag: "listen", def: DefaultListen, doc: "HOST:PORT of the one TCP port, or `none`. Port 0 takes a free one. Where nobody chose and the default is taken, a free port is used. An address that is not loopback needs `tls.cert` and `tls.key`.", set: func(c *Config, v value) { c.Listen = v.s }},
		{name: "socket", flag: "socket", def: "", defDoc: "`KEY.sock` in the user's runtime folder", doc: "Path of the unix socket.", set: func(c *Config, v value) { c.Socket = v.s }},
		{name: "targets", flag: "targets", kind: kindInt, def: "4", min: 1, max: 64, doc: "Storage targets of a new root. A root that has data keeps the number that it was made with.", set: func(c *Config, v value) { c.Targets = int(v.n) }},
		{name: "ephemeral", flag: "ephemeral", kind: kindBool, def: "false", doc: "End when the last client has been gone for `linger`.", set: func(c *Config, v value) { c.Ephemeral = v.b }},
		{name: "linger", flag: "linger", kind: kindDuration, def: "5s", min: int64(10 * time.Millisecond), doc: "How long an ephemeral server waits for another client; for the first one six times as long.", set: func(c *Config, v value) { c.Linger = v.d }},
		{name: "drain_timeout", flag: "drain-timeout", kind: kindDuration, def: "30s", min: int64(time.Millisecond), doc: "How long calls may go on after SIGTERM or SIGINT before they are cut off. A second signal cuts them off at once.", set: func(c *Config, v value) { c.DrainTimeout = v.d }},
		{name: "log.level", flag: "log-level", def: "info", oneOf: []string{"debug", "info", "warn", "error"}, doc: "Least level of log lines (on standard error).", set: func(c *Config, v value) { c.Log.Level = v.s }},
		{name: "log.format", flag: "log-format", def: "text", oneOf: []string{"text", "json"}, doc: "Form of log lines.", set: func(c *Config, v value) { c.Log.Format = v.s }},
		{name: "tls.cert", flag: "tls-cert", doc: "PEM file with the certificate chain of the TCP port. Empty: no TLS.", set: func(c *Config, v value) { c.TLS.Cert = v.s }},
		{name: "tls.key", flag: "tls-key", doc: "PEM file with its private key.", set: func(c *Config, v value) { c.TLS.Key = v.s }},
		{name: "telemetry.otlp.endpoint", flag: "otlp-endpoint", doc: "HOST:PORT of an OTLP collector (gRPC) for traces and metrics. Empty: none; `/metrics` is always there.", set: func(c *Config, v value) { c.OTLP.Endpoint = v.s }},
		{name: "telemetry.otlp.insecure", kind: kindBool, def: "false", doc: "Talk to the collector without TLS.", set: func(c *Config, v value) { c.OTLP.Insecure = v.b }},
		{name: "engine.window", kind: kindDuration, def: "10m", min: int64(time.Second), doc: "How long every past epoch stays readable without a snapshot.", set: func(c *Config, v value) { c.Engine.Window = v.d }},
		{name: "engine.sweep", kind: kindDuration, def: "1m", min: int64(100 * time.Millisecond), doc: "Pause between sweeps of versions that nothing needs any more.", set: func(c *Config, v value) { c.Engine.Sweep = v.d }},
		{name: "engine.cache", kind: kindSize, def: "256MiB", min: 8 << 20, doc: "Memory for index blocks, shared by all targets.", set: func(c *Config, v value) { c.Engine.Cache = v.n }},
		{name: "collect", kind: kindDuration, def: "15s", min: int64(10 * time.Millisecond), doc: "Pause between rounds that remove expired snapshots, leases, staged files and request ids.", set: func(c *Config, v value) { c.Collect = v.d }},
		{name: "limits.connections", kind: kindInt, def: "4096", min: 1, max: 1 << 20, doc: "Connections of the feed.", set: func(c *Config, v value) { c.Limits.Connections = int(v.n) }},
		{name: "limits.streams", kind: kindInt, def: "128", min: 1, max: 1 << 16, doc: "Concurrent calls of one gRPC connection.", set: func(c *Config, v value) { c.Limits.Streams = int(v.n) }},
		{name: "limits.message", kind: kindSize, def: "256MiB", min: 1 << 20, max: 1 << 30, doc: "Largest message of gRPC and Flight that is taken.", set: func(c *Config, v value) { c.Limits.Message = int(v.n) }},
		{name: "limits.connection_memory", kind: kindSize, def: "128MiB", min: 65 << 20, doc: "Request bytes of one feed connection that are held before its handlers take them.", set: func(c *Config, v value) { c.Limits.ConnBytes = v.n }},
		{name: "limits.memory", kind: kindSize, def: "1GiB", min: 128 << 20, doc: "Request and reply bytes held for all feed connections together.", set: func(c *Config, v value) { c.Limits.TotalBytes = v.n }},
		{name: "limits.call_timeout", kind: kindDuration, def: "60s", min: int64(time.Millisecond), doc: "Time limit of a call whose caller set none.", set: func(c *Config, v value) { c.Limits.CallTimeout = v.d }},
		{name: "limits.stream_timeout", kind: kindDuration, def: "24h", min: int64(time.Millisecond), doc: "The same for streaming calls: an import may take long.", set: func(c *Config, v value) { c.Limits.StreamTimeout = v.d }},
		{name: "query.memory", kind: kindSize, def: "1GiB", min: 64 << 20, doc: "Memory of one SQL statement, which runs in a process of its own.", set: func(c *Config, v value) { c.Query.Memory = v.n }},
		{name: "query.temp", kind: kindSize, def: "8GiB", min: 1 << 20, doc: "What one SQL statement may spill to disk, in `ROOT/query`.", set: func(c *Config, v value) { c.Query.Temp = v.n }},
		{name: "query.time", kind: kindDuration, def: "10m", min: int64(time.Millisecond), doc: "How long one SQL statement may run.", set: func(c *Config, v value) { c.Query.Time = v.d }},
		{name: "query.threads", kind: kindInt, def: "2", min: 1, max: 256, doc: "Threads of one SQL statement.", set: func(c *Config, v value) { c.Query.Threads = int(v.n) }},
		{name: "query.statements", kind: kindInt, def: "8", min: 1, max: 1024, doc: "SQL statements at once; more are told to try again.", set: func(c *Config, v value) { c.Query.Statements = int(v.n) }},
	}
}

// env is the environment variable of a key: DAOS_LOG_LEVEL for log.level.
func (k *key) env() string {
	return "DAOS_" + strings.ToUpper(strings.ReplaceAll(k.name, ".", "_"))
}

// parse checks a text against the key's type and bounds.
func (k *key) parse(text, origin string) (value, error) {
	bad := func(format string, args ...any) error {
		return fault.New(fault.Invalid, "config.load", k.name, "%q (%s) %s", text, origin, fmt.Sprintf(format, args...)).Do("write a %s", k.kind)
	}
	v := value{s: text}
	var err error
	switch k.kind {
	case kindString:
		if len(k.oneOf) > 0 && !contains(k.oneOf, text) {
			return v, fault.New(fault.Invalid, "config.load", k.name, "%q (%s) is not one of %s", text, origin, strings.Join(k.oneOf, ", ")).
				Do("use %s", k.oneOf[0])
		}
		return v, nil
	case kindBool:
		if v.b, err = strconv.ParseBool(text); err != nil {
			return v, bad("is not true or false")
		}
		return v, nil
	case kindInt:
		if v.n, err = strconv.ParseInt(text, 10, 64); err != nil {
			return v, bad("is not a whole number")
		}
	case kindDuration:
		if v.d, err = time.ParseDuration(text); err != nil {
			return v, bad("is not a time")
		}
		v.n = int64(v.d)
	case kindSize:
		if v.n, err = parseSize(text); err != nil {
			return v, bad("is not a size")
		}
	}
	if v.n < k.min || k.max > 0 && v.n > k.max {
		return v, bad("is out of range, %s", k.bounds())
	}
	return v, nil
}

// bounds renders the allowed range for people.
func (k *key) bounds() string {
	show := func(n int64) string {
		switch k.kind {
		case kindDuration:
			return time.Duration(n).String()
		case kindSize:
			return formatSize(n)
		}
		return strconv.FormatInt(n, 10)
	}
	if k.max == 0 {
		return "at least " + show(k.min)
	}
	return show(k.min) + " to " + show(k.max)
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

var sizeUnits = []struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40},
	{"GiB", 1 << 30},
	{"MiB", 1 << 20},
	{"KiB", 1 << 10},
	{"TB", 1e12},
	{"GB", 1e9},
	{"MB", 1e6},
	{"kB", 1e3},
	{"B", 1},
}

func parseSize(s string) (int64, error) {
	unit := int64(1)
	for _, u := range sizeUnits {
		if strings.HasSuffix(strings.ToLower(s), strings.ToLower(u.name)) {
			s, unit = strings.TrimSpace(s[:len(s)-len(u.name)]), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > (1<<62)/unit {
		return 0, fault.New(fault.Invalid, "config.size", s, "not a size")
	}
	return n * unit, nil
}

func formatSize(n int64) string {
	for _, u := range sizeUnits[:4] {
		if n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}
