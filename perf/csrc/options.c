/* The command line of a load generator. */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define MAX_CONNECTIONS 4000 /* below the pattern's period: each has a start of its own */
#define MAX_SIZE (16 * 1024 * 1024)
#define MAX_DEPTH 1024
#define MAX_WARMUP 60.0
#define MAX_SECONDS 300.0

struct options options = {
    .connections = 1, .size = 100, .depth = 1, .warmup = 1.0, .seconds = 3.0};

static double number(const char *name, const char *text, double low, double high)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end != '\0' || !(value >= low && value <= high))
        die("--%s: %s is not a number from %g to %.0f", name, text, low, high);
    return value;
}

static void set_unix_path(const char *path)
{
    struct sockaddr_un *address = (struct sockaddr_un *)&options.address;

    if (strlen(path) >= sizeof address->sun_path)
        die("--unix: the path is too long");
    address->sun_family = AF_UNIX;
    strcpy(address->sun_path, path);
    options.address_length = sizeof *address;
}

/* Only the loopback network is accepted: the server's CPU clock is read here,
 * and this program is not meant to load any other machine. */
static void set_host(const char *host, long port)
{
    struct sockaddr_in *address = (struct sockaddr_in *)&options.address;

    if (inet_pton(AF_INET, host, &address->sin_addr) != 1 ||
        ntohl(address->sin_addr.s_addr) >> 24 != IN_LOOPBACKNET)
        die("--host: %s is not an IPv4 address of the loopback network", host);
    address->sin_family = AF_INET;
    address->sin_port = htons((uint16_t)port);
    options.address_length = sizeof *address;
}

static void __attribute__((noreturn)) usage(int status)
{
    fputs("usage: load (--port N [--host 127.0.0.1] | --unix PATH) --pid SERVER\n"
          "            [--connections 1] [--size 100] [--depth 1]\n"
          "            [--warmup 1.0] [--seconds 3.0]\n"
          "size in bytes, depth in messages in flight on each connection\n",
          status == 0 ? stdout : stderr);
    exit(status);
}

static void read_option(int option, const char *name, const char **host)
{
    switch (option) {
    case 'H': *host = optarg; break;
    case 'P': options.port = (long)number(name, optarg, 1, 65535); break;
    case 'u': set_unix_path(optarg); break;
    case 'p': options.pid = (long)number(name, optarg, 1, 4194304); break;
    case 'c': options.connections = (long)number(name, optarg, 1, MAX_CONNECTIONS); break;
    case 's': options.size = (long)number(name, optarg, 1, MAX_SIZE); break;
    case 'd': options.depth = (long)number(name, optarg, 1, MAX_DEPTH); break;
    case 'w': options.warmup = number(name, optarg, 0, MAX_WARMUP); break;
    case 't': options.seconds = number(name, optarg, 0.01, MAX_SECONDS); break;
    case 'h': usage(0);
    default: usage(2);
    }
}

void read_options(int argc, char **argv)
{
    static const struct option known[] = {
        {"host", required_argument, NULL, 'H'},        {"port", required_argument, NULL, 'P'},
        {"unix", required_argument, NULL, 'u'},        {"pid", required_argument, NULL, 'p'},
        {"connections", required_argument, NULL, 'c'}, {"size", required_argument, NULL, 's'},
        {"depth", required_argument, NULL, 'd'},       {"warmup", required_argument, NULL, 'w'},
        {"seconds", required_argument, NULL, 't'},     {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const char *host = "127.0.0.1";
    int option, index = 0;

    while ((option = getopt_long(argc, argv, "", known, &index)) != -1)
        read_option(option, known[index].name, &host);
    if (optind < argc || options.pid == 0)
        usage(2);
    if ((options.port != 0) == (options.address_length != 0))
        usage(2);
    if (options.port != 0)
        set_host(host, options.port);
}
