/* What Python sees of the engine. build_ffi.py hands this text to cffi as it stands, so it holds
 * declarations only: no include, no guard, no condition.
 *
 * Results are 0 or a count on success and -errno on failure, as in liburing. Sizes are bytes, times seconds.
 * A key names one operation in flight; it comes back in the completion. Key 0 is the engine's own.
 * A ticket says where an operation was staged; ul_cancel() needs it to know whether the kernel has seen it. */

typedef struct ul_engine ul_engine;

/* setup.c: the ring's life */
ul_engine *ul_new(void);
int ul_open(ul_engine *e, unsigned sq_entries, unsigned cq_entries);
int ul_restrict(ul_engine *e);
int ul_enable(ul_engine *e);
int ul_owned_here(ul_engine *e);
int ul_register_fd(ul_engine *e);
void ul_unregister_fd(ul_engine *e);
unsigned ul_features(const ul_engine *e);
int ul_has_opcode(ul_engine *e, unsigned opcode);
int ul_self_test(ul_engine *e);
void ul_close(ul_engine *e);
void ul_abandon(ul_engine *e);
void ul_free(ul_engine *e);

/* buffers.c: memory lent to the kernel for receives */
int ul_pool_open(ul_engine *e, unsigned count, unsigned size);
int ul_pool_attach(ul_engine *e);
void *ul_pool_memory(ul_engine *e);

/* stage.c: one function for each kernel operation; each answers with a ticket or -ENOMEM */
int64_t ul_stage_recv(ul_engine *e, uint64_t key, int fd, void *buffer, size_t size);
int64_t ul_stage_recv_pooled(ul_engine *e, uint64_t key, int fd, unsigned size);
int64_t ul_stage_recv_multishot(ul_engine *e, uint64_t key, int fd);
int64_t ul_stage_send(ul_engine *e, uint64_t key, int fd, const void *data, size_t size);
int ul_stage_sends_at_once(ul_engine *e, int count, const int *fds, const int *sizes, const char *data);
int64_t ul_stage_accept(ul_engine *e, uint64_t key, int fd, void *address, void *address_size);
int64_t ul_stage_connect(ul_engine *e, uint64_t key, int fd, const void *address, unsigned size);
int64_t ul_stage_poll(ul_engine *e, uint64_t key, int fd, unsigned events, int multishot);
int ul_cancel(ul_engine *e, uint64_t key, int64_t ticket);

/* turn.c: the kernel entry */
void ul_no_iowait(ul_engine *e, int enabled);
void ul_busy_poll(ul_engine *e, double seconds);
int ul_turn(ul_engine *e, double timeout);
int ul_collect(ul_engine *e);
int ul_harvested(const ul_engine *e);
int ul_flush(ul_engine *e);
int ul_finish(ul_engine *e);
int ul_harvest(ul_engine *e);
int ul_cancel_all(ul_engine *e);
int64_t *ul_events(ul_engine *e);
int64_t *ul_arrivals(ul_engine *e);
int64_t ul_turns(const ul_engine *e);
const volatile unsigned *ul_flags(const ul_engine *e);
int ul_arrived(const ul_engine *e);
unsigned ul_sends_at_once(const ul_engine *e);
unsigned ul_settle(ul_engine *e);
int64_t *ul_refusals(ul_engine *e);

/* datagrams.c: datagrams received in batches, without the ring */
void *ul_batch_memory(ul_engine *e);
size_t ul_batch_size(void);
int64_t *ul_batch_places(ul_engine *e);
int ul_receive_batch(ul_engine *e, int fd, unsigned most);
