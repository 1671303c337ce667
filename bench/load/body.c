#include "body.h"

#include <string.h>

#include "fail.h"
#include "ledger.h"

enum { PLAIN, CHUNK_SIZE, CHUNK_EXTENSION, CHUNK_DATA, CHUNK_END };

void body_begin(struct body *b, int chunked) {
  b->state = chunked ? CHUNK_SIZE : PLAIN;
}

static int deliver(uint32_t stream, const char *marker, uint64_t now) {
  uint64_t number, at;
  if (!marker_read(marker, &number, &at)) return 0;
  ledger_deliver(stream, number, at < now ? now - at : 0);
  return 1;
}

/* Completes a marker that the last bytes began; answers how many of these were its. */
static size_t complete(struct body *b, uint32_t stream, const char *at, size_t length, uint64_t now) {
  size_t needed = MARKER_LENGTH - b->carried;
  size_t taken = length < needed ? length : needed;
  memcpy(b->carry + b->carried, at, taken);
  b->carried += (uint8_t)taken;
  if (b->carried < MARKER_LENGTH) return taken;
  b->carried = 0;
  /* One that only looked like a marker: what follows its "~" is looked at again. */
  return deliver(stream, b->carry, now) ? taken : 0;
}

static void scan(struct body *b, uint32_t stream, const char *at, size_t length, uint64_t now) {
  const char *end = at + length;
  b->begun = 1;
  if (b->carried > 0) at += complete(b, stream, at, length, now);
  while (at < end) {
    const char *found = memchr(at, '~', (size_t)(end - at));
    if (found == NULL) return;
    if (end - found < MARKER_LENGTH) {
      b->carried = (uint8_t)(end - found);
      memcpy(b->carry, found, b->carried);
      return;
    }
    at = found + (deliver(stream, found, now) ? MARKER_LENGTH : 1);
  }
}

static void add_digit(struct body *b, uint32_t stream, char c) {
  if (c >= '0' && c <= '9') b->left = b->left * 16 + (size_t)(c - '0');
  else if ((c | 32) >= 'a' && (c | 32) <= 'f') b->left = b->left * 16 + (size_t)((c | 32) - 'a' + 10);
  else fail(EXIT_PROTOCOL, "stream %u: expected the size of a chunk, got byte 0x%02x", stream, (unsigned char)c);
}

/* Reads the line with a chunk's size; answers where it stopped. */
static const char *read_size(struct body *b, uint32_t stream, const char *at, const char *end) {
  for (; at < end; at++) {
    if (*at == '\n') {
      if (b->left == 0) fail(EXIT_PROTOCOL, "stream %u was completed by the server", stream);
      b->state = CHUNK_DATA;
      return at + 1;
    }
    if (*at == '\r' || *at == ';') b->state = CHUNK_EXTENSION;
    else if (b->state == CHUNK_SIZE) add_digit(b, stream, *at);
  }
  return end;
}

void body_read(struct body *b, uint32_t stream, const char *at, size_t length, uint64_t now) {
  const char *end = at + length;
  while (at < end) {
    switch (b->state) {
      case PLAIN:
        scan(b, stream, at, (size_t)(end - at), now);
        return;
      case CHUNK_SIZE:
      case CHUNK_EXTENSION:
        at = read_size(b, stream, at, end);
        break;
      case CHUNK_DATA: {
        size_t here = (size_t)(end - at) < b->left ? (size_t)(end - at) : b->left;
        scan(b, stream, at, here, now);
        at += here;
        b->left -= here;
        if (b->left == 0) b->state = CHUNK_END;
        break;
      }
      case CHUNK_END:
        if (*at++ == '\n') b->state = CHUNK_SIZE;
        break;
    }
  }
}
