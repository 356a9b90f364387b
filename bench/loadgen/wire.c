/* TCP and WebSocket (RFC 6455) from one epoll loop. Knows no Socket.IO. */
#define _GNU_SOURCE
#include "loadgen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int ep;
static const uint8_t mask[4] = { 0x3a, 0x91, 0x5c, 0xe7 };

void wire_start(void)
{
    ep = epoll_create1(EPOLL_CLOEXEC);
    if (ep < 0)
        die("epoll_create1: %s", strerror(errno));
}

void wire_lost(struct conn *c, const char *why)
{
    if (c->state == ST_DEAD)
        return;
    /* a reader that stalls on purpose is meant to be cut */
    if (!c->stalled && count.errors++ < 5)
        fprintf(stderr, "loadgen: connection %ld lost in state %d: %s\n",
                (long)(c - conns), c->state, why);
    if (c->state < ST_READY)
        inflight--;
    c->state = ST_DEAD;
    dead++;
    if (!c->publisher && !c->spectator && !c->stalled && rooms[c->room].members)
        rooms[c->room].members--;
    close(c->fd);
    c->fd = -1;
}

static void set_events(struct conn *c)
{
    struct epoll_event e = { .data.ptr = c };
    e.events = (c->stalled ? 0 : EPOLLIN) | (c->want_write ? EPOLLOUT : 0);
    epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
}

void wire_stall(struct conn *c)
{
    c->stalled = 1;
    set_events(c);
}

static void raw_send(struct conn *c, const char *buf, size_t len)
{
    if (c->state == ST_DEAD)
        return;
    ssize_t n = 0;
    if (!c->out_len) {
        n = send(c->fd, buf, len, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN && errno != EWOULDBLOCK) {
                wire_lost(c, strerror(errno));
                return;
            }
            n = 0;
        }
    }
    if ((size_t)n == len)
        return;
    size_t rest = len - n;
    if (c->out_len + rest > c->out_cap) {
        c->out_cap = (c->out_len + rest) * 2;
        c->out = realloc(c->out, c->out_cap);
        if (!c->out)
            die("out of memory");
    }
    memcpy(c->out + c->out_len, buf + n, rest);
    c->out_len += rest;
    if (!c->want_write) {
        c->want_write = 1;
        set_events(c);
    }
}

static void frame_send(struct conn *c, int opcode, const char *data, size_t len)
{
    static char buf[70000];
    size_t h;
    if (len > 65535)
        die("a frame of %zu bytes", len);
    buf[0] = (char)(0x80 | opcode);
    if (len < 126) {
        buf[1] = (char)(0x80 | len);
        h = 2;
    } else {
        buf[1] = (char)(0x80 | 126);
        buf[2] = (char)(len >> 8);
        buf[3] = (char)len;
        h = 4;
    }
    memcpy(buf + h, mask, 4);
    h += 4;
    for (size_t i = 0; i < len; i++)
        buf[h + i] = data[i] ^ mask[i & 3];
    raw_send(c, buf, h + len);
}

void wire_text(struct conn *c, const char *data, size_t len)
{
    frame_send(c, 1, data, len);
}

/* Consumes whole frames; returns the number of bytes used. */
static size_t frames(struct conn *c, char *buf, size_t len)
{
    size_t pos = 0;
    while (len - pos >= 2 && c->state != ST_DEAD) {
        const uint8_t *h = (uint8_t *)buf + pos;
        size_t hl = 2;
        uint64_t pl = h[1] & 0x7f;
        if (pl == 126) {
            if (len - pos < 4)
                break;
            pl = (h[2] << 8) | h[3];
            hl = 4;
        } else if (pl == 127) {
            if (len - pos < 10)
                break;
            pl = 0;
            for (int i = 2; i < 10; i++)
                pl = (pl << 8) | h[i];
            hl = 10;
        }
        if (h[1] & 0x80 || h[0] & 0x70)
            count.bad_frames++;     /* servers never mask; no extension was offered */
        if (len - pos < hl + pl)
            break;
        char *data = buf + pos + hl;
        switch (h[0] & 0x0f) {
        case 1:
            talk_received(c, data, pl);
            break;
        case 8:
            wire_lost(c, "close frame");
            break;
        case 9:
            frame_send(c, 10, data, pl);
            break;
        case 10:
            break;
        default:
            count.bad_frames++;
        }
        pos += hl + pl;
    }
    return pos;
}

static void keep(struct conn *c, const char *p, size_t len)
{
    if (len > c->in_cap) {
        c->in_cap = len * 2;
        c->in = realloc(c->in, c->in_cap);
        if (!c->in)
            die("out of memory");
    }
    if (len)
        memmove(c->in, p, len);
    c->in_len = len;
    if (!len && c->in) {
        free(c->in);
        c->in = NULL;
        c->in_cap = 0;
    }
}

static void readable(struct conn *c)
{
    static char buf[1 << 20];
    size_t have = c->in_len;
    if (have >= sizeof buf) {
        wire_lost(c, "a frame larger than the generator's buffer");
        return;
    }
    if (have)
        memcpy(buf, c->in, have);
    ssize_t n = recv(c->fd, buf + have, sizeof buf - have, 0);
    if (n < 0) {
        if (errno != EAGAIN && errno != EWOULDBLOCK)
            wire_lost(c, strerror(errno));
        return;
    }
    if (n == 0) {
        wire_lost(c, "closed by the server");
        return;
    }
    count.bytes_in += n;
    size_t len = have + n, used = 0;
    if (c->state == ST_UPGRADING) {
        char *end = memmem(buf, len, "\r\n\r\n", 4);
        if (!end) {
            keep(c, buf, len);
            return;
        }
        if (len < 12 || memcmp(buf + 9, "101", 3)) {
            wire_lost(c, "no 101 answer");
            return;
        }
        c->state = ST_OPEN;
        used = end + 4 - buf;
    }
    used += frames(c, buf + used, len - used);
    if (c->state != ST_DEAD && (used < len || c->in_len))
        keep(c, buf + used, len - used);
}

static void upgrade(struct conn *c)
{
    char req[1024];
    int err = 0;
    socklen_t l = sizeof err;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &l);
    if (err) {
        wire_lost(c, strerror(err));
        return;
    }
    c->state = ST_UPGRADING;
    c->want_write = 0;
    set_events(c);
    int n = snprintf(req, sizeof req,
                     "GET %s HTTP/1.1\r\nHost: %s:%d\r\n"
                     "Connection: Upgrade\r\nUpgrade: websocket\r\n"
                     "Sec-WebSocket-Version: 13\r\n"
                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                     "User-Agent: loadgen\r\n\r\n",
                     opt.path, opt.host, c->port);
    raw_send(c, req, n);
}

static void writable(struct conn *c)
{
    if (c->state == ST_CONNECTING) {
        upgrade(c);
        return;
    }
    if (c->out_len) {
        ssize_t n = send(c->fd, c->out, c->out_len, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN && errno != EWOULDBLOCK)
                wire_lost(c, strerror(errno));
            return;
        }
        memmove(c->out, c->out + n, c->out_len - n);
        c->out_len -= n;
    }
    if (!c->out_len && c->want_write) {
        c->want_write = 0;
        set_events(c);
    }
}

void wire_dial(struct conn *c)
{
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die("socket: %s", strerror(errno));
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(c->port) };
    if (inet_pton(AF_INET, opt.host, &a.sin_addr) != 1)
        die("not an IPv4 address: %s", opt.host);
    struct epoll_event e = { .events = EPOLLOUT, .data.ptr = c };
    c->state = ST_CONNECTING;
    c->want_write = 1;
    inflight++;
    started++;
    epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e);
    if (connect(c->fd, (struct sockaddr *)&a, sizeof a) < 0 && errno != EINPROGRESS)
        wire_lost(c, strerror(errno));
}

/* One turn of the loop; waits at most that long for something to happen. */
void wire_poll(double seconds)
{
    static struct epoll_event ev[1024];
    if (seconds < 0)
        seconds = 0;
    struct timespec t = { .tv_sec = (time_t)seconds,
                          .tv_nsec = (long)((seconds - (time_t)seconds) * 1e9) };
    int n = epoll_pwait2(ep, ev, 1024, &t, NULL);
    for (int i = 0; i < n; i++) {
        struct conn *c = ev[i].data.ptr;
        if (c->state == ST_DEAD)
            continue;
        if (ev[i].events & EPOLLOUT)
            writable(c);
        if (c->state == ST_DEAD)
            continue;
        if (ev[i].events & EPOLLIN)
            readable(c);
        else if (ev[i].events & (EPOLLERR | EPOLLHUP))
            wire_lost(c, "hang up");
    }
}
