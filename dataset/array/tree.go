package array

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
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

// Store is what an array dataset needs of its object store.
type Store interface {
	object.Clock
	object.Reader
	object.Lister
	object.Committer
}

// Dataset is one array dataset. It holds no state of its own: any number of
// Datasets over one store, in any process, agree through it.
type Dataset struct {
	st   Store
	name string
	maps *Mappings // nil: segments are mapped for each read anew
}

// Option changes a Dataset.
type Option func(*Dataset)

// WithMappings keeps segments mapped from one read to the next.
func WithMappings(m *Mappings) Option { return func(d *Dataset) { d.maps = m } }

// Open makes a Dataset of a store. The name ("p/a") is for errors. It reads
// nothing yet.
func Open(st Store, name string, opts ...Option) *Dataset {
	d := &Dataset{st: st, name: name}
	for _, o := range opts {
		o(d)
	}
	return d
}

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

// at resolves epoch 0 to the newest closed epoch.
func (d *Dataset) at(ctx context.Context, at object.Epoch) (object.Epoch, error) {
	if at != 0 {
		return at, nil
	}
	return d.st.ReadEpoch(ctx, 0)
}

func (d *Dataset) where(path string) string {
	if path == "" {
		return d.name
	}
	return d.name + "/" + path
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

// change is a transaction being made.
type change struct {
	tx object.Tx
}

func (d *Dataset) change(ctx context.Context, req object.RequestID, answer []byte) (*change, error) {
	at, err := d.st.ReadEpoch(ctx, 0)
	return &change{object.Tx{Request: req, ReadAt: at, Answer: answer}}, err
}

// reads says that the author has read one value.
func (c *change) reads(oid object.ID, dkey, akey []byte) {
	c.tx.Reads = append(c.tx.Reads, object.Read{OID: oid, Point: true, From: dkey, Akey: akey})
}

func (c *change) put(oid object.ID, dkey, akey, value []byte) {
	c.tx.Writes = append(c.tx.Writes, object.Write{Op: object.OpPut, OID: oid, Dkey: dkey, Akey: akey, Data: value})
}

func (d *Dataset) commit(ctx context.Context, op, path string, c *change) (object.Epoch, error) {
	res, err := d.st.Commit(ctx, &c.tx)
	if fault.Is(err, fault.Conflict) {
		return 0, raceLost{err}
	}
	return res.Epoch, fault.Wrap(err, op, d.where(path))
}

// Done is the outcome of a change.
type Done struct {
	Epoch object.Epoch
	// Replayed: this request id had been carried out before.
	Replayed bool
}

// The calls that an answer belongs to, so that a request id that is used twice
// for different calls is noticed.
const (
	opGroup byte = iota + 1
	opCreate
	opAttributes
	opResize
	opRemove
	opWrite
	opAppend
	opPutKey
	opDeleteKey
)

// replay finds the answer of a request that was carried out before.
func (d *Dataset) replay(ctx context.Context, id object.RequestID, op byte, values int) (done Done, v []uint64, err error) {
	if id.IsZero() {
		return Done{}, nil, nil
	}
	res, ok, err := d.st.Replay(ctx, id)
	if err != nil || !ok {
		return Done{}, nil, fault.Wrap(err, "array.replay", d.name)
	}
	b := res.Answer
	if len(b) != 1+8*values || b[0] != op {
		return Done{}, nil, fault.New(fault.Invalid, "array.replay", "request id", "it was used for another call").Do("give each call its own request id")
	}
	for b = b[1:]; len(b) > 0; b = b[8:] {
		v = append(v, binary.LittleEndian.Uint64(b))
	}
	return Done{Epoch: res.Epoch, Replayed: true}, v, nil
}

// maxTries bounds how often a change is tried again after it lost a race.
const maxTries = 1000

// retry runs f until it does not lose a race any more, with a growing pause.
func retry(ctx context.Context, f func() error) error {
	pause := 250 * time.Microsecond
	for try := 1; ; try++ {
		err := f()
		lost, ok := err.(raceLost)
		if !ok {
			return err
		}
		if try == maxTries {
			return lost.error
		}
		timer := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
		pause = min(2*pause, 20*time.Millisecond)
	}
}

// raceLost marks a Conflict of the store, which a new try may resolve, and keeps
// it apart from one that the caller asked for.
type raceLost struct{ error }

func (r raceLost) Unwrap() error { return r.error }

// CreateOptions are the terms of Create and CreateGroup.
type CreateOptions struct {
	Request    object.RequestID
	Attributes map[string]json.RawMessage
	// Overwrite replaces an array of this path (Create).
	Overwrite bool
	// ExistOK: a group that is there is no error (CreateGroup).
	ExistOK bool
}

// above puts the groups above a path into the transaction, where they are not there.
func (d *Dataset) above(ctx context.Context, c *change, path string) error {
	for p, ok := parent(path); ok && p != ""; p, ok = parent(p) {
		n, err := d.node(ctx, c.tx.ReadAt, p)
		c.reads(catalogOID, nodeKey(p), akeySpec)
		switch {
		case fault.Is(err, fault.NotFound):
			c.put(catalogOID, nodeKey(p), akeySpec, encodeSpec(0, nil))
		case err != nil:
			return err
		case n.Spec != nil:
			return fault.New(fault.NotDirectory, "array.create", d.where(p), "it is an array, not a group").Do("choose another path")
		default:
			return nil // and so are those above it
		}
	}
	return nil
}

// CreateGroup makes a group, and the groups above it.
func (d *Dataset) CreateGroup(ctx context.Context, path string, o CreateOptions) (Done, error) {
	if done, _, err := d.replay(ctx, o.Request, opGroup, 0); done.Replayed || err != nil {
		return done, err
	}
	attrs, err := encodeAttributes(d.where(path), o.Attributes)
	if err != nil {
		return Done{}, err
	}
	var done Done
	err = retry(ctx, func() error {
		c, err := d.change(ctx, o.Request, encodeAnswer(opGroup))
		if err != nil {
			return err
		}
		n, err := d.node(ctx, c.tx.ReadAt, path)
		switch {
		case err == nil && n.Spec == nil && o.ExistOK:
			done.Epoch = c.tx.ReadAt
			return nil
		case err == nil:
			return fault.New(fault.Exists, "array.create", d.where(path), "it is there already").Do("choose another path")
		case !fault.Is(err, fault.NotFound):
			return err
		}
		c.reads(catalogOID, nodeKey(path), akeySpec)
		if err := d.above(ctx, c, path); err != nil {
			return err
		}
		c.put(catalogOID, nodeKey(path), akeySpec, encodeSpec(0, nil))
		if len(o.Attributes) > 0 {
			c.put(catalogOID, nodeKey(path), akeyAttrs, attrs)
		}
		done.Epoch, err = d.commit(ctx, "array.create", path, c)
		return err
	})
	return done, err
}

// Create makes an array, and the groups above it. It returns the array's number.
func (d *Dataset) Create(ctx context.Context, path string, s Spec, o CreateOptions) (uint64, Done, error) {
	if done, v, err := d.replay(ctx, o.Request, opCreate, 1); done.Replayed || err != nil {
		if err != nil {
			return 0, done, err
		}
		return v[0], done, nil
	}
	if err := CheckPath(path); err != nil {
		return 0, Done{}, err
	}
	if path == "" {
		return 0, Done{}, fault.New(fault.Invalid, "array.create", d.name, "an array needs a path; the root is a group").Do("name it (%s/NAME)", d.name)
	}
	if err := s.check(d.where(path)); err != nil {
		return 0, Done{}, err
	}
	attrs, err := encodeAttributes(d.where(path), o.Attributes)
	if err != nil {
		return 0, Done{}, err
	}
	var done Done
	var id uint64
	err = retry(ctx, func() error {
		c, err := d.change(ctx, o.Request, nil)
		if err != nil {
			return err
		}
		n, err := d.node(ctx, c.tx.ReadAt, path)
		switch {
		case err == nil && (n.Spec == nil || !o.Overwrite):
			return fault.New(fault.Exists, "array.create", d.where(path), "it is there already").Do("choose another path, or replace it")
		case err == nil:
			c.remove(n)
		case !fault.Is(err, fault.NotFound):
			return err
		}
		c.reads(catalogOID, nodeKey(path), akeySpec)
		if err := d.above(ctx, c, path); err != nil {
			return err
		}
		if id, err = d.number(ctx, c); err != nil {
			return err
		}
		c.tx.Answer = encodeAnswer(opCreate, id)
		c.put(catalogOID, nodeKey(path), akeySpec, encodeSpec(id, &s))
		c.put(catalogOID, nodeKey(path), akeyShape, extent{shape: s.Shape}.encode())
		if len(o.Attributes) > 0 {
			c.put(catalogOID, nodeKey(path), akeyAttrs, attrs)
		}
		done.Epoch, err = d.commit(ctx, "array.create", path, c)
		return err
	})
	return id, done, err
}

// number takes the next array number.
func (d *Dataset) number(ctx context.Context, c *change) (uint64, error) {
	b, _, err := d.st.Get(ctx, c.tx.ReadAt, catalogOID, keyHead, akeyValue)
	next := uint64(1)
	switch {
	case err == nil && len(b) == 9 && b[0] == recordVersion:
		next = binary.LittleEndian.Uint64(b[1:])
	case err == nil:
		return 0, corrupt(d.name, "the catalog's head is not readable")
	case !fault.Is(err, fault.NotFound):
		return 0, fault.Wrap(err, "array.create", d.name)
	}
	c.reads(catalogOID, keyHead, akeyValue)
	c.put(catalogOID, keyHead, akeyValue, binary.LittleEndian.AppendUint64([]byte{recordVersion}, next+1))
	return next, nil
}

// remove drops a node with what it holds.
func (c *change) remove(n *Node) {
	c.tx.Writes = append(c.tx.Writes, object.Write{Op: object.OpPunchDkey, OID: catalogOID, Dkey: nodeKey(n.Path)})
	if n.Spec != nil {
		c.tx.Writes = append(c.tx.Writes, object.Write{Op: object.OpPunchObject, OID: chunksOID(n.ID)})
	}
}

// SetAttributes sets and removes user attributes; with replace all others go.
func (d *Dataset) SetAttributes(ctx context.Context, path string, req object.RequestID, set map[string]json.RawMessage, remove []string, replace bool) (Done, error) {
	if done, _, err := d.replay(ctx, req, opAttributes, 0); done.Replayed || err != nil {
		return done, err
	}
	var done Done
	err := retry(ctx, func() error {
		c, err := d.change(ctx, req, encodeAnswer(opAttributes))
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

// removeStep is how many nodes one transaction removes: the object of an array is
// punched in each of its redundancy groups.
const removeStep = 256

// Remove removes an array or a group; a group that holds something only with
// recursive. Up to removeStep nodes go in one step; more in several, what lies
// deepest first, the group itself last.
func (d *Dataset) Remove(ctx context.Context, path string, req object.RequestID, recursive bool) (Done, error) {
	if done, _, err := d.replay(ctx, req, opRemove, 0); done.Replayed || err != nil {
		return done, err
	}
	if path == "" {
		return Done{}, fault.New(fault.Invalid, "array.remove", d.name, "the root group can't be removed").Do("remove what is in it, or destroy the dataset")
	}
	var done Done
	err := retry(ctx, func() error {
		var c *change
		var n *Node
		var err error
		for more := true; more; {
			if c, err = d.change(ctx, req, encodeAnswer(opRemove)); err != nil {
				return err
			}
			if n, err = d.node(ctx, c.tx.ReadAt, path); err != nil {
				return err
			}
			c.reads(catalogOID, nodeKey(path), akeySpec)
			if n.Spec != nil {
				break
			}
			if more, err = d.empty(ctx, c, path, recursive); err != nil {
				return err
			}
		}
		c.remove(n)
		done.Epoch, err = d.commit(ctx, "array.remove", path, c)
		return err
	})
	return done, err
}

// empty removes what is below a group: the last of it in c, a part of it at once
// where there is more than one transaction can remove.
func (d *Dataset) empty(ctx context.Context, c *change, path string, recursive bool) (more bool, err error) {
	below, err := d.below(ctx, c.tx.ReadAt, path)
	if err != nil {
		return false, err
	}
	if len(below) > 0 && !recursive {
		return false, fault.New(fault.NotEmpty, "array.remove", d.where(path), "the group holds %d arrays and groups", len(below)).Do("remove it recursively")
	}
	to := c
	if more = len(below) > removeStep; more {
		below = below[len(below)-removeStep:]
		to = &change{object.Tx{ReadAt: c.tx.ReadAt}}
	} else { // nobody makes something in it meanwhile
		from := nodeKey(path + "/")
		c.tx.Reads = append(c.tx.Reads, object.Read{OID: catalogOID, From: from, To: object.PrefixEnd(from), Akey: akeySpec})
	}
	for _, m := range below {
		to.reads(catalogOID, nodeKey(m.Path), akeySpec)
		to.remove(m)
	}
	if more {
		_, err = d.commit(ctx, "array.remove", path, to)
	}
	return more, err
}

// below are the nodes below a group, in byte order of their paths.
func (d *Dataset) below(ctx context.Context, at object.Epoch, path string) ([]*Node, error) {
	var out []*Node
	var failed error
	err := d.st.List(ctx, at, catalogOID, object.ListOptions{Prefix: nodeKey(path + "/"), Akey: akeySpec}, func(it object.Item) bool {
		n := &Node{Path: string(it.Dkey[1:])}
		n.ID, n.Spec, failed = decodeSpec(d.where(n.Path), it.Value)
		out = append(out, n)
		return failed == nil
	})
	if err == nil {
		err = failed
	}
	return out, fault.Wrap(err, "array.list", d.where(path))
}

// ListOptions bound a List.
type ListOptions struct {
	Recursive bool
	After     string // full path
	Limit     int
}

// listBytes bounds the attributes of one page.
const listBytes = 4 << 20

// List calls for the groups and arrays below a group, in byte order of their
// paths; more says that there are others after the last.
func (d *Dataset) List(ctx context.Context, at object.Epoch, path string, o ListOptions) (nodes []*Node, more bool, err error) {
	n, err := d.node(ctx, at, path)
	if err != nil {
		return nil, false, err
	}
	if n.Spec != nil {
		return nil, false, fault.New(fault.NotDirectory, "array.list", d.where(path), "it is an array, not a group").Do("describe it")
	}
	prefix := "n"
	if path != "" {
		prefix = "n" + path + "/"
	}
	from := []byte(prefix)
	if o.After != "" {
		from = append(nodeKey(o.After), 0)
	}
	for held := 0; ; {
		item, err := d.next(ctx, at, prefix, from)
		if err != nil || item == nil {
			return nodes, false, err
		}
		key := string(item.Dkey)
		rest := key[len(prefix):]
		if i := strings.IndexByte(rest, '/'); i >= 0 && !o.Recursive {
			from = []byte(key[:len(prefix)+i] + "0") // '/' + 1: after all below it
			continue
		}
		from = append([]byte(key), 0)
		if rest == "" {
			continue // the root's own attributes
		}
		if len(nodes) == o.Limit || held > listBytes {
			return nodes, true, nil
		}
		n, err := d.node(ctx, at, key[1:])
		if err != nil {
			return nil, false, err
		}
		if n.Attributes, err = d.attributes(ctx, at, key[1:]); err != nil {
			return nil, false, err
		}
		for k, v := range n.Attributes {
			held += len(k) + len(v)
		}
		held += 256
		nodes = append(nodes, n)
	}
}

// next is the first node with a key from on.
func (d *Dataset) next(ctx context.Context, at object.Epoch, prefix string, from []byte) (*object.Item, error) {
	var found *object.Item
	err := d.st.List(ctx, at, catalogOID, object.ListOptions{Prefix: []byte(prefix), From: from, Akey: akeySpec, Limit: 1, KeysOnly: true}, func(it object.Item) bool {
		found = &object.Item{Dkey: slices.Clone(it.Dkey)}
		return false
	})
	return found, fault.Wrap(err, "array.list", d.name)
}
