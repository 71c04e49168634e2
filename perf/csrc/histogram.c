/*
 * The latencies of the messages, in a log-linear histogram: 64 buckets to each
 * power of two, so a value is known to within 1.6 %, and any number of
 * nanoseconds has its bucket.
 */
#include "load.h"

#define BUCKETS (58 * 64 + 64)

static uint64_t histogram[BUCKETS];
static uint64_t total;

static unsigned bucket_of(uint64_t value)
{
    if (value < 128)
        return (unsigned)value;
    unsigned shift = 57 - (unsigned)__builtin_clzll(value);
    return shift * 64 + (unsigned)(value >> shift);
}

/* The middle of a bucket's values. */
static double bucket_value(unsigned bucket)
{
    if (bucket < 128)
        return bucket;
    unsigned shift = bucket / 64 - 1;
    uint64_t low = (uint64_t)(bucket - shift * 64) << shift;
    return (double)low + (double)(UINT64_C(1) << shift) / 2;
}

void note_latency(uint64_t ns)
{
    histogram[bucket_of(ns)]++;
    total++;
}

double latency_us(double share)
{
    uint64_t seen = 0;

    for (unsigned bucket = 0; bucket < BUCKETS; bucket++) {
        seen += histogram[bucket];
        if (seen > 0 && (double)seen >= share * (double)total)
            return bucket_value(bucket) / 1e3;
    }
    return 0;
}
