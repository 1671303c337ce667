/* What the command line says; the defaults are in main.c. */
#pragma once

#include <stddef.h>

struct config {
  const char *host;
  int port;         /* of the server under test */
  int publish_port; /* of what takes PUBLISH: Redis, or a process that forwards it */
  unsigned streams;
  unsigned channels;
  const char *prefix;  /* a channel's name is this and its number */
  size_t size;         /* bytes of an event's data */
  const char *cursors; /* a file with a Last-Event-ID for each channel, a line each */
  unsigned expect;     /* events of each channel that were published before, and that a stream gets first */
  unsigned connecting; /* streams that may be on their way at once, so that no listen queue overflows */
  unsigned gather_us;  /* for which the client lets events come before it looks at its sockets again */
  unsigned stall_s;    /* seconds without any progress after which a run is void */
};

extern struct config config;
