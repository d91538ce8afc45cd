package emulator

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/acm"
)

// certificateSeed makes moto give the imported certificate the ARN that
// config/local.yaml names: the configuration is read before moto starts.
const certificateSeed = 1

// importCertificate puts a certificate for the load balancer into account A,
// as an operator does before the first deploy.
func (e *Emulator) importCertificate(ctx context.Context) error {
	certificate, key, err := selfSigned(e.Config.GitLab.LoadBalancer.DomainName)
	if err != nil {
		return err
	}
	if err := e.seed(ctx, certificateSeed); err != nil {
		return err
	}
	out, err := acm.NewFromConfig(e.awsConfig(e.A)).ImportCertificate(ctx, &acm.ImportCertificateInput{Certificate: certificate, PrivateKey: key})
	if err != nil {
		return fmt.Errorf("import the certificate: %w", err)
	}
	if got, want := aws.ToString(out.CertificateArn), e.Config.GitLab.LoadBalancer.CertificateARN; got != want {
		return fmt.Errorf("config/local.yaml: gitlab.loadBalancer.certificateArn: got %s, want %s, which is the one this emulator gives", want, got)
	}
	// From here on no two emulators may hand out the same ids, or a mix-up between them would not be seen.
	return e.seed(ctx, time.Now().UnixNano())
}

// seed starts moto's random numbers anew.
func (e *Emulator) seed(ctx context.Context, n int64) error {
	return motoAPI(ctx, http.MethodPost, e.Endpoint+"/moto-api/seed?a="+strconv.FormatInt(n, 10))
}

func selfSigned(name string) (certificate, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     []string{name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().AddDate(1, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}
