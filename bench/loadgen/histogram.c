/* Latencies in buckets of 1/64: constant memory, constant time. */
#include "loadgen.h"

#define SUB 64
#define BUCKETS (40 * SUB)

static uint64_t hist[BUCKETS], total, greatest;

void hist_add(uint64_t us)
{
    int shift = 0;
    uint64_t v = us;
    while (v >= 2 * SUB) {
        v >>= 1;
        shift++;
    }
    if (shift * SUB + v < BUCKETS)
        hist[shift * SUB + v]++;
    total++;
    if (us > greatest)
        greatest = us;
}

uint64_t hist_at(double quantile)
{
    uint64_t want = (uint64_t)(quantile * total), seen = 0;
    for (int i = 0; i < BUCKETS; i++) {
        seen += hist[i];
        if (hist[i] && seen > want) {
            if (i < 2 * SUB)
                return i;
            int shift = i / SUB - 1;
            return ((uint64_t)(i - shift * SUB)) << shift;
        }
    }
    return greatest;
}

uint64_t hist_max(void)
{
    return greatest;
}
