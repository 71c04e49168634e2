/* The world that the engine works in: pairs of sockets, and in each pair a stream of which every byte is known. */
#ifndef DRIVE_WORLD_H
#define DRIVE_WORLD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdnoreturn.h>

#define PAIRS 12
#define FED 3         /* another thread, the peer, sends to the pairs below this number, */
#define OURS 5        /* and receives from those below this one; they live as long as the program */
#define LARGEST 40000 /* bytes sent at a time */

#define CHECK(condition) ((condition) ? (void)0 : failed(#condition, __FILE__, __LINE__))

struct pair {
    int fds[2]; /* sent from the first, received at the second */
    int generation;
    _Atomic uint64_t sent;
    uint64_t received;
};

extern struct pair pairs[PAIRS];
extern atomic_ulong byte_count;

/* Every choice follows from the seed, but for those of the peer. */
void plant(unsigned seed);
int below(int limit);
noreturn void failed(const char *condition, const char *file, int line);
double now(void);

void make_pair(int number);
void close_pair(int number);

/* A copy of what comes at that place of the pair's stream. */
char *bytes_from(int number, uint64_t position, int size);

/* Checks that these bytes are what comes next. */
void take_bytes(int number, const char *bytes, int count);

/* Receives what nobody has, and checks that it is all that was sent. */
void take_the_rest(int number);

/* Waits for events of poll(2), whatever signals come meanwhile. */
void await(int fd, short events);

void send_byte(int number);

void start_peer(void);
void stop_peer(void);

#endif
