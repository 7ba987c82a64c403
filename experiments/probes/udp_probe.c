/* UDP prober and scheduling-lag meter of Overland.
 *
 *   udp_probe send  one UDP packet per period, each with its number and its time of sending
 *   udp_probe recv  logs every such packet with the kernel's time of arrival
 *   udp_probe lag   how late a sleeping process of normal priority wakes up on one CPU
 *
 * Every time is CLOCK_MONOTONIC in nanoseconds. Each log begins with `struct header`, which names its
 * fields, so that experiments/probes/log_format.py reads all of them. SIGTERM and SIGINT end a
 * subcommand: it writes what it has and exits 0.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/sock_diag.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "probe_log.h"

#define BATCH 256
#define SOCKET_BUFFER_BYTES (8 << 20)

struct options {
    const char *to, *from, *bind, *port, *out;
    double rate_pps, seconds;
    long size_bytes, stream, catch_up_us, sleep_us, interval_us, threshold_us, cpu;
};

static int open_socket(const char *address, const char *port, struct addrinfo **found)
{
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    int error = getaddrinfo(address, port, &hints, found);
    if (error)
        fail("address '%s' port '%s': %s (write both as numbers)", address, port, gai_strerror(error));
    int fd = socket((*found)->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        fail("cannot open a UDP socket: %s", strerror(errno));
    return fd;
}

/* ---- send ---------------------------------------------------------------------------------------------- */

struct sent {
    int64_t tx_ns;
    int32_t error;   /* 0, or the errno with which the host refused the packet: not sent, hence not lost */
    int32_t late_ns; /* how long after its due time it was sent */
};

static bool is_pending_icmp(int error)
{
    /* An earlier packet's ICMP answer, reported by send() in place of sending. */
    return error == ECONNREFUSED || error == EHOSTUNREACH || error == ENOPROTOOPT || error == EPROTO;
}

static bool is_full(int error)
{
    return error == EAGAIN || error == ENOBUFS; /* the host takes no more: a rate that is too high for it */
}

static void run_send(const struct options *o)
{
    enum { REFUSED, SKIPPED, ICMP, CPU_NS, START_NS, OFFERED };
    if (!o->to || !o->port || o->rate_pps <= 0 || o->rate_pps > 1e6)
        fail("send needs --to ADDRESS --port N --rate PPS (0 < PPS <= 1000000)");
    if (o->size_bytes < (long)sizeof(struct packet) || o->size_bytes > 65507)
        fail("--size %ld: allowed are %zu to 65507 bytes of UDP payload", o->size_bytes, sizeof(struct packet));
    struct addrinfo *remote, *local;
    int fd = open_socket(o->to, o->port, &remote), buffer = SOCKET_BUFFER_BYTES;
    if (o->from) {
        close(open_socket(o->from, "0", &local));
        if (bind(fd, local->ai_addr, local->ai_addrlen))
            fail("cannot bind to %s: %s", o->from, strerror(errno));
    }
    if (connect(fd, remote->ai_addr, remote->ai_addrlen))
        fail("cannot connect to %s port %s: %s", o->to, o->port, strerror(errno));
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer))
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer); /* without root: as much as allowed */

    /* Address space for an hour (or for what was asked); memory is used only where packets were sent.
     * The log is written at the end: a write to a disk in the sending loop would delay packets. */
    int64_t room = (int64_t)((o->seconds > 0 ? o->seconds : 3600) * o->rate_pps) + 1, seq = 0, slot = 0;
    struct sent *sent = mmap(NULL, (size_t)room * sizeof *sent, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    char *payload = calloc(1, (size_t)o->size_bytes);
    if (sent == MAP_FAILED || !payload)
        fail("no memory for a log of %" PRId64 " packets", room);
    struct packet packet = {.magic = PACKET_MAGIC, .stream = (uint32_t)o->stream};
    struct log log;
    open_log(&log, o->out, sizeof *sent, "tx_ns:<i8,error:<i4,late_ns:<i4",
             "refused,skipped_slots,icmp_answers,cpu_ns,start_ns,offered");
    int64_t *counters = log.header.counters, period_ns = (int64_t)((double)NS_PER_S / o->rate_pps);
    int64_t catch_up_ns = o->catch_up_us * 1000;
    int64_t start_ns = clock_ns(CLOCK_MONOTONIC) + period_ns, before_ns = cpu_time_ns();
    counters[START_NS] = start_ns;

    while (seq < room && !stopping) {
        int64_t due_ns = start_ns + (int64_t)((double)slot * (double)NS_PER_S / o->rate_pps);
        if (o->seconds > 0 && (double)(due_ns - start_ns) >= o->seconds * (double)NS_PER_S)
            break;
        sleep_until(due_ns);
        if (stopping)
            break;
        int64_t now_ns = clock_ns(CLOCK_MONOTONIC), late_ns = now_ns - due_ns;
        if (late_ns > catch_up_ns) {
            /* Preempted for long: what is further behind is left out instead of sent as a burst, which
             * would itself overflow queues. Sequence numbers go on, so nothing looks lost. */
            int64_t skipped = (late_ns - catch_up_ns) / period_ns;
            counters[SKIPPED] += skipped;
            slot += skipped;
        }
        packet.seq = seq;
        packet.tx_ns = now_ns;
        memcpy(payload, &packet, sizeof packet);
        ssize_t n = send(fd, payload, (size_t)o->size_bytes, MSG_DONTWAIT);
        if (n < 0 && is_pending_icmp(errno)) {
            counters[ICMP]++;
            n = send(fd, payload, (size_t)o->size_bytes, MSG_DONTWAIT);
        }
        sent[seq].tx_ns = now_ns;
        sent[seq].late_ns = late_ns > INT32_MAX ? INT32_MAX : (int32_t)late_ns;
        if (n < 0) {
            sent[seq].error = errno;
            counters[REFUSED]++;
        }
        if (n >= 0 || !is_full(errno))
            show(&log, OFFERED, counters[OFFERED] + 1);
        seq++;
        slot++;
    }
    counters[CPU_NS] = cpu_time_ns() - before_ns;
    append(&log, sent, seq);
    write_header(&log, true);
    if (seq == room && o->seconds <= 0)
        fail("the log is full after %" PRId64 " packets: give --seconds for a longer run", seq);
}

/* ---- recv ---------------------------------------------------------------------------------------------- */

struct received {
    uint32_t stream, bytes;
    int64_t seq, tx_ns, rx_ns;
};

/* Frames this socket itself threw away because its buffer was full: sk_drops, the figure that SO_RXQ_OVFL
 * attaches to packets, but complete even when no packet follows the drop. */
static int64_t own_drops(int fd)
{
    uint32_t memory[SK_MEMINFO_VARS] = {0};
    socklen_t length = sizeof memory;
    getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &length);
    return memory[SK_MEMINFO_DROPS];
}

static void run_recv(const struct options *o)
{
    enum { OWN_DROPS, FOREIGN, UNSTAMPED, CLOCK_STEPS, CPU_NS, BUFFER_BYTES };
    enum { FLUSH = 8192 };
    static struct packet data[BATCH];
    static _Alignas(struct cmsghdr) char control[BATCH][64];
    static struct iovec vectors[BATCH];
    static struct mmsghdr messages[BATCH];
    static struct received kept[FLUSH + BATCH];
    if (!o->bind || !o->port)
        fail("recv needs --bind ADDRESS --port N");
    struct addrinfo *local;
    int fd = open_socket(o->bind, o->port, &local), buffer = SOCKET_BUFFER_BYTES, on = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer))
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    if (setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on))
        fail("the kernel offers no SO_TIMESTAMPNS: %s", strerror(errno));
    if (bind(fd, local->ai_addr, local->ai_addrlen))
        fail("cannot bind to %s port %s: %s", o->bind, o->port, strerror(errno));
    for (int i = 0; i < BATCH; i++) {
        vectors[i] = (struct iovec){&data[i], sizeof data[i]};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1, .msg_control = control[i]};
    }
    struct log log;
    open_log(&log, o->out, sizeof kept[0], "stream:<u4,bytes:<u4,seq:<i8,tx_ns:<i8,rx_ns:<i8",
             "own_drops,foreign,unstamped,clock_steps,cpu_ns,buffer_bytes");
    int64_t *counters = log.header.counters, number = 0, written_ns = clock_ns(CLOCK_MONOTONIC);
    int64_t before_ns = cpu_time_ns();
    socklen_t length = sizeof buffer;
    getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, &length);
    counters[BUFFER_BYTES] = buffer;
    struct clock_offset offset = {0};
    struct timespec pause = {o->sleep_us / 1000000, o->sleep_us % 1000000 * 1000};

    for (bool last = false; !last;) {
        last = stopping; /* after the signal one more reading, of what had arrived by then */
        counters[CLOCK_STEPS] += sample_offset(&offset);
        int n;
        do {
            for (int i = 0; i < BATCH; i++)
                messages[i].msg_hdr.msg_controllen = sizeof control[i];
            /* MSG_TRUNC: the true length of a packet whose filling is not copied */
            n = recvmmsg(fd, messages, BATCH, MSG_DONTWAIT | MSG_TRUNC, NULL);
            for (int i = 0; i < n; i++) {
                const struct packet *packet = &data[i];
                if (messages[i].msg_len < sizeof *packet || packet->magic != PACKET_MAGIC) {
                    counters[FOREIGN]++;
                    continue;
                }
                struct cmsghdr *c = CMSG_FIRSTHDR(&messages[i].msg_hdr);
                int64_t rx_ns;
                if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
                    struct timespec t;
                    memcpy(&t, CMSG_DATA(c), sizeof t);
                    rx_ns = t.tv_sec * NS_PER_S + t.tv_nsec - offset.ns;
                } else {
                    counters[UNSTAMPED]++;
                    rx_ns = clock_ns(CLOCK_MONOTONIC);
                }
                kept[number++] =
                    (struct received){packet->stream, messages[i].msg_len, packet->seq, packet->tx_ns, rx_ns};
            }
            if (number >= FLUSH) {
                append(&log, kept, number);
                number = 0;
            }
        } while (n == BATCH);
        int64_t now_ns = clock_ns(CLOCK_MONOTONIC);
        if (last || now_ns - written_ns > NS_PER_S / 2) { /* the socket's buffer bridges the write */
            append(&log, kept, number);
            number = 0;
            written_ns = now_ns;
            counters[OWN_DROPS] = own_drops(fd);
            counters[CPU_NS] = cpu_time_ns() - before_ns;
            write_header(&log, last);
        }
        if (!last)
            nanosleep(&pause, NULL);
    }
}

/* ---- lag ----------------------------------------------------------------------------------------------- */

struct lag {
    int64_t t_ns, lag_ns; /* the process should have run at t_ns - lag_ns and ran at t_ns */
    int32_t cpu, is_event; /* 1: one wake-up above the threshold; 0: maximum of the time since the last such record */
};

static void run_lag(const struct options *o)
{
    enum { CPU_NS, THRESHOLD_NS, WAKEUPS };
    enum { EVENTS = 512, WRITE_NS = 20000000 }; /* whoever judges a trial waits for the next writing */
    if (o->cpu < 0 || o->interval_us < 1 || o->threshold_us < 1)
        fail("lag needs --cpu N, and --interval-us and --threshold-us above 0");
    struct log log;
    open_log(&log, o->out, sizeof(struct lag), "t_ns:<i8,lag_ns:<i8,cpu:<i4,is_event:<i4",
             "cpu_ns,threshold_ns,wakeups");
    int64_t *counters = log.header.counters, interval_ns = o->interval_us * 1000, before_ns = cpu_time_ns();
    counters[THRESHOLD_NS] = o->threshold_us * 1000;
    struct lag records[EVENTS + 1];
    int number = 0;
    int64_t maximum_ns = 0, due_ns = clock_ns(CLOCK_MONOTONIC) + interval_ns;
    int64_t written_ns = due_ns;
    while (!stopping) {
        sleep_until(due_ns);
        int64_t now_ns = clock_ns(CLOCK_MONOTONIC), lag_ns = now_ns - due_ns;
        counters[WAKEUPS]++;
        if (lag_ns > maximum_ns)
            maximum_ns = lag_ns;
        if (lag_ns >= counters[THRESHOLD_NS] && number < EVENTS)
            records[number++] = (struct lag){now_ns, lag_ns, (int32_t)o->cpu, 1};
        due_ns += interval_ns;
        if (due_ns <= now_ns)
            due_ns = now_ns + interval_ns; /* one long lag is one record, not one for each slot it covered */
        if (now_ns - written_ns >= WRITE_NS || stopping) {
            records[number++] = (struct lag){now_ns, maximum_ns, (int32_t)o->cpu, 0};
            append(&log, records, number);
            counters[CPU_NS] = cpu_time_ns() - before_ns;
            number = 0;
            maximum_ns = 0;
            written_ns = now_ns;
            int64_t after_ns = clock_ns(CLOCK_MONOTONIC);
            if (due_ns <= after_ns)
                due_ns = after_ns + interval_ns; /* a slow disk is not a busy CPU */
        }
    }
    write_header(&log, true);
}

/* ---- command line -------------------------------------------------------------------------------------- */

static long whole_number(const char *option, const char *text)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno || end == text || *end)
        fail("--%s '%s': a whole number is wanted", option, text);
    return value;
}

int main(int argc, char **argv)
{
    static const struct option known[] = {
        {"to", 1, 0, 't'},       {"from", 1, 0, 'f'},   {"bind", 1, 0, 'b'},       {"port", 1, 0, 'p'},
        {"rate", 1, 0, 'r'},     {"size", 1, 0, 's'},   {"stream", 1, 0, 'i'},     {"out", 1, 0, 'o'},
        {"seconds", 1, 0, 'd'},  {"cpu", 1, 0, 'c'},    {"catch-up-us", 1, 0, 'm'}, {"sleep-us", 1, 0, 'l'},
        {"interval-us", 1, 0, 'v'}, {"threshold-us", 1, 0, 'h'}, {0}};
    struct options o = {.size_bytes = 64, .catch_up_us = 2000, .sleep_us = 5000, .interval_us = 2000,
                        .threshold_us = 1000, .cpu = -1};
    const char *what = argc > 1 ? argv[1] : "";
    int choice, index = 0;
    optind = 2;
    while (argc > 1 && (choice = getopt_long(argc, argv, "", known, &index)) != -1) {
        const char *name = known[index].name;
        switch (choice) {
        case 't': o.to = optarg; break;
        case 'f': o.from = optarg; break;
        case 'b': o.bind = optarg; break;
        case 'p': o.port = optarg; break;
        case 'o': o.out = optarg; break;
        case 'r': o.rate_pps = number(name, optarg); break;
        case 'd': o.seconds = number(name, optarg); break;
        case 's': o.size_bytes = whole_number(name, optarg); break;
        case 'i': o.stream = whole_number(name, optarg); break;
        case 'c': o.cpu = whole_number(name, optarg); break;
        case 'm': o.catch_up_us = whole_number(name, optarg); break;
        case 'l': o.sleep_us = whole_number(name, optarg); break;
        case 'v': o.interval_us = whole_number(name, optarg); break;
        case 'h': o.threshold_us = whole_number(name, optarg); break;
        default: exit(2);
        }
    }
    void (*run)(const struct options *) = !strcmp(what, "send")   ? run_send
                                          : !strcmp(what, "recv") ? run_recv
                                          : !strcmp(what, "lag")  ? run_lag
                                                                  : NULL;
    if (!run || !o.out || optind != argc) {
        fputs("usage: udp_probe send|recv|lag --out FILE ...\n"
              "  send --to ADDRESS --port N --rate PPS [--from ADDRESS] [--size BYTES] [--stream N] [--seconds S]\n"
              "       [--catch-up-us N]\n"
              "  recv --bind ADDRESS --port N [--sleep-us N]\n"
              "  lag  --cpu N [--interval-us N] [--threshold-us N]\n"
              "  --cpu N pins send and recv too\n", stderr);
        return 2;
    }
    end_on_signals();
    prctl(PR_SET_TIMERSLACK, !strcmp(what, "recv") ? 50000UL : 1UL);
    if (o.cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((size_t)o.cpu, &set);
        if (sched_setaffinity(0, sizeof set, &set))
            fail("cannot run on CPU %ld: %s", o.cpu, strerror(errno));
    }
    run(&o);
    return 0;
}
