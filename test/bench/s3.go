package main

import (
	"bufio"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// store is an S3 that takes uploads, whole or in parts, as fast as it can: it
// compares the checksums that a client sends, works out the ETag, and drops the
// content. moto would take longer than the clients that are measured.
// It also takes CodeDeploy's RegisterApplicationRevision, for `aws deploy push`.
type store struct {
	server *httptest.Server
	pace   pace
	keep   string // folder for the content; "" drops it

	mu      sync.Mutex
	uploads map[string]map[int]piece // parts by upload id and number
	objects map[string]int64         // sizes of what is complete, by key
	bad     []string                 // what was refused
}

// piece is a part, or a whole object.
type piece struct {
	size   int64
	md5    []byte
	sha256 []byte // nil when the client did not ask for it
}

// pace is how fast a store is. The zero value waits for nothing.
type pace struct {
	latency time.Duration // of each request
	rate    float64       // bytes a second of each connection
}

// awsPace is what AWS says of S3 in general: 100 to 200 ms a request, and 85 to
// 90 MB/s for each connection.
//
//	https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html
//	https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance-design-patterns.html
var awsPace = pace{latency: 100 * time.Millisecond, rate: 90e6}

func newStore(pace pace, keep string) *store {
	s := &store{pace: pace, keep: keep, uploads: map[string]map[int]piece{}, objects: map[string]int64{}}
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /{bucket}/{key...}", s.put)
	mux.HandleFunc("POST /{bucket}/{key...}", s.post)
	mux.HandleFunc("POST /{$}", s.registerRevision)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.refuse(w, r, http.StatusNotImplemented, "NotImplemented")
	})
	s.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(pace.latency)
		mux.ServeHTTP(w, r)
	}))
	return s
}

// take returns the size of an object, and forgets it.
func (s *store) take(key string) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	size, ok := s.objects[key]
	delete(s.objects, key)
	if !ok || len(s.uploads) > 0 || len(s.bad) > 0 {
		return 0, fmt.Errorf("s3: object %s: there: %t; unfinished uploads: %d; refused: %q", key, ok, len(s.uploads), s.bad)
	}
	return size, nil
}

// put is PutObject and UploadPart.
func (s *store) put(w http.ResponseWriter, r *http.Request) {
	id, number := r.URL.Query().Get("uploadId"), 0
	name := r.PathValue("key")
	if id != "" {
		var err error
		if number, err = strconv.Atoi(r.URL.Query().Get("partNumber")); err != nil {
			s.refuse(w, r, http.StatusBadRequest, "InvalidArgument")
			return
		}
		name = partName(id, number)
	}
	p, err := s.receive(r, name)
	if err != nil {
		s.refuse(w, r, http.StatusBadRequest, "BadDigest: "+err.Error())
		return
	}
	s.mu.Lock()
	if id == "" {
		s.objects[name] = p.size
		w.Header().Set("X-Amz-Version-Id", versionID())
	} else if s.uploads[id] != nil {
		s.uploads[id][number] = p
	}
	s.mu.Unlock()
	w.Header().Set("Etag", `"`+hex.EncodeToString(p.md5)+`"`)
	if p.sha256 != nil {
		w.Header().Set("X-Amz-Checksum-Sha256", base64.StdEncoding.EncodeToString(p.sha256))
	}
}

// post is CreateMultipartUpload and CompleteMultipartUpload.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html
func (s *store) post(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if query.Has("uploads") {
		id := versionID()
		s.mu.Lock()
		s.uploads[id] = map[int]piece{}
		s.mu.Unlock()
		reply(w, struct {
			XMLName               xml.Name `xml:"InitiateMultipartUploadResult"`
			Bucket, Key, UploadId string
		}{Bucket: r.PathValue("bucket"), Key: r.PathValue("key"), UploadId: id})
		return
	}

	id := query.Get("uploadId")
	var wish struct {
		Part []struct {
			PartNumber int
			ETag       string
		}
	}
	err := xml.NewDecoder(r.Body).Decode(&wish)
	s.mu.Lock()
	parts := s.uploads[id]
	delete(s.uploads, id)
	s.mu.Unlock()
	if err != nil || len(wish.Part) == 0 || len(wish.Part) != len(parts) {
		s.refuse(w, r, http.StatusBadRequest, "MalformedXML")
		return
	}
	var size int64
	ofMD5, ofSHA256, checksum := md5.New(), sha256.New(), ""
	for i, part := range wish.Part {
		p := parts[part.PartNumber]
		if part.PartNumber != i+1 || strings.Trim(part.ETag, `"`) != hex.EncodeToString(p.md5) {
			s.refuse(w, r, http.StatusBadRequest, "InvalidPart")
			return
		}
		size += p.size
		ofMD5.Write(p.md5)
		ofSHA256.Write(p.sha256)
		if p.sha256 != nil {
			checksum = fmt.Sprintf("%s-%d", base64.StdEncoding.EncodeToString(ofSHA256.Sum(nil)), i+1)
		}
	}
	if err := s.join(r.PathValue("key"), id, len(parts)); err != nil {
		s.refuse(w, r, http.StatusInternalServerError, err.Error())
		return
	}
	s.mu.Lock()
	s.objects[r.PathValue("key")] = size
	s.mu.Unlock()
	w.Header().Set("X-Amz-Version-Id", versionID())
	reply(w, struct {
		XMLName           xml.Name `xml:"CompleteMultipartUploadResult"`
		Bucket, Key, ETag string
		ChecksumSHA256    string `xml:",omitempty"`
	}{Bucket: r.PathValue("bucket"), Key: r.PathValue("key"), ETag: fmt.Sprintf(`"%x-%d"`, ofMD5.Sum(nil), len(parts)), ChecksumSHA256: checksum})
}

func (s *store) registerRevision(w http.ResponseWriter, r *http.Request) {
	if target := r.Header.Get("X-Amz-Target"); target != "CodeDeploy_20141006.RegisterApplicationRevision" {
		s.refuse(w, r, http.StatusNotImplemented, target)
	}
}

func (s *store) refuse(w http.ResponseWriter, r *http.Request, status int, code string) {
	s.mu.Lock()
	s.bad = append(s.bad, fmt.Sprintf("%s %s: %s", r.Method, r.URL.RequestURI(), code))
	s.mu.Unlock()
	w.WriteHeader(status)
	reply(w, struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
	}{Code: code})
}

func reply(w http.ResponseWriter, body any) {
	text, err := xml.Marshal(body)
	if err != nil {
		panic(err)
	}
	_, _ = w.Write(text) // A client that is gone reports it itself.
}

func versionID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func partName(id string, number int) string { return fmt.Sprintf("%s.%05d", id, number) }

// receive reads a body and compares its checksums.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
func (s *store) receive(r *http.Request, name string) (piece, error) {
	var p piece
	ofMD5 := md5.New()
	sinks := []io.Writer{ofMD5}
	sums := map[string]hash.Hash{} // by header
	for header, sum := range map[string]hash.Hash{"X-Amz-Checksum-Sha256": sha256.New(), "X-Amz-Checksum-Crc32": crc32.NewIEEE()} {
		if r.Header.Get(header) != "" || strings.EqualFold(r.Header.Get("X-Amz-Trailer"), header) {
			sums[header] = sum
			sinks = append(sinks, sum)
		}
	}
	if s.keep != "" {
		file, err := create(filepath.Join(s.keep, name))
		if err != nil {
			return p, err
		}
		defer file.Close()
		sinks = append(sinks, file)
	}

	var body io.Reader = &pacedReader{in: r.Body, rate: s.pace.rate, began: time.Now()}
	var chunked *chunkReader
	if strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		chunked = &chunkReader{in: bufio.NewReaderSize(body, 64<<10)}
		body = chunked
	}
	var err error
	if p.size, err = io.CopyBuffer(io.MultiWriter(sinks...), body, make([]byte, 256<<10)); err != nil {
		return p, err
	}
	p.md5 = ofMD5.Sum(nil)
	if want := r.Header.Get("Content-Md5"); want != "" && want != base64.StdEncoding.EncodeToString(p.md5) {
		return p, fmt.Errorf("Content-MD5 %s", want)
	}
	for header, sum := range sums {
		want := r.Header.Get(header)
		if want == "" && chunked != nil {
			want = chunked.trailer[header]
		}
		got := sum.Sum(nil)
		if want != base64.StdEncoding.EncodeToString(got) {
			return p, fmt.Errorf("%s %s", header, want)
		}
		if header == "X-Amz-Checksum-Sha256" {
			p.sha256 = got
		}
	}
	if len(sums) == 0 && r.Header.Get("Content-Md5") == "" {
		return p, fmt.Errorf("no checksum that is known here (trailer %q)", r.Header.Get("X-Amz-Trailer"))
	}
	return p, nil
}

// join makes one file of the parts that were kept.
func (s *store) join(key, id string, count int) error {
	if s.keep == "" {
		return nil
	}
	out, err := create(filepath.Join(s.keep, key))
	if err != nil {
		return err
	}
	defer out.Close()
	for number := range count {
		part := filepath.Join(s.keep, partName(id, number+1))
		content, err := os.ReadFile(part)
		if err != nil {
			return err
		}
		if _, err := out.Write(content); err != nil {
			return err
		}
		if err := os.Remove(part); err != nil {
			return err
		}
	}
	return nil
}

func create(file string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return nil, err
	}
	return os.Create(file)
}

// pacedReader reads no faster than rate.
type pacedReader struct {
	in    io.Reader
	rate  float64 // bytes a second; 0 is any
	began time.Time
	read  int64
}

func (p *pacedReader) Read(b []byte) (int, error) {
	n, err := p.in.Read(b)
	p.read += int64(n)
	if p.rate > 0 {
		due := p.began.Add(time.Duration(float64(p.read) / p.rate * float64(time.Second)))
		if early := time.Until(due); early > time.Millisecond {
			time.Sleep(early)
		}
	}
	return n, err
}

// chunkReader undoes the aws-chunked encoding, in which a client sends a body
// whose checksum follows.
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
type chunkReader struct {
	in      *bufio.Reader
	left    int64 // of the chunk
	began   bool
	ended   bool
	trailer map[string]string // by canonical name, once all is read
}

func (c *chunkReader) Read(p []byte) (int, error) {
	if c.left == 0 {
		if err := c.nextChunk(); err != nil {
			return 0, err
		}
	}
	n, err := c.in.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// nextChunk returns io.EOF after the last one.
func (c *chunkReader) nextChunk() error {
	if c.ended {
		return io.EOF
	}
	if c.began {
		if _, err := c.in.Discard(2); err != nil {
			return io.ErrUnexpectedEOF
		}
	}
	c.began = true
	line, err := c.in.ReadString('\n')
	if err != nil {
		return io.ErrUnexpectedEOF
	}
	size, _, _ := strings.Cut(strings.TrimSpace(line), ";")
	if c.left, err = strconv.ParseInt(size, 16, 64); err != nil || c.left < 0 {
		return fmt.Errorf("aws-chunked: a chunk of size %q", size)
	}
	if c.left > 0 {
		return nil
	}
	c.ended = true
	c.trailer = map[string]string{}
	for {
		line, err := c.in.ReadString('\n')
		if name, value, found := strings.Cut(strings.TrimSpace(line), ":"); found {
			c.trailer[http.CanonicalHeaderKey(name)] = strings.TrimSpace(value)
		}
		if err != nil {
			return io.EOF
		}
	}
}
