/*
 * rpc/text_int.h - the small texts of the protocol: grpc-message, grpc-status, grpc-timeout, listen
 * addresses.
 *
 * Ownership  results lie in the arena given. Threads: any.
 * Limits     TEXT_MESSAGE_BYTES_MAX bytes of a message are sent; longer ones are cut between
 *            characters.
 */
#ifndef SILO_RPC_TEXT_INT_H
#define SILO_RPC_TEXT_INT_H

#include "base/arena.h"
#include "base/bytes.h"

/* Escaped it may be three times that, which is below the 8 KB of headers that some clients take. */
#define TEXT_MESSAGE_BYTES_MAX 2048u

/* Percent-encodes a UTF-8 text for grpc-message. */
struct bytes text_encode(struct arena *arena, struct bytes text);
/* The reverse; what is not a valid escape stays as it is. */
struct bytes text_decode(struct arena *arena, struct bytes text);
/* A decimal status; UNKNOWN (2) for anything that is not one of 0..16. */
uint32_t status_parse(struct bytes value);

/* grpc-timeout ("100m") to microseconds, rounded up; false if malformed. */
bool timeout_parse(struct bytes value, int64_t *ret_us);
/* Microseconds as grpc-timeout, in the finest unit that fits in eight digits. */
struct bytes timeout_print(struct arena *arena, int64_t us);

#endif
