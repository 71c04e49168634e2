/* Drives the engine's whole interface at random, as the loop does, and checks each answer against a model.
 *
 *     drive SEED SECONDS
 *
 * Checked are: every operation has exactly one last completion; bytes arrive once, in order and all of them, whichever
 * forms of send and receive are mixed and cancelled; datagrams arrive as they were sent; a send at once that was not
 * refused is done; after a cancel the kernel uses neither memory nor descriptor. The sanitizers that this is compiled
 * with check the rest. A seed repeats the choices, though not the kernel's timing. */
#define _GNU_SOURCE
#include "engine.h"
#include "world.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST_OPERATIONS 64
#define MOST_AT_ONCE 300
#define POOL_SIZE 1024
#define FILLING ((char)0xa5) /* of memory that nothing was received into */
#define FEATURE_NO_IOWAIT (1U << 17)
#define MOST_DATAGRAMS (UL_LARGEST_BATCH + 8)
#define MOST_TURNS 1000 /* until all that was cancelled has ended, with a ring that has little room */
#define SIGNAL_INTERVAL 3000 /* us */
#define OVERTIME 90          /* s */

enum kind { NONE, RECV, RECV_POOLED, RECV_MULTISHOT, SEND, POLL, POLL_MULTISHOT, ACCEPT, CONNECT, KINDS };

struct operation {
    enum kind kind;
    uint64_t key;
    int64_t ticket;
    bool cancelled, let_go; /* the kernel has let go when a cancel has succeeded */
    bool ended;             /* the last completion is kept */
    int pair, generation;
    int fd; /* of a connect */
    int size;
    char *memory, *memory_then; /* then: when the kernel let go of it */
    struct sockaddr_in *address;
    socklen_t *address_size;
};

struct words {
    int64_t *words;
    int count, capacity;
};

/* One of the sends at once of a turn: on a pair, or one that cannot but fail with the error. */
struct at_once {
    int pair, fd, size, error;
};

static struct operation operations[MOST_OPERATIONS];
static struct words arrivals, events; /* harvested, but not yet dispatched */
static struct at_once sends[MOST_AT_ONCE];
static int send_count, listener, broken[2], datagrams[2];
static char *send_memory;
static size_t send_memory_size;
static unsigned pool_buffers;
static struct sockaddr_in listening_at;
static ul_engine *engine;
static uint64_t next_key = 2;
static bool enabled, restricted;
static double deadline;
static unsigned long staged_count, completed_count, cancelled_count, at_once_count, refused_count, rings,
    datagram_count;

static struct operation *find(uint64_t key)
{
    for (int i = 0; i < MOST_OPERATIONS; i++)
        if (operations[i].kind && operations[i].key == key)
            return &operations[i];
    CHECK(!"an operation that is in flight");
    return NULL;
}

static bool busy(int number, enum kind first, enum kind last)
{
    for (int i = 0; i < MOST_OPERATIONS; i++)
        if (operations[i].kind >= first && operations[i].kind <= last && operations[i].pair == number)
            return true;
    return false;
}

/* Operations: staged, cancelled, completed */

/* Also how an operation is staged anew on the next ring. */
static void stage(struct operation *o)
{
    struct pair *pair = &pairs[o->pair];
    int64_t ticket = -1;
    switch (o->kind) {
    case RECV:
        ticket = ul_stage_recv(engine, o->key, pair->fds[1], o->memory, (size_t)o->size);
        break;
    case RECV_POOLED:
        ticket = ul_stage_recv_pooled(engine, o->key, pair->fds[1], (unsigned)o->size);
        break;
    case RECV_MULTISHOT:
        ticket = ul_stage_recv_multishot(engine, o->key, pair->fds[1]);
        break;
    case SEND:
        ticket = ul_stage_send(engine, o->key, pair->fds[0], o->memory, (size_t)o->size);
        break;
    case POLL:
    case POLL_MULTISHOT:
        ticket = ul_stage_poll(engine, o->key, pair->fds[1], POLLIN, o->kind == POLL_MULTISHOT);
        break;
    case ACCEPT:
        ticket = ul_stage_accept(engine, o->key, listener, o->address, o->address_size);
        break;
    case CONNECT:
        ticket = ul_stage_connect(engine, o->key, o->fd, o->address, sizeof(*o->address));
        break;
    case NONE:
    case KINDS:
        break;
    }
    CHECK(ticket >= 0);
    o->ticket = ticket;
    staged_count++;
}

static void give_memory(struct operation *o)
{
    if (o->kind == RECV) {
        o->memory = malloc((size_t)o->size);
        CHECK(o->memory);
        memset(o->memory, FILLING, (size_t)o->size);
    }
    if (o->kind == SEND)
        o->memory = bytes_from(o->pair, pairs[o->pair].sent, o->size);
    if (o->kind == ACCEPT || o->kind == CONNECT) {
        o->address = malloc(sizeof(*o->address));
        o->address_size = malloc(sizeof(*o->address_size));
        CHECK(o->address && o->address_size);
        *o->address = listening_at;
        *o->address_size = sizeof(*o->address);
    }
}

/* Closed without a TIME_WAIT, of which a port has only so many. */
static void close_at_once(int fd)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(fd);
}

static struct operation *new_operation(enum kind kind, int number)
{
    struct operation *o = NULL;
    for (int i = 0; i < MOST_OPERATIONS; i++)
        if (!operations[i].kind)
            o = &operations[i];
    if (o)
        *o = (struct operation){.kind = kind, .key = next_key++, .pair = number, .generation = pairs[number].generation};
    return o;
}

static void submit(void)
{
    enum kind kind = (enum kind)(1 + below(KINDS - 1));
    int number = below(PAIRS);
    if ((kind <= RECV_MULTISHOT && ((number >= FED && number < OURS) || busy(number, RECV, RECV_MULTISHOT))) ||
        (kind == SEND && (number < FED || busy(number, SEND, SEND))))
        return;
    struct operation *o = new_operation(kind, number);
    if (!o)
        return;
    o->size = 1 + below(kind == RECV_POOLED ? POOL_SIZE : below(4) ? 500 : LARGEST);
    if (kind == CONNECT) {
        o->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        CHECK(o->fd >= 0);
    }
    give_memory(o);
    stage(o);
}

/* In a thread that does not own the ring, only what the kernel has not seen can be cancelled. */
static void cancel(struct operation *o, bool by_owner)
{
    if (o->cancelled)
        return;
    int result = ul_cancel(engine, o->key, o->ticket);
    CHECK(result == 0 || (result == -EEXIST && !by_owner));
    o->cancelled = true;
    o->let_go = result == 0;
    cancelled_count++;
    if (o->let_go && o->kind == SEND)
        memset(o->memory, FILLING, (size_t)o->size);
    if (o->let_go && o->kind == RECV) {
        o->memory_then = malloc((size_t)o->size);
        CHECK(o->memory_then);
        memcpy(o->memory_then, o->memory, (size_t)o->size);
    }
}

static void end(struct operation *o)
{
    completed_count++;
    free(o->memory);
    free(o->memory_then);
    free(o->address);
    free(o->address_size);
    if (o->kind == CONNECT)
        close_at_once(o->fd);
    o->kind = NONE;
}

/* Could its pair be closed under it? Not if the kernel had let go; but who does not own the ring cannot have that. */
static bool hung_up(const struct operation *o)
{
    return o->cancelled && !o->let_go && o->generation != pairs[o->pair].generation;
}

static void check_receive(const struct operation *o, int result, unsigned flags)
{
    const char *bytes = o->memory;
    if (result <= 0) {
        CHECK(result == -ECANCELED || (result == -ENOBUFS && o->kind != RECV) || (result == 0 && hung_up(o)));
        return;
    }
    if (o->kind == RECV) {
        CHECK(result <= o->size);
        CHECK(!o->memory_then || memcmp(o->memory, o->memory_then, (size_t)o->size) == 0);
        for (int i = result; i < o->size; i++)
            CHECK(bytes[i] == FILLING);
    } else {
        CHECK(flags & IORING_CQE_F_BUFFER);
        CHECK(result <= (o->kind == RECV_POOLED ? o->size : POOL_SIZE));
        bytes = (char *)ul_pool_memory(engine) + (flags >> IORING_CQE_BUFFER_SHIFT) * POOL_SIZE;
    }
    if (o->generation == pairs[o->pair].generation)
        take_bytes(o->pair, bytes, result);
}

static void check_send(const struct operation *o, int result)
{
    CHECK(result == o->size || (o->cancelled && (result == -ECANCELED || (result > 0 && result < o->size))));
    if (o->generation == pairs[o->pair].generation && result > 0)
        pairs[o->pair].sent += (uint64_t)result;
}

static void check_accept(const struct operation *o, int fd)
{
    struct sockaddr_in peer;
    socklen_t size = sizeof(peer);
    if (fd < 0) {
        CHECK(fd == -ECANCELED);
        return;
    }
    CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK && fcntl(fd, F_GETFD) & FD_CLOEXEC);
    CHECK(*o->address_size == sizeof(*o->address) && o->address->sin_family == AF_INET);
    if (getpeername(fd, (struct sockaddr *)&peer, &size) == 0) /* it has not gone already */
        CHECK(memcmp(&peer, o->address, sizeof(peer)) == 0);
    close_at_once(fd);
}

/* A completion, in the order of its operation's completions. */
static void complete(uint64_t key, int result, unsigned flags)
{
    struct operation *o = find(key);
    bool more = flags & IORING_CQE_F_MORE;
    CHECK(!more || o->kind == RECV_MULTISHOT || o->kind == POLL_MULTISHOT);
    CHECK(result != -ECANCELED || o->cancelled);
    if (o->kind <= RECV_MULTISHOT)
        check_receive(o, result, flags);
    else if (o->kind == SEND)
        check_send(o, result);
    else if (o->kind == ACCEPT)
        check_accept(o, result);
    else if (o->kind == CONNECT)
        CHECK(result == 0 || o->cancelled);
    else
        CHECK(result == POLLIN || result == -ECANCELED || (result > 0 && hung_up(o)));
    if (!more)
        end(o);
}

/* Completions: kept, dispatched */

static void append(struct words *array, const int64_t *words, int count)
{
    if (array->count + count > array->capacity) {
        array->capacity = 2 * (array->count + count);
        array->words = realloc(array->words, (size_t)array->capacity * sizeof(*words));
        CHECK(array->words);
    }
    if (count)
        memcpy(array->words + array->count, words, (size_t)count * sizeof(*words));
    array->count += count;
}

/* Copies what was harvested. The buffers of the pool that it names are its own until the next turn. */
static void keep(int words)
{
    CHECK(words >= 0 && words == ul_harvested(engine));
    int arrived = ul_arrived(engine);
    CHECK(arrived >= 0 && arrived <= words && words % UL_EVENT_WORDS == 0 && arrived % UL_ARRIVAL_WORDS == 0);
    append(&arrivals, ul_arrivals(engine), arrived);
    append(&events, ul_events(engine), words - arrived);
}

static void dispatch(void)
{
    for (int64_t *a = arrivals.words; a < arrivals.words + arrivals.count; a += UL_ARRIVAL_WORDS) {
        struct operation *o = find((uint64_t)a[0]);
        CHECK(o->kind == RECV_MULTISHOT);
        CHECK(a[1] >= 0 && a[1] % POOL_SIZE == 0 && a[1] < (int64_t)pool_buffers * POOL_SIZE);
        CHECK(a[2] > a[1] && a[2] <= a[1] + POOL_SIZE);
        if (o->generation == pairs[o->pair].generation)
            take_bytes(o->pair, (char *)ul_pool_memory(engine) + a[1], (int)(a[2] - a[1]));
    }
    for (int64_t *e = events.words; e < events.words + events.count; e += UL_EVENT_WORDS)
        if (e[0])
            complete((uint64_t)e[0], (int)e[1], (unsigned)e[2]);
    arrivals.count = events.count = 0;
}

/* Sends at once */

static void add_send(int pair, int fd, int size, int error)
{
    if (send_count < MOST_AT_ONCE)
        sends[send_count++] = (struct at_once){.pair = pair, .fd = fd, .size = size, .error = error};
}

static void choose_sends(void)
{
    send_count = 0;
    for (int number = FED; number < PAIRS; number++)
        if (!below(3) && !busy(number, SEND, SEND))
            add_send(number, pairs[number].fds[0], 1 + below(below(4) ? 300 : LARGEST), 0);
    int hopeless = below(10) ? 0 : below(below(10) ? 5 : MOST_AT_ONCE);
    for (int i = 0; i < hopeless; i++)
        add_send(-1, i % 2 ? broken[0] : -1, 10, i % 2 ? -EPIPE : -EBADF);
    send_memory_size = 1;
    for (int i = 0; i < send_count; i++)
        send_memory_size += (size_t)sends[i].size;
}

/* Together or one by one; on pairs that have no other send. */
static void stage_sends(void)
{
    int fds[MOST_AT_ONCE], sizes[MOST_AT_ONCE];
    choose_sends();
    send_memory = calloc(1, send_memory_size);
    char *end = send_memory;
    CHECK(send_memory);
    for (int i = 0; i < send_count; i++) {
        fds[i] = sends[i].fd;
        sizes[i] = sends[i].size;
        if (sends[i].pair >= 0) {
            char *bytes = bytes_from(sends[i].pair, pairs[sends[i].pair].sent, sizes[i]);
            memcpy(end, bytes, (size_t)sizes[i]);
            free(bytes);
        }
        end += sizes[i];
    }
    if (below(2)) {
        CHECK(ul_stage_sends_at_once(engine, send_count, fds, sizes, send_memory) == 0);
    } else {
        end = send_memory;
        for (int i = 0; i < send_count; end += sizes[i++])
            CHECK(ul_stage_sends_at_once(engine, 1, &fds[i], &sizes[i], end) == 0);
    }
    CHECK(ul_sends_at_once(engine) == (unsigned)send_count);
}

/* What was not refused has been sent, and the kernel has let go of all of the memory. */
static void settle(void)
{
    unsigned refused = ul_settle(engine);
    CHECK(ul_sends_at_once(engine) == 0 && refused <= (unsigned)send_count);
    memset(send_memory, FILLING, send_memory_size);
    free(send_memory);
    for (unsigned i = 0; i < refused; i++) {
        const int64_t *refusal = ul_refusals(engine) + i * UL_REFUSAL_WORDS;
        CHECK(refusal[0] >= 0 && refusal[0] < send_count);
        struct at_once *send = &sends[refusal[0]];
        int sent = (int)refusal[1];
        if (send->error)
            CHECK(sent == send->error);
        else
            CHECK(sent == -EAGAIN || (sent > 0 && sent < send->size));
        send->error = 0;
        send->size = sent > 0 ? sent : 0;
    }
    for (int i = 0; i < send_count; i++) {
        CHECK(!sends[i].error);
        if (sends[i].pair >= 0)
            pairs[sends[i].pair].sent += (uint64_t)sends[i].size;
    }
    at_once_count += (unsigned long)send_count;
    refused_count += refused;
}

/* Datagrams */

/* Sends datagrams that fit into the receiver's buffer; each is of its own number. */
static int send_datagrams(int *sizes)
{
    static char bytes[65507];
    int count = below(MOST_DATAGRAMS), largest = 2000;
    if (!below(8)) {
        count = 1;
        largest = sizeof(bytes);
    }
    for (int i = 0; i < count; i++) {
        sizes[i] = below(4) ? below(largest + 1) : 0;
        memset(bytes, i, (size_t)sizes[i]);
        CHECK(send(datagrams[0], bytes, (size_t)sizes[i], MSG_DONTWAIT) == sizes[i]);
    }
    return count;
}

static void check_datagram(const int64_t *place, int number, int size)
{
    struct sockaddr_in sender;
    socklen_t sender_size = sizeof(sender);
    const char *memory = ul_batch_memory(engine);
    CHECK(getsockname(datagrams[0], (struct sockaddr *)&sender, &sender_size) == 0);
    CHECK(place[1] - place[0] == size && place[3] - place[2] == sender_size);
    CHECK(place[0] >= 0 && place[1] < place[2] && place[3] <= (int64_t)ul_batch_size());
    CHECK(memcmp(memory + place[2], &sender, sender_size) == 0);
    for (int i = 0; i < size; i++)
        CHECK(memory[place[0] + i] == (char)number);
}

/* In batches, as large as may be or not. */
static void receive_datagrams(void)
{
    int sizes[MOST_DATAGRAMS], received = 0, result;
    CHECK(ul_batch_memory(engine) && ul_receive_batch(engine, -1, 1) == -EBADF);
    int count = send_datagrams(sizes), most = 1 + below(MOST_DATAGRAMS), largest;
    largest = most < UL_LARGEST_BATCH ? most : UL_LARGEST_BATCH;
    while (received < count) {
        await(datagrams[1], POLLIN); /* the kernel may be slow to deliver */
        result = ul_receive_batch(engine, datagrams[1], (unsigned)most);
        CHECK(result > 0 && result <= (count - received < largest ? count - received : largest));
        for (int i = 0; i < result; i++, received++)
            check_datagram(ul_batch_places(engine) + i * UL_PLACE_WORDS, received, sizes[received]);
    }
    CHECK(ul_receive_batch(engine, datagrams[1], (unsigned)most) == -EAGAIN);
    datagram_count += (unsigned long)count;
}

/* Turns */

static void turn(double timeout)
{
    int64_t turns = ul_turns(engine);
    keep(ul_turn(engine, timeout));
    CHECK(ul_turns(engine) == turns + 1);
}

static void collect(void)
{
    int64_t turns = ul_turns(engine);
    keep(ul_collect(engine));
    CHECK(ul_turns(engine) == turns);
}

/* Without a limit if there is an operation that ends by itself, thanks to the peer. */
static double choose_timeout(void)
{
    if (below(4))
        return 0;
    for (int i = 0; i < MOST_OPERATIONS; i++) {
        const struct operation *o = &operations[i];
        if (o->pair < FED && !o->cancelled && ((o->kind >= RECV && o->kind <= RECV_MULTISHOT) || o->kind == POLL))
            return -1;
    }
    return 0.0005;
}

/* A turn of the loop. What it has harvested is not dispatched yet: an exception may keep the loop from that. */
static void loop_turn(void)
{
    stage_sends();
    turn(choose_timeout());
    if (!below(4)) /* the loop ends with an exception before it settles, and is stopped */
        collect();
    settle();
}

static struct operation *any_operation(void)
{
    struct operation *o = &operations[below(MOST_OPERATIONS)];
    return o->kind ? o : NULL;
}

/* Has what was cancelled end without any waiting. */
static void end_cancelled(const struct operation *o)
{
    uint64_t key = o->key;
    for (int turns = 0; o->kind && o->key == key; turns++) {
        CHECK(turns < MOST_TURNS);
        turn(0);
        dispatch();
    }
}

static void cancel_any(void)
{
    struct operation *o = any_operation();
    if (!o || o->cancelled)
        return;
    cancel(o, true);
    if (below(2))
        end_cancelled(o);
}

/* Closes a pair as soon as its operations are cancelled: nothing of them may touch the next user of the numbers. */
static void replace_pair(int number)
{
    bool wait = below(2);
    for (int i = 0; i < MOST_OPERATIONS; i++)
        if (operations[i].kind && operations[i].kind <= POLL_MULTISHOT && operations[i].pair == number) {
            cancel(&operations[i], true);
            if (wait)
                end_cancelled(&operations[i]);
        }
    if (wait)
        take_the_rest(number);
    close_pair(number);
    make_pair(number);
}

/* A forked child must find no ring in its memory, and gives up the descriptor that it has inherited. */
static void fork_child(void)
{
    pid_t child = fork();
    int status;
    if (!child) {
        void *page = (void *)((uintptr_t)engine->ring.sq.ktail & ~(uintptr_t)(sysconf(_SC_PAGESIZE) - 1));
        unsigned char resident;
        CHECK(mincore(page, 1, &resident) == -1 && errno == ENOMEM);
        ul_abandon(engine);
        CHECK(fcntl(engine->ring.ring_fd, F_GETFD) == -1 && errno == EBADF);
        ul_free(engine);
        _exit(0);
    }
    CHECK(child > 0);
    while (waitpid(child, &status, 0) != child)
        CHECK(errno == EINTR);
    CHECK(status == 0);
}

static void step(void)
{
    switch (below(17)) {
    case 0:
        CHECK(ul_flush(engine) == 0);
        break;
    case 1:
        replace_pair(OURS + below(PAIRS - OURS));
        break;
    case 2:
        CHECK(ul_owned_here(engine));
        if (!below(50))
            fork_child();
        break;
    case 3:
    case 4:
        cancel_any();
        break;
    case 5:
    case 6:
    case 7:
        loop_turn();
        dispatch();
        break;
    case 8:
        receive_datagrams();
        break;
    default:
        submit();
    }
}

/* Runs of the loop, in one thread or another */

static void open_ring(void)
{
    static const unsigned sizes[][2] = {{256, 1024}, {16, 64}, {4, 8}, {1, 2}};
    const unsigned *size = sizes[below(4)];
    CHECK(ul_open(engine, size[0], size[1]) == 0);
    CHECK(ul_features(engine) & IORING_FEAT_EXT_ARG);
    ul_no_iowait(engine, ul_features(engine) & FEATURE_NO_IOWAIT && below(2));
    CHECK(ul_pool_attach(engine) == 0);
    CHECK(ul_has_opcode(engine, IORING_OP_RECV) == 1 && ul_has_opcode(engine, 255) == 0);
    restricted = below(2);
    if (restricted)
        CHECK(ul_restrict(engine) == 0);
    enabled = false;
    rings++;
}

/* The ring of another thread is given up. What it still had in flight, which that thread has seen to be restartable, is
 * staged anew. Linux 6.1 cancels by itself what would complete after its thread has ended: that is untouched, too. */
static void take_over(void)
{
    keep(ul_harvest(engine));
    ul_close(engine);
    open_ring();
    for (int64_t *e = events.words; e < events.words + events.count; e += UL_EVENT_WORDS) {
        struct operation *o = find((uint64_t)e[0]);
        if (e[1] == -ECANCELED && !o->cancelled)
            e[0] = 0;
        else
            o->ended = o->ended || !(e[2] & IORING_CQE_F_MORE);
    }
    for (int i = 0; i < MOST_OPERATIONS; i++) {
        struct operation *o = &operations[i];
        CHECK(!o->kind || o->ended || !o->let_go);
        if (o->kind && !o->ended && o->cancelled)
            append(&events, (int64_t[]){(int64_t)o->key, -ECANCELED, 0}, UL_EVENT_WORDS);
        else if (o->kind && !o->ended)
            stage(o);
    }
}

static void start(void)
{
    if (enabled && !ul_owned_here(engine))
        take_over();
    if (!enabled) {
        CHECK(ul_enable(engine) == 0);
        enabled = true;
    }
    CHECK(ul_has_opcode(engine, IORING_OP_RECV) == !restricted);
    ul_busy_poll(engine, below(2) ? 0 : 0.0002);
    if (below(2))
        CHECK(ul_register_fd(engine) == 0);
    dispatch();
}

static void stop(void)
{
    for (int i = 0; i < MOST_OPERATIONS; i++)
        if (operations[i].kind == SEND || operations[i].kind == CONNECT)
            cancel(&operations[i], true);
    int full = ul_finish(engine);
    CHECK(full == 0 || full == 1);
    if (full)
        collect();
    if (below(2)) {
        stage_sends();
        collect();
        settle();
    }
    ul_unregister_fd(engine);
}

static void run(void)
{
    start();
    for (int steps = 50 + below(1000); steps && now() < deadline; steps--)
        step();
    if (below(2))
        loop_turn();
    stop();
}

/* What a thread may do to a loop that it does not run. */
static void *meddle(void *unused)
{
    (void)unused;
    CHECK(!enabled || !ul_owned_here(engine));
    for (int times = below(20); times; times--) {
        struct operation *o = any_operation();
        if (o && !below(3))
            cancel(o, false);
        else
            submit();
    }
    if (enabled && below(2)) {
        int result = ul_flush(engine);
        CHECK(result == 0 || result == -EEXIST); /* 0 if there is nothing to submit */
    }
    return NULL;
}

static void in_thread(void *(*function)(void *))
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, function, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

/* Every buffer of the pool is there for the kernel, as Python holds none. */
static void check_pool(void)
{
    for (int number = 0; number < (int)pool_buffers; number++) {
        struct operation *o = new_operation(RECV_POOLED, number);
        CHECK(o);
        o->size = POOL_SIZE;
        stage(o);
        send_byte(number);
    }
    for (int number = 0; number < (int)pool_buffers; number++)
        while (busy(number, RECV_POOLED, RECV_POOLED)) {
            turn(0.1);
            dispatch();
        }
    for (int number = 0; number < PAIRS; number++)
        CHECK(pairs[number].received == pairs[number].sent);
}

static void *ring_bell(void *unused)
{
    (void)unused;
    usleep(20000);
    send_byte(0);
    return NULL;
}

/* What comes ends a wait without a limit, and is announced to who does not wait. */
static void await_bell(bool announced)
{
    pthread_t bell;
    struct operation *o = new_operation(RECV_POOLED, 0);
    o->size = POOL_SIZE;
    stage(o);
    turn(0);
    CHECK(!*ul_flags(engine) && !events.count);
    CHECK(pthread_create(&bell, NULL, ring_bell, NULL) == 0);
    while (announced && !*ul_flags(engine))
        usleep(100);
    turn(announced ? 0 : -1);
    CHECK(events.count == UL_EVENT_WORDS);
    dispatch();
    CHECK(pthread_join(bell, NULL) == 0);
}

/* A ring that nothing is asked of waits for as long as it is told, be it without a limit. */
static void check_waits(void)
{
    static const double busy_polls[] = {0, 0.0005, 0.005}, timeouts[] = {0.001, 0.0001};
    for (int i = 0; i < 6; i++) {
        double start = now(), timeout = timeouts[i % 2];
        ul_busy_poll(engine, busy_polls[i / 2]);
        CHECK(ul_turn(engine, timeout) == 0);
        CHECK(now() - start >= timeout);
    }
    await_bell(false);
    await_bell(true);
}

static void finish(void)
{
    stop_peer();
    dispatch();
    CHECK(ul_cancel_all(engine) == 0);
    for (int i = 0; i < MOST_OPERATIONS; i++)
        operations[i].cancelled = true;
    for (int turns = 0; turns < MOST_TURNS; turns++) {
        turn(0);
        dispatch();
    }
    for (int i = 0; i < MOST_OPERATIONS; i++)
        CHECK(!operations[i].kind);
    for (int number = 0; number < PAIRS; number++)
        take_the_rest(number);
    check_pool();
    check_waits();
    ul_close(engine);
    ul_free(engine);
}

/* Whoever runs the loop is interrupted by signals, but not when it is done. */
static void *own(void *unused)
{
    sigset_t alarm;
    (void)unused;
    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    pthread_sigmask(SIG_UNBLOCK, &alarm, NULL);
    for (int runs = 1 + below(3); runs; runs--) {
        run();
        if (below(2))
            in_thread(meddle);
    }
    pthread_sigmask(SIG_BLOCK, &alarm, NULL);
    if (now() >= deadline)
        finish();
    return NULL;
}

static void interrupt(int number)
{
    (void)number;
}

static void send_signals(void)
{
    struct sigaction action = {.sa_handler = interrupt};
    struct itimerval interval = {.it_interval.tv_usec = SIGNAL_INTERVAL, .it_value.tv_usec = SIGNAL_INTERVAL};
    sigset_t alarm;
    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    CHECK(pthread_sigmask(SIG_BLOCK, &alarm, NULL) == 0);
    CHECK(setitimer(ITIMER_REAL, &interval, NULL) == 0);
}

static void *watch(void *unused)
{
    (void)unused;
    while (now() < deadline + OVERTIME)
        sleep(1);
    CHECK(!"an end in time");
    return NULL;
}

static void make_datagram_pair(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    for (int end = 0; end < 2; end++) {
        datagrams[end] = socket(AF_INET, SOCK_DGRAM, 0);
        CHECK(bind(datagrams[end], (struct sockaddr *)&address, size) == 0);
    }
    CHECK(getsockname(datagrams[1], (struct sockaddr *)&address, &size) == 0);
    CHECK(connect(datagrams[0], (struct sockaddr *)&address, size) == 0);
}

static void make_world(void)
{
    socklen_t size = sizeof(listening_at);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    listening_at.sin_family = AF_INET;
    listening_at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(bind(listener, (struct sockaddr *)&listening_at, size) == 0 && listen(listener, 100) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&listening_at, &size) == 0);
    make_datagram_pair();
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, broken) == 0 && close(broken[1]) == 0);
    for (int number = 0; number < PAIRS; number++)
        make_pair(number);
    start_peer();
}

static void check_usable(void)
{
    ul_engine *small = ul_new();
    CHECK(small && ul_open(small, 16, 64) == 0 && ul_enable(small) == 0 && ul_self_test(small) == 0);
    ul_free(small);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: drive SEED SECONDS\n");
        return 2;
    }
    pthread_t watchdog;
    unsigned seed = (unsigned)strtoul(argv[1], NULL, 10);
    plant(seed);
    deadline = now() + strtod(argv[2], NULL);
    send_signals();
    CHECK(pthread_create(&watchdog, NULL, watch, NULL) == 0);
    make_world();
    check_usable();
    engine = ul_new();
    pool_buffers = 2U << below(3);
    CHECK(engine && ul_pool_open(engine, pool_buffers, POOL_SIZE) == 0);
    open_ring();
    while (now() < deadline) {
        meddle(NULL);
        in_thread(own);
    }
    printf("seed %u: %lu rings, %lu operations staged, %lu completed, %lu cancelled, %lu sends at once, %lu refused, "
           "%lu bytes, %lu datagrams\n",
           seed, rings, staged_count, completed_count, cancelled_count, at_once_count, refused_count, byte_count,
           datagram_count);
    return 0;
}
