#include "streams.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "body.h"
#include "clock.h"
#include "config.h"
#include "connect.h"
#include "cursors.h"
#include "fail.h"
#include "ledger.h"
#include "loop.h"

enum { HEAD_LIMIT = 8192, SMALL_READ = 1024, READ_SIZE = 256 * 1024 };

struct stream {
  int fd;
  uint8_t requested;
  uint8_t ready;
  char *head; /* of the response, until it is complete; then null */
  size_t head_length;
  struct body body;
};

static struct stream *streams;
static unsigned begun, ready;

static void begin_next(void) {
  while (begun < config.streams && begun - ready < config.connecting) {
    struct stream *s = &streams[begun];
    s->fd = connect_to(config.host, config.port);
    s->head = malloc(HEAD_LIMIT + 1);
    if (s->head == NULL) fail(EXIT_USAGE, "out of memory");
    loop_add(s->fd, begun++, EPOLLIN | EPOLLOUT | EPOLLET);
  }
}

void streams_open(void) {
  streams = calloc(config.streams, sizeof *streams);
  if (streams == NULL) fail(EXIT_USAGE, "out of memory");
  begin_next();
}

static void request(struct stream *s, uint32_t number) {
  char text[2048];
  const char *cursor = cursors_of(ledger_channel_of(number));
  int length = snprintf(text, sizeof text,
                        "GET /stream?channel=%s%u HTTP/1.1\r\nHost: %s:%d\r\nAccept: text/event-stream\r\n%s%s%s\r\n",
                        config.prefix, ledger_channel_of(number), config.host, config.port,
                        cursor ? "Last-Event-ID: " : "", cursor ? cursor : "", cursor ? "\r\n" : "");
  if (length >= (int)sizeof text) fail(EXIT_USAGE, "a cursor is too long");
  /* The first bytes on a socket that has just connected: they always fit. */
  if (send(s->fd, text, (size_t)length, MSG_NOSIGNAL) != length) fail(EXIT_PROTOCOL, "stream %u: no request", number);
  s->requested = 1;
  loop_modify(s->fd, number, EPOLLIN | EPOLLET);
}

/* Takes what belongs to the head; answers how many bytes that was. */
static size_t read_head(struct stream *s, uint32_t number, const char *at, size_t length) {
  size_t before = s->head_length;
  size_t taken = length < HEAD_LIMIT - before ? length : HEAD_LIMIT - before;
  memcpy(s->head + before, at, taken);
  s->head_length += taken;
  s->head[s->head_length] = '\0';
  char *end = strstr(s->head, "\r\n\r\n");
  if (end == NULL) {
    if (s->head_length == HEAD_LIMIT) fail(EXIT_PROTOCOL, "stream %u: the head has no end", number);
    return taken;
  }
  end[2] = '\0';
  if (strncmp(s->head, "HTTP/1.1 200", 12) != 0) fail(EXIT_PROTOCOL, "stream %u was answered:\n%s", number, s->head);
  body_begin(&s->body, strcasestr(s->head, "transfer-encoding: chunked") != NULL);
  size_t used = (size_t)(end + 4 - s->head) - before;
  free(s->head);
  s->head = NULL;
  return used;
}

/* An event ends after its data; a stream counts as open with any byte, be it of a comment. */
static void judge(struct stream *s, uint32_t number) {
  if (s->ready || !s->body.begun || ledger_position(number) < config.expect) return;
  s->ready = 1;
  ready++;
  begin_next();
}

/*
 * Puts off the acknowledgement of a small read, which the kernel would send at once, as it is all there was: on loopback
 * that costs the client twice what reading costs, and is handled on the server's socket while that one writes. The
 * kernel forgets it whenever an acknowledgement was late, so that it has to be said with each read.
 */
static void delay_ack(int fd) {
  int off = 0;
  setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &off, sizeof off);
}

static void receive(struct stream *s, uint32_t number) {
  static char buffer[READ_SIZE];
  for (;;) {
    ssize_t got = recv(s->fd, buffer, sizeof buffer, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got < 0) fail(EXIT_PROTOCOL, "stream %u: %s", number, strerror(errno));
    if (got == 0) fail(EXIT_PROTOCOL, "stream %u was ended by the server after %lu events", number, ledger_position(number));
    uint64_t now = now_ns();
    totals.reads++;
    if (got < SMALL_READ) delay_ack(s->fd);
    size_t used = s->head ? read_head(s, number, buffer, (size_t)got) : 0;
    if (s->head == NULL && used < (size_t)got) {
      body_read(&s->body, number, buffer + used, (size_t)got - used, now);
      if (!s->ready) judge(s, number);
    }
    /* Less than there was room for: the next byte raises a new edge, so there is no need to ask again. */
    if ((size_t)got < sizeof buffer) return;
  }
}

void streams_handle(uint32_t number, uint32_t events) {
  struct stream *s = &streams[number];
  if (!s->requested && (events & EPOLLOUT) && !(events & (EPOLLERR | EPOLLHUP))) request(s, number);
  if (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) receive(s, number);
}

unsigned streams_ready(void) {
  return ready;
}

void streams_close(void) {
  for (unsigned i = 0; i < begun; i++) close(streams[i].fd);
}
