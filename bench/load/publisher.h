/* Publishes over one connection, in the words of Redis: PUBLISH channel data. */
#pragma once

#include <stdint.h>

void publisher_open(void);
void publisher_handle(uint32_t events);
/* Puts one event of the channel in line; flush() sends all that wait with one write. */
void publisher_publish(unsigned channel);
void publisher_flush(void);
/* Commands that were not answered yet. */
uint64_t publisher_unanswered(void);
