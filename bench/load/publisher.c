#include "publisher.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "config.h"
#include "connect.h"
#include "fail.h"
#include "ledger.h"
#include "loop.h"
#include "marker.h"

static int fd;
static char *out;
static size_t out_length, out_capacity;
static uint64_t sent, answered;
static char *filler;

void publisher_open(void) {
  fd = connect_to(config.host, config.publish_port);
  loop_add(fd, SOURCE_PUBLISHER, EPOLLIN | EPOLLOUT | EPOLLET);
  filler = malloc(config.size);
  if (filler == NULL) fail(EXIT_USAGE, "out of memory");
  for (size_t i = 0; i < config.size; i++) filler[i] = (char)('a' + i % 26);
}

static void reserve(size_t bytes) {
  if (out_length + bytes <= out_capacity) return;
  out_capacity = (out_length + bytes) * 2;
  out = realloc(out, out_capacity);
  if (out == NULL) fail(EXIT_USAGE, "out of memory");
}

void publisher_publish(unsigned channel) {
  char name[128];
  int name_length = snprintf(name, sizeof name, "%s%u", config.prefix, channel);
  reserve(256 + config.size);
  out_length += (size_t)sprintf(out + out_length, "*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%s\r\n$%zu\r\n", name_length, name,
                                config.size);
  memcpy(out + out_length, filler, config.size);
  out_length += config.size;
  marker_write(out + out_length - MARKER_LENGTH, ledger_publish(channel), now_ns());
  memcpy(out + out_length, "\r\n", 2);
  out_length += 2;
  sent++;
}

void publisher_flush(void) {
  if (out_length == 0) return;
  ssize_t written = write(fd, out, out_length);
  if (written < 0) {
    if (errno == EAGAIN || errno == EINPROGRESS || errno == ENOTCONN) return;
    fail(EXIT_PROTOCOL, "publishing: %s", strerror(errno));
  }
  out_length -= (size_t)written;
  memmove(out, out + written, out_length);
}

/* Answers are one line each: ":<receivers>", or "-" and a fault. */
static void read_answers(const char *at, size_t length) {
  static char line[256];
  static size_t line_length;
  for (size_t i = 0; i < length; i++) {
    if (at[i] != '\n') {
      if (line_length < sizeof line - 1) line[line_length++] = at[i];
      continue;
    }
    line[line_length] = '\0';
    if (line[0] != ':') fail(EXIT_PROTOCOL, "PUBLISH was answered: %s", line);
    line_length = 0;
    answered++;
  }
}

void publisher_handle(uint32_t events) {
  static char buffer[65536];
  if (events & EPOLLOUT) publisher_flush();
  for (;;) {
    ssize_t got = recv(fd, buffer, sizeof buffer, 0);
    if (got == 0) fail(EXIT_PROTOCOL, "the connection that publishes was closed");
    if (got < 0) {
      if (errno == EAGAIN || errno == ENOTCONN) return;
      fail(EXIT_PROTOCOL, "publishing: %s", strerror(errno));
    }
    read_answers(buffer, (size_t)got);
    if ((size_t)got < sizeof buffer) return;
  }
}

uint64_t publisher_unanswered(void) {
  return sent - answered;
}
