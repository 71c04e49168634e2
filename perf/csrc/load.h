/*
 * Load generators for an echo server on this machine: what their parts share.
 *
 * One thread, epoll, non-blocking sockets.  Every connection keeps a fixed
 * number of messages in flight (a closed loop) and checks every byte that comes
 * back.  After a warm-up, one window is measured: the messages completed in it,
 * their latency, and the CPU time that the server's process spent in exactly
 * that window.  The result is one line of JSON on standard output.
 *
 * Exit code: 0 when every message sent came back intact, 1 when one did not,
 * 2 when the load could not be run.
 */
#ifndef LOAD_H
#define LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define NS_PER_S UINT64_C(1000000000)

/* Seconds a connect may take, and seconds the messages still in flight at the
 * window's end may take to come back. */
#define PATIENCE_S 5

/* Bytes that one send or one receive moves at most. */
#define CHUNK (256 * 1024)

/* ---- load.c: the phases, and what is counted ---- */

enum phase { WARM_UP, MEASURE, DRAIN };

extern enum phase phase;
extern uint64_t errors;
extern uint64_t lost; /* datagrams that did not come back in time */

void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
uint64_t now_ns(void);

/* Reports a connection's error; the first ones are told about, all count. */
void complain(long connection, const char *reason);

/* Counts a message that has come back, begun at the one time and back now. */
void count(uint64_t begun, uint64_t now);

/* Asks epoll (EPOLL_CTL_ADD or _MOD) for a descriptor's events. */
void watch(int operation, int fd, uint32_t events, void *who);

/* Opens a blocking socket and connects it to the server, from a local address
 * of the kernel's choice if there is none given. */
int connect_socket(int type, const struct sockaddr *local, socklen_t length);

/* ---- options.c ---- */

struct options {
    struct sockaddr_storage address;
    socklen_t address_length; /* 0 until an address was given */
    long port, connections, size, depth, pid;
    double warmup, seconds;
};

extern struct options options;

void read_options(int argc, char **argv);

/* ---- edge.c: what is read at an edge of the window ---- */

struct edge {
    uint64_t time_ns; /* monotonic */
    uint64_t cpu_ns;  /* of the server */
    double user_s, system_s;
};

void find_server(void); /* by its pid, once, before the first edge */
struct edge read_edge(void);

/* ---- histogram.c ---- */

void note_latency(uint64_t ns);
double latency_us(double share); /* which this share of them did not exceed */

/* ---- pattern.c: the bytes that are sent ---- */

void fill_pattern(void);

/* The pattern's bytes from a place on, CHUNK of them at least. */
const unsigned char *pattern_at(uint64_t place);

/* ---- what each kind of load is made of: streams.c, churn.c, datagrams.c ---- */

void open_all(void);                        /* make all connections */
void begin_all(void);                       /* send the first messages */
void serve(void *who, uint32_t events);     /* what epoll has reported */
bool all_back(void);                        /* is nothing on its way any more? */
void give_up(void);                         /* complain about what is not back */

#endif
