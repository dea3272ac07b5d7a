// Package sigv4 owns the verification of AWS Signature Version 4
// (AWS4-HMAC-SHA256), in the Authorization header and in the query of a
// presigned URL.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
//
// A signature proves who sent a request and that nothing that was signed has
// changed. What this package insists on, so that what is not signed is nothing
// that matters:
//
//   - method, path, query and body are always signed. There is no unsigned or
//     streamed payload: X-Amz-Content-Sha256, if present, is signed and must be
//     the body's digest;
//   - host and every X-Amz-* header that the request has must be signed, and
//     Content-Encoding, which says what the body is;
//   - a header that says what the signature is about is there once;
//   - the credential scope names the region and service that answer, and the
//     day of the request's time, which is within MaxSkew of now. A presigned URL
//     is good for the time that it states, at most MaxExpires.
//
// Replaying a request within that time is possible, as it is at AWS: clients
// retry with the same signature. Actions that must not happen twice have
// idempotency tokens, and a listener that others can reach has TLS.
//
// Package sigv4 knows no services' names, error codes or accounts, and imports
// nothing of this project.
package sigv4
