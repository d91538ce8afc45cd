package cloud

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Request is a call to AWS, read whole from the wire.
type Request struct {
	Service   string // "s3", "codedeploy" or "sqs"
	Operation string // "HeadObject", "CreateDeployment", …
	Body      []byte

	// S3 only.
	Bucket, Key string
	Version     string     // of ?versionId=
	Query       url.Values // of ListObjectsV2
	Header      http.Header
}

// String is for traces: the operation and what it is about.
func (r Request) String() string {
	text := r.Operation
	if r.Service == "s3" {
		text += " " + r.Key
		if r.Version != "" {
			text += "?versionId=" + r.Version
		}
		for _, condition := range []string{"If-Match", "If-None-Match"} {
			if value := r.Header.Get(condition); value != "" {
				text += " " + condition + ": " + value
			}
		}
	}
	if len(r.Body) > 0 {
		text += " " + strings.TrimSpace(string(r.Body))
	}
	return text
}

// Response is AWS's answer.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// Send writes the answer.
func (a Response) Send(w http.ResponseWriter) {
	for name, values := range a.Header {
		w.Header()[name] = values
	}
	if w.Header().Get("Content-Length") == "" {
		w.Header().Set("Content-Length", strconv.Itoa(len(a.Body)))
	}
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body) // The client may be gone; it is its loss.
}

// String is for traces.
func (a Response) String() string {
	text := strconv.Itoa(a.Status)
	if id := a.Header.Get("X-Amz-Version-Id"); id != "" {
		text += " version " + id
	}
	if len(a.Body) > 0 {
		text += " " + strings.TrimSpace(string(a.Body))
	}
	return text
}

// Read takes a request apart.
func Read(r *http.Request) (Request, error) {
	var body []byte
	if r.Body != nil { // of a server there always is one
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return Request{}, err
		}
	}
	request := Request{Body: body, Header: r.Header}
	if target := r.Header.Get("X-Amz-Target"); target != "" {
		service, operation, _ := strings.Cut(target, ".")
		switch service {
		case "CodeDeploy_20141006":
			request.Service = "codedeploy"
		case "AmazonSQS":
			request.Service = "sqs"
		default:
			return Request{}, fmt.Errorf("target %q is not simulated", target)
		}
		request.Operation = operation
		return request, nil
	}
	return request, request.readObject(r)
}

func (r *Request) readObject(in *http.Request) error {
	path, err := url.PathUnescape(strings.TrimPrefix(in.URL.EscapedPath(), "/"))
	if err != nil {
		return err
	}
	r.Service = "s3"
	r.Bucket, r.Key, _ = strings.Cut(path, "/")
	query := in.URL.Query()
	r.Version = query.Get("versionId")
	query.Del("versionId")
	query.Del("x-id") // The SDK names the operation for people who read logs.
	names := map[string]string{http.MethodHead: "HeadObject", http.MethodGet: "GetObject", http.MethodPut: "PutObject", http.MethodDelete: "DeleteObject"}
	r.Operation = names[in.Method]
	switch {
	case query.Has("tagging") && in.Method == http.MethodPut:
		r.Operation = "PutObjectTagging"
		query.Del("tagging")
	case query.Get("list-type") == "2" && in.Method == http.MethodGet && r.Key == "":
		r.Operation, r.Query = "ListObjectsV2", query
		return nil
	case query.Has("versions") && in.Method == http.MethodGet && r.Key == "":
		r.Operation, r.Query = "ListObjectVersions", query
		return nil
	}
	if r.Operation == "" || r.Key == "" || len(query) > 0 {
		return fmt.Errorf("%s %s is not simulated", in.Method, in.URL.RequestURI())
	}
	if strings.HasPrefix(in.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		r.Body, err = unchunk(r.Body)
	}
	return err
}

// unchunk undoes the aws-chunked encoding, in which the SDK sends a body when
// its checksum follows as a trailer.
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
func unchunk(body []byte) ([]byte, error) {
	var content []byte
	for {
		line, rest, ok := bytes.Cut(body, []byte("\r\n"))
		if !ok {
			return nil, fmt.Errorf("aws-chunked body ends in the middle")
		}
		size, _, _ := strings.Cut(string(line), ";")
		n, err := strconv.ParseUint(size, 16, 31)
		if err != nil || int(n)+2 > len(rest) && n > 0 {
			return nil, fmt.Errorf("aws-chunked body has a chunk of size %q", size)
		}
		if n == 0 {
			return content, nil // The trailer is left aside.
		}
		content = append(content, rest[:n]...)
		body = rest[n+2:]
	}
}

// Serve answers a request by the rules.
func (a *AWS) Serve(r Request) Response {
	switch r.Service {
	case "s3":
		return a.Bucket.serve(r)
	case "codedeploy":
		return a.Deployments.serve(r)
	case "sqs":
		return a.serveQueue(r)
	}
	return Refuse(r, http.StatusNotImplemented, "NotImplemented", r.Service)
}

// Refuse is an error in the form of the request's service.
func Refuse(r Request, status int, code, message string) Response {
	header := http.Header{"X-Amzn-Requestid": {"SIMULATED"}}
	if r.Service == "s3" {
		header.Set("X-Amz-Request-Id", "SIMULATED")
		if r.Operation == "HeadObject" {
			return Response{Status: status, Header: header} // HEAD answers have no body.
		}
		body, err := xml.Marshal(struct {
			XMLName xml.Name `xml:"Error"`
			Code    string
			Message string
		}{Code: code, Message: message})
		if err != nil {
			panic(err)
		}
		header.Set("Content-Type", "application/xml")
		return Response{Status: status, Header: header, Body: body}
	}
	if r.Service == "sqs" {
		code = "com.amazonaws.sqs#" + code
	}
	return answer(r, status, map[string]string{"__type": code, "message": message})
}

// answer is a JSON body in the dialect of the request's service.
func answer(r Request, status int, body any) Response {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	kind := "application/x-amz-json-1.1"
	if r.Service == "sqs" {
		kind = "application/x-amz-json-1.0"
	}
	return Response{Status: status, Header: http.Header{"Content-Type": {kind}, "X-Amzn-Requestid": {"SIMULATED"}}, Body: text}
}
