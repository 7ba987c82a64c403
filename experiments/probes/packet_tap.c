/* Where the probes' packets were seen: taps on devices of several namespaces, in one process.
 *
 *   packet_tap --out FILE --filter PROGRAM --tunnel-port N --point PID,DEVICE ... --flow ADDRESS,PORT,STREAM ...
 *              --nve ADDRESS ... [--ring-kib N] [--room-mib N]
 *
 * One record for each frame that passes the filter on a device, either way, with the kernel's stamp on
 * CLOCK_MONOTONIC. Frames are copied into rings (TPACKET_V3) and read some time later: to look does not delay
 * what is looked at. What a full ring lost is in the log too (kind OWN_DROPS), at the time it was noticed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "probe_log.h"

enum { MOST_POINTS = 200, MOST_FLOWS = 32, MOST_NVES = 200, MOST_INSTRUCTIONS = 256 };
enum { BLOCK_BYTES = 1 << 16, RETIRE_MS = 20, SLEEP_NS = 10000000, STATISTICS_EVERY = 5, FLUSH = 16384 };
enum { NOBODY = 255 };
enum kind { PROBE, QUESTION, ANSWER, ICMP_ERROR, OTHER, OWN_DROPS }; /* OTHER: TCP's SYN, a ping */

struct seen {
    int64_t t_ns;
    uint32_t seq; /* PROBE: its number; QUESTION, ANSWER: the address; ICMP_ERROR: the MTU; OWN_DROPS: how many */
    uint32_t vni; /* ICMP_ERROR: type * 256 + code */
    uint8_t point, flow, kind, outgoing;
    uint8_t sender, target; /* the tunnel's ends, as numbers of --nve */
    uint16_t bytes;         /* of the whole frame */
};
_Static_assert(sizeof(struct seen) == 24, "the layout below says 24 bytes");

struct flow {
    uint8_t address[16];
    int address_bytes;
    uint16_t port;
    uint32_t stream;
};

struct point {
    const char *wanted; /* PID,DEVICE */
    int fd;
    uint8_t *ring;
    unsigned next;
};

static struct point points[MOST_POINTS];
static struct flow flows[MOST_FLOWS];
static uint32_t nves[MOST_NVES];
static int point_count, flow_count, nve_count;
static uint16_t tunnel_port;
static struct sock_fprog filter;
static unsigned blocks = 64; /* of each ring */

static uint16_t half(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }
static uint32_t word(const uint8_t *at) { return (uint32_t)half(at) << 16 | half(at + 2); }

static uint8_t nve_of(uint32_t address)
{
    for (int i = 0; i < nve_count; i++)
        if (nves[i] == address)
            return (uint8_t)i;
    return NOBODY;
}

/* The probe's flow that a UDP payload to an address belongs to; NOBODY: none. */
static uint8_t flow_of(const uint8_t *address, int address_bytes, uint16_t port, const struct packet *packet)
{
    for (int i = 0; i < flow_count; i++)
        if (flows[i].port == port && flows[i].stream == packet->stream && flows[i].address_bytes == address_bytes &&
            !memcmp(flows[i].address, address, (size_t)address_bytes))
            return (uint8_t)i;
    return NOBODY;
}

/* Reads what lies behind an Ethernet header; whether it is of any interest. */
static bool read_packet(const uint8_t *at, const uint8_t *end, uint16_t type, struct seen *seen)
{
    const uint8_t *target, *inner;
    uint8_t protocol;
    int address_bytes;
    if (type == ETH_P_ARP && end - at >= 28) {
        seen->kind = half(at + 6) == 1 ? QUESTION : ANSWER;
        seen->seq = word(seen->kind == QUESTION ? at + 24 : at + 14);
        return true;
    }
    if (type == ETH_P_IP && end - at >= 20) {
        protocol = at[9];
        target = at + 16;
        address_bytes = 4;
        inner = at + (at[0] & 15) * 4;
    } else if (type == ETH_P_IPV6 && end - at >= 40) {
        protocol = at[6];
        target = at + 24;
        address_bytes = 16;
        inner = at + 40;
    } else {
        return false;
    }
    if (protocol == IPPROTO_UDP && end - inner >= 8 + (long)sizeof(struct packet)) {
        struct packet packet;
        memcpy(&packet, inner + 8, sizeof packet);
        if (packet.magic != PACKET_MAGIC)
            return false;
        seen->kind = PROBE;
        seen->seq = (uint32_t)packet.seq;
        seen->flow = flow_of(target, address_bytes, half(inner + 2), &packet);
        return seen->flow != NOBODY;
    }
    if (protocol == IPPROTO_TCP && end - inner >= 14) {
        seen->kind = OTHER;
        return inner[13] & 2;
    }
    if (protocol == IPPROTO_ICMP && end - inner >= 8) {
        seen->kind = inner[0] == 3 ? ICMP_ERROR : OTHER;
        seen->vni = half(inner);
        seen->seq = inner[0] == 3 && inner[1] == 4 ? half(inner + 6) : 0;
        return true;
    }
    if (protocol == IPPROTO_ICMPV6 && end - inner >= 8) {
        bool error = inner[0] == 1 || inner[0] == 2;
        seen->kind = error ? ICMP_ERROR : inner[0] == 135 ? QUESTION : inner[0] == 136 ? ANSWER : OTHER;
        seen->vni = half(inner);
        seen->seq = inner[0] == 2 ? word(inner + 4) : end - inner >= 24 ? word(inner + 20) : 0;
        return true;
    }
    return false;
}

static bool read_frame(const uint8_t *frame, uint32_t length, struct seen *seen)
{
    const uint8_t *end = frame + length;
    seen->flow = seen->sender = seen->target = NOBODY;
    seen->vni = 0;
    if (length < 34)
        return false;
    uint16_t type = half(frame + 12);
    /* The testbed's outer headers have no options: inner Ethernet at 14 + 20 + 8 + 8. */
    if (type == ETH_P_IP && frame[23] == IPPROTO_UDP && length >= 64 && half(frame + 36) == tunnel_port) {
        seen->sender = nve_of(word(frame + 26));
        seen->target = nve_of(word(frame + 30));
        seen->vni = word(frame + 46) >> 8;
        return read_packet(frame + 64, end, half(frame + 62), seen);
    }
    return read_packet(frame + 14, end, type, seen);
}

static struct log seen_log;
static struct seen kept[FLUSH];
static int64_t kept_count, room;

static void keep(const struct seen *seen)
{
    enum { FRAMES, DROPS, NO_ROOM };
    int64_t *counters = seen_log.header.counters;
    counters[FRAMES]++;
    if (seen_log.header.records + kept_count >= room) {
        counters[NO_ROOM]++;
        return;
    }
    kept[kept_count++] = *seen;
    if (kept_count == FLUSH) {
        append(&seen_log, kept, kept_count);
        kept_count = 0;
    }
}

static void read_ring(int number, int64_t offset_ns)
{
    struct point *point = &points[number];
    for (;;) {
        struct tpacket_block_desc *block = (void *)(point->ring + (size_t)point->next * BLOCK_BYTES);
        if (!(__atomic_load_n(&block->hdr.bh1.block_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER))
            return;
        const uint8_t *at = (const uint8_t *)block + block->hdr.bh1.offset_to_first_pkt;
        for (uint32_t i = 0; i < block->hdr.bh1.num_pkts; i++) {
            const struct tpacket3_hdr *head = (const void *)at;
            const struct sockaddr_ll *from = (const void *)(at + TPACKET_ALIGN(sizeof *head));
            struct seen seen = {.point = (uint8_t)number,
                                .outgoing = from->sll_pkttype == PACKET_OUTGOING,
                                .t_ns = head->tp_sec * NS_PER_S + head->tp_nsec - offset_ns,
                                .bytes = (uint16_t)(head->tp_len > UINT16_MAX ? UINT16_MAX : head->tp_len)};
            if (read_frame(at + head->tp_mac, head->tp_snaplen, &seen))
                keep(&seen);
            at += head->tp_next_offset;
        }
        __atomic_store_n(&block->hdr.bh1.block_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
        point->next = (point->next + 1) % blocks;
    }
}

/* The kernel counts what a full ring did not take and starts anew at each reading. */
static void read_drops(int number)
{
    struct tpacket_stats_v3 statistics;
    socklen_t length = sizeof statistics;
    if (getsockopt(points[number].fd, SOL_PACKET, PACKET_STATISTICS, &statistics, &length) || !statistics.tp_drops)
        return;
    struct seen seen = {.t_ns = clock_ns(CLOCK_MONOTONIC), .seq = statistics.tp_drops, .point = (uint8_t)number,
                        .flow = NOBODY, .kind = OWN_DROPS, .sender = NOBODY, .target = NOBODY};
    seen_log.header.counters[1] += statistics.tp_drops;
    keep(&seen);
}

/* For threads: the first one's words end the program, others wait for that. */
static pthread_mutex_t saying = PTHREAD_MUTEX_INITIALIZER;
#define fail_alone(...) (pthread_mutex_lock(&saying), fail(__VA_ARGS__))

/* The thread that opens a point enters its namespace for good, and ends. */
static void enter(long pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/ns/net", pid);
    int target = open(path, O_RDONLY | O_CLOEXEC);
    if (target < 0 || setns(target, CLONE_NEWNET))
        fail_alone("cannot enter the network namespace %s: %s", path, strerror(errno));
    close(target);
}

static void *open_point(void *which)
{
    struct point *point = which;
    char *comma;
    long pid = strtol(point->wanted, &comma, 10);
    if (*comma != ',')
        fail_alone("--point '%s': PID,DEVICE is wanted", point->wanted);
    const char *device = comma + 1;
    if (pid)
        enter(pid);
    unsigned index = if_nametoindex(device);
    if (!index)
        fail_alone("--point %s: there is no device %s", point->wanted, device);
    int version = TPACKET_V3;
    struct tpacket_req3 ring = {.tp_block_size = BLOCK_BYTES, .tp_block_nr = blocks, .tp_frame_size = 2048,
                                .tp_frame_nr = blocks * (BLOCK_BYTES / 2048), .tp_retire_blk_tov = RETIRE_MS};
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)index};
    point->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0); /* takes nothing before it is bound */
    if (point->fd < 0 || setsockopt(point->fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version) ||
        setsockopt(point->fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) ||
        setsockopt(point->fd, SOL_PACKET, PACKET_RX_RING, &ring, sizeof ring))
        fail_alone("--point %s: no packet socket with a ring: %s", point->wanted, strerror(errno));
    point->ring = mmap(NULL, (size_t)blocks * BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, point->fd, 0);
    if (point->ring == MAP_FAILED || bind(point->fd, (void *)&address, sizeof address))
        fail_alone("--point %s: cannot map or bind its ring: %s", point->wanted, strerror(errno));
    return NULL;
}

static void *close_point(void *which)
{
    struct point *point = which;
    munmap(point->ring, (size_t)blocks * BLOCK_BYTES);
    close(point->fd);
    return NULL;
}

/* All at once: the kernel waits some 15 ms, for every reader of its lists, when a ring is set up or given back. */
static void at_all_points(void *(*work)(void *))
{
    pthread_t threads[MOST_POINTS];
    for (int i = 0; i < point_count; i++)
        if ((errno = pthread_create(&threads[i], NULL, work, &points[i])))
            fail("cannot start a thread: %s", strerror(errno));
    for (int i = 0; i < point_count; i++)
        pthread_join(threads[i], NULL);
}

static void add_flow(char *text)
{
    char *port = strchr(text, ','), *stream = port ? strchr(port + 1, ',') : NULL;
    if (!stream || flow_count == MOST_FLOWS)
        fail("--flow '%s': ADDRESS,PORT,STREAM is wanted, %d times at most", text, MOST_FLOWS);
    *port = *stream = 0;
    struct flow *flow = &flows[flow_count++];
    flow->port = (uint16_t)atoi(port + 1);
    flow->stream = (uint32_t)strtoul(stream + 1, NULL, 10);
    flow->address_bytes = strchr(text, ':') ? 16 : 4;
    if (inet_pton(flow->address_bytes == 16 ? AF_INET6 : AF_INET, text, flow->address) != 1)
        fail("--flow: '%s' is no address", text);
}

static void read_filter(char *text)
{
    static struct sock_filter instructions[MOST_INSTRUCTIONS];
    unsigned short count = 0;
    for (char *one = strtok(text, ";"); one; one = strtok(NULL, ";")) {
        unsigned code, yes, no, k;
        if (count == MOST_INSTRUCTIONS || sscanf(one, "%u,%u,%u,%u", &code, &yes, &no, &k) != 4)
            fail("--filter: '%s' is not CODE,YES,NO,K, or there are over %d of them", one, MOST_INSTRUCTIONS);
        instructions[count++] = (struct sock_filter){(uint16_t)code, (uint8_t)yes, (uint8_t)no, k};
    }
    filter = (struct sock_fprog){count, instructions};
}

int main(int argc, char **argv)
{
    static const struct option known[] = {{"out", 1, 0, 'o'},   {"filter", 1, 0, 'f'},   {"tunnel-port", 1, 0, 't'},
                                          {"point", 1, 0, 'p'}, {"flow", 1, 0, 'w'},     {"nve", 1, 0, 'n'},
                                          {"ring-kib", 1, 0, 'r'}, {"room-mib", 1, 0, 'm'}, {0}};
    const char *out = NULL;
    int choice;
    room = (INT64_C(512) << 20) / (int64_t)sizeof(struct seen);
    while ((choice = getopt_long(argc, argv, "", known, NULL)) != -1)
        switch (choice) {
        case 'o': out = optarg; break;
        case 'f': read_filter(optarg); break;
        case 't': tunnel_port = (uint16_t)atoi(optarg); break;
        case 'w': add_flow(optarg); break;
        case 'r': blocks = (unsigned)atoi(optarg) * 1024 / BLOCK_BYTES; break;
        case 'm': room = ((int64_t)atoi(optarg) << 20) / (int64_t)sizeof(struct seen); break;
        case 'p':
            if (point_count == MOST_POINTS)
                fail("more than %d points", MOST_POINTS);
            points[point_count++].wanted = optarg;
            break;
        case 'n':
            if (nve_count == MOST_NVES || inet_pton(AF_INET, optarg, &nves[nve_count]) != 1)
                fail("--nve: '%s' is no IPv4 address, or there are over %d", optarg, MOST_NVES);
            nves[nve_count] = ntohl(nves[nve_count]);
            nve_count++;
            break;
        default: exit(2);
        }
    if (!out || !filter.len || !point_count || blocks < 2)
        fail("needs --out FILE, --filter PROGRAM, a --point, and rings of 128 KiB at least");
    end_on_signals();
    prctl(PR_SET_TIMERSLACK, 1000000UL);
    at_all_points(open_point);
    open_log(&seen_log, out, sizeof(struct seen),
             "t_ns:<i8,seq:<u4,vni:<u4,point:<u1,flow:<u1,kind:<u1,outgoing:<u1,sender:<u1,target:<u1,bytes:<u2",
             "frames,own_drops,no_room,clock_steps,cpu_ns");

    struct clock_offset offset = {0};
    for (unsigned turn = 0, last = 0; !last; turn++) {
        struct timespec pause = {0, stopping ? 3 * RETIRE_MS * 1000000L : SLEEP_NS};
        last = stopping != 0; /* after the signal one more reading, when the blocks under way are closed */
        nanosleep(&pause, NULL);
        seen_log.header.counters[3] += sample_offset(&offset);
        for (int i = 0; i < point_count; i++) {
            read_ring(i, offset.ns);
            if (last || turn % STATISTICS_EVERY == 0)
                read_drops(i);
        }
    }
    append(&seen_log, kept, kept_count);
    seen_log.header.counters[4] = cpu_time_ns();
    write_header(&seen_log, true);
    at_all_points(close_point);
    return 0;
}
