// Package uploadtest has an S3 for tests and benchmarks, in this process: one that
// takes uploads, keeps pace with AWS or with nobody, and misbehaves on request.
package uploadtest

import (
	"bufio"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/minio/crc64nvme"

	"gitlab-codedeploy/internal/upload/crc"
)

// Store is an S3 that takes uploads, whole or in parts, as fast as it can: it
// compares the checksums that a client sends, works out the ETag, and drops the
// content. moto would take longer than the clients that are measured, and is not
// asked to misbehave.
// It also takes CodeDeploy's RegisterApplicationRevision, for `aws deploy push`.
type Store struct {
	Server *httptest.Server
	Region string // of the bucket; what a client is told to be in

	pace   Pace
	keep   string // folder for the content; "" drops it
	faults func(Call) Fault

	mu      sync.Mutex
	uploads map[string]*multipart // by upload id
	objects map[string][]Object   // versions by key, the newest last
	calls   []string              // operations
	bad     []string              // what was refused that no fault wanted
}

// Object is a version of one.
type Object struct {
	Key, VersionID, ETag string
	CRC64NVME            string // base64; "" when the client asked for another checksum
	Size                 int64
	Metadata             map[string]string
	ContentType          string
	Parts                int // 0 is an object that came whole
}

// multipart is an upload that is not completed.
type multipart struct {
	key         string
	metadata    map[string]string
	contentType string
	fullObject  bool // its checksum is that of the whole, a CRC64NVME
	parts       map[int]piece
}

// piece is a part, or a whole object.
type piece struct {
	size   int64
	md5    []byte
	sha256 []byte // nil when the client did not ask for it
	crc64  []byte // likewise
}

// Pace is how fast a store is. The zero value waits for nothing.
type Pace struct {
	Latency time.Duration // of each request
	Rate    float64       // bytes a second of each connection
}

// AWSPace is what AWS says of S3 in general: 100 to 200 ms a request, and 85 to
// 90 MB/s for each connection.
//
//	https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html
//	https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance-design-patterns.html
var AWSPace = Pace{Latency: 100 * time.Millisecond, Rate: 90e6}

// Options of a store. The zero value is one over TLS that never waits.
type Options struct {
	Pace Pace
	Keep string // folder for the content; "" drops it
	// Faults says what goes wrong with a call. Nil is nothing. It is called for
	// one call at a time.
	Faults func(Call) Fault
}

// Call is one request.
type Call struct {
	Operation string // as S3 names it
	Number    int    // how many of this operation there were, from 1 on
	Part      int    // of UploadPart
}

// Fault is what goes wrong with a call. The zero value is nothing.
type Fault struct {
	Status int    // refuse it with this status
	Code   string // and this code
	Before bool   // reset the connection before anything is done
	After  bool   // reset the connection after it was done
	Lie    bool   // tell another checksum than the right one
	Silent bool   // tell no checksum
	Hang   bool   // never answer
	Rate   float64
	Do     func() // call this first
}

// New starts a store. Close its Server.
func New(o Options) *Store {
	s := &Store{Region: "ap-northeast-1", pace: o.Pace, keep: o.Keep, faults: o.Faults, uploads: map[string]*multipart{}, objects: map[string][]Object{}}
	if s.faults == nil {
		s.faults = func(Call) Fault { return Fault{} }
	}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(s.serve))
	return s
}

// serve tells what a request is, and what goes wrong with it.
func (s *Store) serve(w http.ResponseWriter, r *http.Request) {
	time.Sleep(s.pace.Latency)
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	query := r.URL.Query()
	var call Call
	var handle func(http.ResponseWriter, *http.Request, string, Fault)
	switch {
	case r.Method == http.MethodPost && r.URL.Path == "/":
		call.Operation, handle = "RegisterApplicationRevision", s.registerRevision
	case r.Method == http.MethodPut && query.Has("uploadId"):
		call.Operation, handle = "UploadPart", s.put
		call.Part, _ = strconv.Atoi(query.Get("partNumber")) // put itself refuses what is no number
	case r.Method == http.MethodPut:
		call.Operation, handle = "PutObject", s.put
	case r.Method == http.MethodPost && query.Has("uploads"):
		call.Operation, handle = "CreateMultipartUpload", s.create
	case r.Method == http.MethodPost && query.Has("uploadId"):
		call.Operation, handle = "CompleteMultipartUpload", s.complete
	case r.Method == http.MethodDelete && query.Has("uploadId"):
		call.Operation, handle = "AbortMultipartUpload", s.abort
	default:
		s.refuse(w, r, http.StatusNotImplemented, "NotImplemented")
		return
	}
	s.mu.Lock()
	s.calls = append(s.calls, call.Operation)
	for _, operation := range s.calls {
		if operation == call.Operation {
			call.Number++
		}
	}
	fault := s.faults(call)
	s.mu.Unlock()
	if fault.Do != nil {
		fault.Do()
	}
	switch {
	case fault.Before:
		reset(w)
	case fault.Hang:
		_, _ = io.Copy(io.Discard, r.Body) // else nobody notices that the client goes
		<-r.Context().Done()
		panic(http.ErrAbortHandler) // no answer, not an empty one
	case fault.Status != 0:
		_, _ = io.Copy(io.Discard, r.Body)
		s.answer(w, fault.Status, fault.Code)
	case fault.After:
		handle(&unheard{header: http.Header{}}, r, key, fault)
		reset(w)
	default:
		handle(w, r, key, fault)
	}
}

// reset ends a connection so that the client sees a reset, and no end.
func reset(w http.ResponseWriter) {
	connection, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	if secure, ok := connection.(interface{ NetConn() net.Conn }); ok {
		connection = secure.NetConn()
	}
	_ = connection.(*net.TCPConn).SetLinger(0)
	_ = connection.Close()
}

// unheard takes an answer that nobody gets.
type unheard struct{ header http.Header }

func (u *unheard) Header() http.Header         { return u.header }
func (u *unheard) Write(p []byte) (int, error) { return len(p), nil }
func (u *unheard) WriteHeader(int)             {}

// Calls are the operations so far, in the order in which they came.
func (s *Store) Calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Versions are those of an object, the newest last.
func (s *Store) Versions(key string) []Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.objects[key])
}

// Under are the newest versions of the objects whose keys begin so, by key.
func (s *Store) Under(prefix string) (found []Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(s.objects)) {
		if versions := s.objects[key]; strings.HasPrefix(key, prefix) && len(versions) > 0 {
			found = append(found, versions[len(versions)-1])
		}
	}
	return found
}

// Unfinished is how many uploads in parts are neither completed nor taken back.
func (s *Store) Unfinished() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.uploads)
}

// Bad is what was refused, without what faults wanted.
func (s *Store) Bad() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.bad)
}

// Take returns the size of an object, and forgets it.
func (s *Store) Take(key string) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	versions := s.objects[key]
	delete(s.objects, key)
	if len(versions) != 1 || len(s.uploads) > 0 || len(s.bad) > 0 {
		return 0, fmt.Errorf("s3: object %s: %d versions, want 1; unfinished uploads: %d; refused: %q", key, len(versions), len(s.uploads), s.bad)
	}
	return versions[0].Size, nil
}

// put is PutObject and UploadPart.
func (s *Store) put(w http.ResponseWriter, r *http.Request, key string, fault Fault) {
	id, number, name := r.URL.Query().Get("uploadId"), 0, key
	if id != "" {
		var err error
		if number, err = strconv.Atoi(r.URL.Query().Get("partNumber")); err != nil || number < 1 || number > 10_000 {
			s.refuse(w, r, http.StatusBadRequest, "InvalidArgument")
			return
		}
		name = partName(id, number)
	}
	p, err := s.receive(r, name, fault)
	if err != nil {
		if r.Context().Err() == nil && !errors.Is(err, io.ErrUnexpectedEOF) { // else the client has gone
			s.refuse(w, r, http.StatusBadRequest, "BadDigest")
			s.note(r, err.Error())
		}
		return
	}
	w.Header().Set("Etag", `"`+hex.EncodeToString(p.md5)+`"`)
	if p.sha256 != nil {
		w.Header().Set("X-Amz-Checksum-Sha256", base64.StdEncoding.EncodeToString(p.sha256))
	}
	checksum := ""
	if p.crc64 != nil && !fault.Silent {
		checksum = told(p.crc64, fault)
		w.Header().Set("X-Amz-Checksum-Crc64nvme", checksum)
	}
	s.mu.Lock()
	if id == "" {
		o := Object{Key: key, VersionID: versionID(), ETag: hex.EncodeToString(p.md5), CRC64NVME: checksum, Size: p.size, Metadata: metadata(r), ContentType: r.Header.Get("Content-Type")}
		s.objects[key] = append(s.objects[key], o)
		w.Header().Set("X-Amz-Version-Id", o.VersionID)
	} else if s.uploads[id] != nil {
		s.uploads[id].parts[number] = p
	} else {
		id = ""
	}
	s.mu.Unlock()
	if number > 0 && id == "" {
		s.answer(w, http.StatusNotFound, "NoSuchUpload")
	}
}

// told is a checksum as it is told.
func told(sum []byte, fault Fault) string {
	if fault.Lie {
		sum = slices.Clone(sum)
		sum[0] ^= 1
	}
	return base64.StdEncoding.EncodeToString(sum)
}

func metadata(r *http.Request) map[string]string {
	found := map[string]string{}
	for name := range r.Header {
		if key, ok := strings.CutPrefix(strings.ToLower(name), "x-amz-meta-"); ok {
			found[key] = r.Header.Get(name)
		}
	}
	return found
}

// create is CreateMultipartUpload.
func (s *Store) create(w http.ResponseWriter, r *http.Request, key string, _ Fault) {
	id := versionID()
	s.mu.Lock()
	s.uploads[id] = &multipart{
		key: key, metadata: metadata(r), contentType: r.Header.Get("Content-Type"), parts: map[int]piece{},
		fullObject: r.Header.Get("X-Amz-Checksum-Algorithm") == "CRC64NVME" && r.Header.Get("X-Amz-Checksum-Type") == "FULL_OBJECT",
	}
	s.mu.Unlock()
	reply(w, struct {
		XMLName       xml.Name `xml:"InitiateMultipartUploadResult"`
		Key, UploadId string
	}{Key: key, UploadId: id})
}

// abort is AbortMultipartUpload.
func (s *Store) abort(w http.ResponseWriter, r *http.Request, _ string, _ Fault) {
	id := r.URL.Query().Get("uploadId")
	s.mu.Lock()
	there := s.uploads[id] != nil
	delete(s.uploads, id)
	s.mu.Unlock()
	if !there {
		s.answer(w, http.StatusNotFound, "NoSuchUpload")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// complete is CompleteMultipartUpload. Nothing of an upload is left after it, so
// that a second one of the same id finds none.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html
func (s *Store) complete(w http.ResponseWriter, r *http.Request, key string, fault Fault) {
	id := r.URL.Query().Get("uploadId")
	var wish struct {
		Part []struct {
			PartNumber        int
			ETag              string
			ChecksumCRC64NVME string
		}
	}
	err := xml.NewDecoder(r.Body).Decode(&wish)
	s.mu.Lock()
	upload := s.uploads[id]
	s.mu.Unlock()
	if upload == nil {
		s.answer(w, http.StatusNotFound, "NoSuchUpload")
		return
	}
	if err != nil || len(wish.Part) == 0 || len(wish.Part) != len(upload.parts) {
		s.refuse(w, r, http.StatusBadRequest, "MalformedXML")
		return
	}
	var size int64
	var crc64 uint64
	ofMD5, ofSHA256, sha := md5.New(), sha256.New(), ""
	for i, part := range wish.Part {
		p := upload.parts[part.PartNumber]
		if part.PartNumber != i+1 || strings.Trim(part.ETag, `"`) != hex.EncodeToString(p.md5) ||
			part.ChecksumCRC64NVME != "" && part.ChecksumCRC64NVME != base64.StdEncoding.EncodeToString(p.crc64) {
			s.refuse(w, r, http.StatusBadRequest, "InvalidPart")
			return
		}
		if p.size < 5<<20 && i < len(wish.Part)-1 {
			s.refuse(w, r, http.StatusBadRequest, "EntityTooSmall")
			return
		}
		size += p.size
		ofMD5.Write(p.md5)
		ofSHA256.Write(p.sha256)
		if p.sha256 != nil {
			sha = fmt.Sprintf("%s-%d", base64.StdEncoding.EncodeToString(ofSHA256.Sum(nil)), i+1)
		}
		if p.crc64 != nil {
			crc64 = crc.Combine(crc64, binary.BigEndian.Uint64(p.crc64), p.size)
		}
	}
	checksum, sum := "", binary.BigEndian.AppendUint64(nil, crc64)
	if upload.fullObject {
		if want := r.Header.Get("X-Amz-Checksum-Crc64nvme"); want != "" && want != base64.StdEncoding.EncodeToString(sum) {
			s.refuse(w, r, http.StatusBadRequest, "BadDigest")
			return
		}
		if !fault.Silent {
			checksum = told(sum, fault)
		}
	}
	if want := r.Header.Get("X-Amz-Mp-Object-Size"); want != "" && want != strconv.FormatInt(size, 10) {
		s.refuse(w, r, http.StatusBadRequest, "InvalidRequest")
		return
	}
	if err := s.join(key, id, len(upload.parts)); err != nil {
		s.refuse(w, r, http.StatusInternalServerError, err.Error())
		return
	}
	o := Object{
		Key: key, VersionID: versionID(), ETag: fmt.Sprintf("%x-%d", ofMD5.Sum(nil), len(upload.parts)), CRC64NVME: checksum,
		Size: size, Metadata: upload.metadata, ContentType: upload.contentType, Parts: len(upload.parts),
	}
	s.mu.Lock()
	_, there := s.uploads[id]
	delete(s.uploads, id)
	if there {
		s.objects[key] = append(s.objects[key], o)
	}
	s.mu.Unlock()
	if !there {
		s.answer(w, http.StatusNotFound, "NoSuchUpload")
		return
	}
	w.Header().Set("X-Amz-Version-Id", o.VersionID)
	reply(w, struct {
		XMLName           xml.Name `xml:"CompleteMultipartUploadResult"`
		Key, ETag         string
		ChecksumSHA256    string `xml:",omitempty"`
		ChecksumCRC64NVME string `xml:",omitempty"`
		ChecksumType      string `xml:",omitempty"`
	}{Key: key, ETag: `"` + o.ETag + `"`, ChecksumSHA256: sha, ChecksumCRC64NVME: checksum, ChecksumType: map[bool]string{true: "FULL_OBJECT"}[checksum != ""]})
}

func (s *Store) registerRevision(w http.ResponseWriter, r *http.Request, _ string, _ Fault) {
	if target := r.Header.Get("X-Amz-Target"); target != "CodeDeploy_20141006.RegisterApplicationRevision" {
		s.refuse(w, r, http.StatusNotImplemented, target)
	}
}

// refuse answers what no client of ours should get.
func (s *Store) refuse(w http.ResponseWriter, r *http.Request, status int, code string) {
	s.note(r, code)
	s.answer(w, status, code)
}

func (s *Store) note(r *http.Request, what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bad = append(s.bad, fmt.Sprintf("%s %s: %s", r.Method, r.URL.RequestURI(), what))
}

func (s *Store) answer(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	reply(w, struct {
		XMLName       xml.Name `xml:"Error"`
		Code, Message string
	}{Code: code, Message: "as the test wants it"})
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
func (s *Store) receive(r *http.Request, name string, fault Fault) (piece, error) {
	var p piece
	ofMD5 := md5.New()
	sinks := []io.Writer{ofMD5}
	sums := map[string]hash.Hash{} // by header
	for header, sum := range map[string]hash.Hash{
		"X-Amz-Checksum-Sha256": sha256.New(), "X-Amz-Checksum-Crc32": crc32.NewIEEE(), "X-Amz-Checksum-Crc64nvme": crc64nvme.New(),
	} {
		if r.Header.Get(header) != "" || strings.EqualFold(r.Header.Get("X-Amz-Trailer"), header) {
			sums[header] = sum
			sinks = append(sinks, sum)
		}
	}
	if s.keep != "" {
		file, err := createFile(filepath.Join(s.keep, name))
		if err != nil {
			return p, err
		}
		defer file.Close()
		sinks = append(sinks, file)
	}

	var body io.Reader = &pacedReader{in: r.Body, rate: s.pace.Rate, began: time.Now()}
	if fault.Rate > 0 {
		body = &pacedReader{in: r.Body, rate: fault.Rate, began: time.Now()}
	}
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
		switch header {
		case "X-Amz-Checksum-Sha256":
			p.sha256 = got
		case "X-Amz-Checksum-Crc64nvme":
			p.crc64 = got
		}
	}
	if len(sums) == 0 && r.Header.Get("Content-Md5") == "" {
		return p, fmt.Errorf("no checksum that is known here (trailer %q)", r.Header.Get("X-Amz-Trailer"))
	}
	return p, nil
}

// join makes one file of the parts that were kept.
func (s *Store) join(key, id string, count int) error {
	if s.keep == "" {
		return nil
	}
	out, err := createFile(filepath.Join(s.keep, key))
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

func createFile(file string) (*os.File, error) {
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
