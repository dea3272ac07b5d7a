package disk

import (
	"bytes"
	"crypto/aes"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/xts"
)

// ErrPassphrase: an encrypted image does not open with the passphrase that was
// given, or with none.
var ErrPassphrase = errors.New("the image does not open with this key")

// Passphrase opens an encrypted image; "" is for images that are not encrypted. It
// is the text of a random key: whoever cannot know it cannot guess it either.
type Passphrase string

// passphraseBytes is the size of the key that a passphrase is the text of.
const passphraseBytes = 32

// NewPassphrase makes a random one.
func NewPassphrase() Passphrase {
	key := make([]byte, passphraseBytes)
	_, _ = rand.Read(key) // never fails
	return Passphrase(hex.EncodeToString(key))
}

// The layout of version 1 of LUKS, with QEMU's own choices: AES-256 in XTS mode,
// SHA-256, key slots at multiples of 4 KiB. All numbers are big-endian.
// https://gitlab.com/cryptsetup/cryptsetup/-/wikis/LUKS-standard/on-disk-format.pdf
const (
	luksMagic       = "LUKS\xba\xbe"
	luksSlots       = 8
	luksStripes     = 4000
	luksKeyBytes    = 64
	luksDigestBytes = 20
	luksSaltBytes   = 32
	luksActive      = 0x00ac71f3
	luksInactive    = 0x0000dead
	luksFirstSlot   = 8   // sector
	luksSlotSectors = 504 // luksStripes of a key, rounded up to 4 KiB
	luksSectors     = luksFirstSlot + luksSlots*luksSlotSectors
	luksBytes       = luksSectors * sectorBytes
	// luksIterations is LUKS's least. Stretching makes guesses of short passphrases
	// expensive, and costs every start of a machine for every layer.
	luksIterations = 1000
	// maxLUKSIterations bounds the time that a damaged header can cost.
	maxLUKSIterations = 1 << 24
)

type luksHeader struct {
	Magic              [6]byte
	Version            uint16
	Cipher, Mode, Hash [32]byte
	Payload, KeyBytes  uint32
	Digest             [luksDigestBytes]byte
	DigestSalt         [luksSaltBytes]byte
	DigestIterations   uint32
	UUID               [40]byte
	Slots              [luksSlots]luksSlot
}

type luksSlot struct {
	Active, Iterations uint32
	Salt               [luksSaltBytes]byte
	Offset, Stripes    uint32
}

// freshLUKS is a new header with a random key of its own, which the passphrase
// opens, and the content of its first key slot. What follows each is zeros.
func freshLUKS(p Passphrase) (header, slot []byte, err error) {
	h := luksHeader{
		Version: 1, Payload: luksSectors, KeyBytes: luksKeyBytes, DigestIterations: luksIterations,
	}
	copy(h.Magic[:], luksMagic)
	copy(h.Cipher[:], "aes")
	copy(h.Mode[:], "xts-plain64")
	copy(h.Hash[:], "sha256")
	for i := range h.Slots {
		h.Slots[i] = luksSlot{Active: luksInactive, Offset: uint32(luksFirstSlot + i*luksSlotSectors), Stripes: luksStripes}
	}
	first := &h.Slots[0]
	first.Active, first.Iterations = luksActive, luksIterations
	var id [16]byte
	key := make([]byte, luksKeyBytes)
	for _, b := range [][]byte{key, h.DigestSalt[:], first.Salt[:], id[:]} {
		_, _ = rand.Read(b) // never fails
	}
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80 // a random UUID, by RFC 9562
	copy(h.UUID[:], fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:]))
	digest, err := h.digest(key)
	if err != nil {
		return nil, nil, err
	}
	copy(h.Digest[:], digest)
	if slot, err = first.seal(p, key); err != nil {
		return nil, nil, err
	}
	var out bytes.Buffer
	err = binary.Write(&out, binary.BigEndian, &h)
	return out.Bytes(), slot, err
}

// digest is by which a key is known to be the right one.
func (h *luksHeader) digest(key []byte) ([]byte, error) {
	return pbkdf2.Key(sha256.New, string(key), h.DigestSalt[:], int(h.DigestIterations), luksDigestBytes)
}

func (s *luksSlot) cipher(p Passphrase) (*xts.Cipher, error) {
	key, err := pbkdf2.Key(sha256.New, string(p), s.Salt[:], int(s.Iterations), luksKeyBytes)
	if err != nil {
		return nil, err
	}
	return xts.NewCipher(aes.NewCipher, key)
}

// seal is the content of the slot: the key, spread over many blocks, so that the
// loss of one is the loss of all, and encrypted.
func (s *luksSlot) seal(p Passphrase, key []byte) ([]byte, error) {
	c, err := s.cipher(p)
	if err != nil {
		return nil, err
	}
	blocks := make([]byte, luksStripes*len(key))
	last := len(blocks) - len(key)
	_, _ = rand.Read(blocks[:last]) // never fails
	xor(blocks[last:], key, gather(blocks[:last], len(key)))
	cryptSectors(c.Encrypt, blocks, 0)
	return blocks, nil
}

// open returns the key that is in the slot, if the passphrase is the slot's.
func (s *luksSlot) open(p Passphrase, content []byte) ([]byte, error) {
	c, err := s.cipher(p)
	if err != nil {
		return nil, err
	}
	cryptSectors(c.Decrypt, content, 0)
	key := make([]byte, luksKeyBytes)
	last := len(content) - len(key)
	xor(key, content[last:], gather(content[:last], len(key)))
	return key, nil
}

// gather folds blocks into one: LUKS's anti-forensic information splitter.
func gather(blocks []byte, size int) []byte {
	sum := make([]byte, size)
	for ; len(blocks) > 0; blocks = blocks[size:] {
		xor(sum, sum, blocks[:size])
		for i := 0; i < size; i += sha256.Size {
			part := sum[i:min(i+sha256.Size, size)]
			hash := sha256.Sum256(append(binary.BigEndian.AppendUint32(nil, uint32(i/sha256.Size)), part...))
			copy(part, hash[:])
		}
	}
	return sum
}

func xor(dst, a, b []byte) {
	for i := range dst {
		dst[i] = a[i] ^ b[i]
	}
}

// cryptSectors encrypts or decrypts whole sectors in their place; first is the
// number of the first.
func cryptSectors(crypt func(dst, src []byte, sector uint64), data []byte, first uint64) {
	for ; len(data) > 0; data, first = data[sectorBytes:], first+1 {
		crypt(data[:sectorBytes], data[:sectorBytes], first)
	}
}

// check refuses what is not understood.
func (h *luksHeader) check() error {
	text := func(b [32]byte) string { return string(bytes.TrimRight(b[:], "\x00")) }
	switch {
	case string(h.Magic[:]) != luksMagic || h.Version != 1:
		return hostile("its encryption header is not one of LUKS version 1")
	case text(h.Cipher) != "aes" || text(h.Mode) != "xts-plain64" || text(h.Hash) != "sha256" || h.KeyBytes != luksKeyBytes:
		return hostile("encryption %q, %q, %q with keys of %d bytes", text(h.Cipher), text(h.Mode), text(h.Hash), h.KeyBytes)
	case h.DigestIterations == 0 || h.DigestIterations > maxLUKSIterations:
		return hostile("a key digest of %d iterations", h.DigestIterations)
	}
	return nil
}

// openLUKS returns the cipher of an image's data. It understands what freshLUKS
// and QEMU by its defaults write.
func openLUKS(r io.ReaderAt, offset int64, p Passphrase) (*xts.Cipher, error) {
	var h luksHeader
	if err := binary.Read(io.NewSectionReader(r, offset, luksBytes), binary.BigEndian, &h); err != nil {
		return nil, fmt.Errorf("reading the encryption header: %w", err)
	}
	if err := h.check(); err != nil {
		return nil, err
	}
	for i := range h.Slots {
		s := &h.Slots[i]
		if s.Active != luksActive {
			continue
		}
		if s.Stripes != luksStripes || s.Iterations == 0 || s.Iterations > maxLUKSIterations || s.Offset < 2 || s.Offset > luksSectors-luksSlotSectors {
			return nil, hostile("key slot %d", i)
		}
		content := make([]byte, luksStripes*luksKeyBytes)
		if _, err := r.ReadAt(content, offset+int64(s.Offset)*sectorBytes); err != nil {
			return nil, fmt.Errorf("reading key slot %d: %w", i, err)
		}
		key, err := s.open(p, content)
		if err != nil {
			return nil, err
		}
		digest, err := h.digest(key)
		if err != nil {
			return nil, err
		}
		if hmac.Equal(digest, h.Digest[:]) {
			return xts.NewCipher(aes.NewCipher, key)
		}
	}
	return nil, ErrPassphrase
}
