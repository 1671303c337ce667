#pragma once

/* Reads the Last-Event-ID of each channel from a file, a line each. */
void cursors_read(const char *path, unsigned channels);
/* Null where none was given. */
const char *cursors_of(unsigned channel);
