#include "cursors.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"

static char **cursors;

void cursors_read(const char *path, unsigned channels) {
  FILE *file = fopen(path, "r");
  if (file == NULL) fail(EXIT_USAGE, "%s: %s", path, strerror(errno));
  cursors = calloc(channels, sizeof *cursors);
  if (cursors == NULL) fail(EXIT_USAGE, "out of memory");
  for (unsigned i = 0; i < channels; i++) {
    size_t capacity = 0;
    ssize_t length = getline(&cursors[i], &capacity, file);
    if (length < 1) fail(EXIT_USAGE, "%s: expected %u lines, got %u", path, channels, i);
    if (cursors[i][length - 1] == '\n') cursors[i][length - 1] = '\0';
  }
  fclose(file);
}

const char *cursors_of(unsigned channel) {
  return cursors == NULL ? NULL : cursors[channel];
}
