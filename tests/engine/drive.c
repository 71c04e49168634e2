/* Drives the engine's whole interface at random, and checks each answer against a model of what was asked.
 *
 *     drive SEED SECONDS
 *
 * Checked are: every operation has exactly one last completion; bytes arrive once and in order, whichever forms of
 * send and receive are mixed and cancelled; a send at once that was not refused is done. The sanitizers that this is
 * compiled with check the rest. A seed repeats the choices, though not the kernel's timing. */
#define _GNU_SOURCE
#include "engine.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define PAIRS 12
#define MOST_OPERATIONS 64
#define POOL_BUFFERS 8
#define POOL_SIZE 1024
#define LARGEST 40000

#define CHECK(condition) ((condition) ? (void)0 : failed(#condition, __LINE__))

enum kind { NONE, RECV, RECV_POOLED, RECV_MULTISHOT, SEND, POLL, POLL_MULTISHOT, ACCEPT, ACCEPT_MULTISHOT, CONNECT };

struct operation {
    enum kind kind;
    uint64_t key;
    int64_t ticket;
    bool cancelled;
    int pair, generation;
    int fd; /* of a connect */
    unsigned size;
    char *memory;
    struct sockaddr_un *address;
    socklen_t *address_size;
};

struct pair {
    int fds[2]; /* sent from the first, received at the second */
    int generation;
    uint64_t sent, received;
};

static struct operation operations[MOST_OPERATIONS];
static struct pair pairs[PAIRS];
static int listener;
static struct sockaddr_un listening_at;
static socklen_t listening_size;
static ul_engine *engine;
static uint64_t next_key = 2;
static unsigned seed, first_seed;
static double deadline;
static unsigned long staged_count, completed_count, cancelled_count, at_once_count, refused_count, byte_count, rings;

static void failed(const char *condition, int line)
{
    fprintf(stderr, "seed %u, line %d: not %s\n", first_seed, line, condition);
    abort();
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int below(int limit)
{
    return rand_r(&seed) % limit;
}

/* The byte at a place in the stream of a pair. */
static char byte_at(int number, uint64_t position)
{
    return (char)(number * 31 + (int)(position % 251));
}

static char *bytes_from(int number, uint64_t position, unsigned size)
{
    char *bytes = malloc(size ? size : 1);
    CHECK(bytes);
    for (unsigned i = 0; i < size; i++)
        bytes[i] = byte_at(number, position + i);
    return bytes;
}

static void take_bytes(const struct operation *o, const char *bytes, int count)
{
    struct pair *pair = &pairs[o->pair];
    if (o->generation != pair->generation)
        return;
    for (int i = 0; i < count; i++)
        CHECK(bytes[i] == byte_at(o->pair, pair->received + (uint64_t)i));
    pair->received += (uint64_t)count;
    byte_count += (unsigned long)count;
    CHECK(pair->received <= pair->sent + LARGEST); /* a send that is in flight may have been received already */
}

static void make_pair(int number)
{
    struct pair *pair = &pairs[number];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair->fds) == 0);
    pair->generation++;
    pair->sent = pair->received = 0;
}

static struct operation *find(uint64_t key)
{
    for (int i = 0; i < MOST_OPERATIONS; i++)
        if (operations[i].kind && operations[i].key == key)
            return &operations[i];
    failed("an operation that is in flight", __LINE__);
    return NULL;
}

static bool busy(int number, enum kind first, enum kind last)
{
    for (int i = 0; i < MOST_OPERATIONS; i++)
        if (operations[i].kind >= first && operations[i].kind <= last && operations[i].pair == number)
            return true;
    return false;
}

/* Also how an operation is staged anew on the next ring. */
static void stage(struct operation *o)
{
    struct pair *pair = &pairs[o->pair];
    switch (o->kind) {
    case RECV:
        o->ticket = ul_stage_recv(engine, o->key, pair->fds[1], o->memory, o->size);
        break;
    case RECV_POOLED:
        o->ticket = ul_stage_recv_pooled(engine, o->key, pair->fds[1], POOL_SIZE);
        break;
    case RECV_MULTISHOT:
        o->ticket = ul_stage_recv_multishot(engine, o->key, pair->fds[1]);
        break;
    case SEND:
        o->ticket = ul_stage_send(engine, o->key, pair->fds[0], o->memory, o->size);
        break;
    case POLL:
    case POLL_MULTISHOT:
        o->ticket = ul_stage_poll(engine, o->key, pair->fds[1], POLLIN, o->kind == POLL_MULTISHOT);
        break;
    case ACCEPT:
        o->ticket = ul_stage_accept(engine, o->key, listener, o->address, o->address_size);
        break;
    case ACCEPT_MULTISHOT:
        o->ticket = ul_stage_accept_multishot(engine, o->key, listener);
        break;
    case CONNECT:
        o->ticket = ul_stage_connect(engine, o->key, o->fd, o->address, listening_size);
        break;
    case NONE:
        break;
    }
    CHECK(o->ticket >= 0);
    staged_count++;
}

static void submit(void)
{
    struct operation *o = NULL;
    for (int i = 0; i < MOST_OPERATIONS; i++)
        if (!operations[i].kind)
            o = &operations[i];
    if (!o)
        return;
    enum kind kind = (enum kind)(1 + below(CONNECT));
    int number = below(PAIRS);
    if (kind <= RECV_MULTISHOT && busy(number, RECV, RECV_MULTISHOT))
        return;
    if (kind == SEND && busy(number, SEND, SEND))
        return;
    *o = (struct operation){.kind = kind, .key = next_key++, .pair = number, .generation = pairs[number].generation};
    o->size = (unsigned)(1 + below(below(4) ? 500 : LARGEST));
    if (kind == RECV)
        o->memory = malloc(o->size);
    if (kind == SEND)
        o->memory = bytes_from(number, pairs[number].sent, o->size);
    if (kind == ACCEPT || kind == CONNECT) {
        o->address = malloc(sizeof(*o->address));
        o->address_size = malloc(sizeof(*o->address_size));
        CHECK(o->address && o->address_size);
        *o->address = listening_at;
        *o->address_size = sizeof(*o->address);
    }
    if (kind == CONNECT) {
        o->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        CHECK(o->fd >= 0);
    }
    stage(o);
}

static void end(struct operation *o)
{
    completed_count++;
    free(o->memory);
    free(o->address);
    free(o->address_size);
    if (o->kind == CONNECT)
        close(o->fd);
    o->kind = NONE;
}

static void complete(uint64_t key, int result, unsigned flags)
{
    struct operation *o = find(key);
    bool more = flags & IORING_CQE_F_MORE;
    CHECK(!more || o->kind == RECV_MULTISHOT || o->kind == POLL_MULTISHOT || o->kind == ACCEPT_MULTISHOT);
    CHECK(result != -EINVAL && result != -EFAULT && result != -EBADF);
    CHECK(result != -ECANCELED || o->cancelled);
    if (result > 0 && o->kind == RECV)
        take_bytes(o, o->memory, result);
    if (result > 0 && (o->kind == RECV_POOLED || o->kind == RECV_MULTISHOT)) {
        CHECK(flags & IORING_CQE_F_BUFFER);
        take_bytes(o, (char *)ul_pool_memory(engine) + (flags >> IORING_CQE_BUFFER_SHIFT) * POOL_SIZE, result);
    }
    if (o->kind == SEND && o->generation == pairs[o->pair].generation) {
        CHECK(result < 0 || result == (int)o->size || o->cancelled);
        pairs[o->pair].sent += result > 0 ? (uint64_t)result : 0;
    }
    if (result >= 0 && (o->kind == ACCEPT || o->kind == ACCEPT_MULTISHOT))
        close(result);
    if (!more)
        end(o);
}

static void dispatch(int words)
{
    CHECK(words >= 0);
    CHECK(words == ul_harvested(engine));
    int arrived = ul_arrived(engine);
    for (int64_t *a = ul_arrivals(engine); a < ul_arrivals(engine) + arrived; a += UL_ARRIVAL_WORDS) {
        struct operation *o = find((uint64_t)a[0]);
        CHECK(o->kind == RECV_MULTISHOT && a[1] >= 0 && a[1] < a[2] && a[2] <= POOL_BUFFERS * POOL_SIZE);
        take_bytes(o, (char *)ul_pool_memory(engine) + a[1], (int)(a[2] - a[1]));
    }
    for (int64_t *e = ul_events(engine); e < ul_events(engine) + words - arrived; e += UL_EVENT_WORDS)
        complete((uint64_t)e[0], (int)e[1], (unsigned)e[2]);
}

static void cancel(struct operation *o)
{
    if (o->cancelled)
        return;
    o->cancelled = true;
    cancelled_count++;
    CHECK(ul_cancel(engine, o->key, o->ticket) == 0);
}

/* Sends at once on pairs that have no other send; then whatever is in flight goes on for a turn. */
static void take_turn(double timeout)
{
    int numbers[PAIRS], fds[PAIRS], sizes[PAIRS], count = 0;
    size_t total = 0;
    char *data = malloc((size_t)PAIRS * LARGEST);
    CHECK(data);
    for (int number = 0; number < PAIRS; number++) {
        if (below(3) || busy(number, SEND, SEND))
            continue;
        int size = 1 + below(below(4) ? 300 : LARGEST);
        char *bytes = bytes_from(number, pairs[number].sent, (unsigned)size);
        memcpy(data + total, bytes, (size_t)size);
        free(bytes);
        total += (size_t)size;
        numbers[count] = number;
        fds[count] = pairs[number].fds[0];
        sizes[count++] = size;
    }
    CHECK(ul_stage_sends_at_once(engine, count, fds, sizes, data) == 0);
    CHECK(ul_sends_at_once(engine) == (unsigned)count);
    int64_t turns = ul_turns(engine);
    int words = below(8) ? ul_turn(engine, timeout) : ul_collect(engine);
    CHECK(ul_turns(engine) - turns <= 1);
    unsigned refused = ul_settle(engine);
    memset(data, 0, (size_t)PAIRS * LARGEST); /* the kernel has let go of it */
    free(data);
    for (unsigned i = 0; i < refused; i++) {
        const int64_t *refusal = ul_refusals(engine) + i * UL_REFUSAL_WORDS;
        CHECK(refusal[0] >= 0 && refusal[0] < count);
        int sent = (int)refusal[1];
        CHECK(sent < sizes[refusal[0]] && (sent > 0 || sent == -EAGAIN));
        sizes[refusal[0]] = sent > 0 ? sent : 0;
    }
    for (int i = 0; i < count; i++)
        pairs[numbers[i]].sent += (uint64_t)sizes[i];
    at_once_count += (unsigned long)count;
    refused_count += refused;
    dispatch(words);
}

/* Closes a pair as soon as its operations are cancelled: nothing of them may touch the next user of the numbers. */
static void replace_pair(int number)
{
    for (int i = 0; i < MOST_OPERATIONS; i++)
        if (operations[i].kind && operations[i].kind <= POLL_MULTISHOT && operations[i].pair == number)
            cancel(&operations[i]);
    close(pairs[number].fds[0]);
    close(pairs[number].fds[1]);
    make_pair(number);
}

static void step(void)
{
    switch (below(16)) {
    case 0:
        CHECK(ul_flush(engine) == 0);
        break;
    case 1:
        replace_pair(below(PAIRS));
        break;
    case 2:
        CHECK(ul_owned_here(engine));
        break;
    case 3:
    case 4: {
        struct operation *o = &operations[below(MOST_OPERATIONS)];
        if (o->kind)
            cancel(o);
        break;
    }
    case 5:
    case 6:
    case 7:
        take_turn(below(4) ? 0 : 0.001);
        break;
    default:
        submit();
    }
}

static void open_ring(void)
{
    static const unsigned sizes[][2] = {{256, 1024}, {16, 64}, {4, 8}, {1, 2}};
    const unsigned *size = sizes[below(4)];
    CHECK(ul_open(engine, size[0], size[1]) == 0);
    CHECK(ul_pool_attach(engine) == 0);
    CHECK(ul_has_opcode(engine, IORING_OP_RECV) == 1);
    CHECK(ul_features(engine) & IORING_FEAT_EXT_ARG);
    CHECK(ul_enable(engine) == 0);
    rings++;
}

/* A thread's time as the owner of the ring. The ring of the one before is given up, and what it still had in flight,
 * which that thread has seen to be restartable, is staged anew. */
static void *own(void *unused)
{
    (void)unused;
    if (rings) {
        CHECK(!ul_owned_here(engine));
        dispatch(ul_harvest(engine));
        ul_close(engine);
    }
    open_ring();
    for (int i = 0; i < MOST_OPERATIONS; i++)
        if (operations[i].kind) {
            if (operations[i].cancelled)
                end(&operations[i]);
            else
                stage(&operations[i]);
        }
    if (below(2))
        ul_register_fd(engine);
    for (int steps = 50 + below(2000); steps && now() < deadline; steps--)
        step();
    for (int i = 0; i < MOST_OPERATIONS; i++)
        if (operations[i].kind == SEND || operations[i].kind == CONNECT)
            cancel(&operations[i]);
    int full = ul_finish(engine);
    CHECK(full >= 0);
    if (full)
        dispatch(ul_collect(engine));
    ul_unregister_fd(engine);
    if (now() < deadline)
        return NULL;
    for (int i = 0; i < MOST_OPERATIONS; i++)
        operations[i].cancelled = operations[i].kind != NONE;
    CHECK(ul_cancel_all(engine) == 0);
    for (int turns = 0; turns < 100; turns++)
        dispatch(ul_turn(engine, 0));
    for (int i = 0; i < MOST_OPERATIONS; i++)
        CHECK(!operations[i].kind);
    ul_free(engine);
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: drive SEED SECONDS\n");
        return 2;
    }
    first_seed = seed = (unsigned)strtoul(argv[1], NULL, 10);
    deadline = now() + strtod(argv[2], NULL);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    listening_at.sun_family = AF_UNIX;
    listening_size = sizeof(listening_at);
    CHECK(bind(listener, (struct sockaddr *)&listening_at, sizeof(sa_family_t)) == 0); /* any free abstract name */
    CHECK(getsockname(listener, (struct sockaddr *)&listening_at, &listening_size) == 0);
    CHECK(listen(listener, 100) == 0);
    for (int number = 0; number < PAIRS; number++)
        make_pair(number);
    engine = ul_new();
    CHECK(engine && ul_pool_open(engine, POOL_BUFFERS, POOL_SIZE) == 0);
    while (now() < deadline) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, own, NULL) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
    }
    printf("seed %u: %lu rings, %lu operations staged, %lu completed, %lu cancelled, %lu sends at once, %lu refused, "
           "%lu bytes\n",
           first_seed, rings, staged_count, completed_count, cancelled_count, at_once_count, refused_count, byte_count);
    return 0;
}
