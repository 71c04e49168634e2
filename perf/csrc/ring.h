/* What the echo servers on the bare io_uring share: one ring, and its buffers. */
#ifndef RING_H
#define RING_H

#include <liburing.h>
#include <stdint.h>

#define BUFFERS 128
#define BUFFER_SIZE (64 * 1024)
#define GROUP 0 /* of the buffers, as receives name it */

extern struct io_uring ring;
extern unsigned char (*memory)[BUFFER_SIZE]; /* the buffers */

void die(const char *what, int error) __attribute__((noreturn));
void open_ring(void);

/* Makes room in the submission queue if there is none. */
struct io_uring_sqe *next_sqe(void);

/* Gives a buffer back to the kernel, which sees it when publish() is called. */
void give_back(int buffer);

/* Makes the buffers given back known; returns their number. */
int publish(void);

/* Submits what was asked for and waits for something to be done. */
void enter(void);

#endif
