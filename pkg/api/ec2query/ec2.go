package ec2query

import (
	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/auth/sigv4"
	"github.com/bundt/bundt/pkg/model"
)

// ec2Versions are the versions of EC2's API that are answered: all since 2012.
// What changed between them are additions; clients of an old version do not send
// the new parameters, and skip elements that they do not know.
var ec2Versions = []string{
	"2012-03-01", "2012-04-01", "2012-05-01", "2012-06-01", "2012-06-15", "2012-07-20", "2012-08-15", "2012-10-01", "2012-12-01",
	"2013-02-01", "2013-06-15", "2013-07-15", "2013-08-15", "2013-10-01", "2013-10-15",
	"2014-02-01", "2014-05-01", "2014-06-15", "2014-09-01", "2014-10-01",
	"2015-03-01", "2015-04-15", "2015-10-01",
	"2016-04-01", "2016-09-15", "2016-11-15",
}

// ec2Dialect is EC2's own form of the protocol.
type ec2Dialect struct{}

func (ec2Dialect) response(c *Codec, b []byte, call *api.Call, appendMembers func([]byte) []byte) []byte {
	b = c.open(b, call)
	b = appendElement(b, "requestId", call.RequestID)
	if appendMembers != nil {
		b = appendMembers(b)
	} else {
		b = appendElement(b, "return", "true")
	}
	return append(append(append(b, "</"...), call.Action...), "Response>"...)
}

// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html#api-error-response
func (ec2Dialect) failure(_ *Codec, requestID string, e *model.Error) (int, []byte) {
	b := append([]byte(xmlHeader), "<Response><Errors><Error>"...)
	b = appendElement(b, "Code", e.Code)
	b = appendElement(b, "Message", message(e))
	b = append(b, "</Error></Errors>"...)
	b = appendElement(b, "RequestID", requestID)
	return api.HTTPStatus(e.Code), append(b, "</Response>"...)
}

func (ec2Dialect) refusal(r sigv4.Reason) string {
	switch r {
	case sigv4.Missing:
		return api.CodeMissingAuthenticationToken
	case sigv4.Incomplete:
		return "IncompleteSignature"
	case sigv4.Expired, sigv4.ExpiredToken:
		return "RequestExpired"
	}
	return model.CodeAuthFailure
}

func (ec2Dialect) missing() string { return model.CodeMissingParameter }
