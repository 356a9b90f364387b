/*
 * Engine.IO v4 and Socket.IO v5 as a client speaks them, and the kinds of
 * load: what is said, what is counted as its delivery, how latency is told.
 */
#define _GNU_SOURCE
#include "loadgen.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char prefix[64];        /* how a delivery begins: 42["msg" */
static size_t prefix_len;

/* What is said is built here: one thread, one message at a time. */
static char out[66000];
static size_t out_len;

static void put(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(out + out_len, sizeof out - out_len, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof out - out_len)
        die("a message longer than %zu bytes", sizeof out);
    out_len += n;
}

static void pad(size_t n)
{
    if (n >= sizeof out - out_len)
        die("a message longer than %zu bytes", sizeof out);
    memset(out + out_len, 'x', n);
    out_len += n;
}

static void leave(struct conn *c)
{
    wire_text(c, out, out_len);
    out_len = 0;
}

/* Whether a stream is open in each room. */
int is_stream_load(void)
{
    return opt.load == LOAD_CHUNKS || opt.load == LOAD_DELTAS;
}

void talk_start(void)
{
    static const char *const heard[] = {
        [LOAD_BROADCAST] = "msg", [LOAD_ACK] = "msg", [LOAD_NONE] = "msg",
        [LOAD_TYPING] = "typing", [LOAD_CHUNKS] = "stream_chunk", [LOAD_DELTAS] = "stream_delta",
        [LOAD_MESSAGES] = "message",
    };
    prefix_len = snprintf(prefix, sizeof prefix, "42[\"%s\"", heard[opt.load]);
}

/* ------------------------------------------------------- what is said */

/* Everything up to the payload; an ack is asked for where `ack` is set. */
static void put_event(struct conn *c, const char *event, int ack)
{
    if (ack)
        put("42%u[\"%s\",", ++c->said, event);
    else
        put("42[\"%s\",", event);
}

static void say_connect(struct conn *c)
{
    if (opt.tokens.n)
        put("40{\"token\":\"%s\"}", opt.tokens.line[(c - conns) % opt.tokens.n]);
    else
        put("40%s", opt.auth);
    leave(c);
}

static void say_join(struct conn *c)
{
    put_event(c, "join", 1);
    if (opt.sessions.n)
        put("{\"session_id\":\"%s\"}]", rooms[c->room].name);
    else
        put("\"%s\"]", rooms[c->room].name);
    leave(c);
}

static void say_stream_start(struct conn *c)
{
    put_event(c, "stream_start", 1);
    put("{\"session_id\":\"%s\"}]", rooms[c->room].name);
    leave(c);
}

/* Opens the reasoning that the deltas go on with: the stream's piece 0. */
static void say_reasoning(struct conn *c)
{
    put_event(c, "stream_part", 1);
    put("{\"session_id\":\"%s\",\"message_id\":\"%s\","
        "\"part\":{\"id\":\"r\",\"type\":\"reasoning\",\"text\":\"\"}}]",
        rooms[c->room].name, rooms[c->room].stream);
    leave(c);
}

static void say_stream_end(struct conn *c)
{
    put_event(c, "stream_end", 0);
    put("{\"session_id\":\"%s\",\"message_id\":\"%s\"}]", rooms[c->room].name,
        rooms[c->room].stream);
    leave(c);
}

/* {"room":"r0","t":123,"p":"xxxx"}, the object padded to --payload bytes */
static void put_padded(struct conn *c)
{
    size_t begin = out_len;
    put("{\"room\":\"%s\",\"t\":%llu,\"p\":\"", rooms[c->room].name,
        (unsigned long long)now_us());
    size_t used = out_len - begin + 2;
    if (used < (size_t)opt.payload)
        pad(opt.payload - used);
    put("\"}]");
}

/* --payload characters of content that begin with the time */
static void put_content(void)
{
    size_t begin = out_len;
    put("\"content\":\"t=%llu;", (unsigned long long)now_us());
    size_t used = out_len - begin - sizeof "\"content\":\"" + 1;
    if (used < (size_t)opt.payload)
        pad(opt.payload - used);
    put("\"");
}

static void speak(struct room *r)
{
    struct conn *c = r->speaker;
    if (opt.load == LOAD_TYPING) {
        put_event(c, "typing", 0);
        put("{\"session_id\":\"%s\",\"is_typing\":%s}]", r->name, r->sent % 2 ? "false" : "true");
        r->said_at = now_us();
    } else if (opt.load == LOAD_CHUNKS) {
        put_event(c, "stream_chunk", 0);
        put("{\"session_id\":\"%s\",\"message_id\":\"%s\",\"index\":%llu,", r->name, r->stream,
            (unsigned long long)r->sent);
        put_content();
        put("}]");
    } else if (opt.load == LOAD_DELTAS) {
        put_event(c, "stream_delta", 0);
        put("{\"session_id\":\"%s\",\"message_id\":\"%s\",\"part\":\"r\",\"index\":%llu,", r->name,
            r->stream, (unsigned long long)r->sent + 1);
        put_content();
        put("}]");
    } else {
        put_event(c, "say", 0);
        put_padded(c);
    }
    r->sent++;
    count.sent++;
    leave(c);
}

/* A command whose acknowledgement is the delivery. */
static void ask(struct conn *c)
{
    if (opt.load == LOAD_MESSAGES) {
        put_event(c, "message", 1);
        put("{\"session_id\":\"%s\",\"client_message_id\":\"%ld-%u\",\"reply\":false,",
            rooms[c->room].name, (long)(c - conns), c->said);
        put_content();
        put("}]");
    } else {
        put_event(c, "echo", 1);
        put_padded(c);
    }
    c->asked_at[c->said % opt.window] = now_us();
    count.sent++;
    leave(c);
}

static int acknowledged_load(void)
{
    return opt.load == LOAD_ACK || opt.load == LOAD_MESSAGES;
}

static void closed_loop(struct room *r)
{
    while (sending && r->members && r->speaker->state == ST_READY &&
           r->sent * r->members - r->recv <= (uint64_t)(opt.window - 1) * r->members)
        speak(r);
}

/* ------------------------------------------------------- what is heard */

static void latency(uint64_t since)
{
    uint64_t n = now_us();
    if (since)
        hist_add(n > since ? n - since : 0);
}

static uint64_t number(const char *p, const char *end)
{
    uint64_t v = 0;
    while (p < end && *p == ' ')
        p++;
    while (p < end && *p >= '0' && *p <= '9')
        v = v * 10 + (*p++ - '0');
    return v;
}

static void delivery(struct conn *c, const char *p, size_t len)
{
    struct room *r = &rooms[c->room];
    const char *end = p + len, *t = p;
    int n = 0;
    if (opt.load == LOAD_MESSAGES) {        /* counted by their acks */
        count.other++;
        return;
    }
    if (is_stream_load()) {                 /* several may have become one */
        while ((t = memmem(t, end - t, "t=", 2))) {
            t += 2;
            n++;
            if (measuring)
                latency(number(t, end));
        }
    } else {
        n = 1;
        if (measuring && opt.load == LOAD_TYPING)
            latency(r->said_at);
        else if (measuring && (t = memmem(p, len, "\"t\":", 4)))
            latency(number(t + 4, end));
    }
    r->recv += n;
    if (measuring)
        count.delivered += n;
    if (opt.rate == 0 && !acknowledged_load() && opt.load != LOAD_NONE)
        closed_loop(r);
}

static void acknowledgement(struct conn *c, const char *p, size_t len)
{
    if (opt.load == LOAD_MESSAGES && !memmem(p, len, "\"ok\":true", 9)) {
        if (count.refused++ < 3)
            fprintf(stderr, "loadgen: refused: %.*s\n", (int)len, p);
    } else if (measuring) {
        count.delivered++;
        latency(c->asked_at[number(p + 2, p + len) % opt.window]);
    }
    if (sending)
        ask(c);
}

static void is_ready(struct conn *c)
{
    c->state = ST_READY;
    ready++;
    inflight--;
}

/* The reply to join, stream_start or stream_part. */
static void admitted(struct conn *c, char *p, size_t len)
{
    if (memmem(p, len, "\"ok\":false", 10)) {
        char why[256];
        snprintf(why, sizeof why, "refused: %.*s", len < 200 ? (int)len : 200, p);
        wire_lost(c, why);
        return;
    }
    if (c->publisher && is_stream_load() && !rooms[c->room].stream) {
        char *id = memmem(p, len, "\"message_id\":\"", 14), *end;
        if (!id || !(end = memchr(id + 14, '"', p + len - id - 14)))
            die("stream_start was answered without a message_id");
        rooms[c->room].stream = strndup(id + 14, end - id - 14);
        if (opt.load == LOAD_DELTAS) {
            say_reasoning(c);
            return;
        }
    }
    is_ready(c);
}

static void connected(struct conn *c)
{
    if (c->publisher && is_stream_load()) {
        c->state = ST_JOINING;
        say_stream_start(c);
    } else if (c->publisher || c->spectator || opt.no_join) {
        is_ready(c);
    } else {
        c->state = ST_JOINING;
        say_join(c);
    }
}

void talk_received(struct conn *c, char *p, size_t len)
{
    if (c->state == ST_READY && len > prefix_len && !memcmp(p, prefix, prefix_len)) {
        delivery(c, p, len);
    } else if (len && p[0] == '0' && c->state == ST_OPEN) {
        c->state = ST_SIO;
        say_connect(c);
    } else if (len && p[0] == '2') {
        count.pings++;
        wire_text(c, "3", 1);
    } else if (len > 1 && p[0] == '4' && p[1] == '0' && c->state == ST_SIO) {
        connected(c);
    } else if (len > 1 && p[0] == '4' && p[1] == '3' && c->state == ST_JOINING) {
        admitted(c, p, len);
    } else if (len > 1 && p[0] == '4' && p[1] == '3' && acknowledged_load()) {
        acknowledgement(c, p, len);
    } else if (len > 1 && p[0] == '4' && p[1] == '4') {
        char why[256];
        snprintf(why, sizeof why, "refused: %.*s", len < 200 ? (int)len : 200, p);
        wire_lost(c, why);
    } else {
        count.other++;
    }
}

/* --------------------------------------------------------- the load */

void talk_begin_load(void)
{
    double t = now_s();
    for (int i = 0; i < opt.rooms; i++)
        rooms[i].next_at = t + (opt.rate > 0 ? i / (opt.rooms * opt.rate) : 0);
    if (acknowledged_load()) {
        for (int i = 0; i < opt.conns; i++)
            for (int w = 0; w < opt.window; w++)
                ask(&conns[i]);
    } else if (opt.load != LOAD_NONE && opt.rate == 0) {
        for (int i = 0; i < opt.rooms; i++)
            closed_loop(&rooms[i]);
    }
}

/* Open loop: what is due by now, whether or not the last was delivered. */
void talk_due(double now, double stop)
{
    if (opt.rate == 0 || acknowledged_load() || opt.load == LOAD_NONE || now >= stop)
        return;
    for (int i = 0; i < opt.rooms; i++) {
        struct room *r = &rooms[i];
        while (r->next_at <= now) {
            r->next_at += 1.0 / opt.rate;
            if (r->speaker->state == ST_READY)
                speak(r);
        }
    }
}

double talk_next_due(void)
{
    double next = 1e300;
    if (opt.rate == 0 || acknowledged_load() || opt.load == LOAD_NONE)
        return next;
    for (int i = 0; i < opt.rooms; i++)
        if (rooms[i].next_at < next)
            next = rooms[i].next_at;
    return next;
}

uint64_t talk_missing(void)
{
    uint64_t missing = 0;
    if (acknowledged_load() || opt.load == LOAD_NONE)
        return 0;
    for (int i = 0; i < opt.rooms; i++)
        if (rooms[i].sent * rooms[i].members > rooms[i].recv)
            missing += rooms[i].sent * rooms[i].members - rooms[i].recv;
    return missing;
}

void talk_end_load(void)
{
    if (is_stream_load())
        for (int i = 0; i < opt.rooms; i++)
            say_stream_end(rooms[i].speaker);
}
