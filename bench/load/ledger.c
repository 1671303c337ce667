#include "ledger.h"

#include <stdlib.h>

#include "fail.h"
#include "histogram.h"

struct channel {
  uint64_t next;      /* number of the event that is published next */
  uint64_t first;     /* the first one published by us */
  uint32_t streams;   /* that listen to it */
  uint32_t *waiting;  /* ring: how many streams have yet to get event `number & mask` */
};

struct reader {
  uint64_t next; /* the number that is expected now */
  uint64_t seen; /* bit i: event `next - 1 - i` was seen; tells a repeat from one that comes too late */
};

struct totals totals;

static struct channel *channels;
static struct reader *readers;
static unsigned channel_count;
static uint64_t mask;

void ledger_open(unsigned streams, unsigned count, unsigned window, unsigned already_published) {
  uint64_t ring = 1;
  while (ring < window) ring *= 2;
  mask = ring - 1;
  channel_count = count;
  channels = calloc(count, sizeof *channels);
  readers = calloc(streams, sizeof *readers);
  if (channels == NULL || readers == NULL) fail(EXIT_USAGE, "out of memory");
  for (unsigned i = 0; i < count; i++) {
    channels[i].next = channels[i].first = already_published;
    channels[i].waiting = calloc(ring, sizeof(uint32_t));
    if (channels[i].waiting == NULL) fail(EXIT_USAGE, "out of memory");
  }
  for (unsigned i = 0; i < streams; i++) channels[ledger_channel_of(i)].streams++;
}

void ledger_reset_totals(void) {
  totals = (struct totals){0};
}

unsigned ledger_channel_of(unsigned stream) {
  return stream % channel_count;
}

uint64_t ledger_in_flight(void) {
  return totals.published - totals.done;
}

uint64_t ledger_publish(unsigned channel) {
  struct channel *c = &channels[channel];
  uint64_t number = c->next++;
  c->waiting[number & mask] = c->streams;
  totals.published++;
  return number;
}

/* One stream is finished with the event, which it has got or lost. */
static void settle(struct channel *c, uint64_t number) {
  if (number < c->first) return;
  if (--c->waiting[number & mask] == 0) totals.done++;
}

void ledger_deliver(unsigned stream, uint64_t number, uint64_t ns) {
  struct channel *c = &channels[ledger_channel_of(stream)];
  struct reader *r = &readers[stream];
  if (number >= c->next) {
    fail(EXIT_PROTOCOL, "stream %u got event %lu of a channel that had %lu", stream, number, c->next);
  }
  if (number < r->next) {
    uint64_t back = r->next - 1 - number;
    if (back < 64 && (r->seen >> back & 1) == 0) {
      /* It was counted as lost, and settled, when a later one came before it. */
      r->seen |= 1ull << back;
      totals.losses--;
      totals.disorder++;
      totals.deliveries++;
    } else {
      totals.repeats++;
    }
    return;
  }
  uint64_t missing = number - r->next;
  totals.losses += missing;
  for (uint64_t lost = r->next; lost < number; lost++) settle(c, lost);
  r->seen = missing >= 63 ? 1 : r->seen << (missing + 1) | 1;
  r->next = number + 1;
  settle(c, number);
  totals.deliveries++;
  if (number >= c->first) histogram_add(ns);
}

uint64_t ledger_position(unsigned stream) {
  return readers[stream].next;
}
