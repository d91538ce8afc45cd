package gitlab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Packets of a key's file, by their numbers.
// https://www.rfc-editor.org/rfc/rfc9580#section-5
const (
	signaturePacket = 2
	keyPacket       = 6
	userPacket      = 13
	subkeyPacket    = 14
	attributePacket = 17
)

// KeyFingerprint is that of the only key in a file, whole. What rpm would take from a
// file beside it, such as a second key, is an error. Dates and signatures in it are not
// looked at: a key is known by its fingerprint.
func KeyFingerprint(file string) (string, error) {
	if n := strings.Count(file, "-----BEGIN"); n != 1 {
		return "", fmt.Errorf("it has %d keys, want one", n)
	}
	block, err := armor.Decode(strings.NewReader(file))
	if err != nil {
		return "", fmt.Errorf("it is no key: %w", err)
	}
	body, err := io.ReadAll(block.Body)
	if err != nil {
		return "", fmt.Errorf("it is no key: %w", err)
	}
	fingerprint := ""
	for packets := packet.NewOpaqueReader(bytes.NewReader(body)); ; {
		p, err := packets.Next()
		switch {
		case errors.Is(err, io.EOF) && fingerprint != "":
			return fingerprint, nil
		case err != nil:
			return "", fmt.Errorf("it is no key: %w", err)
		case p.Tag == keyPacket && fingerprint != "":
			return "", errors.New("it has several keys, want one")
		case p.Tag == keyPacket:
			parsed, err := p.Parse()
			key, is := parsed.(*packet.PublicKey)
			if err != nil || !is {
				return "", fmt.Errorf("it is no key: %w", err)
			}
			fingerprint = fmt.Sprintf("%X", key.Fingerprint)
		case p.Tag != signaturePacket && p.Tag != userPacket && p.Tag != subkeyPacket && p.Tag != attributePacket || fingerprint == "":
			return "", fmt.Errorf("it has a packet of kind %d, which does not belong to a public key", p.Tag)
		}
	}
}
