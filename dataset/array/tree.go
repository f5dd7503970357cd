package array

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"daos/engine/object"
	"daos/internal/fault"
)

// remove drops a node with what it holds.
func (c *change) remove(n *Node) {
	c.tx.Writes = append(c.tx.Writes, object.Write{Op: object.OpPunchDkey, OID: catalogOID, Dkey: nodeKey(n.Path)})
	if n.Spec != nil {
		c.tx.Writes = append(c.tx.Writes, object.Write{Op: object.OpPunchObject, OID: chunksOID(n.ID)})
	}
}

// removeStep is how many nodes one transaction removes: the object of an array is
// punched in each of its redundancy groups.
const removeStep = 256

// Remove removes an array or a group; a group that holds something only with
// recursive. Up to removeStep nodes go in one step; more in several, what lies
// deepest first, the group itself last.
func (d *Dataset) Remove(ctx context.Context, path string, req object.RequestID, recursive bool) (Done, error) {
	if path == "" {
		return Done{}, fault.New(fault.Invalid, "array.remove", d.name, "the root group can't be removed").Do("remove what is in it, or destroy the dataset")
	}
	k := newCall(opRemove, req, []byte(path), []byte(strconv.FormatBool(recursive)))
	done, _, err := d.once(ctx, k, 0, func(done *Done) error {
		var c *change
		var n *Node
		var err error
		for more := true; more; {
			if c, err = d.change(ctx, req, k.answer()); err != nil {
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
