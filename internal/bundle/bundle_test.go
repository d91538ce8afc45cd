package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// plant makes files below a new folder: the name's content; "name/" is a
// directory; "-> x" is a link to x.
func plant(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	require.NoError(t, os.Chmod(root, 0o755))
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path, content := filepath.Join(root, name), files[name]
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		switch {
		case strings.HasSuffix(name, "/"):
			require.NoError(t, os.MkdirAll(path, 0o755))
		case strings.HasPrefix(content, "-> "):
			require.NoError(t, os.Symlink(content[3:], path))
		default:
			require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
		}
	}
	return root
}

var sample = map[string]string{
	"appspec.yml": "version: 0.0\nos: linux\n", "scripts/start.sh": "#!/bin/sh\n", "index.html": "hello\n", "empty/": "",
	"a/b/c.txt": "c", "a.txt": "before a/", "a/link": "-> ../index.html", "Größe 大きさ.txt": "x",
	".git/config": "secret", "vendor/lib/.git/HEAD": "x", ".gitignore": "y", "new\nline and space": "odd",
}

func pack(t *testing.T, folder string, o Options) []byte {
	t.Helper()
	tree, err := Scan(folder, o)
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, tree.Write(t.Context(), &out, nil))
	return out.Bytes()
}

// headers of a bundle in their order, with each one's content.
func headers(t *testing.T, bundle []byte) (entries []*tar.Header, contents map[string]string) {
	t.Helper()
	unzipped, err := gzip.NewReader(bytes.NewReader(bundle))
	require.NoError(t, err)
	contents = map[string]string{}
	archive := tar.NewReader(unzipped)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			_, err := io.Copy(io.Discard, unzipped) // to gzip's own checksum
			require.NoError(t, err)
			return entries, contents
		}
		require.NoError(t, err)
		content, err := io.ReadAll(archive)
		require.NoError(t, err)
		entries = append(entries, header)
		contents[header.Name] = string(content)
	}
}

func names(entries []*tar.Header) (names []string) {
	for _, entry := range entries {
		names = append(names, entry.Name)
	}
	return names
}

func TestS13_EntriesComeInTheOrderOfTheirNamesAndGitStaysHere(t *testing.T) {
	entries, contents := headers(t, pack(t, plant(t, sample), Options{}))
	assert.Equal(t, []string{
		"./", "./.gitignore", "./Größe 大きさ.txt", "./a/", "./a/b/", "./a/b/c.txt", "./a/link", "./a.txt", "./appspec.yml", "./empty/",
		"./index.html", "./new\nline and space", "./scripts/", "./scripts/start.sh", "./vendor/", "./vendor/lib/",
	}, names(entries))
	assert.Equal(t, "hello\n", contents["./index.html"])
	assert.Equal(t, "../index.html", entries[6].Linkname)
}

func TestS13_OwnersTimesAndRightsToWriteAreNobodys(t *testing.T) {
	root := plant(t, map[string]string{"a": "1", "b/": "", "secret": "2", "run": "3", "root": "4"})
	for name, mode := range map[string]uint32{"a": 0o666, "b": 0o777, "secret": 0o600, "run": 0o775, "root": 0o4755} {
		require.NoError(t, unix.Chmod(filepath.Join(root, name), mode))
	}
	if os.Getuid() == 0 {
		require.NoError(t, os.Chown(filepath.Join(root, "a"), 1234, 4321))
	}
	entries, _ := headers(t, pack(t, root, Options{}))
	modes := map[string]int64{}
	for _, entry := range entries {
		modes[entry.Name] = entry.Mode
		assert.Zero(t, entry.Uid+entry.Gid, entry.Name)
		assert.Empty(t, entry.Uname+entry.Gname, entry.Name)
		assert.Equal(t, time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC), entry.ModTime.UTC(), entry.Name)
	}
	assert.Equal(t, map[string]int64{"./": 0o755, "./a": 0o644, "./b/": 0o755, "./secret": 0o600, "./run": 0o755, "./root": 0o4755}, modes)

	commit := time.Date(2026, 11, 28, 1, 2, 3, 456, time.UTC)
	entries, _ = headers(t, pack(t, root, Options{Time: commit}))
	assert.Equal(t, commit.Truncate(time.Second), entries[3].ModTime.UTC())
}

// Two machines: another umask, another order of creation, other times, another
// owner, other inodes, another number of processors.
func TestS13_TheSameContentGivesTheSameBytes(t *testing.T) {
	random := rand.NewChaCha8([32]byte([]byte("a bundle of more than one block.")))
	large := make([]byte, 5*blockSize+12345)
	_, _ = random.Read(large)
	copy(large[blockSize:3*blockSize], bytes.Repeat([]byte("what compresses well, "), blockSize))
	content := maps.Clone(sample)
	content["large.bin"] = string(large)

	digest := func(umask int, processors int) [32]byte {
		defer unix.Umask(unix.Umask(umask))
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(processors))
		root := t.TempDir()
		require.NoError(t, os.Chmod(root, os.FileMode(0o777&^umask)))
		files := slices.Sorted(maps.Keys(content))
		if umask == 0 {
			slices.Reverse(files)
		}
		for _, name := range files {
			path := filepath.Join(root, name)
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o777))
			switch target, link := strings.CutPrefix(content[name], "-> "); {
			case strings.HasSuffix(name, "/"):
				require.NoError(t, os.MkdirAll(path, 0o777))
			case link:
				require.NoError(t, os.Symlink(target, path))
			default:
				require.NoError(t, os.WriteFile(path, []byte(content[name]), 0o666))
			}
		}
		require.NoError(t, os.Chtimes(filepath.Join(root, "index.html"), time.Now(), time.Unix(int64(umask)*1e6, 0)))
		if os.Getuid() == 0 {
			require.NoError(t, os.Chown(filepath.Join(root, "index.html"), umask, umask))
		}
		return sha256.Sum256(pack(t, root, Options{}))
	}
	want := digest(0o022, 2)
	for range 3 {
		assert.Equal(t, want, digest(0o022, 4), "again")
	}
	assert.Equal(t, want, digest(0o002, 1), "umask 0002")
	assert.Equal(t, want, digest(0o000, 7), "umask 0000, as in GitLab Runner's helper")
	content["index.html"] += "!"
	assert.NotEqual(t, want, digest(0o022, 2), "another content")
}

func TestS13_WhatHasSeveralNamesTravelsOnce(t *testing.T) {
	root := plant(t, map[string]string{"b/first": "content", "z/": ""})
	require.NoError(t, os.Link(filepath.Join(root, "b/first"), filepath.Join(root, "z/second")))
	require.NoError(t, os.Link(filepath.Join(root, "b/first"), filepath.Join(root, "a")))
	entries, contents := headers(t, pack(t, root, Options{}))
	assert.Equal(t, []string{"./", "./a", "./b/", "./b/first", "./z/", "./z/second"}, names(entries))
	assert.Equal(t, "content", contents["./a"])
	for _, i := range []int{3, 5} {
		assert.EqualValues(t, tar.TypeLink, entries[i].Typeflag)
		assert.Equal(t, "./a", entries[i].Linkname)
	}
	assertUnpacksTo(t, root, pack(t, root, Options{}))
	tree, err := Scan(root, Options{})
	require.NoError(t, err)
	assert.EqualValues(t, len("content"), tree.Size())
	assert.Equal(t, 1, tree.Files())

	// Without the first name, the next one has the content.
	entries, contents = headers(t, pack(t, root, Options{Exclude: []string{"./a"}}))
	assert.Equal(t, []string{"./", "./b/", "./b/first", "./z/", "./z/second"}, names(entries))
	assert.Equal(t, "content", contents["./b/first"])
	assert.Equal(t, "./b/first", entries[4].Linkname)

	// A link leads to what is before it in the archive: tar finds nothing else.
	root = plant(t, map[string]string{"b/c/first": "content"})
	require.NoError(t, os.Link(filepath.Join(root, "b/c/first"), filepath.Join(root, "d")))
	require.NoError(t, os.Link(filepath.Join(root, "b/c/first"), filepath.Join(root, "b/d")))
	assertUnpacksTo(t, root, pack(t, root, Options{}))
}

func TestS13_LongAndStrangeNamesTravelAsTheyAre(t *testing.T) {
	long := strings.Repeat("x", 255)
	deep := strings.Repeat("directory-of-some-length/", 40) + "file"
	files := map[string]string{
		long: "1", deep: "2", "latin-\xe9\xff": "3", "\x1b[31mred": "4", "-rf": "5", "日本語/" + strings.Repeat("語", 80): "6",
		"link": "-> " + strings.Repeat("very/long/target/", 30), "latin-link": "-> \xe9",
	}
	root := plant(t, files)
	entries, contents := headers(t, pack(t, root, Options{}))
	for _, entry := range entries {
		// In pax, a tar that has another locale than C would take names for UTF-8.
		assert.Equal(t, tar.FormatGNU, entry.Format, "%q", entry.Name)
	}
	for name, content := range files {
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			i := slices.IndexFunc(entries, func(h *tar.Header) bool { return h.Name == "./"+name })
			require.GreaterOrEqual(t, i, 0, name)
			assert.Equal(t, target, entries[i].Linkname)
		} else {
			assert.Equal(t, content, contents["./"+name], "%q", name)
		}
	}
	assertUnpacksTo(t, root, pack(t, root, Options{}))
}

func TestS13_ASparseFileTravelsWithItsZeros(t *testing.T) {
	root := plant(t, map[string]string{"a": "1"})
	file, err := os.Create(filepath.Join(root, "sparse"))
	require.NoError(t, err)
	defer file.Close()
	require.NoError(t, file.Truncate(200<<20))
	_, err = file.WriteAt([]byte("end"), 200<<20-3)
	require.NoError(t, err)
	packed := pack(t, root, Options{})
	assert.Less(t, len(packed), 2<<20)
	entries, contents := headers(t, packed)
	assert.EqualValues(t, 200<<20, entries[2].Size)
	assert.True(t, strings.HasSuffix(contents["./sparse"], "\x00end"))
}

func TestS13_WhatNoBundleCarriesIsRefusedByName(t *testing.T) {
	root := plant(t, map[string]string{"a/b": "1"})
	require.NoError(t, unix.Mkfifo(filepath.Join(root, "a/pipe"), 0o644))
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	defer unix.Close(socket)
	require.NoError(t, unix.Bind(socket, &unix.SockaddrUnix{Name: filepath.Join(root, "app.sock")}))
	want := []string{
		`"a/pipe" is a FIFO, which no bundle can carry: remove it, or leave it out with --exclude`,
		`"app.sock" is a socket, which no bundle can carry: remove it, or leave it out with --exclude`,
	}
	if os.Getuid() == 0 && unix.Mknod(filepath.Join(root, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))) == nil {
		want = append(want, `"null" is a character device, which no bundle can carry: remove it, or leave it out with --exclude`)
	}
	_, err = Scan(root, Options{})
	var refused *RefusedError
	require.ErrorAs(t, err, &refused)
	assert.ElementsMatch(t, want, refused.Problems)

	_, err = Scan(root, Options{Exclude: []string{"pipe", "*.sock", "null"}})
	assert.NoError(t, err)

	for n := range 50 {
		require.NoError(t, unix.Mkfifo(filepath.Join(root, fmt.Sprintf("pipe-%02d", n)), 0o644))
	}
	_, err = Scan(root, Options{Exclude: []string{"a", "*.sock", "null"}})
	require.ErrorAs(t, err, &refused)
	assert.Len(t, refused.Problems, maxProblems+1)
	assert.Equal(t, "and 30 more", refused.Problems[maxProblems])
}

func TestS13_WhatMayNotBeReadIsRefusedByName(t *testing.T) {
	if os.Getuid() == 0 {
		asNobody(t)
		return
	}
	root := plant(t, map[string]string{"open": "1", "closed": "2", "dir/x": "3"})
	require.NoError(t, os.Chmod(filepath.Join(root, "closed"), 0))
	require.NoError(t, os.Chmod(filepath.Join(root, "dir"), 0))
	defer os.Chmod(filepath.Join(root, "dir"), 0o755)
	_, err := Scan(root, Options{})
	var refused *RefusedError
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, []string{`"closed" cannot be read: permission denied`, `"dir" cannot be read: permission denied`}, refused.Problems)
}

// asNobody runs the test again as a user who is not root, as root may read all.
func asNobody(t *testing.T) {
	program := filepath.Join(t.TempDir(), "test")
	self, err := os.ReadFile("/proc/self/exe")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(program, self, 0o755))
	for dir := filepath.Dir(program); dir != "/"; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		require.NoError(t, err)
		require.NoError(t, os.Chmod(dir, info.Mode()|0o755))
	}
	work := filepath.Join(t.TempDir(), "work")
	require.NoError(t, os.Mkdir(work, 0o777))
	require.NoError(t, os.Chmod(work, 0o777))
	require.NoError(t, os.Chmod(filepath.Dir(work), 0o755))
	cmd := exec.Command(program, "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Dir, cmd.Env = "/", append(os.Environ(), "TMPDIR="+work)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	assert.Contains(t, string(out), "--- PASS: "+t.Name())
}

func TestS13_AFolderThatIsNoneIsNamed(t *testing.T) {
	root := plant(t, map[string]string{"file": ""})
	for folder, want := range map[string]string{
		filepath.Join(root, "none"): `there is no folder "` + root + `/none": no such file or directory`,
		filepath.Join(root, "file"): `"` + root + `/file" is not a folder`,
	} {
		_, err := Scan(folder, Options{})
		assert.EqualError(t, err, want)
	}
	_, err := Scan(root, Options{Level: 10})
	assert.EqualError(t, err, "level: got 10, want 1 to 9")
}

func TestS13_AFolderBehindALinkIsTheFolder(t *testing.T) {
	root := plant(t, map[string]string{"a": "1"})
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(root, link))
	assert.Equal(t, pack(t, root, Options{}), pack(t, link, Options{}))
}

// interfere packs, and calls change as soon as the first bytes of content are read.
func interfere(t *testing.T, root string, change func()) error {
	t.Helper()
	tree, err := Scan(root, Options{})
	require.NoError(t, err)
	var out bytes.Buffer
	return tree.Write(t.Context(), &out, func(int64) {
		if change != nil {
			change()
			change = nil
		}
	})
}

func TestS13_AFileThatChangesWhileItIsReadIsNamed(t *testing.T) {
	const large = "b-large"
	for what, c := range map[string]struct {
		change func(file string) error
		want   string
	}{
		"grows": {func(file string) error {
			f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteString("more")
			return err
		}, `it has 2000004 bytes, and had 2000000`},
		"shrinks":         {func(file string) error { return os.Truncate(file, 1_000_000) }, `it has 1000000 bytes, and had 2000000`},
		"is written over": {func(file string) error { return os.WriteFile(file, make([]byte, 2_000_000), 0) }, `it was written`},
		"keeps its time": {func(file string) error {
			info, err := os.Stat(file)
			return errors.Join(err, os.WriteFile(file, make([]byte, 2_000_000), 0), os.Chtimes(file, info.ModTime(), info.ModTime()))
		}, `it was written`},
	} {
		t.Run(what, func(t *testing.T) {
			root := plant(t, map[string]string{"c": "later", large: strings.Repeat("x", 2_000_000)})
			time.Sleep(20 * time.Millisecond) // so that the kernel's clock has moved on
			err := interfere(t, root, func() { require.NoError(t, c.change(filepath.Join(root, large))) })
			var changed *ChangedError
			require.ErrorAs(t, err, &changed)
			assert.Equal(t, large, changed.Path)
			assert.ErrorContains(t, err, c.want)
		})
	}
}

func TestS13_AFileThatIsReplacedBeforeItIsReadIsNamed(t *testing.T) {
	for what, c := range map[string]struct {
		change func(file string) error
		want   string
	}{
		"is gone":   {os.Remove, "not there any more"},
		"by a link": {func(file string) error { return errors.Join(os.Remove(file), os.Symlink("/etc/hostname", file)) }, "not there any more"},
		"by a FIFO": {func(file string) error { return errors.Join(os.Remove(file), unix.Mkfifo(file, 0o644)) }, "another file"},
		"by another": {func(file string) error {
			return errors.Join(os.WriteFile(file+"~", []byte("last!"), 0o644), os.Rename(file+"~", file))
		}, "another file"},
		"with its old size": {func(file string) error { return os.WriteFile(file, []byte("LATER"), 0o644) }, "it was written"},
	} {
		t.Run(what, func(t *testing.T) {
			root := plant(t, map[string]string{"a": "first", "b": "later"})
			time.Sleep(20 * time.Millisecond) // so that the kernel's clock has moved on
			err := interfere(t, root, func() { require.NoError(t, c.change(filepath.Join(root, "b"))) })
			var changed *ChangedError
			require.ErrorAs(t, err, &changed)
			assert.Equal(t, "b", changed.Path)
			assert.ErrorContains(t, err, c.want)
		})
	}
}

var errEnough = errors.New("enough")

func TestS13_PackingEndsSoonAfterItsContext(t *testing.T) {
	root := plant(t, map[string]string{"a": "1"})
	require.NoError(t, os.Truncate(filepath.Join(root, "a"), 1<<40)) // an hour of zeros
	tree, err := Scan(root, Options{})
	require.NoError(t, err)
	ctx, cancel := context.WithCancelCause(t.Context())
	before := runtime.NumGoroutine()
	var last int64
	err = tree.Write(ctx, io.Discard, func(n int64) {
		if last = n; n > 8<<20 {
			cancel(errEnough)
		}
	})
	assert.ErrorIs(t, err, errEnough)
	assert.Less(t, last, int64(16<<20))
	assertGoroutines(t, before)
}

// assertGoroutines waits until no more than so many of them run.
func assertGoroutines(t *testing.T, want int) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			stacks := make([]byte, 1<<16)
			t.Fatalf("%d goroutines, want %d:\n%s", runtime.NumGoroutine(), want, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// fullDisk takes so many bytes.
type fullDisk int

func (f *fullDisk) Write(p []byte) (int, error) {
	if *f -= fullDisk(len(p)); *f < 0 {
		return 0, errEnough
	}
	return len(p), nil
}

func TestS13_PackingEndsWithItsWriter(t *testing.T) {
	root := plant(t, map[string]string{"a": "1"})
	require.NoError(t, os.Truncate(filepath.Join(root, "a"), 1<<40))
	tree, err := Scan(root, Options{})
	require.NoError(t, err)
	before := runtime.NumGoroutine()
	for _, bytes := range []fullDisk{0, 5, 10, 20_000} {
		assert.ErrorIs(t, tree.Write(t.Context(), &bytes, nil), errEnough)
	}
	assertGoroutines(t, before)
}

func TestS13_ProgressTellsEachByteOfContent(t *testing.T) {
	root := plant(t, map[string]string{"a": strings.Repeat("x", 1_000_000), "b": "2", "c": ""})
	tree, err := Scan(root, Options{})
	require.NoError(t, err)
	assert.EqualValues(t, 1_000_001, tree.Size())
	assert.Equal(t, 3, tree.Files())
	var told []int64
	require.NoError(t, tree.Write(t.Context(), io.Discard, func(n int64) { told = append(told, n) }))
	assert.IsIncreasing(t, told)
	assert.EqualValues(t, tree.Size(), told[len(told)-1])
}

// The script kept its work in files below TMPDIR, which could be in the folder.
func TestS13_NothingIsWrittenToTheDisk(t *testing.T) {
	root := plant(t, sample)
	tmp := filepath.Join(root, "tmp")
	require.NoError(t, os.Mkdir(tmp, 0o755))
	t.Setenv("TMPDIR", tmp)
	entries, _ := headers(t, pack(t, root, Options{}))
	assert.Contains(t, names(entries), "./tmp/")
	left, err := os.ReadDir(tmp)
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestS13_AnEmptyFolderIsAnArchiveOfOneEntry(t *testing.T) {
	entries, _ := headers(t, pack(t, plant(t, nil), Options{}))
	assert.Equal(t, []string{"./"}, names(entries))
}

// assertUnpacksTo unpacks a bundle as CodeDeploy's agent does, and compares what
// comes out with a folder.
func assertUnpacksTo(t *testing.T, want string, bundle []byte) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "bundle.tgz")
	require.NoError(t, os.WriteFile(file, bundle, 0o600))
	out := t.TempDir()
	// As in lib/instance_agent/platform/linux_util.rb of the agent, whose locale is C.
	cmd := exec.Command("tar", "-zxpsf", file, "-C", out)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	said, err := cmd.CombinedOutput()
	require.NoError(t, err, string(said))
	require.Empty(t, string(said), "tar warns")
	assert.Equal(t, treeOf(t, want), treeOf(t, out))
}

// treeOf tells what is in a folder: type, mode, and content or target.
func treeOf(t *testing.T, root string) map[string]string {
	t.Helper()
	tree := map[string]string{}
	require.NoError(t, fs.WalkDir(os.DirFS(root), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.Name() == ".git" {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		what := ""
		switch mode := info.Mode(); {
		case mode.IsRegular():
			content, err := os.ReadFile(filepath.Join(root, path))
			if err != nil {
				return err
			}
			what = fmt.Sprintf("%x", sha256.Sum256(content))
		case mode&fs.ModeSymlink != 0:
			what, err = os.Readlink(filepath.Join(root, path))
		}
		tree[path] = info.Mode().String() + " " + what
		return err
	}))
	return tree
}

func TestS13_TheAgentsTarUnpacksTheSameTree(t *testing.T) {
	root := plant(t, sample)
	require.NoError(t, os.Chmod(filepath.Join(root, "scripts/start.sh"), 0o755))
	require.NoError(t, os.Chmod(filepath.Join(root, "a/b/c.txt"), 0o600))
	require.NoError(t, os.Link(filepath.Join(root, "a.txt"), filepath.Join(root, "hard")))
	assertUnpacksTo(t, root, pack(t, root, Options{}))
}
