//go:build unix

package backup_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/minio/crc64nvme"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/awstest"
	"gitlab-codedeploy/internal/machine/machinetest"
)

const (
	data    = "/var/opt/gitlab"
	folder  = data + "/backups"
	tarName = "_gitlab_backup.tar"
	// The repository of a project with commits, as hashed storage names it.
	app = "@hashed/d4/73/d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35"
	// That of a project without any.
	other    = "@hashed/4e/07/4e07408562bedb8b60ce05c1decfe3ad16b72230967de01f640b7e4729b49fce"
	repoBase = data + "/git-data/repositories/"
)

// gitlabHost is a host with a GitLab that backs up and restores. It does as the real one
// where the program depends on it: it writes the archive straight to its final name,
// and ends with 0 when a part cannot be dumped.
type gitlabHost struct {
	*machinetest.Host
	version, edition string

	since    int64                         // when the first backup is made, less a second
	made     int                           // backups so far
	says     string                        // lines of gitlab-backup create on the way
	status   int                           // of gitlab-backup create
	skipped  string                        // what it leaves out
	dumpEnd  string                        // the last line of the dump
	members  func([]tarMember) []tarMember // changes what is in the archive
	archive  func([]byte) []byte           // changes the bytes of it
	layout   string                        // of bundles: "" is 13.10's, or pointers, manifests
	services map[string]string             // gitlab-ctl status: run or down
	rows     func() string                 // what the database says of repositories now
	empty    bool                          // no project has commits
	dumpRows string                        // more of the dump

	restores restores
}

type tarMember struct {
	name    string
	content []byte
	header  tar.Header // the rest
}

func newGitLab(t *testing.T, version, edition string) *gitlabHost {
	h := &gitlabHost{
		Host: machinetest.New(t), version: version, edition: edition, since: 1606734000, dumpEnd: "-- PostgreSQL database dump complete",
		services: map[string]string{"gitaly": "run", "postgresql": "run", "puma": "run", "redis": "run", "sidekiq": "run"},
	}
	h.rows = func() string { return app + "\tdefault\tt\n" }
	h.Put("/opt/gitlab/version-manifest.txt", "gitlab-"+edition+" "+version+"\n\nComponent\n")
	h.Put("/etc/gitlab/gitlab-secrets.json", `{"gitlab_rails": {"db_key_base": "old"}}`)
	h.Put("/etc/gitlab/gitlab.rb", "external_url 'https://old.example.com'\n")
	h.Put("/etc/gitlab/trusted-certs/ca.crt", "a certificate of old")
	h.Put("/etc/ssh/ssh_host_ed25519_key", "a key of old")
	h.Put("/etc/ssh/ssh_host_ed25519_key.pub", "a public key of old")
	h.Put("/etc/ssh/sshd_config", "nobody's business")
	h.Put(data+"/postgresql/data/dump", "old")
	h.Put(data+"/gitlab-rails/uploads/picture", strings.Repeat("picture", 3000))
	h.Put(data+"/gitlab-rails/shared/artifacts/report", "report of old")
	h.Put(data+"/gitlab-rails/shared/lfs-objects/ab/cd/ef", "object of old")
	h.Put(data+"/gitlab-rails/shared/packages/ab/package", "package of old")
	h.Put(data+"/gitlab-rails/shared/terraform_state/cd/1.tfstate", "state of old")
	h.Put(data+"/gitlab-rails/shared/encrypted_settings/ldap.yml.enc", "settings of old")
	h.repository(app, "old")
	// As omnibus's templates of 13.10.2 write them: gitaly-config.toml.erb, gitlab.yml.erb.
	h.Put(data+"/gitaly/config.toml", "socket_path = '/var/opt/gitlab/gitaly/gitaly.socket'\n\n[[storage]]\nname = 'default'\npath = '/var/opt/gitlab/git-data/repositories'\n\n[logging]\nlevel = 'info'\n")
	h.storages("unix:/var/opt/gitlab/gitaly/gitaly.socket")
	require.NoError(t, os.MkdirAll(h.Path(folder), 0o700))

	h.Answers("uname -n", "old.example.com\n")
	h.On("gitlab-ctl status", h.status1)
	h.On("gitlab-psql", func(c machinetest.Call) int {
		if strings.Contains(c.Input, "pg_attribute") {
			c.Print("%s", schema)
		} else {
			c.Print("%s", h.rows())
		}
		return 0
	})
	h.On("env", func(c machinetest.Call) int {
		switch words := c.Args[len(c.Args)-2:]; words[1] {
		case "create":
			return h.create(c)
		default:
			return h.restore(c)
		}
	})
	return h
}

// schema is what the database says of its tables, as far as it is asked for here.
const schema = "application_settings\tid\nbackground_migration_jobs\tid\nbatched_background_migrations\tid\n"

// storages writes Rails' settings, with Gitaly's address in them.
func (h *gitlabHost) storages(address string) {
	h.Put(data+"/gitlab-rails/etc/gitlab.yml", `production: &base
  gitlab:
    host: old
  repositories:
    storages: {"default":{"path":"/var/opt/gitlab/git-data/repositories","gitaly_address":"`+address+`"}}
  backup:
    path: "/var/opt/gitlab/backups"   # Relative paths are relative to Rails.root (default: tmp/backups/)
    archive_permissions:
  extra:
    path: no
`)
}

// repository puts a bare repository with commits on the disk.
func (h *gitlabHost) repository(path, of string) {
	h.Put(repoBase+path+".git/HEAD", "ref: refs/heads/master\n")
	h.Put(repoBase+path+".git/packed-refs", "# pack-refs with: peeled fully-peeled sorted\n0123456789012345678901234567890123456789 refs/heads/master\n")
	h.Put(repoBase+path+".git/objects/pack/pack-1.pack", "PACK of "+of)
}

// bundleOf is what 13.10 puts into an archive of a repository.
func bundleOf(path string) tarMember {
	return tarMember{name: "repositories/" + path + ".bundle", content: []byte("# v2 git bundle\n0123456789012345678901234567890123456789 refs/heads/master\n\nPACK of old")}
}

// status1 is runit's, of one service or of all.
func (h *gitlabHost) status1(c machinetest.Call) int {
	names := []string{"gitaly", "postgresql", "puma", "redis", "sidekiq"}
	if len(c.Args) > 2 {
		names = c.Args[2:]
	}
	bad := 0
	for _, name := range names {
		switch h.services[name] {
		case "run":
			c.Print("run: %s: (pid 1) 5s; run: log: (pid 1) 5s\n", name)
		case "":
			bad = 1
		default:
			c.Print("down: %s: 12s, normally up; run: log: (pid 1) 5s\n", name)
			bad = 1
		}
	}
	return bad
}

// at14_7 says whether GitLab's archive has packages and Terraform states.
func (h *gitlabHost) at14_7() bool { return !strings.HasPrefix(h.version, "13.") }

func (h *gitlabHost) full() string {
	if h.edition == "ee" {
		return h.version + "-ee"
	}
	return h.version
}

// create is gitlab-backup create: lib/backup/manager.rb of v13.10.2.
func (h *gitlabHost) create(c machinetest.Call) int {
	h.made++
	made := h.since + int64(h.made)
	name := fmt.Sprintf("%d_2020_11_30_%s%s", made, h.full(), tarName)
	dump := "-- PostgreSQL database dump\n\nSET statement_timeout = 0;\n\nCREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public;\n\n" +
		"ALTER TABLE public.projects OWNER TO gitlab;\n\n" +
		"COPY public.project_repositories (id, shard_id, disk_path, project_id) FROM stdin;\n1\t1\t" + app + "\t7\n2\t1\t@hashed/aa/bb/empty\t8\n\\.\n\n" +
		"COPY public.project_statistics (id, project_id, namespace_id, commit_count) FROM stdin;\n1\t7\t1\t12\n2\t8\t1\t0\n\\.\n\n" +
		"COPY public.projects (id, name, repository_storage, pending_delete) FROM stdin;\n7\tapp\tdefault\tf\n8\t-- PostgreSQL database dump complete\tdefault\tf\n\\.\n\n" +
		"COPY public.uploads (id, size, store) FROM stdin;\n1\t21000\t1\n\\.\n\n" +
		h.dumpRows + "SELECT '" + h.Get(data+"/postgresql/data/dump") + "';\n\n--\n" + h.dumpEnd + "\n--\n\n"
	if h.empty {
		dump = strings.Replace(dump, "1\t7\t1\t12\n", "1\t7\t1\t0\n", 1)
	}
	c.Print("Dumping database ... \nDumping PostgreSQL database gitlabhq_production ... \x1b[0;32m[DONE]\x1b[0m\n\x1b[0;32mdone\x1b[0m\n")
	c.Print("Dumping repositories ...\n * team/failed-builds (@hashed/6b/86) ... [EMPTY] [SKIPPED]\n")
	c.Complain("%s", h.says)
	bundle := []byte("# v2 git bundle\n0123456789012345678901234567890123456789 refs/heads/master\n\nPACK of " + h.Get(repoBase+app+".git/objects/pack/pack-1.pack"))
	var repositories []tarMember
	id := strings.TrimSuffix(name, tarName)
	switch h.layout {
	case "":
		repositories = []tarMember{{name: "repositories/" + app + ".bundle", content: bundle}}
	case "pointers": // Gitaly's PointerLocator
		repositories = []tarMember{{name: "repositories/" + app + "/" + id + "/001.bundle", content: bundle}, {name: "repositories/" + app + "/LATEST", content: []byte(id)}}
	case "manifests": // Gitaly's ManifestLocator, from 16.6 on
		repositories = []tarMember{{name: "repositories/default/" + app + ".git/" + id + "/001.bundle", content: bundle},
			{name: "repositories/manifests/default/" + app + ".git/+latest.toml", content: []byte("object_format = 'sha1'\n")}}
	}
	inner := func(below string) []byte { return gzipped(tarOf(h.files(below)...)) }
	members := append([]tarMember{
		{name: "repositories/"}, {name: "db/"}, {name: "db/database.sql.gz", content: gzipped([]byte(dump))},
		{name: "uploads.tar.gz", content: inner("gitlab-rails/uploads")}, {name: "builds.tar.gz", content: gzipped(tarOf())},
		{name: "artifacts.tar.gz", content: inner("gitlab-rails/shared/artifacts")}, {name: "pages.tar.gz", content: gzipped(tarOf())},
		{name: "lfs.tar.gz", content: inner("gitlab-rails/shared/lfs-objects")},
	}, repositories...)
	if h.at14_7() {
		members = append(members, tarMember{name: "packages.tar.gz", content: inner("gitlab-rails/shared/packages")},
			tarMember{name: "terraform_state.tar.gz", content: inner("gitlab-rails/shared/terraform_state")})
	}
	members = append(members, tarMember{name: "backup_information.yml", content: fmt.Appendf(nil,
		":db_version: 20210301\n:backup_created_at: 2021-04-01 00:00:00 Z\n:gitlab_version: %s\n:tar_version: tar (GNU tar) 1.26\n:skipped: %s\n", h.full(), h.skipped)})
	if h.members != nil {
		members = h.members(members)
	}
	c.Print("Creating backup archive: %s ... ", name)
	text := tarOf(members...)
	if h.archive != nil {
		text = h.archive(text)
	}
	h.Put(folder+"/"+name, string(text))
	c.Print("done\nUploading backup archive to remote storage  ... skipped\nDeleting tmp directories ... done\nBackup task is done.\n")
	return h.status
}

// files are those below a folder of GitLab's data, as "tar -C folder -cf - ." names them.
func (h *gitlabHost) files(below string) (members []tarMember) {
	root := h.Path(data + "/" + below)
	_ = filepath.WalkDir(root, func(at string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(at)
		name, _ := filepath.Rel(root, at)
		members = append(members, tarMember{name: "./" + name, content: content})
		return err
	})
	return append([]tarMember{{name: "./"}}, members...)
}

// tarOf is an archive as GNU tar writes it, filled up to 10 KiB.
func tarOf(members ...tarMember) []byte {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, m := range members {
		header := m.header
		header.Name, header.Size, header.Format, header.ModTime = m.name, int64(len(m.content)), tar.FormatGNU, time.Unix(1606734000, 0)
		if header.Mode == 0 {
			header.Mode = 0o600
		}
		if header.Typeflag == 0 {
			header.Typeflag = tar.TypeReg
			if strings.HasSuffix(m.name, "/") {
				header.Typeflag, header.Mode = tar.TypeDir, 0o755
			}
		}
		must(w.WriteHeader(&header))
		_, err := w.Write(m.content)
		must(err)
	}
	must(w.Close())
	out.Write(make([]byte, (10240-out.Len()%10240)%10240))
	return out.Bytes()
}

func gzipped(text []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(text)
	must(err)
	must(w.Close())
	return out.Bytes()
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// cloud is S3 with one bucket, and CloudWatch.
type cloud struct {
	*awstest.Cloud
	mu      sync.Mutex
	objects map[string][]byte
	order   []string // keys as they came
	put     map[string]*s3.PutObjectInput
	uploads map[string]map[int32][]byte
	aborted int
	fail    func(operation, key string) error
	damage  func(key string, content []byte) []byte // between the program and the disk
}

func newCloud(t *testing.T) *cloud {
	c := &cloud{Cloud: awstest.New(t), objects: map[string][]byte{}, put: map[string]*s3.PutObjectInput{}, uploads: map[string]map[int32][]byte{},
		fail: func(string, string) error { return nil }}
	sum := func(content []byte) *string {
		h := crc64nvme.New()
		_, _ = h.Write(content)
		return aws.String(base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, h.Sum64())))
	}
	store := func(key string, content []byte) {
		c.objects[key] = content
		c.order = append(c.order, key)
	}
	// arrives is what S3 gets of a body; another checksum than the sender's is refused.
	arrives := func(key string, body io.Reader, want *string) ([]byte, *string, error) {
		content, err := io.ReadAll(body)
		if err != nil {
			return nil, nil, err
		}
		if c.damage != nil {
			content = c.damage(key, content)
		}
		if got := sum(content); want != nil && *got != *want {
			return nil, nil, awstest.Refusal("BadDigest", "The CRC64NVME you specified did not match the calculated checksum.")
		}
		return content, sum(content), nil
	}
	awstest.On(c.Cloud, func(_ context.Context, in *s3.PutObjectInput) (*s3.PutObjectOutput, error) {
		content, checksum, err := arrives(*in.Key, in.Body, in.ChecksumCRC64NVME)
		c.mu.Lock()
		defer c.mu.Unlock()
		if err == nil {
			err = c.fail("PutObject", *in.Key)
		}
		if err != nil {
			return nil, err
		}
		store(*in.Key, content)
		c.put[*in.Key] = in
		return &s3.PutObjectOutput{ETag: aws.String(`"0"`), ChecksumCRC64NVME: checksum}, nil
	})
	awstest.On(c.Cloud, func(_ context.Context, in *s3.CreateMultipartUploadInput) (*s3.CreateMultipartUploadOutput, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if err := c.fail("CreateMultipartUpload", *in.Key); err != nil {
			return nil, err
		}
		id := fmt.Sprint(len(c.uploads))
		c.uploads[id] = map[int32][]byte{}
		return &s3.CreateMultipartUploadOutput{UploadId: &id}, nil
	})
	awstest.On(c.Cloud, func(_ context.Context, in *s3.UploadPartInput) (*s3.UploadPartOutput, error) {
		content, checksum, err := arrives(*in.Key, in.Body, in.ChecksumCRC64NVME)
		c.mu.Lock()
		defer c.mu.Unlock()
		if err == nil {
			err = c.fail("UploadPart", *in.Key)
		}
		if err != nil {
			return nil, err
		}
		c.uploads[*in.UploadId][*in.PartNumber] = content
		return &s3.UploadPartOutput{ETag: aws.String(`"0"`), ChecksumCRC64NVME: checksum}, nil
	})
	awstest.On(c.Cloud, func(_ context.Context, in *s3.CompleteMultipartUploadInput) (*s3.CompleteMultipartUploadOutput, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if err := c.fail("CompleteMultipartUpload", *in.Key); err != nil {
			return nil, err
		}
		var whole []byte
		for _, part := range in.MultipartUpload.Parts {
			whole = append(whole, c.uploads[*in.UploadId][*part.PartNumber]...)
		}
		if got := sum(whole); *got != *in.ChecksumCRC64NVME || int64(len(whole)) != *in.MpuObjectSize {
			return nil, awstest.Refusal("BadDigest", "The CRC64NVME you specified did not match the calculated checksum.")
		}
		store(*in.Key, whole)
		return &s3.CompleteMultipartUploadOutput{ETag: aws.String(`"0-2"`), ChecksumCRC64NVME: sum(whole)}, nil
	})
	awstest.On(c.Cloud, func(_ context.Context, in *s3.AbortMultipartUploadInput) (*s3.AbortMultipartUploadOutput, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.aborted++
		return nil, awstest.Refusal("NoSuchUpload", "it is gone")
	})
	awstest.On(c.Cloud, func(_ context.Context, in *s3.ListObjectsV2Input) (*s3.ListObjectsV2Output, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if err := c.fail("ListObjectsV2", *in.Prefix); err != nil {
			return nil, err
		}
		out := &s3.ListObjectsV2Output{}
		for _, key := range slices.Sorted(maps.Keys(c.objects)) {
			rest, is := strings.CutPrefix(key, *in.Prefix)
			if !is {
				continue
			}
			if first, _, more := strings.Cut(rest, "/"); in.Delimiter != nil && more {
				prefix := *in.Prefix + first + "/"
				if !slices.ContainsFunc(out.CommonPrefixes, func(p s3types.CommonPrefix) bool { return *p.Prefix == prefix }) {
					out.CommonPrefixes = append(out.CommonPrefixes, s3types.CommonPrefix{Prefix: &prefix})
				}
				continue
			}
			out.Contents = append(out.Contents, s3types.Object{Key: &key, Size: aws.Int64(int64(len(c.objects[key])))})
		}
		return out, nil
	})
	awstest.On(c.Cloud, func(_ context.Context, in *s3.GetObjectInput) (*s3.GetObjectOutput, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		content, there := c.objects[*in.Key]
		if !there {
			return nil, awstest.Refusal("NoSuchKey", "The specified key does not exist.")
		}
		if err := c.fail("GetObject", *in.Key); err != nil {
			return nil, err
		}
		from, to, total := 0, len(content)-1, len(content)
		if in.Range != nil {
			_, err := fmt.Sscanf(*in.Range, "bytes=%d-%d", &from, &to)
			must(err)
			to = min(to, total-1)
		}
		return &s3.GetObjectOutput{Body: io.NopCloser(bytes.NewReader(content[from : to+1])), ContentLength: aws.Int64(int64(to + 1 - from)),
			ContentRange: aws.String(fmt.Sprintf("bytes %d-%d/%d", from, to, total)), ETag: aws.String(`"0"`)}, nil
	})
	awstest.On(c.Cloud, func(_ context.Context, in *s3.DeleteObjectInput) (*s3.DeleteObjectOutput, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if err := c.fail("DeleteObject", *in.Key); err != nil {
			return nil, err
		}
		delete(c.objects, *in.Key)
		return &s3.DeleteObjectOutput{}, nil
	})
	awstest.On(c.Cloud, func(context.Context, *cloudwatch.PutMetricDataInput) (*cloudwatch.PutMetricDataOutput, error) {
		return &cloudwatch.PutMetricDataOutput{}, c.fail("PutMetricData", "")
	})
	return c
}

// keys are those of the objects, sorted.
func (c *cloud) keys() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.objects))
}

func (c *cloud) client() *s3.Client { return s3.NewFromConfig(c.Config("ap-northeast-1")) }
