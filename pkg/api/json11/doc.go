// Package json11 owns AWS's JSON 1.1 protocol, which SSM speaks, and 1.0, CloudWatch's: the header
// X-Amz-Target names the action, bodies are JSON objects, times are seconds since
// 1970. It imports the JSON API's strict decoder, pkg/model and the signature's
// reasons, and never what serves.
// https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
package json11
