/* One end of a connection of Overland whose receiver logs every read: TCP, MPTCP or SCTP.
 *
 *   tcp_stream server|client send|receive --address A --port N --out FILE ...
 *
 * Who opens the connection and who sends are chosen apart, since the review asks about both initiators. The congestion
 * control is always set, because a host's default may be anything. SIGTERM, or the sender's end, ends it: the log, of
 * (time, bytes) of every read or write, is written and the exit status is 0. A connection that breaks is a result.
 * While it goes on its log's counters say how far it is: PASSED_BYTES were read, or wanted to be sent, LAST_NS read last.
 */
#include <getopt.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "probe_log.h"

#define READ_BYTES (1 << 18)
#define WRITE_BYTES (1 << 16)
#define MPTCP 262 /* IPPROTO_MPTCP (linux/in.h) names a kind of socket, on the wire it is TCP (RFC 8684) */
#define SCTP 132
#define SOL_MPTCP 284 /* linux/mptcp.h */
#define MPTCP_INFO 1
#define MPTCP_INFO_FLAG_FALLBACK 1
#define SCTP_NODELAY 3 /* linux/sctp.h; RFC 6458 section 8.1.5 */

enum { MISSED_TICKS, CPU_NS, BROKEN_ERRNO, FELL_BACK, PASSED_BYTES, LAST_NS, ENDED_NS, SUBFLOWS };

struct options {
    const char *address, *port, *out, *congestion_control;
    int protocol;
    double rate_bps, tick_s, connect_timeout_s;
    int64_t block_bytes;
};

struct entry {
    int64_t t_ns, bytes;
};

static struct log log_file;
static struct entry *entries;
static int64_t made, room;

static void note(int64_t bytes)
{
    if (made == room) {
        room = room ? 2 * room : 1 << 16;
        entries = realloc(entries, (size_t)room * sizeof *entries);
        if (!entries)
            fail("no memory for a log of %" PRId64 " entries", room);
    }
    entries[made++] = (struct entry){clock_ns(CLOCK_MONOTONIC), bytes};
    show(&log_file, LAST_NS, entries[made - 1].t_ns);
}

static void pass(int64_t bytes)
{
    show(&log_file, PASSED_BYTES, log_file.header.counters[PASSED_BYTES] + bytes);
}

/* A signal may come just before a call that waits: none waits for longer than this before `stopping` is looked at. */
static void wait_at_most(int fd, int option, double seconds)
{
    struct timeval t = {(time_t)seconds, (suseconds_t)((seconds - (double)(time_t)seconds) * 1e6)};
    setsockopt(fd, SOL_SOCKET, option, &t, sizeof t);
}

static bool to_be_repeated(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

/* The connection, or -1 when it was stopped before there was one. The log appears when listening, or when connected. */
static int open_connection(const struct options *o, bool server)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV}, *found;
    const char *layout = "t_ns:<i8,bytes:<i8", *counters = "missed_ticks,cpu_ns,broken_errno,fell_back,"
                                                             "passed_bytes,last_ns,ended_ns,subflows";
    int error = getaddrinfo(o->address, o->port, &hints, &found), yes = 1;
    if (error)
        fail("address '%s' port '%s': %s (write both as numbers)", o->address, o->port, gai_strerror(error));
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, o->protocol);
    if (fd < 0)
        fail("%s port %s: %s", o->address, o->port, strerror(errno));
    const char *chosen = o->congestion_control; /* SCTP has one of its own */
    if (o->protocol != SCTP && setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, chosen, (socklen_t)strlen(chosen)))
        fail("%s port %s: congestion control %s: %s", o->address, o->port, chosen, strerror(errno));
    if (!server) {
        wait_at_most(fd, SO_SNDTIMEO, o->connect_timeout_s);
        if (connect(fd, found->ai_addr, found->ai_addrlen)) {
            if (stopping)
                return -1;
            fail("%s port %s: %s", o->address, o->port, errno == EINPROGRESS ? "timed out" : strerror(errno));
        }
        open_log(&log_file, o->out, sizeof *entries, layout, counters);
        return fd;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, found->ai_addr, found->ai_addrlen) || listen(fd, 1))
        fail("%s port %s: %s", o->address, o->port, strerror(errno));
    wait_at_most(fd, SO_RCVTIMEO, 0.1);
    open_log(&log_file, o->out, sizeof *entries, layout, counters);
    while (!stopping) {
        int connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        if (connection >= 0) {
            close(fd);
            return connection;
        }
        if (!to_be_repeated(errno))
            fail("%s port %s: %s", o->address, o->port, strerror(errno));
    }
    return -1;
}

/* Whether it is plain TCP by now, and else of how many subflows it consists (struct mptcp_info, linux/mptcp.h). */
static void look_at_subflows(int fd)
{
    union {
        uint8_t bytes[256];
        uint32_t words[64];
    } info = {{0}};
    socklen_t bytes = sizeof info;
    /* A socket that was accepted from who does not speak MPTCP is one of TCP. */
    bool plain = getsockopt(fd, SOL_MPTCP, MPTCP_INFO, &info, &bytes) || info.words[2] & MPTCP_INFO_FLAG_FALLBACK;
    show(&log_file, FELL_BACK, plain);
    show(&log_file, SUBFLOWS, plain ? 0 : 1 + info.bytes[0]); /* mptcpi_subflows leaves out the first one */
}

static void break_off(void)
{
    show(&log_file, BROKEN_ERRNO, errno);
    show(&log_file, ENDED_NS, clock_ns(CLOCK_MONOTONIC));
    stopping = 1;
}

static void receive_all(int fd)
{
    static char buffer[READ_BYTES];
    while (!stopping) {
        ssize_t n = recv(fd, buffer, sizeof buffer, 0);
        if (n > 0) {
            pass(n);
            note(n);
        } else if (n == 0) {
            show(&log_file, ENDED_NS, clock_ns(CLOCK_MONOTONIC));
            return; /* the sender has ended */
        } else if (!to_be_repeated(errno))
            break_off();
    }
}

static const char zeros[WRITE_BYTES];

/* Hands over what fits into one write; returns how much the connection took. */
static int64_t send_some(int fd, int64_t bytes)
{
    ssize_t n = send(fd, zeros, (size_t)(bytes < WRITE_BYTES ? bytes : WRITE_BYTES), MSG_NOSIGNAL);
    if (n < 0 && !to_be_repeated(errno))
        break_off();
    return n < 0 ? 0 : n;
}

static void send_bulk(int fd)
{
    while (!stopping) {
        int64_t n = send_some(fd, WRITE_BYTES);
        if (n) {
            pass(n);
            note(n);
        }
    }
}

/* Sends like an application with a constant rate: at each tick, the blocks due by then. What the connection did not take
 * while it stood still is offered afterwards, as by an application that queues. SCTP keeps each write as a message, so
 * its blocks are written one by one. */
static void send_paced(int fd, const struct options *o)
{
    double blocks_per_s = o->rate_bps / 8 / (double)o->block_bytes;
    double tick_s = o->tick_s > 1 / blocks_per_s ? o->tick_s : 1 / blocks_per_s;
    int64_t start_ns = clock_ns(CLOCK_MONOTONIC), sent = 0, tick = 0;
    while (!stopping) {
        int64_t reached = (int64_t)((double)(clock_ns(CLOCK_MONOTONIC) - start_ns) / 1e9 / tick_s);
        if (reached > tick) {
            log_file.header.counters[MISSED_TICKS] += reached - tick;
            tick = reached;
        }
        sleep_until(start_ns + (int64_t)((double)++tick * tick_s * 1e9));
        int64_t due = (int64_t)((double)(clock_ns(CLOCK_MONOTONIC) - start_ns) / 1e9 * blocks_per_s) - sent;
        int64_t left = due * o->block_bytes;
        show(&log_file, PASSED_BYTES, (sent + due) * o->block_bytes);
        while (left > 0 && !stopping)
            left -= send_some(fd, o->protocol == SCTP ? o->block_bytes : left);
        if (due <= 0 || left > 0)
            continue;
        note(due * o->block_bytes);
        sent += due;
    }
}

static double from_zero(const char *option, const char *text)
{
    double value = number(option, text);
    if (value < 0)
        fail("--%s '%s': a number from 0 is wanted", option, text);
    return value;
}

static int protocol_of(const char *name)
{
    if (!strcmp(name, "tcp"))
        return IPPROTO_TCP;
    if (!strcmp(name, "mptcp"))
        return MPTCP;
    if (!strcmp(name, "sctp"))
        return SCTP;
    fail("--protocol '%s': allowed are tcp, mptcp, sctp", name);
}

static bool either(const char *word, const char *yes, const char *no)
{
    if (strcmp(word, yes) && strcmp(word, no))
        fail("'%s': allowed are %s and %s", word, yes, no);
    return !strcmp(word, yes);
}

int main(int argc, char **argv)
{
    static const struct option known[] = {
        {"address", 1, 0, 'a'},  {"port", 1, 0, 'p'},        {"out", 1, 0, 'o'},    {"protocol", 1, 0, 'k'},
        {"rate-bps", 1, 0, 'r'}, {"block-bytes", 1, 0, 'b'}, {"tick-s", 1, 0, 't'}, {"connect-timeout", 1, 0, 'w'},
        {"congestion-control", 1, 0, 'c'}, {0}};
    struct options o = {.protocol = IPPROTO_TCP, .block_bytes = 1200, .tick_s = 0.001, .connect_timeout_s = 10};
    int choice, index = 0;
    optind = 3;
    while (argc > 2 && (choice = getopt_long(argc, argv, "", known, &index)) != -1) {
        const char *name = known[index].name;
        switch (choice) {
        case 'a': o.address = optarg; break;
        case 'p': o.port = optarg; break;
        case 'o': o.out = optarg; break;
        case 'c': o.congestion_control = optarg; break;
        case 'k': o.protocol = protocol_of(optarg); break;
        case 'r': o.rate_bps = from_zero(name, optarg); break;
        case 'b': o.block_bytes = (int64_t)from_zero(name, optarg); break;
        case 't': o.tick_s = from_zero(name, optarg); break;
        case 'w': o.connect_timeout_s = from_zero(name, optarg); break;
        default: return 2;
        }
    }
    if (argc < 3 || optind != argc || !o.address || !o.port || !o.out || !o.congestion_control || o.block_bytes < 1) {
        fputs("usage: tcp_stream server|client send|receive --address ADDRESS --port N --out FILE\n"
              "                  --congestion-control NAME [--protocol tcp|mptcp|sctp] [--rate-bps R]\n"
              "                  [--block-bytes N] [--tick-s S] [--connect-timeout S]\n"
              "  --rate-bps 0: as fast as it goes; --congestion-control is not of SCTP\n", stderr);
        return 2;
    }
    bool server = either(argv[1], "server", "client"), sends = either(argv[2], "send", "receive");
    if (o.protocol == SCTP && o.block_bytes > WRITE_BYTES)
        fail("--block-bytes %" PRId64 ": a message of SCTP has at most %d", o.block_bytes, WRITE_BYTES);
    end_on_signals();
    prctl(PR_SET_TIMERSLACK, 1UL);

    int fd = open_connection(&o, server), yes = 1;
    if (fd >= 0) {
        if (o.protocol == MPTCP)
            look_at_subflows(fd);
        wait_at_most(fd, SO_SNDTIMEO, 0.1);
        wait_at_most(fd, SO_RCVTIMEO, 0.1);
        if (o.protocol == SCTP)
            setsockopt(fd, SCTP, SCTP_NODELAY, &yes, sizeof yes);
        else
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        if (!sends)
            receive_all(fd);
        else if (o.rate_bps > 0)
            send_paced(fd, &o);
        else
            send_bulk(fd);
    }
    if (!log_file.header.magic)
        return 0; /* stopped before there was a connection: no log was promised */
    if (fd >= 0 && o.protocol == MPTCP && !log_file.header.counters[ENDED_NS])
        look_at_subflows(fd);
    close(fd); /* the other end is told before the log is written */
    log_file.header.counters[CPU_NS] = cpu_time_ns();
    append(&log_file, entries, made);
    write_header(&log_file, true);
    return 0;
}
