// Package repo holds the rules of the repository that no linter knows, as
// tests. It has no code of its own. Start with repo_test.go.
package repo
