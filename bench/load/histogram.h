/* Latencies in buckets that are 3% wide: quantiles without keeping millions of samples. */
#pragma once

#include <stdint.h>

void histogram_reset(void);
void histogram_add(uint64_t ns);
/* The latency, in microseconds, that a share (0 to 1) of all samples does not exceed. */
double histogram_quantile_us(double share);
