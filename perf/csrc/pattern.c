/*
 * The bytes sent are a repeating random pattern.  Its length is a prime, so
 * that a piece lost, repeated or moved by a round number of bytes shows.
 */
#include "load.h"

#define PERIOD 4093

static unsigned char pattern[PERIOD + CHUNK];

void fill_pattern(void)
{
    uint32_t state = 2463534242;

    for (size_t i = 0; i < PERIOD; i++) {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        pattern[i] = (unsigned char)(state >> 24);
    }
    for (size_t i = PERIOD; i < sizeof pattern; i++)
        pattern[i] = pattern[i - PERIOD];
}

const unsigned char *pattern_at(uint64_t place)
{
    return pattern + place % PERIOD;
}
