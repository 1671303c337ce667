#include "marker.h"

static void write_digits(char *at, int width, uint64_t value) {
  while (width-- > 0) {
    at[width] = (char)('0' + value % 10);
    value /= 10;
  }
}

static int read_digits(const char *at, int width, uint64_t *value) {
  uint64_t read = 0;
  for (int i = 0; i < width; i++) {
    unsigned digit = (unsigned)(at[i] - '0');
    if (digit > 9) return 0;
    read = read * 10 + digit;
  }
  *value = read;
  return 1;
}

void marker_write(char *at, uint64_t sequence, uint64_t ns) {
  at[0] = '~';
  at[1] = '#';
  write_digits(at + 2, MARKER_SEQUENCE, sequence);
  write_digits(at + 2 + MARKER_SEQUENCE, MARKER_TIME, ns);
}

int marker_read(const char *at, uint64_t *sequence, uint64_t *ns) {
  return at[0] == '~' && at[1] == '#' && read_digits(at + 2, MARKER_SEQUENCE, sequence) &&
         read_digits(at + 2 + MARKER_SEQUENCE, MARKER_TIME, ns);
}
