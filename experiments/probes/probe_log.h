/* What the probes in C share: the log that experiments/probes/log_format.py reads, clocks, how they end and fail.
 *
 * Each log begins with `struct header`, which names its fields. Its counters can be read while a probe runs (`show`): the
 * records may wait in memory until it ends. SIGTERM and SIGINT set `stopping`.
 */
#ifndef PROBE_LOG_H
#define PROBE_LOG_H

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S INT64_C(1000000000)
#define PACKET_MAGIC UINT32_C(0x4f564c50)
#define LOG_MAGIC UINT64_C(0x45424f52504c564f) /* "OVLPROBE", little-endian like every field */
#define COUNTERS 12

struct packet { /* what a probe packet carries; both ends run on one host, so host byte order */
    uint32_t magic, stream;
    int64_t seq, tx_ns;
};

struct header {
    uint64_t magic;
    uint32_t version, header_bytes, record_bytes, finished;
    int64_t records;
    int64_t counters[COUNTERS];
    char layout[256]; /* "name:type,..." in numpy's type codes */
    char counter_names[128];
};
_Static_assert(sizeof(struct header) == 512, "log_format.py expects 512 bytes");

struct log {
    int fd;
    struct header header;
    struct header *shown; /* the same as others see it in the file, without a system call a packet */
};

static volatile sig_atomic_t stopping;

static inline void on_signal(int number)
{
    (void)number;
    stopping = 1;
}

__attribute__((format(printf, 1, 2), noreturn, unused)) static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s: ", program_invocation_short_name);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static inline void end_on_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal}; /* not SA_RESTART: a call that waits returns */
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
}

static inline double number(const char *option, const char *text)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end)
        fail("--%s '%s': a number is wanted", option, text);
    return value;
}

static inline int64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

static inline void sleep_until(int64_t due_ns)
{
    struct timespec t = {due_ns / NS_PER_S, due_ns % NS_PER_S};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL); /* a signal ends it early: callers look */
}

static inline int64_t cpu_time_ns(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * NS_PER_S +
           (u.ru_utime.tv_usec + u.ru_stime.tv_usec) * INT64_C(1000);
}

static inline void write_all(int fd, const void *data, size_t bytes)
{
    const char *at = data;
    while (bytes) {
        ssize_t n = write(fd, at, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            fail("cannot write the log: %s", strerror(errno));
        at += n;
        bytes -= (size_t)n;
    }
}

static inline void write_header(struct log *log, bool finished)
{
    log->header.finished = finished;
    if (pwrite(log->fd, &log->header, sizeof log->header, 0) != (ssize_t)sizeof log->header)
        fail("cannot write the log's header: %s", strerror(errno));
}

/* The log appears under its name only when the probe is ready, so its presence is the ready signal. */
static inline void open_log(struct log *log, const char *path, size_t record_bytes, const char *layout,
                     const char *counter_names)
{
    char temporary[4096];
    if (snprintf(temporary, sizeof temporary, "%s.starting", path) >= (int)sizeof temporary)
        fail("the log's path is too long: %s", path);
    log->header = (struct header){.magic = LOG_MAGIC,
                                  .version = 1,
                                  .header_bytes = sizeof log->header,
                                  .record_bytes = (uint32_t)record_bytes};
    snprintf(log->header.layout, sizeof log->header.layout, "%s", layout);
    snprintf(log->header.counter_names, sizeof log->header.counter_names, "%s", counter_names);
    log->fd = open(temporary, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0644);
    if (log->fd < 0)
        fail("cannot create %s: %s", temporary, strerror(errno));
    write_header(log, false);
    lseek(log->fd, sizeof log->header, SEEK_SET);
    log->shown = mmap(NULL, sizeof log->header, PROT_READ | PROT_WRITE, MAP_SHARED, log->fd, 0);
    if (log->shown == MAP_FAILED)
        fail("cannot map %s: %s", temporary, strerror(errno));
    if (rename(temporary, path))
        fail("cannot rename %s to %s: %s", temporary, path, strerror(errno));
}

/* Sets a counter, for whoever looks into the log meanwhile, too. */
static inline void show(struct log *log, int counter, int64_t value)
{
    log->header.counters[counter] = value;
    __atomic_store_n(&log->shown->counters[counter], value, __ATOMIC_RELAXED);
}

static inline void append(struct log *log, const void *records, int64_t number)
{
    write_all(log->fd, records, (size_t)number * log->header.record_bytes);
    log->header.records += number;
}

struct clock_offset { /* REALTIME minus MONOTONIC */
    int64_t ns;
    bool known;
};

/* Samples the offset; of up to 8 tries takes the first whose two outer readings lie within 1 us. Returns
 * whether REALTIME was set (by more than 1 ms) since the last sample. */
static inline bool sample_offset(struct clock_offset *offset)
{
    int64_t best_width = INT64_MAX, best = 0;
    for (int try = 0; try < 8 && best_width > 1000; try++) {
        int64_t before = clock_ns(CLOCK_MONOTONIC), real = clock_ns(CLOCK_REALTIME);
        int64_t after = clock_ns(CLOCK_MONOTONIC);
        if (after - before < best_width) {
            best_width = after - before;
            best = real - (before + after) / 2;
        }
    }
    bool stepped = offset->known && llabs(best - offset->ns) > 1000000 + best_width;
    if (!offset->known || stepped || best_width <= 20000) /* a sample torn by preemption says less */
        offset->ns = best;
    offset->known = true;
    return stepped;
}

#endif
