// Package upload puts a stream into the artifact bucket.
//
// [Send] compresses nothing and reads no file: what it sends is what a function
// writes, while it writes. Parts go side by side, through the SDK's transfer
// manager; how much memory that takes depends on neither side's size.
//
//	write ──▶ SHA-256, CRC64NVME ──▶ parts ──▶ S3, which adds the parts' checksums up
//	              └──────────── compared ◀────────── to one of the whole object
package upload
