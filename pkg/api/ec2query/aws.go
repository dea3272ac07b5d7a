package ec2query

import (
	"net/http"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/auth/sigv4"
	"github.com/bundt/bundt/pkg/model"
)

// awsDialect is the form of the services after EC2: STS, IAM.
type awsDialect struct{}

func (awsDialect) response(c *Codec, b []byte, call *api.Call, appendMembers func([]byte) []byte) []byte {
	b = c.open(b, call)
	if appendMembers != nil {
		b = append(append(append(b, '<'), call.Action...), "Result>"...)
		b = appendMembers(b)
		b = append(append(append(b, "</"...), call.Action...), "Result>"...)
	}
	b = append(b, "<ResponseMetadata>"...)
	b = appendElement(b, "RequestId", call.RequestID)
	b = append(b, "</ResponseMetadata></"...)
	return append(append(b, call.Action...), "Response>"...)
}

func (awsDialect) failure(c *Codec, requestID string, e *model.Error) (int, []byte) {
	code := awsCode(e.Code)
	status := awsStatus(code)
	side := "Sender"
	if status >= http.StatusInternalServerError {
		side = "Receiver"
	}
	b := append([]byte(xmlHeader), `<ErrorResponse xmlns="`...)
	b = append(append(append(b, c.namespace...), c.versions[len(c.versions)-1]...), `/"><Error>`...)
	b = appendElement(b, "Type", side)
	b = appendElement(b, "Code", code)
	b = appendElement(b, "Message", message(e))
	b = append(b, "</Error>"...)
	b = appendElement(b, "RequestId", requestID)
	return status, append(b, "</ErrorResponse>"...)
}

// awsCode spells the dispatcher's codes as these services do.
// https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html
func awsCode(code string) string {
	switch code {
	case model.CodeInvalidParameterValue, model.CodeMissingParameter, model.CodeUnknownParameter, model.CodeUnsupportedOperation:
		return "ValidationError"
	case api.CodeUnauthorizedOperation:
		return "AccessDenied"
	case model.CodeInternalError:
		return "InternalFailure"
	case model.CodeServiceUnavailable:
		return "ServiceUnavailable"
	case "RequestLimitExceeded":
		return "Throttling"
	}
	return code
}

func awsStatus(code string) int {
	switch code {
	case "AccessDenied", "SignatureDoesNotMatch", "InvalidClientTokenId", "ExpiredToken", "MissingAuthenticationToken":
		return http.StatusForbidden
	case "NoSuchEntity":
		return http.StatusNotFound
	case "EntityAlreadyExists", "DeleteConflict", "LimitExceeded", "EntityTemporarilyUnmodifiable", "ConcurrentModification":
		return http.StatusConflict
	case "InternalFailure":
		return http.StatusInternalServerError
	case "ServiceUnavailable":
		return http.StatusServiceUnavailable
	case api.CodeRequestTooLarge:
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusBadRequest
}

func (awsDialect) refusal(r sigv4.Reason) string {
	switch r {
	case sigv4.Missing:
		return api.CodeMissingAuthenticationToken
	case sigv4.Incomplete:
		return "IncompleteSignature"
	case sigv4.UnknownKey:
		return "InvalidClientTokenId"
	case sigv4.ExpiredToken:
		return "ExpiredToken"
	}
	return "SignatureDoesNotMatch" // also of a request that has expired
}

func (awsDialect) missing() string { return "MissingAction" }
