/*
 * The end of an event's data: "~#", ten digits of its number on the channel, nineteen of the monotonic time at
 * which it was published. At the end, because an event is finished when its last byte has arrived. Two unusual
 * bytes and a fixed width are found with memchr in the frames of any peer, quoted or not, without parsing them; no
 * digit has to be escaped in JSON or a URL.
 */
#pragma once

#include <stdint.h>

enum { MARKER_SEQUENCE = 10, MARKER_TIME = 19, MARKER_LENGTH = 2 + MARKER_SEQUENCE + MARKER_TIME };

void marker_write(char *at, uint64_t sequence, uint64_t ns);
/* False: these bytes only look like one. */
int marker_read(const char *at, uint64_t *sequence, uint64_t *ns);
