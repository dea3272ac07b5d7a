package ova

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

// The machine that a descriptor describes, for whoever imports it to change.
const (
	machineCPUs   = 1
	machineMemory = 1024 // MiB
)

// descriptorText is a PC with its disks at an AHCI controller, which every hypervisor
// that takes OVAs has.
var descriptorText = template.Must(template.New("ovf").Funcs(template.FuncMap{"xml": escape, "next": func(i int) int { return i + 1 }}).Parse(
	`<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData" xmlns:vmw="http://www.vmware.com/schema/ovf">
  <References>
{{- range $i, $d := .Disks}}
    <File ovf:id="file{{next $i}}" ovf:href="{{xml $d.File}}" ovf:size="{{$d.Bytes}}"/>
{{- end}}
  </References>
  <DiskSection>
    <Info>Virtual disks</Info>
{{- range $i, $d := .Disks}}
    <Disk ovf:diskId="disk{{next $i}}" ovf:fileRef="file{{next $i}}" ovf:capacity="{{$d.Capacity}}" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
{{- end}}
  </DiskSection>
  <NetworkSection>
    <Info>Networks</Info>
    <Network ovf:name="network"><Description>The machine's network</Description></Network>
  </NetworkSection>
  <VirtualSystem ovf:id="machine">
    <Info>A virtual machine</Info>
    <Name>{{xml .Name}}</Name>
    <OperatingSystemSection ovf:id="{{.OS}}"><Info>Linux</Info></OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>Virtual hardware</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemType>vmx-10</vssd:VirtualSystemType>
      </System>
      <Item><rasd:ElementName>CPUs</rasd:ElementName><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>{{.CPUs}}</rasd:VirtualQuantity></Item>
      <Item><rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits><rasd:ElementName>memory</rasd:ElementName><rasd:InstanceID>2</rasd:InstanceID><rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>{{.Memory}}</rasd:VirtualQuantity></Item>
      <Item><rasd:Address>0</rasd:Address><rasd:ElementName>SATA controller</rasd:ElementName><rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceSubType>AHCI</rasd:ResourceSubType><rasd:ResourceType>20</rasd:ResourceType></Item>
      <Item><rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:AutomaticAllocation>true</rasd:AutomaticAllocation><rasd:Connection>network</rasd:Connection><rasd:ElementName>network adapter</rasd:ElementName><rasd:InstanceID>4</rasd:InstanceID><rasd:ResourceSubType>E1000</rasd:ResourceSubType><rasd:ResourceType>10</rasd:ResourceType></Item>
{{- range $i, $d := .Disks}}
      <Item><rasd:AddressOnParent>{{$i}}</rasd:AddressOnParent><rasd:ElementName>disk {{next $i}}</rasd:ElementName><rasd:HostResource>ovf:/disk/disk{{next $i}}</rasd:HostResource><rasd:InstanceID>1{{next $i}}</rasd:InstanceID><rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
{{- end}}
{{- if .UEFI}}
      <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>
{{- end}}
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
`))

func escape(s string) (string, error) {
	var b strings.Builder
	err := xml.EscapeText(&b, []byte(s))
	return b.String(), err
}

// The operating systems of CIM_OperatingSystem.OsType that stand for any Linux.
const (
	osLinux   = 36
	osLinux64 = 101
)

type diskFile struct {
	File            string
	Bytes, Capacity int64 // of the file, and of the disk
}

// Write writes an archive of a machine, whose disks are stream-optimised VMDKs in a
// directory: descriptor, manifest with SHA-256, disks.
// https://www.dmtf.org/standards/ovf (DSP0243)
func Write(ctx context.Context, w io.Writer, dir string, m *Machine) error {
	if len(m.Disks) == 0 || len(m.Disks) > maxDisks || len(m.Sizes) != len(m.Disks) {
		return fmt.Errorf("writing an OVA: a machine has 1 to %d disks, each with its size, not %d with %d", maxDisks, len(m.Disks), len(m.Sizes))
	}
	text, err := describe(dir, m)
	if err != nil {
		return fmt.Errorf("describing the machine: %w", err)
	}
	const name = "machine"
	out := tar.NewWriter(w)
	if err := put(out, name+descriptorEnd, int64(len(text)), bytes.NewReader(text)); err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	manifest := manifestOf(name+descriptorEnd, hex.EncodeToString(sum[:]))
	for _, file := range m.Disks {
		sum, err := digest(ctx, filepath.Join(dir, file), "SHA256")
		if err != nil {
			return err
		}
		manifest += manifestOf(file, sum)
	}
	if err := put(out, name+manifestEnd, int64(len(manifest)), strings.NewReader(manifest)); err != nil {
		return err
	}
	for _, file := range m.Disks {
		if err := putFile(ctx, out, dir, file); err != nil {
			return fmt.Errorf("archiving %s: %w", file, err)
		}
	}
	return out.Close()
}

func describe(dir string, m *Machine) ([]byte, error) {
	about := struct {
		Name             string
		OS, CPUs, Memory int
		UEFI             bool
		Disks            []diskFile
	}{m.Name, osLinux64, machineCPUs, machineMemory, m.UEFI, nil}
	if m.Bits32 {
		about.OS = osLinux
	}
	for i, file := range m.Disks {
		info, err := os.Stat(filepath.Join(dir, file))
		if err != nil {
			return nil, err
		}
		about.Disks = append(about.Disks, diskFile{file, info.Size(), m.Sizes[i]})
	}
	var text bytes.Buffer
	err := descriptorText.Execute(&text, about)
	return text.Bytes(), err
}

func manifestOf(file, sum string) string { return fmt.Sprintf("SHA256(%s)= %s\n", file, sum) }

func put(w *tar.Writer, name string, size int64, content io.Reader) error {
	if err := w.WriteHeader(&tar.Header{Name: name, Size: size, Mode: 0o644, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}); err != nil {
		return err
	}
	_, err := io.Copy(w, content)
	return err
}

func putFile(ctx context.Context, w *tar.Writer, dir, name string) error {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return put(w, name, info.Size(), reader{ctx, f})
}

// reader ends with its context.
type reader struct {
	ctx context.Context //nolint:containedctx // of one call
	io.Reader
}

func (r reader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(b)
}
