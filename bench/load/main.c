/*
 * The load client: opens event streams, publishes, and counts what each stream gets. It says "ready" on its
 * standard output as JSON, then takes commands on its standard input, and answers each with a line of JSON:
 *
 *   run <events> <seconds>     closed loop: `--window` events in flight, until so many are out or the time is up
 *   rate <events> <perSecond>  at a fixed rate, with at most `--window` in flight
 *   idle <seconds>             publishes nothing; `reads` tells of what came by itself
 *
 * and ends with its input. It has to cost far less than the server, whose CPU is what is measured.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "clock.h"
#include "config.h"
#include "cursors.h"
#include "fail.h"
#include "histogram.h"
#include "ledger.h"
#include "loop.h"
#include "marker.h"
#include "publisher.h"
#include "streams.h"

struct config config = {
    .host = "127.0.0.1",
    .streams = 1,
    .channels = 1,
    .prefix = "c:",
    .size = 100,
    .connecting = 64,
    .stall_s = 10,
    .gather_us = 200,
};

static unsigned window = 1;

static unsigned long read_number(const char *name, const char *text, unsigned long least) {
  char *end;
  unsigned long value = strtoul(text, &end, 10);
  if (*text == '\0' || *end != '\0' || value < least) fail(EXIT_USAGE, "expected --%s as a number from %lu, got %s", name, least, text);
  return value;
}

static void read_options(int argc, char **argv) {
  static const struct option known[] = {
      {"port", required_argument, NULL, 'p'},       {"publish-port", required_argument, NULL, 'P'},
      {"streams", required_argument, NULL, 'n'},    {"channels", required_argument, NULL, 'c'},
      {"prefix", required_argument, NULL, 'x'},     {"size", required_argument, NULL, 's'},
      {"window", required_argument, NULL, 'w'},     {"cursors", required_argument, NULL, 'u'},
      {"expect", required_argument, NULL, 'e'},     {"connecting", required_argument, NULL, 'k'},
      {"stall-seconds", required_argument, NULL, 'l'}, {"gather-us", required_argument, NULL, 'g'},
      {NULL, 0, NULL, 0}};
  int index = 0;
  for (int option; (option = getopt_long(argc, argv, "", known, &index)) != -1;) {
    if (option == '?') exit(EXIT_USAGE);
    const char *name = known[index].name;
    switch (option) {
      case 'x': config.prefix = optarg; break;
      case 'u': config.cursors = optarg; break;
      case 'p': config.port = (int)read_number(name, optarg, 1); break;
      case 'P': config.publish_port = (int)read_number(name, optarg, 1); break;
      case 'n': config.streams = (unsigned)read_number(name, optarg, 1); break;
      case 'c': config.channels = (unsigned)read_number(name, optarg, 1); break;
      case 's': config.size = read_number(name, optarg, MARKER_LENGTH); break;
      case 'w': window = (unsigned)read_number(name, optarg, 1); break;
      case 'e': config.expect = (unsigned)read_number(name, optarg, 0); break;
      case 'k': config.connecting = (unsigned)read_number(name, optarg, 1); break;
      case 'g': config.gather_us = (unsigned)read_number(name, optarg, 0); break;
      case 'l': config.stall_s = (unsigned)read_number(name, optarg, 1); break;
    }
  }
  if (config.port == 0 || config.publish_port == 0) fail(EXIT_USAGE, "expected --port and --publish-port");
  if (config.channels > config.streams) fail(EXIT_USAGE, "expected at least one stream for each channel");
}

/* A file for each stream, and a few besides. */
static void raise_limit(void) {
  struct rlimit limit;
  rlim_t needed = config.streams + 64;
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur >= needed) return;
  limit.rlim_cur = needed;
  if (limit.rlim_max < needed) limit.rlim_max = needed;
  if (setrlimit(RLIMIT_NOFILE, &limit) == 0) return;
  fail(EXIT_USAGE, "%u streams need `ulimit -n` of at least %lu", config.streams, (unsigned long)needed);
}

/* Ends the run as void, with what there is, when nothing has moved for too long. */
struct watch {
  uint64_t progress;
  uint64_t since;
};

static void print_result(const char *phase, uint64_t start, uint64_t end, uint64_t cpu, const char *fault) {
  printf("{\"phase\":\"%s\",\"events\":%" PRIu64 ",\"deliveries\":%" PRIu64 ",\"seconds\":%.6f,\"losses\":%" PRIu64
         ",\"repeats\":%" PRIu64 ",\"disorder\":%" PRIu64 ",\"unfinished\":%" PRIu64
         ",\"p50Us\":%.1f,\"p99Us\":%.1f,\"cpuUs\":%" PRIu64 ",\"reads\":%" PRIu64 ",\"ready\":%u,\"void\":",
         phase, totals.published, totals.deliveries, (double)(end - start) / 1e9, totals.losses, totals.repeats,
         totals.disorder, ledger_in_flight(), histogram_quantile_us(0.5), histogram_quantile_us(0.99), cpu,
         totals.reads, streams_ready());
  if (fault == NULL) puts("null}");
  else printf("\"%s\"}\n", fault);
  fflush(stdout);
}

static int is_stuck(struct watch *watch, uint64_t progress, uint64_t now) {
  if (progress != watch->progress || watch->since == 0) *watch = (struct watch){progress, now};
  return now - watch->since > config.stall_s * 1000000000ull;
}

static void open_all(void) {
  uint64_t start = now_ns(), cpu = cpu_us();
  struct watch watch = {0, 0};
  streams_open();
  while (streams_ready() < config.streams) {
    loop_gather();
    loop_turn(100);
    if (is_stuck(&watch, streams_ready() + totals.deliveries, now_ns())) {
      print_result("ready", start, now_ns(), cpu_us() - cpu, "stuck: not all streams have opened");
      exit(EXIT_VOID);
    }
  }
  print_result("ready", start, now_ns(), cpu_us() - cpu, NULL);
}

/* Repeats come late if at all: looks out for them a little longer. */
static void linger(void) {
  uint64_t until = now_ns() + 50000000u;
  while (now_ns() < until) loop_turn(10);
}

/* How many may be out by now. */
static uint64_t due(uint64_t events, double per_second, uint64_t start, uint64_t now) {
  if (per_second <= 0) return events;
  uint64_t by_now = 1 + (uint64_t)((double)(now - start) / 1e9 * per_second);
  return by_now < events ? by_now : events;
}

static void publish_all(uint64_t events, double seconds, double per_second) {
  struct watch watch = {0, 0};
  ledger_reset_totals();
  histogram_reset();
  uint64_t start = now_ns(), cpu = cpu_us(), now = start, limit = start + (uint64_t)(seconds * 1e9);
  while (totals.published < events || ledger_in_flight() > 0 || publisher_unanswered() > 0) {
    if (seconds > 0 && now >= limit && totals.published > 0) events = totals.published;
    uint64_t target = due(events, per_second, start, now);
    while (totals.published < target && ledger_in_flight() < window) {
      publisher_publish((unsigned)(totals.published % config.channels));
    }
    publisher_flush();
    if (per_second > 0 && totals.published < events) {
      loop_wake_at(start + (uint64_t)((double)totals.published / per_second * 1e9));
    }
    loop_gather();
    loop_turn(100);
    now = now_ns();
    if (is_stuck(&watch, totals.deliveries + totals.published, now)) {
      print_result("run", start, now, cpu_us() - cpu, "stuck: not every stream has every event");
      exit(EXIT_VOID);
    }
  }
  cpu = cpu_us() - cpu;
  linger();
  print_result("run", start, now, cpu, NULL);
}

static void idle(double seconds) {
  ledger_reset_totals();
  histogram_reset();
  uint64_t start = now_ns(), cpu = cpu_us(), end = start + (uint64_t)(seconds * 1e9);
  for (uint64_t now = start; now < end; now = now_ns()) loop_turn((int)((end - now) / 1000000u) + 1);
  print_result("idle", start, now_ns(), cpu_us() - cpu, NULL);
}

static void obey(const char *command) {
  uint64_t events;
  double argument;
  if (sscanf(command, "run %" SCNu64 " %lf", &events, &argument) == 2) publish_all(events, argument, 0);
  else if (sscanf(command, "rate %" SCNu64 " %lf", &events, &argument) == 2) publish_all(events, 0, argument);
  else if (sscanf(command, "idle %lf", &argument) == 1) idle(argument);
  else fail(EXIT_USAGE, "expected run, rate or idle, got %s", command);
}

int main(int argc, char **argv) {
  read_options(argc, argv);
  raise_limit();
  if (config.cursors != NULL) cursors_read(config.cursors, config.channels);
  ledger_open(config.streams, config.channels, window, config.expect);
  loop_open();
  publisher_open();
  open_all();
  for (;;) {
    while (!loop_has_command()) loop_turn(-1);
    const char *command = loop_take_command();
    if (command == NULL) break;
    obey(command);
  }
  streams_close();
  return 0;
}
