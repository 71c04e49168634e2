/* The clocks, and the server's CPU time, at the edges of the window. */
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static clockid_t server_clock;

void find_server(void)
{
    if (clock_getcpuclockid((pid_t)options.pid, &server_clock) != 0)
        die("--pid: there is no process %ld", options.pid);
}

/* The split of the server's CPU time is what the kernel estimates from its
 * clock ticks; the sum of both is known much better from the CPU clock. */
static void read_split(struct edge *edge)
{
    char path[64], line[1024];
    unsigned long user, system;

    snprintf(path, sizeof path, "/proc/%ld/stat", options.pid);
    FILE *file = fopen(path, "r");
    if (file == NULL || fgets(line, sizeof line, file) == NULL)
        die("%s: %s", path, strerror(errno));
    fclose(file);
    /* The second field is the program's name in parentheses, and may hold
     * anything; what follows its last parenthesis is plain. */
    char *rest = strrchr(line, ')');
    if (rest == NULL ||
        sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        die("%s: unknown format", path);
    double ticks = (double)sysconf(_SC_CLK_TCK);
    edge->user_s = (double)user / ticks;
    edge->system_s = (double)system / ticks;
}

struct edge read_edge(void)
{
    struct edge edge;
    struct timespec used;

    read_split(&edge);
    edge.time_ns = now_ns();
    if (clock_gettime(server_clock, &used) < 0)
        die("the server is gone");
    edge.cpu_ns = (uint64_t)used.tv_sec * NS_PER_S + (uint64_t)used.tv_nsec;
    return edge;
}
