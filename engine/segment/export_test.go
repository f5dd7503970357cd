package segment

// OpenHandles is the number of handles kept.
func (s *Set) OpenHandles() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.files)
}
