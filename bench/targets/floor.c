/*
 * The floor: the least that a server of event streams can do. One thread, one epoll; it subscribes to a channel
 * with its first stream, gathers what Redis sent in one wake-up, and writes it to each client once. No limits, no
 * heartbeats, no answer to anything that the load client does not do: only good to compare with.
 *
 * floor <redis port>: prints the port it listens on.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHANNELS = 65536, FILES = 65536, READ_SIZE = 1 << 20 };

struct channel {
  int *clients;
  int count, capacity;
  enum { UNHEARD, ASKED, HEARD } state;
  char *out; /* the frames of this wake-up, a chunk each */
  size_t length, room;
  char waiting; /* has something to write */
};

/* By the number at the end of their names, which is all that tells them apart here. */
static struct channel channels[CHANNELS];
static int channel_of[FILES]; /* a client's channel + 1 */
static int touched[CHANNELS], touched_count;
static int epoll_fd, listener, redis;
static char buffer[READ_SIZE + 1];
static size_t held; /* bytes of an incomplete message of Redis, at the buffer's beginning */

static void watch(int fd) {
  struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static int number_of(const char *name, size_t length) {
  const char *digits = memrchr(name, ':', length);
  return digits == NULL ? 0 : atoi(digits + 1) % CHANNELS;
}

static void answer(int fd) {
  static const char head[] =
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
      "Transfer-Encoding: chunked\r\n\r\n8\r\n: open\n\n\r\n";
  if (send(fd, head, sizeof head - 1, MSG_NOSIGNAL) < 0) perror("send");
}

static void open_stream(int fd, char *text) {
  char *name = strstr(text, "channel=");
  char *end = name ? strchr(name, ' ') : NULL;
  if (end == NULL) return;
  name += 8;
  int number = number_of(name, (size_t)(end - name));
  struct channel *c = &channels[number];
  if (c->count == c->capacity) {
    c->capacity = c->capacity ? c->capacity * 2 : 4;
    c->clients = realloc(c->clients, sizeof(int) * (size_t)c->capacity);
  }
  c->clients[c->count++] = fd;
  channel_of[fd] = number + 1;
  if (c->state == HEARD) answer(fd);
  if (c->state != UNHEARD) return;
  c->state = ASKED;
  dprintf(redis, "*2\r\n$9\r\nSUBSCRIBE\r\n$%d\r\n%.*s\r\n", (int)(end - name), (int)(end - name), name);
}

/* Redis has acknowledged the channel: only now its streams may count as open. */
static void heard(int number) {
  struct channel *c = &channels[number];
  c->state = HEARD;
  for (int i = 0; i < c->count; i++) answer(c->clients[i]);
}

static void leave(int fd) {
  int number = channel_of[fd] - 1;
  channel_of[fd] = 0;
  close(fd);
  if (number < 0) return;
  struct channel *c = &channels[number];
  for (int i = 0; i < c->count; i++) {
    if (c->clients[i] == fd) c->clients[i--] = c->clients[--c->count];
  }
}

static void add(int number, const char *data, size_t length) {
  struct channel *c = &channels[number];
  if (!c->waiting) touched[touched_count++] = number;
  c->waiting = 1;
  if (c->length + length + 32 > c->room) c->out = realloc(c->out, c->room = (c->length + length + 32) * 2);
  c->length += (size_t)sprintf(c->out + c->length, "%zx\r\ndata: ", length + 8);
  memcpy(c->out + c->length, data, length);
  memcpy(c->out + c->length + length, "\n\n\r\n", 4);
  c->length += length + 4;
}

/* A bulk string or an integer at `*at`; moves behind it. Null: it has not come entirely. */
static char *take(char **at, char *end, size_t *length) {
  char *line = memchr(*at, '\n', (size_t)(end - *at));
  if (line == NULL) return NULL;
  char *word = line + 1;
  *length = **at == '$' ? (size_t)atol(*at + 1) : 0;
  char *behind = **at == '$' ? word + *length + 2 : word;
  if (behind > end) return NULL;
  *at = behind;
  return word;
}

/* Messages and acknowledgements are arrays of three; only a message has data as its third. */
static void read_redis(void) {
  ssize_t got = recv(redis, buffer + held, READ_SIZE - held, 0);
  if (got <= 0) exit(1);
  char *at = buffer, *end = buffer + held + got;
  while (at < end) {
    char *next = memchr(at, '\n', (size_t)(end - at));
    size_t length[3];
    char *word[3] = {0};
    if (next == NULL) break;
    next++;
    for (int i = 0; i < 3; i++) {
      if (next >= end || (word[i] = take(&next, end, &length[i])) == NULL) break;
    }
    if (word[2] == NULL) break;
    int number = number_of(word[1], length[1]);
    if (length[2] > 0) add(number, word[2], length[2]);
    else heard(number);
    at = next;
  }
  held = (size_t)(end - at);
  memmove(buffer, at, held);
}

static void write_all(void) {
  for (int i = 0; i < touched_count; i++) {
    struct channel *c = &channels[touched[i]];
    for (int client = 0; client < c->count; client++) {
      ssize_t sent = send(c->clients[client], c->out, c->length, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent >= 0 && (size_t)sent < c->length) fprintf(stderr, "floor: a client does not keep up\n");
    }
    c->length = 0;
    c->waiting = 0;
  }
  touched_count = 0;
}

static void read_client(int fd) {
  static char text[8192];
  ssize_t got = recv(fd, text, sizeof text - 1, 0);
  if (got <= 0) {
    leave(fd);
    return;
  }
  text[got] = '\0';
  open_stream(fd, text);
}

static void accept_client(void) {
  int fd = accept(listener, NULL, NULL);
  int on = 1;
  if (fd < 0 || fd >= FILES) return;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  watch(fd);
}

int main(int argc, char **argv) {
  struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  struct sockaddr_in other = own;
  struct rlimit limit;
  socklen_t size = sizeof own;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  other.sin_port = htons((uint16_t)(argc == 2 ? atoi(argv[1]) : 0));
  redis = socket(AF_INET, SOCK_STREAM, 0);
  listener = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(redis, (struct sockaddr *)&other, sizeof other) < 0 ||
      bind(listener, (struct sockaddr *)&own, sizeof own) < 0 || listen(listener, 4096) < 0) {
    perror("floor");
    return 1;
  }
  getsockname(listener, (struct sockaddr *)&own, &size);
  printf("%d\n", ntohs(own.sin_port));
  fflush(stdout);
  epoll_fd = epoll_create1(0);
  watch(listener);
  watch(redis);
  for (;;) {
    static struct epoll_event events[1024];
    int count = epoll_wait(epoll_fd, events, 1024, -1);
    for (int i = 0; i < count; i++) {
      int fd = events[i].data.fd;
      if (fd == listener) accept_client();
      else if (fd == redis) read_redis();
      else read_client(fd);
    }
    write_all();
  }
}
