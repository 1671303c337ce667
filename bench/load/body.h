/* The body of one response: takes chunks apart, wherever reads cut them, and finds the events in them. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "marker.h"

struct body {
  uint8_t state;
  uint8_t begun; /* a byte of the body was there */
  uint8_t carried;
  char carry[MARKER_LENGTH]; /* the beginning of a marker whose rest has yet to come */
  size_t left;               /* of the chunk */
};

void body_begin(struct body *b, int chunked);
/* Bytes as they were read at `now`; every event among them goes to the ledger. */
void body_read(struct body *b, uint32_t stream, const char *at, size_t length, uint64_t now);
