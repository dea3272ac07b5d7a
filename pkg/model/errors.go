package model

import (
	"errors"
	"fmt"
)

// Error is an error that a client of the API sees: an EC2 error code, a message
// about the request, and, for people, what to do next.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
type Error struct {
	Code    string
	Message string
	Hint    string // optional; shown by the CLI, never needed by a program
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Is makes errors.Is(err, &Error{Code: c}) match any Error with that code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Message == ""
}

// Errorf returns an Error with this EC2 code.
func Errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// WithHint returns a copy of e that tells what to do next.
func (e *Error) WithHint(format string, args ...any) *Error {
	c := *e
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}

// CodeOf returns the EC2 error code in err's chain, or "" if it has none.
func CodeOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// The EC2 error codes that bundt answers with.
const (
	CodeAuthFailure                 = "AuthFailure"
	CodeDryRunOperation             = "DryRunOperation"
	CodeIdempotentParameterMismatch = "IdempotentParameterMismatch"
	CodeIncorrectInstanceState      = "IncorrectInstanceState"
	CodeInsufficientCapacity        = "InsufficientInstanceCapacity"
	CodeInternalError               = "InternalError"
	CodeInvalidAction               = "InvalidAction"
	CodeImageIDMalformed            = "InvalidAMIID.Malformed"
	CodeImageIDNotFound             = "InvalidAMIID.NotFound"
	CodeImageIDUnavailable          = "InvalidAMIID.Unavailable"
	CodeImageNameDuplicate          = "InvalidAMIName.Duplicate"
	CodeImageNameMalformed          = "InvalidAMIName.Malformed"
	CodeInstanceIDMalformed         = "InvalidInstanceID.Malformed"
	CodeInstanceIDNotFound          = "InvalidInstanceID.NotFound"
	CodeKeyPairDuplicate            = "InvalidKeyPair.Duplicate"
	CodeKeyPairNotFound             = "InvalidKeyPair.NotFound"
	CodeKeyFormat                   = "InvalidKey.Format"
	CodeInvalidParameterValue       = "InvalidParameterValue"
	CodeInvalidParameterCombination = "InvalidParameterCombination"
	CodeInvalidBlockDeviceMapping   = "InvalidBlockDeviceMapping"
	CodeInvalidInstanceAttribute    = "InvalidInstanceAttributeValue"
	CodeInvalidInstanceType         = "InvalidInstanceType"
	CodeSnapshotInUse               = "InvalidSnapshot.InUse"
	CodeSnapshotNotFound            = "InvalidSnapshot.NotFound"
	CodeSnapshotIDMalformed         = "InvalidSnapshotID.Malformed"
	CodeVolumeNotFound              = "InvalidVolume.NotFound"
	CodeVolumeInUse                 = "VolumeInUse"
	CodeModificationNotFound        = "InvalidVolumeModification.NotFound"
	CodeAttachmentNotFound          = "InvalidAttachment.NotFound"
	CodeAttachmentLimit             = "AttachmentLimitExceeded"
	CodeIncorrectState              = "IncorrectState"
	CodeIncorrectModificationState  = "IncorrectModificationState"
	CodeOperationNotPermitted       = "OperationNotPermitted"
	CodeZoneNotFound                = "InvalidZone.NotFound"
	CodeVolumeIDMalformed           = "InvalidVolumeID.Malformed"
	CodeInvalidID                   = "InvalidID"
	CodeInvalidNextToken            = "InvalidNextToken"
	CodeMalformedQueryString        = "MalformedQueryString"
	CodeMissingParameter            = "MissingParameter"
	CodeTagLimitExceeded            = "TagLimitExceeded"
	CodeUnknownParameter            = "UnknownParameter"
	CodeUnsupported                 = "Unsupported"
	CodeUnsupportedOperation        = "UnsupportedOperation"
	CodeOptInRequired               = "OptInRequired"
	CodeServiceUnavailable          = "Unavailable"
	CodeTemplateIDMalformed         = "InvalidLaunchTemplateId.Malformed"
	CodeTemplateIDNotFound          = "InvalidLaunchTemplateId.NotFound"
	CodeTemplateVersionNotFound     = "InvalidLaunchTemplateId.VersionNotFound"
	CodeTemplateNameTaken           = "InvalidLaunchTemplateName.AlreadyExistsException"
	CodeTemplateNameMalformed       = "InvalidLaunchTemplateName.MalformedException"
	CodeTemplateNameNotFound        = "InvalidLaunchTemplateName.NotFoundException"

	// Codes of bundt's own objects, in EC2's style.
	CodeBuildNotFound  = "InvalidBuildID.NotFound"
	CodeInvalidRecipe  = "InvalidRecipe"
	CodeStorageFull    = "InsufficientVolumeCapacity"
	CodeLineageUnknown = "InvalidID.NotFound"
)
