/* One epoll for everything, edge-triggered: a socket is told of once, and read until there is no more. */
#pragma once

#include <stdint.h>

/* Whose event it is: streams have their own number, the others one from above. */
enum { SOURCE_PUBLISHER = 0xffffff00u, SOURCE_STDIN, SOURCE_TIMER };

void loop_open(void);
void loop_add(int fd, uint32_t source, uint32_t events);
void loop_modify(int fd, uint32_t source, uint32_t events);
/* Handles what is there, waiting for it at most so long; writes what was published meanwhile. */
void loop_turn(int timeout_ms);
/*
 * Lets events come for a moment. A client that sleeps on its sockets is woken by every single write of the server,
 * which pays for that: an interrupt of another core, as no client on another machine costs it.
 */
void loop_gather(void);
/* Wakes the loop at that time, which may be sooner than a millisecond from now. */
void loop_wake_at(uint64_t ns);
/* Whether a line waits on the standard input, or its end. */
int loop_has_command(void);
/* The line, without its end; null when there is no more. */
const char *loop_take_command(void);
