package access

import "maps"

// place is where a request comes from.
type place struct {
	context map[string]string
	// policies are those of the endpoint that the request comes through.
	policies []policy
}

// place returns the place of a name.
func (w *World) place(name string) place {
	tls := func(version string) map[string]string {
		if version == "" {
			return map[string]string{"aws:SecureTransport": "false"}
		}
		return map[string]string{"aws:SecureTransport": "true", "s3:TlsVersion": version}
	}
	with := func(context map[string]string, more map[string]string) map[string]string {
		maps.Copy(context, more)
		return context
	}
	ours := map[string]string{"aws:SourceVpce": w.endpoint(), "aws:SourceVpc": "vpc-0123456789abcdef0"}
	// The endpoint of somebody else: its policy lets everything through.
	another := map[string]string{"aws:SourceVpce": "vpce-0fedcba9876543210", "aws:SourceVpc": "vpc-0fedcba9876543210"}
	everything := []policy{{"default", document(statement("Allow", "*", "*", "*"))}}
	address := map[string]string{"aws:SourceIp": "192.0.2.1"}

	switch name {
	case "the endpoint":
		return place{with(tls("1.3"), ours), w.endpointPolicies()}
	case "the endpoint, plain HTTP":
		return place{with(tls(""), ours), w.endpointPolicies()}
	case "the endpoint, TLS 1.1":
		return place{with(tls("1.1"), ours), w.endpointPolicies()}
	case "another endpoint":
		return place{with(tls("1.3"), another), everything}
	case "the internet":
		return place{context: with(tls("1.3"), address)}
	case "the internet, plain HTTP":
		return place{context: with(tls(""), address)}
	case "AWS":
		return place{context: tls("1.3")}
	}
	cfnRefuse("no place is called %q", name)
	return place{}
}

// endpoint is the id of account A's S3 endpoint.
func (w *World) endpoint() string { return w.A.Ref(w.endpointID()) }

func (w *World) endpointID() string {
	id := w.A.Output("S3EndpointId")
	if id == "" {
		cfnRefuse("account A's template has no output S3EndpointId")
	}
	return id
}

// endpointPolicies is the endpoint's policy; without one AWS writes a policy
// that lets everything through.
// https://docs.aws.amazon.com/vpc/latest/privatelink/vpc-endpoints-access.html
func (w *World) endpointPolicies() []policy {
	p, ok := w.A.Properties(w.endpointID())["PolicyDocument"]
	if !ok {
		p = document(statement("Allow", "*", "*", "*"))
	}
	return []policy{{"endpoint", p}}
}
