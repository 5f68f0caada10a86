/* Run an exported policy on a robot over UDP, in C without dependencies.
 *
 *     simreal export run=policies/pendubot-pybullet-randomized output=my.policy format=c
 *     make -C examples/c_robot POLICY=$PWD/my.policy
 *     simreal robot-sim task=pendubot target=mujoco_ideal &
 *     examples/c_robot/c_robot 127.0.0.1 47800 10
 *
 * It speaks the frames of simreal.deploy.transports.frames: handshake with a nonce of each side, CRC32,
 * epochs, sequence numbers, time to live. It knows no key, so that a robot with a key drops its frames,
 * and it is no controller: it has no safety filter, no watchdog and no blend, as `simreal control` has.
 * What protects the robot here is the robot's own gate, which damps when commands stop.
 */
#define _POSIX_C_SOURCE 200809L

#include <arpa/inet.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "policy.h"

enum { HELLO = 1, INTERFACE = 2, SYNC = 3, SIGNALS = 4, COMMAND = 5 };
enum { RUN = 0, DAMP = 1 };
enum { HEADER = 64, CRC = 4, LARGEST = 65507 };

#define TTL_S 0.02     /* how long the robot may act on a command */
#define MAX_AGE_S 0.02 /* silence of the robot after which this program stops */
#define WAIT_S 5.0

typedef struct {
    int kind, flags, text_bytes, count;
    uint32_t epoch, seq;
    const uint8_t *numbers, *text;
} frame;

static int wire;
static uint64_t my_nonce, robot_nonce;
static uint8_t digest[8];
static uint8_t in[LARGEST + 1], out[HEADER + 8 * POLICY_COMMANDS + CRC];

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void sleep_until(double time_s)
{
    double rest = time_s - now_s();
    if (rest > 0.0) {
        struct timespec t;
        t.tv_sec = (time_t)rest;
        t.tv_nsec = (long)(1e9 * (rest - (double)t.tv_sec));
        nanosleep(&t, NULL);
    }
}

/* Little endian on every machine. */
static void put(uint8_t *at, uint64_t value, int bytes)
{
    int i;
    for (i = 0; i < bytes; ++i) at[i] = (uint8_t)(value >> 8 * i);
}

static uint64_t get(const uint8_t *at, int bytes)
{
    uint64_t value = 0;
    int i;
    for (i = 0; i < bytes; ++i) value |= (uint64_t)at[i] << 8 * i;
    return value;
}

static void put_double(uint8_t *at, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, 8);
    put(at, bits, 8);
}

static double get_double(const uint8_t *at)
{
    uint64_t bits = get(at, 8);
    double value;
    memcpy(&value, &bits, 8);
    return value;
}

/* CRC-32 of ISO-HDLC, the one of zlib. */
static uint32_t crc32_of(const uint8_t *data, int bytes)
{
    uint32_t crc = 0xFFFFFFFFu;
    int i, bit;
    for (i = 0; i < bytes; ++i) {
        crc ^= data[i];
        for (bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1u ? 0xEDB88320u : 0u);
    }
    return ~crc;
}

static void send_frame(int kind, int mode, uint32_t epoch, uint32_t seq, double ttl_s,
                       const double *numbers, int count)
{
    int i, end = HEADER + 8 * count;
    memset(out, 0, HEADER);
    memcpy(out, "SIMR", 4);
    out[4] = 1;
    out[5] = (uint8_t)kind;
    out[6] = (uint8_t)mode;
    memcpy(out + 8, digest, 8);
    put(out + 16, my_nonce, 8);
    put(out + 24, robot_nonce, 8);
    put(out + 32, epoch, 4);
    put(out + 36, seq, 4);
    put_double(out + 40, now_s());
    put_double(out + 48, ttl_s);
    put(out + 56, (uint64_t)count, 2);
    for (i = 0; i < count; ++i) put_double(out + HEADER + 8 * i, numbers[i]);
    put(out + end, crc32_of(out, end), 4);
    (void)!send(wire, out, (size_t)(end + CRC), 0); /* lost, as any datagram may be */
}

/* Take one datagram; returns 1 for a sound frame of this conversation, 0 for another, -1 for none. */
static int receive_frame(frame *f)
{
    ssize_t got = recv(wire, in, sizeof in, MSG_DONTWAIT);
    int end;
    if (got < 0) return -1;
    if (got < HEADER + CRC || memcmp(in, "SIMR", 4) != 0 || in[4] != 1) return 0;
    f->kind = in[5];
    f->flags = in[7];
    f->epoch = (uint32_t)get(in + 32, 4);
    f->seq = (uint32_t)get(in + 36, 4);
    f->count = (int)get(in + 56, 2);
    f->text_bytes = (int)get(in + 58, 2);
    f->numbers = in + HEADER;
    f->text = f->numbers + 8 * f->count;
    end = HEADER + 8 * f->count + f->text_bytes;
    if ((f->flags & 1) != 0 || got != end + CRC) return 0; /* a tag needs a key */
    if (get(in + end, 4) != crc32_of(in, end) || get(in + 16, 8) != my_nonce) return 0;
    if (f->kind == INTERFACE) return robot_nonce == 0 && get(in + 24, 8) != 0;
    return get(in + 24, 8) == robot_nonce && memcmp(in + 8, digest, 8) == 0;
}

static int refuse(const char *why)
{
    fprintf(stderr, "c_robot: %s\n", why);
    return 1;
}

/* Ask who the robot is, until it answers; the table it sends is compared with the policy's. */
static int meet(double *period_s)
{
    double begin = now_s();
    static char text[LARGEST + 1];
    const char *period;
    frame f;
    uint32_t seq = 0;
    int i, known = 0;
    while (!known) {
        if (now_s() - begin > WAIT_S) return refuse("nobody answered; does the robot run?");
        send_frame(HELLO, 0, 0, ++seq, 0.0, NULL, 0);
        sleep_until(now_s() + 0.05);
        while (!known && (i = receive_frame(&f)) >= 0) known = i == 1 && f.kind == INTERFACE;
    }
    for (i = 0; i < 8; ++i) {
        unsigned byte = 0;
        sscanf(&POLICY_INTERFACE_SHA256[2 * i], "%2x", &byte);
        if (in[8 + i] != byte) return refuse("the policy was trained for another robot");
    }
    memcpy(text, f.text, (size_t)f.text_bytes);
    text[f.text_bytes] = '\0';
    if (!strstr(text, "\"signals\":" POLICY_SIGNAL_TABLE)) {
        fprintf(stderr, "c_robot: expected the signals %s, found %s\n", POLICY_SIGNAL_TABLE, text);
        return 1;
    }
    if (!strstr(text, "\"busy\":false")) return refuse("the robot obeys another controller");
    period = strstr(text, "\"period_s\":");
    *period_s = period ? strtod(period + 11, NULL) : 0.0;
    if (!(*period_s > 0.0)) return refuse("the robot did not say its period");
    memcpy(digest, in + 8, 8);
    robot_nonce = get(in + 24, 8);
    send_frame(SYNC, 0, 0, ++seq, 0.0, NULL, 0); /* both nonces in one frame: the session begins */
    return 0;
}

static int open_wire(const char *host, const char *port)
{
    struct sockaddr_in to;
    FILE *noise = fopen("/dev/urandom", "rb");
    memset(&to, 0, sizeof to);
    to.sin_family = AF_INET;
    to.sin_port = htons((uint16_t)atoi(port));
    if (!noise || fread(&my_nonce, sizeof my_nonce, 1, noise) != 1) return refuse("no random numbers");
    fclose(noise);
    my_nonce = (my_nonce >> 1) + 1;
    wire = socket(AF_INET, SOCK_DGRAM, 0);
    if (wire < 0 || inet_pton(AF_INET, host, &to.sin_addr) != 1
        || connect(wire, (struct sockaddr *)&to, sizeof to) != 0)
        return refuse("cannot use that address");
    return 0;
}

int main(int argc, char **argv)
{
    static policy_carry carry;
    double signals[POLICY_SIGNALS], command[POLICY_COMMANDS];
    double period_s, heard_s, begin;
    uint32_t epoch = 0, seq = 0, newest = 0;
    long tick, ticks, every, measured = 0;
    const char *fault = NULL;
    int i, got;
    frame f;
    if (argc != 4) return refuse("usage: c_robot HOST PORT SECONDS");
    if (open_wire(argv[1], argv[2]) || meet(&period_s)) return 1;
    every = lround(POLICY_PERIOD_S / period_s);
    if (every < 1 || fabs((double)every * period_s - POLICY_PERIOD_S) > 1e-6)
        return refuse("the policy's period is no multiple of the robot's");
    ticks = lround(atof(argv[3]) / period_s);
    policy_init(&carry);
    heard_s = begin = now_s();
    for (tick = 0; tick < ticks && !fault;) {
        while ((got = receive_frame(&f)) >= 0) {
            if (got != 1 || f.kind != SIGNALS || f.count != POLICY_SIGNALS) continue;
            if (measured && f.seq <= newest) continue; /* overtaken */
            if (f.flags & 2) fault = "the robot's gate is latched; reset it at the robot";
            for (i = 0; i < POLICY_SIGNALS; ++i) signals[i] = get_double(f.numbers + 8 * i);
            if (!measured++) {
                epoch = f.epoch + 1; /* an arming of its own, above all before it */
                begin = now_s();
            }
            newest = f.seq;
            heard_s = now_s();
        }
        if (now_s() - heard_s > (measured ? MAX_AGE_S : WAIT_S)) fault = "the robot is silent";
        if (!measured) {
            sleep_until(now_s() + 0.001);
            continue;
        }
        if (!fault && tick % every == 0 && policy_step(&carry, signals, command) != POLICY_OK)
            fault = "a signal or an output is not finite";
        if (!fault) send_frame(COMMAND, RUN, epoch, ++seq, TTL_S, command, POLICY_COMMANDS);
        sleep_until(begin + (double)++tick * period_s);
    }
    if (measured) send_frame(COMMAND, DAMP, epoch, ++seq, TTL_S, NULL, 0);
    printf("c_robot: %ld measurements, %lu commands in epoch %lu, %s\n", measured,
           (unsigned long)seq, (unsigned long)epoch, fault ? fault : "no fault");
    close(wire);
    return fault ? 1 : 0;
}
