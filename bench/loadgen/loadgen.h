/*
 * What the parts of the load generator share: its options, a connection, a
 * room, and who calls whom.  main.c drives, talk.c speaks Socket.IO, wire.c
 * speaks TCP and WebSocket, histogram.c keeps the latencies.
 */
#ifndef LOADGEN_H
#define LOADGEN_H

#include <stddef.h>
#include <stdint.h>

enum load {
    LOAD_BROADCAST,            /* say -> msg to a room */
    LOAD_ACK,                  /* echo, acknowledged */
    LOAD_NONE,                 /* connect, then silence */
    LOAD_TYPING,               /* the product's typing, toggled */
    LOAD_CHUNKS,               /* the product's stream_chunk, one stream a room */
    LOAD_DELTAS,               /* the same of its reasoning, by stream_delta */
    LOAD_MESSAGES,             /* the product's message, acknowledged */
};

struct list {                  /* the lines of a file */
    char **line;
    int n;
};

struct options {
    const char *host, *path, *auth;
    int ports[16], nports, spectator_ports[16], nspectators;
    enum load load;
    int conns, rooms, window, payload, concurrency, stall;
    int member_speaks, no_join;
    double rate, duration, warmup, idle, connect_timeout;
    struct list sessions, tokens;
};

enum state { ST_CONNECTING, ST_UPGRADING, ST_OPEN, ST_SIO, ST_JOINING, ST_READY, ST_DEAD };

struct conn {
    int fd, room, port;
    uint8_t state, publisher, stalled, spectator, want_write;
    uint32_t said;             /* commands so far: the last one's ack id */
    uint64_t *asked_at;        /* when the last --window of them left */
    char *in;                  /* an incomplete frame, if any */
    uint32_t in_len, in_cap;
    char *out;                 /* bytes the kernel did not take yet */
    uint32_t out_len, out_cap;
};

struct room {
    const char *name;
    char *stream;              /* message_id of the stream that is open in it */
    struct conn *speaker;
    uint32_t members;          /* deliveries expected for one broadcast */
    uint64_t sent, recv, said_at;
    double next_at;
};

struct counters {
    uint64_t delivered, sent, refused, bytes_in, errors, bad_frames, other, pings;
};

extern struct options opt;
extern struct conn *conns;
extern struct room *rooms;
extern struct counters count;
extern int total_conns, started, ready, inflight, dead;
extern int measuring, sending;

/* main.c */
void die(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));
double now_s(void);
uint64_t now_us(void);

/* histogram.c: microseconds, to one part in 64 */
void hist_add(uint64_t us);
uint64_t hist_at(double quantile);
uint64_t hist_max(void);

/* wire.c */
void wire_start(void);
void wire_poll(double seconds);
void wire_dial(struct conn *c);
void wire_text(struct conn *c, const char *data, size_t len);
void wire_stall(struct conn *c);
void wire_lost(struct conn *c, const char *why);

/* talk.c */
void talk_start(void);
int is_stream_load(void);
void talk_received(struct conn *c, char *text, size_t len);
void talk_begin_load(void);
void talk_due(double now, double stop);
double talk_next_due(void);
uint64_t talk_missing(void);
void talk_end_load(void);

#endif
