package source

import "encoding/binary"

// Place is where the part begins and ends.
func (p *rowsPart) Place() []byte { return place(p.at, p.to) }

// Place is where the part begins and ends in the grid of chunks.
func (p *elementsPart) Place() []byte { return place(p.at, p.to) }

// Place is the keys between which the part lies.
func (p *pairsPart) Place() []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(p.r.Start)))
	return append(append(b, p.r.Start...), p.r.Stop...)
}

func place(from, to uint64) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, from), to)
}
