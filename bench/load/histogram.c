#include "histogram.h"

#include <string.h>

/* 32 buckets for each power of two: linear below 32 ns, then by the five bits behind the leading one. */
enum { STEPS = 32, STEP_BITS = 5, BUCKETS = (64 - STEP_BITS + 1) * STEPS };

static uint64_t counts[BUCKETS];
static uint64_t total;

static unsigned bucket_of(uint64_t ns) {
  if (ns < STEPS) return (unsigned)ns;
  unsigned shift = 63u - (unsigned)__builtin_clzll(ns) - STEP_BITS;
  return (shift + 1) * STEPS + (unsigned)((ns >> shift) & (STEPS - 1));
}

static uint64_t upper_bound_of(unsigned bucket) {
  if (bucket < STEPS) return bucket;
  unsigned shift = bucket / STEPS - 1;
  return ((uint64_t)(STEPS + bucket % STEPS + 1) << shift) - 1;
}

void histogram_reset(void) {
  memset(counts, 0, sizeof counts);
  total = 0;
}

void histogram_add(uint64_t ns) {
  counts[bucket_of(ns)]++;
  total++;
}

double histogram_quantile_us(double share) {
  uint64_t wanted = (uint64_t)(share * (double)total);
  uint64_t passed = 0;
  for (unsigned bucket = 0; bucket < BUCKETS; bucket++) {
    passed += counts[bucket];
    if (passed > wanted || (total > 0 && passed == total)) return (double)upper_bound_of(bucket) / 1000.0;
  }
  return 0;
}
