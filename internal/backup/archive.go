//go:build unix

package backup

import (
	"archive/tar"
	"cmp"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"

	"gitlab-codedeploy/internal/gitlab"
)

// archive is what GitLab's tar holds, and what is wrong with it.
type archive struct {
	name    string // of the tar, for people
	info    information
	dump    *dump
	bundles map[string]bool // paths that a repository's bundle may stand for
	bundled int             // how many bundles there are
	members map[string]bool // files at the root, and first folders
	files   map[string]int  // files in each inner archive, by its name without .tar.gz
}

// information is what backup_information.yml says.
type information struct {
	full, version, edition string // 13.10.2-ee, 13.10.2, ee
	skipped                []string
}

// ContentError says what is wrong with the content of an archive.
type ContentError string

func (e ContentError) Error() string { return string(e) }

func wrong(format string, args ...any) error { return ContentError(fmt.Sprintf(format, args...)) }

// checked copies an archive to w and checks what it holds on the way: it is read once.
// A content that is wrong ends the copy.
func checked(from io.Reader, w io.Writer, name string, strict bool) (*archive, error) {
	a := &archive{name: name, dump: newDump(), bundles: map[string]bool{}, members: map[string]bool{}, files: map[string]int{}}
	reader, writer := io.Pipe()
	found := make(chan error, 1)
	go func() {
		err := a.read(reader, strict)
		_ = reader.CloseWithError(cmp.Or(err, io.ErrClosedPipe))
		found <- err
	}()
	_, err := io.Copy(io.MultiWriter(w, writer), from)
	_ = writer.CloseWithError(err) // nil is the end
	if content := <-found; err == nil || errors.As(content, new(ContentError)) {
		err = content
	}
	return a, err
}

// read goes through the archive to its very end.
func (a *archive) read(from io.Reader, strict bool) error {
	err := eachMember(from, func(header *tar.Header, content io.Reader) error {
		if strict {
			if err := harmless(a.name, header, false); err != nil {
				return err
			}
		}
		return a.member(header, content, strict)
	})
	if err != nil {
		return err
	}
	switch {
	case a.info.full == "":
		return wrong("%s holds no backup_information.yml", a.name)
	case !a.members["db/database.sql.gz"]:
		return wrong("%s holds no database: db/database.sql.gz is missing", a.name)
	}
	return nil
}

// member looks at one member of the outer archive.
func (a *archive) member(header *tar.Header, content io.Reader, strict bool) error {
	name := path.Clean(header.Name)
	first, _, _ := strings.Cut(name, "/")
	a.members[name], a.members[first] = true, true
	var err error
	switch {
	case header.Typeflag != tar.TypeReg:
		return nil
	case name == "backup_information.yml":
		err = a.information(content)
	case strings.HasSuffix(name, ".tar.gz"):
		err = a.inner(name, content, strict)
	case first == "db" && strings.HasSuffix(name, ".sql.gz"):
		if err = unpacked(content, a.dump.read); err == nil && !a.dump.complete {
			return wrong("%s in %s is not complete: the database was not dumped", name, a.name)
		}
	case strings.HasSuffix(name, ".gz"):
		err = unpacked(content, func(r io.Reader) error {
			_, err := io.Copy(io.Discard, r)
			return err
		})
	case first == "repositories" && strings.HasSuffix(name, ".bundle"):
		err = a.bundle(name, content)
	}
	if err != nil && !errors.As(err, new(ContentError)) {
		return wrong("%s in %s is damaged: %v", name, a.name, err)
	}
	return err
}

var (
	versionLine = regexp.MustCompile(`(?m)^:gitlab_version: *["']?([0-9A-Za-z.-]*)`)
	skippedLine = regexp.MustCompile(`(?m)^:skipped: *["']?([a-z_,]*)`)
)

func (a *archive) information(content io.Reader) error {
	text, err := io.ReadAll(io.LimitReader(content, 10000))
	if err != nil {
		return err
	}
	found := versionLine.FindSubmatch(text)
	if found == nil {
		return wrong("backup_information.yml in %s names no version of GitLab", a.name)
	}
	i := information{full: string(found[1]), edition: "ce"}
	i.version = i.full
	if version, is := strings.CutSuffix(i.full, "-ee"); is {
		i.version, i.edition = version, "ee"
	}
	if _, err := gitlab.ParseVersion(i.version); err != nil {
		return wrong("%s says that it is of GitLab %q, and that is no version", a.name, i.full)
	}
	i.skipped = Skipped(string(text))
	a.info = i
	return nil
}

// Skipped are the parts that a backup leaves out, by its backup_information.yml.
func Skipped(information string) []string {
	found := skippedLine.FindStringSubmatch(information)
	if found == nil {
		return nil
	}
	return strings.FieldsFunc(found[1], func(r rune) bool { return r == ',' })
}

// inner lists an archive in the archive to its end. That it can be decompressed says
// little: a part that broke off is a whole file for gzip.
func (a *archive) inner(name string, content io.Reader, strict bool) error {
	part := strings.TrimSuffix(name, ".tar.gz")
	return unpacked(content, func(r io.Reader) error {
		return eachMember(r, func(header *tar.Header, _ io.Reader) error {
			if header.Typeflag == tar.TypeReg {
				a.files[part]++
			}
			if strict {
				return harmless(name, header, true)
			}
			return nil
		})
	})
}

// bundle notes which repository a bundle may be of. Where it stands in its path differs:
//
//	repositories/@hashed/6b/86/<hash>.bundle                         13.10
//	repositories/@hashed/6b/86/<hash>/<backup>/001.bundle            from 14
//	repositories/default/@hashed/6b/86/<hash>.git/<backup>/001.bundle  from 16
//
// https://gitlab.com/gitlab-org/gitaly/-/blob/master/internal/backup/locator.go
func (a *archive) bundle(name string, content io.Reader) error {
	begins := make([]byte, len("# v2 git bundle\n"))
	_, err := io.ReadFull(content, begins)
	if text := string(begins); err != nil || text != "# v2 git bundle\n" && text != "# v3 git bundle\n" {
		return wrong("%s in %s is no bundle of Git: it begins with %q", name, a.name, begins)
	}
	a.bundled++
	for _, at := range places(name) {
		a.bundles[at] = true
	}
	return nil
}

// places are the paths of repositories that a member can belong to.
func places(name string) (found []string) {
	steps := strings.Split(path.Clean(name), "/")
	for end := 1; end <= len(steps); end++ {
		last := steps[end-1]
		for _, suffix := range []string{".bundle", ".refs", ".custom_hooks.tar", ".git"} {
			last = strings.TrimSuffix(last, suffix)
		}
		for begin := range end {
			found = append(found, path.Join(append(slices.Clone(steps[begin:end-1]), last)...))
		}
	}
	return found
}

// missing are the repositories with commits that no bundle is of, in their order.
func (a *archive) missing() (paths []string) {
	for at := range a.dump.expected {
		if !a.bundles[at] {
			paths = append(paths, at)
		}
	}
	slices.Sort(paths)
	return paths
}

// eachMember calls f for each member of a tar, and sees that the tar does not break off:
// one that does between two members looks whole.
// https://www.gnu.org/software/tar/manual/html_node/Standard.html
func eachMember(from io.Reader, f func(*tar.Header, io.Reader) error) error {
	end := &ends{from: from}
	members := tar.NewReader(end)
	for {
		header, err := members.Next()
		switch {
		case err == io.EOF:
			if _, err := io.Copy(io.Discard, end); err != nil {
				return err
			}
			if end.zeros < 2*512 {
				return errors.New("it breaks off: the end of the archive is missing")
			}
			return nil
		case err != nil:
			return fmt.Errorf("it cannot be listed: %w", err)
		}
		if err := f(header, members); err != nil {
			return err
		}
	}
}

// ends counts the zeros at the end of what was read so far.
type ends struct {
	from  io.Reader
	zeros int64
}

func (e *ends) Read(p []byte) (int, error) {
	n, err := e.from.Read(p)
	i := n
	for i > 0 && p[i-1] == 0 {
		i--
	}
	if i > 0 {
		e.zeros = 0
	}
	e.zeros += int64(n - i)
	return n, err
}

// unpacked lets f read what is in a gzip file, and reads the rest of it, whose checksum
// stands at its end.
func unpacked(content io.Reader, f func(io.Reader) error) error {
	plain, err := gzip.NewReader(content)
	if err != nil {
		return err
	}
	defer plain.Close()
	if err := f(plain); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, plain)
	return err
}

// harmless refuses a member that would leave its folder and, unless links are users'
// files there, links and devices.
func harmless(archive string, header *tar.Header, links bool) error {
	for _, name := range []string{header.Name, header.Linkname} {
		if name == header.Linkname && header.Typeflag != tar.TypeLink {
			continue
		}
		if strings.HasPrefix(name, "/") || slices.Contains(strings.Split(name, "/"), "..") {
			return wrong("%s holds %q, which would land outside of its folder: nothing was unpacked", archive, name)
		}
	}
	switch header.Typeflag {
	case tar.TypeReg, tar.TypeDir, tar.TypeXGlobalHeader:
	default:
		if !links {
			return wrong("%s holds a link or a device: %q; nothing was unpacked", archive, header.Name)
		}
	}
	return nil
}
