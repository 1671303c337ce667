#include "loop.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "fail.h"
#include "publisher.h"
#include "streams.h"

enum { EVENTS = 1024 };

static int epoll_fd;
static int timer_fd;
static char input[256];
static size_t input_length;
static int input_ended;
static char command[256];

void loop_open(void) {
  epoll_fd = epoll_create1(0);
  timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
  if (epoll_fd < 0 || timer_fd < 0) fail(EXIT_USAGE, "epoll: %s", strerror(errno));
  loop_add(timer_fd, SOURCE_TIMER, EPOLLIN | EPOLLET);
  fcntl(STDIN_FILENO, F_SETFL, fcntl(STDIN_FILENO, F_GETFL) | O_NONBLOCK);
  loop_add(STDIN_FILENO, SOURCE_STDIN, EPOLLIN);
}

static void control(int operation, int fd, uint32_t source, uint32_t events) {
  struct epoll_event event = {.events = events, .data.u32 = source};
  if (epoll_ctl(epoll_fd, operation, fd, &event) < 0) fail(EXIT_USAGE, "epoll_ctl: %s", strerror(errno));
}

void loop_add(int fd, uint32_t source, uint32_t events) {
  control(EPOLL_CTL_ADD, fd, source, events);
}

void loop_modify(int fd, uint32_t source, uint32_t events) {
  control(EPOLL_CTL_MOD, fd, source, events);
}

static void read_input(void) {
  ssize_t got = read(STDIN_FILENO, input + input_length, sizeof input - input_length);
  if (got > 0) input_length += (size_t)got;
  else if (got == 0 || errno != EAGAIN) {
    input_ended = 1;
    epoll_ctl(epoll_fd, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
  }
  if (input_length == sizeof input) fail(EXIT_USAGE, "a command is too long");
}

void loop_turn(int timeout_ms) {
  static struct epoll_event events[EVENTS];
  int count = epoll_wait(epoll_fd, events, EVENTS, timeout_ms);
  if (count < 0 && errno != EINTR) fail(EXIT_USAGE, "epoll_wait: %s", strerror(errno));
  for (int i = 0; i < count; i++) {
    switch (events[i].data.u32) {
      case SOURCE_PUBLISHER:
        publisher_handle(events[i].events);
        break;
      case SOURCE_STDIN:
        read_input();
        break;
      case SOURCE_TIMER: {
        uint64_t expirations;
        if (read(timer_fd, &expirations, sizeof expirations) < 0 && errno != EAGAIN) fail(EXIT_USAGE, "timer");
        break;
      }
      default:
        streams_handle(events[i].data.u32, events[i].events);
    }
  }
}

void loop_gather(void) {
  struct timespec moment = {.tv_nsec = (long)config.gather_us * 1000};
  if (config.gather_us > 0) nanosleep(&moment, NULL);
}

void loop_wake_at(uint64_t ns) {
  struct itimerspec at = {.it_value = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)}};
  timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
}

int loop_has_command(void) {
  return input_ended || memchr(input, '\n', input_length) != NULL;
}

const char *loop_take_command(void) {
  char *end = memchr(input, '\n', input_length);
  if (end == NULL) return NULL;
  size_t length = (size_t)(end - input);
  memcpy(command, input, length);
  command[length] = '\0';
  input_length -= length + 1;
  memmove(input, end + 1, input_length);
  return command;
}
