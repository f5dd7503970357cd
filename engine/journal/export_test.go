package journal

// Written reports whether the group has been written, or has failed.
func (g *Group) Written() bool {
	select {
	case <-g.done:
		return true
	default:
		return false
	}
}
