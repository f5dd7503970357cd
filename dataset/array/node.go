package array

import (
	"context"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"daos/engine/object"
	"daos/internal/fault"
)

// Limits of names and attributes.
const (
	MaxName       = 255  // bytes of one component of a path
	MaxPath       = 1024 // bytes of a path
	MaxAttributes = 1024 // of one node
	MaxAttrBytes  = 1 << 20
)

// Node is a group or an array at an epoch.
type Node struct {
	Path string
	// Spec is nil for a group.
	Spec *Spec
	// ID is the number of the array, never given out again.
	ID uint64
	// Attributes are JSON values by name.
	Attributes map[string]json.RawMessage
	extent     extent
}

// CheckPath says whether p can name a node; "" is the root group.
func CheckPath(p string) error {
	if p == "" {
		return nil
	}
	bad := func(format string, args ...any) error {
		name := p
		if len(name) > 100 {
			name = name[:100] + "..."
		}
		return fault.New(fault.Invalid, "array.path", name, format, args...).Do("a path is components of 1 to %d bytes of UTF-8, separated by '/'", MaxName)
	}
	if len(p) > MaxPath {
		return bad("a path of %d bytes, at most %d are allowed", len(p), MaxPath)
	}
	if !utf8.ValidString(p) || strings.ContainsRune(p, 0) {
		return bad("a path is UTF-8 without NUL")
	}
	for _, c := range strings.Split(p, "/") {
		if c == "" || c == "." || c == ".." || len(c) > MaxName {
			return bad("the component %q is not a name", c[:min(len(c), 32)])
		}
	}
	return nil
}

func parent(p string) (string, bool) {
	if p == "" {
		return "", false
	}
	i := strings.LastIndexByte(p, '/')
	return p[:max(i, 0)], true
}

// node reads what is at a path, attributes left out. The root group is always there.
func (d *Dataset) node(ctx context.Context, at object.Epoch, path string) (*Node, error) {
	if err := CheckPath(path); err != nil {
		return nil, err
	}
	b, _, err := d.st.Get(ctx, at, catalogOID, nodeKey(path), akeySpec)
	if fault.Is(err, fault.NotFound) {
		if path == "" {
			return &Node{}, nil
		}
		return nil, fault.New(fault.NotFound, "array.open", d.where(path), "there is no such array or group").
			Do("list them (`daos array ls %s`)", d.name)
	}
	if err != nil {
		return nil, fault.Wrap(err, "array.open", d.where(path))
	}
	n := &Node{Path: path}
	if n.ID, n.Spec, err = decodeSpec(d.where(path), b); err != nil || n.Spec == nil {
		return n, err
	}
	if b, _, err = d.st.Get(ctx, at, catalogOID, nodeKey(path), akeyShape); err != nil {
		return nil, fault.Wrap(err, "array.open", d.where(path))
	}
	return n, n.setExtent(d.where(path), b)
}

// setExtent gives an array its shape.
func (n *Node) setExtent(where string, b []byte) (err error) {
	if n.extent, err = decodeExtent(where, b, len(n.Spec.Chunks)); err != nil {
		return err
	}
	n.Spec.Shape = n.extent.shape
	if err := n.Spec.check(where); err != nil {
		return corrupt(where, "what is stored of the array is not valid").Because(err)
	}
	return nil
}

// array is node for an array.
func (d *Dataset) array(ctx context.Context, at object.Epoch, path string) (*Node, error) {
	n, err := d.node(ctx, at, path)
	if err == nil && n.Spec == nil {
		err = fault.New(fault.Invalid, "array.open", d.where(path), "it is a group, not an array").Do("name one of the arrays in it")
	}
	return n, err
}

// maxNodes is how many arrays' descriptions are remembered of one dataset.
const maxNodes = 256

// nodeName names an array at an epoch.
type nodeName struct {
	at   object.Epoch
	path string
}

// selected is array, which is remembered of a snapshot: reading it again for every
// few elements would take as long as they do. Nobody changes it.
func (d *Dataset) selected(ctx context.Context, at object.Epoch, path string) (*Node, error) {
	bulk, ok := d.st.(object.Bulk)
	if !d.kept || d.maps == nil || !ok {
		return d.array(ctx, at, path)
	}
	generation := bulk.Generation()
	if n := d.maps.node(generation, nodeName{at, path}); n != nil {
		return n, nil
	}
	n, err := d.array(ctx, at, path)
	if err == nil {
		d.maps.keep(generation, nodeName{at, path}, n)
	}
	return n, err
}

// node is what is remembered of an array; nil: nothing.
func (c *Mappings) node(generation uint64, name nodeName) *Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tidyLocked(generation)
	return c.nodes[name]
}

// keep remembers an array as it was read at a generation.
func (c *Mappings) keep(generation uint64, name nodeName, n *Node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generation != generation {
		return
	}
	if c.nodes == nil {
		c.nodes = map[nodeName]*Node{}
	}
	thin(c.nodes, maxNodes)
	c.nodes[name] = n
}

// Describe tells what a path is at an epoch; 0: the newest.
func (d *Dataset) Describe(ctx context.Context, at object.Epoch, path string) (*Node, object.Epoch, error) {
	at, err := d.at(ctx, at)
	if err != nil {
		return nil, 0, err
	}
	n, err := d.node(ctx, at, path)
	if err != nil {
		return nil, 0, err
	}
	n.Attributes, err = d.attributes(ctx, at, path)
	return n, at, err
}

func (d *Dataset) attributes(ctx context.Context, at object.Epoch, path string) (map[string]json.RawMessage, error) {
	b, _, err := d.st.Get(ctx, at, catalogOID, nodeKey(path), akeyAttrs)
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.Wrap(err, "array.attributes", d.where(path))
	}
	return decodeAttributes(d.where(path), b)
}

func decodeAttributes(where string, b []byte) (map[string]json.RawMessage, error) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, corrupt(where, "its attributes are not readable").Because(err)
	}
	return m, nil
}

// encodeAttributes checks user attributes.
func encodeAttributes(where string, m map[string]json.RawMessage) ([]byte, error) {
	if len(m) > MaxAttributes {
		return nil, fault.New(fault.TooBig, "array.attributes", where, "%d attributes, at most %d are allowed", len(m), MaxAttributes)
	}
	for k, v := range m {
		if k == "" || len(k) > MaxName || !utf8.ValidString(k) {
			return nil, fault.New(fault.Invalid, "array.attributes", where, "an attribute's name has 1 to %d bytes of UTF-8", MaxName)
		}
		if !json.Valid(v) {
			return nil, fault.New(fault.Invalid, "array.attributes", where, "the value of attribute %q is not JSON", k)
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fault.New(fault.Invalid, "array.attributes", where, "the attributes can't be written").Because(err)
	}
	if len(b) > MaxAttrBytes {
		return nil, fault.New(fault.TooBig, "array.attributes", where, "attributes of %d bytes, at most %d are allowed", len(b), MaxAttrBytes)
	}
	return b, nil
}

// SetAttributes sets and removes user attributes; with replace all others go.
func (d *Dataset) SetAttributes(ctx context.Context, path string, req object.RequestID, set map[string]json.RawMessage, remove []string, replace bool) (Done, error) {
	asked, err := json.Marshal(struct {
		Path    string
		Set     map[string]json.RawMessage
		Remove  []string
		Replace bool
	}{path, set, remove, replace})
	if err != nil {
		return Done{}, fault.New(fault.Invalid, "array.attributes", d.where(path), "an attribute is not JSON").Because(err)
	}
	call := newCall(opAttributes, req, asked)
	done, _, err := d.once(ctx, call, 0, func(done *Done) error {
		c, err := d.change(ctx, req, call.answer())
		if err != nil {
			return err
		}
		if _, err := d.node(ctx, c.tx.ReadAt, path); err != nil {
			return err
		}
		have, err := d.attributes(ctx, c.tx.ReadAt, path)
		if err != nil {
			return err
		}
		if have == nil || replace {
			have = map[string]json.RawMessage{}
		}
		for _, k := range remove {
			delete(have, k)
		}
		for k, v := range set {
			have[k] = v
		}
		b, err := encodeAttributes(d.where(path), have)
		if err != nil {
			return err
		}
		if path != "" {
			c.reads(catalogOID, nodeKey(path), akeySpec)
		}
		c.reads(catalogOID, nodeKey(path), akeyAttrs)
		c.put(catalogOID, nodeKey(path), akeyAttrs, b)
		done.Epoch, err = d.commit(ctx, "array.attributes", path, c)
		return err
	})
	return done, err
}
