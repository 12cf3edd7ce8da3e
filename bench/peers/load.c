/* bench/peers/load.c - the loop, the clock, the figures. */
#include "load.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>

#include "../hist.h"

#define CLIENTS_MAX 10000u
#define EVENTS 256
#define STALL_MS 30000 /* no answer at all for so long is a failure */

const char load_payload[LOAD_PAYLOAD] =
    "{\"to\":\"user@example.com\",\"subject\":\"Welcome!\",\"template\":\"once\"}";

struct load {
    const struct driver *driver;
    struct load_options options;
    struct client *clients;
    uint32_t busy;
    int64_t start_us, end_us;
    uint64_t in_time; /* completed and acknowledged before end_us */
    uint64_t jobs[STEP_COUNT];
    struct hist hist[STEP_COUNT];
};

void load_die(const char *text, ...)
{
    va_list args;
    va_start(args, text);
    (void)fputs("load: ", stderr);
    (void)vfprintf(stderr, text, args);
    (void)fputc('\n', stderr);
    va_end(args);
    exit(1);
}

static int64_t now_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static double cpu_s(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void step_send(struct load *load, struct client *client, enum step step, uint32_t wanted)
{
    client->step = step;
    client->wanted = wanted;
    client->counted = 0;
    client->step_us = now_us();
    load->driver->send(client);
}

static void round_begin(struct load *load, struct client *client)
{
    step_send(load, client, STEP_ENQUEUE, load->options.bulk);
}

static void step_done(struct load *load, struct client *client, uint32_t jobs)
{
    const int64_t now = now_us();
    hist_add(&load->hist[client->step], now - client->step_us);
    load->jobs[client->step] += jobs;
    switch (client->step) {
    case STEP_ENQUEUE:
        client->owed = jobs;
        step_send(load, client, STEP_RESERVE, client->owed);
        return;
    case STEP_RESERVE: /* others may have been faster */
        client->held = jobs;
        step_send(load, client, jobs != 0 ? STEP_COMPLETE : STEP_RESERVE,
                  jobs != 0 ? jobs : client->owed);
        return;
    case STEP_COMPLETE:
        if (jobs != client->held) {
            load_die("%u of %u jobs were completed", jobs, client->held);
        }
        client->owed -= jobs;
        if (client->owed != 0) {
            step_send(load, client, STEP_RESERVE, client->owed);
        } else if (now < load->end_us) {
            round_begin(load, client);
        } else {
            client->idle = true;
            load->busy--;
        }
        return;
    }
}

static void run(struct load *load, int epoll)
{
    load->start_us = now_us();
    load->end_us = load->start_us + (int64_t)(load->options.seconds * 1e6);
    load->busy = load->options.clients;
    for (uint32_t i = 0; i < load->options.clients; i++) {
        round_begin(load, &load->clients[i]);
    }
    while (load->busy != 0) {
        struct epoll_event events[EVENTS];
        const int n = epoll_wait(epoll, events, EVENTS, STALL_MS);
        if (n == 0 || (n < 0 && errno != EINTR)) {
            load_die("%s", n == 0 ? "the server does not answer" : strerror(errno));
        }
        for (int i = 0; i < n; i++) {
            struct client *client = events[i].data.ptr;
            uint32_t jobs = 0;
            if (client->idle) {
                load_die("the server closed a connection");
            }
            const bool done = load->driver->receive(client, &jobs);
            if (client->step == STEP_COMPLETE && now_us() <= load->end_us) {
                load->in_time += jobs - client->counted;
            }
            client->counted = jobs;
            if (done) {
                step_done(load, client, jobs);
            }
        }
    }
}

static void print_figures(const struct load *load, double cpu, uint64_t left)
{
    static const char *const names[STEP_COUNT] = {"enqueue", "reserve", "complete"};
    (void)printf(
        "{\"jobs\": %llu, \"seconds\": %.6f, \"total\": %llu, \"cpu_s\": %.6f, \"left\": %llu",
        (unsigned long long)load->in_time, load->options.seconds,
        (unsigned long long)load->jobs[STEP_COMPLETE], cpu, (unsigned long long)left);
    for (int i = 0; i < STEP_COUNT; i++) {
        (void)printf(", \"%s_us\": {\"p50\": %lld, \"p99\": %lld}", names[i],
                     (long long)hist_quantile(&load->hist[i], 0.5),
                     (long long)hist_quantile(&load->hist[i], 0.99));
    }
    (void)printf("}\n");
    (void)fflush(stdout);
}

static double number(const char *text, double least, double most)
{
    char *end = NULL;
    const double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= least && value <= most)) {
        load_die("\"%s\" is not a number from %g to %g", text, least, most);
    }
    return value;
}

static struct load_options options_parse(int argc, char **argv)
{
    static const struct option longs[] = {
        {"port", required_argument, NULL, 'p'},    {"clients", required_argument, NULL, 'c'},
        {"bulk", required_argument, NULL, 'b'},    {"seconds", required_argument, NULL, 's'},
        {"variant", required_argument, NULL, 'v'}, {NULL, 0, NULL, 0}};
    struct load_options o = {.variant = "", .clients = 64, .bulk = 1, .seconds = 10};
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        switch (c) {
        case 'p':
            o.port = (uint16_t)number(optarg, 1, UINT16_MAX);
            break;
        case 'c':
            o.clients = (uint32_t)number(optarg, 1, CLIENTS_MAX);
            break;
        case 'b':
            o.bulk = (uint32_t)number(optarg, 1, LOAD_BULK_MAX);
            break;
        case 's':
            o.seconds = number(optarg, 0.01, 3600);
            break;
        case 'v':
            o.variant = optarg;
            break;
        default:
            exit(2);
        }
    }
    if (o.port == 0 || optind != argc) {
        (void)fprintf(stderr, "usage: %s --port N [--clients N] [--bulk N] [--seconds N]\n",
                      argv[0]);
        exit(2);
    }
    return o;
}

static void wait_for_line(void)
{
    int c;
    do {
        c = getchar();
    } while (c != EOF && c != '\n');
}

int load_main(int argc, char **argv, const struct driver *driver)
{
    static struct load load; /* histograms are large */
    load.driver = driver;
    load.options = options_parse(argc, argv);
    load.clients = calloc(load.options.clients, sizeof *load.clients);
    const int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (load.clients == NULL || epoll < 0) {
        load_die("%s", strerror(errno));
    }
    for (uint32_t i = 0; i < load.options.clients; i++) {
        struct client *client = &load.clients[i];
        driver->open(client, &load.options);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, client->fd, &event) != 0) {
            load_die("%s", strerror(errno));
        }
    }
    (void)puts("ready");
    (void)fflush(stdout);
    wait_for_line();
    const double cpu = cpu_s();
    run(&load, epoll);
    const double cpu_spent = cpu_s() - cpu;
    print_figures(&load, cpu_spent, driver->left(&load.clients[0]));
    wait_for_line(); /* the measuring side closes it */
    return 0;
}
