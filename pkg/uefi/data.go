package uefi

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// magic begins EC2's form of a variable store.
const magic = "AMZNUEFI"

// Data returns variables as EC2's GetInstanceUefiData does: in base64 a magic, a
// CRC-32C of what follows, a version and, compressed by zlib, a count and the
// variables. AWS's uefivars (github.com/awslabs/python-uefivars) reads it. EC2
// compresses with a dictionary that both sides have; a stream says itself whether
// it needs one, and this one does not.
func Data(vars []Variable) (string, error) {
	var body bytes.Buffer
	body.Write(make([]byte, 4)) // version 0
	z, err := zlib.NewWriterLevel(&body, zlib.BestCompression)
	if err != nil {
		return "", fmt.Errorf("compressing variables: %w", err)
	}
	if _, err := z.Write(plain(vars)); err != nil {
		return "", fmt.Errorf("compressing variables: %w", err)
	}
	if err := z.Close(); err != nil {
		return "", fmt.Errorf("compressing variables: %w", err)
	}
	out := binary.LittleEndian.AppendUint32([]byte(magic), crc32.Checksum(body.Bytes(), crc32.MakeTable(crc32.Castagnoli)))
	return base64.StdEncoding.EncodeToString(append(out, body.Bytes()...)), nil
}

// plain is what is compressed: numbers little-endian, strings and bytes after
// their lengths.
func plain(vars []Variable) []byte {
	field := func(b, data []byte) []byte {
		return append(binary.LittleEndian.AppendUint64(b, uint64(len(data))), data...)
	}
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(vars)))
	for _, v := range vars {
		b = field(b, []byte(v.Name))
		b = field(b, v.Data)
		b = append(b, v.Vendor[:]...)
		b = binary.LittleEndian.AppendUint32(b, v.Attributes)
		if v.Attributes&timeAuthenticated != 0 {
			digest := v.Digest
			if len(digest) == 0 {
				digest = make([]byte, 32)
			}
			b = append(b, v.Timestamp[:]...)
			b = field(b, digest)
		}
	}
	return b
}
