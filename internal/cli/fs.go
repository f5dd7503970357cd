package cli

import (
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"daos/internal/columnar"
	posixv1 "daos/proto/gen/daos/posix/v1"
)

func newFS(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "fs", Short: "Files: the tree of a POSIX dataset",
		Long: "Files: the tree of a POSIX dataset. Paths are POOL/DATASET[@SNAPSHOT][/PATH]; reading verbs take a snapshot, writing ones don't.",
	}
	cmd.AddCommand(
		fsImport(a), fsExport(a), fsLs(a), fsFind(a), fsScan(a), fsStat(a), fsCat(a), fsPut(a), fsGet(a),
		fsRm(a), fsMv(a), fsMkdir(a), fsLn(a), fsChmod(a), fsTouch(a), fsTruncate(a), fsXattr(a),
	)
	return cmd
}

// entryJSON is an entry of a tree in --json. A name that is not UTF-8 has its
// bytes in path_base64, and path shows it with U+FFFD.
type entryJSON struct {
	Path       string  `json:"path"`
	PathBase64 string  `json:"path_base64,omitempty"`
	Type       string  `json:"type"`
	Size       uint64  `json:"size"`
	Mode       string  `json:"mode"`
	Mtime      string  `json:"mtime"`
	Ctime      string  `json:"ctime,omitempty"`
	UID        *uint32 `json:"uid,omitempty"`
	GID        *uint32 `json:"gid,omitempty"`
	Inode      uint64  `json:"inode,omitempty"`
	Nlink      uint32  `json:"nlink,omitempty"`
	Target     string  `json:"symlink_target,omitempty"`
	Epoch      uint64  `json:"epoch,omitempty"`
}

func jsonPath(path string) (text, b64 string) {
	if utf8.ValidString(path) {
		return path, ""
	}
	return strings.ToValidUTF8(path, "\uFFFD"), base64.StdEncoding.EncodeToString([]byte(path))
}

func entryOf(path string, at *posixv1.Attr) entryJSON {
	uid, gid := at.GetUid(), at.GetGid()
	e := entryJSON{
		Type: fileType(at.GetType()), Size: at.GetSize(), Mode: fmt.Sprintf("%04o", at.GetMode()),
		Mtime: jsonTime(at.GetMtimeUnixNanos()), Ctime: jsonTime(at.GetCtimeUnixNanos()), UID: &uid, GID: &gid,
		Inode: at.GetInode(), Nlink: at.GetNlink(), Target: strings.ToValidUTF8(string(at.GetSymlinkTarget()), "\uFFFD"), Epoch: at.GetEpoch(),
	}
	e.Path, e.PathBase64 = jsonPath(path)
	return e
}

func entryOfRow(r *columnar.Entry) entryJSON {
	e := entryJSON{Type: r.Type, Size: r.Size, Mode: fmt.Sprintf("%04o", r.Mode), Mtime: jsonTime(r.Mtime), Target: strings.ToValidUTF8(r.Target, "\uFFFD")}
	e.Path, e.PathBase64 = jsonPath(r.Path)
	return e
}

func fileType(t posixv1.FileType) string {
	return strings.ToLower(strings.TrimPrefix(t.String(), "FILE_TYPE_"))
}

// modeString is the first column of ls -l.
func modeString(typ string, mode uint32) string {
	b := []byte("-rwxrwxrwx")
	switch typ {
	case "directory":
		b[0] = 'd'
	case "symlink":
		b[0] = 'l'
	}
	for i := range 9 {
		if mode&(1<<(8-i)) == 0 {
			b[i+1] = '-'
		}
	}
	for i, special := range []struct {
		bit    uint32
		letter byte
	}{{0o4000, 's'}, {0o2000, 's'}, {0o1000, 't'}} {
		if mode&special.bit == 0 {
			continue
		}
		at := 3 * (i + 1)
		if b[at] == '-' {
			b[at] = special.letter - 'a' + 'A'
		} else {
			b[at] = special.letter
		}
	}
	return string(b)
}
