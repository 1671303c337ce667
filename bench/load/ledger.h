/*
 * Who has got what: the account of every event, from being published until every stream of its channel has it.
 * Knows no sockets.
 */
#pragma once

#include <stdint.h>

struct totals {
  uint64_t published;
  uint64_t done; /* events that are settled for every stream of their channel */
  uint64_t deliveries;
  uint64_t losses;
  uint64_t repeats;
  uint64_t disorder;
  uint64_t reads; /* of a socket that brought something, events or not */
};

extern struct totals totals;

/* `window`: the most events that will ever be in flight at once. */
void ledger_open(unsigned streams, unsigned channels, unsigned window, unsigned already_published);
void ledger_reset_totals(void);

unsigned ledger_channel_of(unsigned stream);
uint64_t ledger_in_flight(void);
/* The number of the next event of the channel, which is thereby in flight. */
uint64_t ledger_publish(unsigned channel);
/* An event that was read. `ns` is how long it took. */
void ledger_deliver(unsigned stream, uint64_t sequence, uint64_t ns);
/* How many events of its channel the stream has got or passed over. */
uint64_t ledger_position(unsigned stream);
