/* The event streams: opened a few at a time, then read as cheaply as can be. */
#pragma once

#include <stdint.h>

/* Begins to open all streams. */
void streams_open(void);
void streams_handle(uint32_t stream, uint32_t events);
/* Streams that have had the first bytes of their body, and the events they were to get first. */
unsigned streams_ready(void);
/* Ends them all, in the way a client does that leaves. */
void streams_close(void);
