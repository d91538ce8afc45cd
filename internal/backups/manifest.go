package backups

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A backup is what lies in a bucket, or in a folder, under its id:
//
//	backups/<id>/<id>_gitlab_backup.tar   what gitlab-backup made
//	backups/<id>/shared.tar.gz            packages and Terraform states, before 14.7
//	secrets/<id>/gitlab-secrets.json …    gitlab.rb, our settings, SSH host keys
//	secrets/<id>/configuration.tar.gz     certificates and encrypted settings
//	backups/<id>/manifest.json            all of these with size and SHA-256
//
// The manifest is written last and removed first: without a valid one there is no
// backup. It is JSON of a fixed form, a line for each part, that ends with the SHA-256 of
// the lines before, so that whoever has nothing but a shell can read it strictly.

// Part is one of what a backup consists of.
type Part struct {
	Key    string // below the store
	Size   int64
	SHA256 string // in hex
}

// Manifest says what a backup consists of.
type Manifest struct {
	ID, Version, Edition string
	Host                 string // that it was made on
	Created              time.Time
	Parts                []Part // in the order of their keys
}

const manifestFormat = "gitlab-codedeploy-backup-1"

// ManifestKey is where the manifest of a backup is.
func ManifestKey(id string) string { return "backups/" + id + manifestName }

// TarKey is where GitLab's own archive is.
func TarKey(id string) string { return "backups/" + id + "/" + id + "_gitlab_backup.tar" }

// SharedKey is where packages and Terraform states are, which GitLab left out before 14.7.
func SharedKey(id string) string { return "backups/" + id + "/shared.tar.gz" }

// SecretKey is where a file is that only a few may read.
func SecretKey(id, name string) string { return "secrets/" + id + "/" + name }

// Part finds a part by its key.
func (m Manifest) Part(key string) (Part, bool) {
	i := slices.IndexFunc(m.Parts, func(p Part) bool { return p.Key == key })
	if i < 0 {
		return Part{}, false
	}
	return m.Parts[i], true
}

// Bytes is how much the parts have together.
func (m Manifest) Bytes() (total int64) {
	for _, part := range m.Parts {
		total += part.Size
	}
	return total
}

// Text is the manifest as it is stored.
func (m Manifest) Text() string {
	var out strings.Builder
	fmt.Fprintf(&out, "{\n\"format\": %q,\n\"id\": %q,\n\"version\": %q,\n\"edition\": %q,\n\"host\": %q,\n\"createdAt\": %q,\n\"parts\": [\n",
		manifestFormat, m.ID, m.Version, m.Edition, m.Host, m.Created.UTC().Format(time.RFC3339))
	for _, part := range m.Parts {
		fmt.Fprintf(&out, "{\"key\": %q, \"size\": %d, \"sha256\": %q},\n", part.Key, part.Size, part.SHA256)
	}
	out.WriteString("null],\n")
	return fmt.Sprintf("%s\"sha256\": \"%x\"\n}\n", out.String(), sha256.Sum256([]byte(out.String())))
}

// ManifestError says why a manifest cannot be trusted.
type ManifestError string

func (e ManifestError) Error() string { return string(e) }

const wrongForm = ManifestError("it is not of the form that it should have")

var (
	manifestHead = regexp.MustCompile(`\A\{\n"format": "` + manifestFormat + `",\n"id": "([^"\n]*)",\n"version": "([0-9.]+)",\n"edition": "([ce]e)",\n` +
		`"host": "([A-Za-z0-9.-]*)",\n"createdAt": "([0-9TZ:-]+)",\n"parts": \[\n`)
	partLine = regexp.MustCompile(`\A\{"key": "((?:backups|secrets)/([^/"]+)/[A-Za-z0-9_][A-Za-z0-9_.-]*)", "size": ([0-9]{1,18}), "sha256": "([0-9a-f]{64})"\},\n`)
)

// ReadManifest takes the manifest of a backup, and nothing that [Manifest.Text] would
// not write. The error is a [ManifestError].
func ReadManifest(text []byte, id string) (Manifest, error) {
	m, err := readManifest(text, id)
	if err != nil {
		return Manifest{}, err
	}
	return m, nil
}

func readManifest(text []byte, of string) (m Manifest, err error) {
	head, err := unsealed(text)
	if err != nil {
		return m, ManifestError("it was changed, or is cut off: it does not match its own SHA-256")
	}
	fields := manifestHead.FindSubmatch(head)
	if fields == nil {
		return m, wrongForm
	}
	if m.ID = string(fields[1]); m.ID != of {
		return m, ManifestError("it is of another backup: " + m.ID)
	}
	m.Version, m.Edition, m.Host = string(fields[2]), string(fields[3]), string(fields[4])
	if m.Created, err = time.Parse(time.RFC3339, string(fields[5])); err != nil {
		return m, wrongForm
	}
	rest := head[len(fields[0]):]
	for {
		line := partLine.FindSubmatch(rest)
		if line == nil {
			break
		}
		size, _ := strconv.ParseInt(string(line[3]), 10, 64) // 18 digits fit
		if string(line[2]) != m.ID || slices.ContainsFunc(m.Parts, func(p Part) bool { return p.Key == string(line[1]) }) {
			return m, wrongForm
		}
		m.Parts = append(m.Parts, Part{Key: string(line[1]), Size: size, SHA256: string(line[4])})
		rest = rest[len(line[0]):]
	}
	name := m.Version
	if m.Edition == "ee" {
		name += "-ee"
	}
	if string(rest) != "null],\n" || !IsID(m.ID) || !strings.HasSuffix(m.ID, "_"+name) {
		return m, wrongForm
	}
	_, tar := m.Part(TarKey(m.ID))
	if _, secrets := m.Part(SecretKey(m.ID, "gitlab-secrets.json")); !tar || !secrets {
		return m, ManifestError("it names no tar or no secrets")
	}
	return m, nil
}

// sealed is a manifest's text: the lines before, and their SHA-256.
var sealed = regexp.MustCompile(`(?s)^(.*\n)"sha256": "([0-9a-f]{64})"\n\}\n$`)

// unsealed returns the lines before a manifest's own hash, if it is right.
func unsealed(text []byte) ([]byte, error) {
	seal := sealed.FindSubmatch(text)
	if seal == nil || len(text) > maxManifest {
		return nil, errors.New("it has no hash")
	}
	if sum := sha256.Sum256(seal[1]); hex.EncodeToString(sum[:]) != string(seal[2]) {
		return nil, errors.New("its hash is another one")
	}
	return seal[1], nil
}
