/*
 * floor: the kernel's share. A C epoll server with the least of the Socket.IO
 * protocol that loadgen needs: it frames a message once and calls send() once
 * per member. No server that makes one system call per delivery can cost less.
 * It checks nothing: for loopback and this benchmark alone.
 *
 * Build: cc -O2 -o floor floor.c          Run: ./floor PORT
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_FD 20000
#define MAX_ROOM 20000

static struct peer { uint8_t open; int room; char *in; int in_len; } *peers[MAX_FD];
static struct { int *fds, n, cap; } rooms[MAX_ROOM];
static const char accept_head[] =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

static int frame(char *out, const char *data, int n)
{
    int h = 2;
    out[0] = (char)0x81;
    if (n < 126) {
        out[1] = n;
    } else {
        out[1] = 126;
        out[2] = n >> 8;
        out[3] = n;
        h = 4;
    }
    memcpy(out + h, data, n);
    return h + n;
}

static void reply(int fd, const char *s)
{
    char out[512];
    int n = frame(out, s, strlen(s));
    send(fd, out, n, MSG_NOSIGNAL);
}

static void message(int fd, char *t, int n)
{
    static char text[70000], out[70010];
    t[n] = 0;
    if (n < 2 || t[0] != '4')
        return;
    if (t[1] == '0') {
        reply(fd, "40{\"sid\":\"x\"}");
        return;
    }
    char *a = strchr(t, '[');
    if (!a)
        return;
    if (!strncmp(a, "[\"join\"", 7)) {
        char *name = strstr(a, ",\"r");
        if (!name)
            return;
        int r = atoi(name + 3) % MAX_ROOM;
        if (rooms[r].n == rooms[r].cap)
            rooms[r].fds = realloc(rooms[r].fds, (rooms[r].cap = rooms[r].cap * 2 + 8) * sizeof(int));
        rooms[r].fds[rooms[r].n++] = fd;
        peers[fd]->room = r;
        char ack[64];
        snprintf(ack, sizeof ack, "43%.*s[\"ok\"]", (int)(a - t - 2), t + 2);
        reply(fd, ack);
    } else if (!strncmp(a, "[\"say\"", 6)) {
        char *name = strstr(a, "\"room\":\"r");
        if (!name)
            return;
        int r = atoi(name + 9) % MAX_ROOM;
        int m = sprintf(text, "42[\"msg\"%s", a + 6);
        m = frame(out, text, m);
        for (int i = 0; i < rooms[r].n; i++)
            send(rooms[r].fds[i], out, m, MSG_NOSIGNAL);
    } else if (!strncmp(a, "[\"echo\"", 7)) {
        int m = sprintf(text, "43%.*s[%s", (int)(a - t - 2), t + 2, a + 8);
        m = frame(out, text, m);
        send(fd, out, m, MSG_NOSIGNAL);
    }
}

static void gone(int fd)
{
    struct peer *p = peers[fd];
    if (p->room >= 0)
        for (int i = 0; i < rooms[p->room].n; i++)
            if (rooms[p->room].fds[i] == fd)
                rooms[p->room].fds[i--] = rooms[p->room].fds[--rooms[p->room].n];
    free(p->in);
    free(p);
    peers[fd] = NULL;
    close(fd);
}

int main(int argc, char **argv)
{
    int ls = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1, ep = epoll_create1(0);
    setsockopt(ls, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(atoi(argv[argc - 1])) };
    inet_pton(AF_INET, "127.0.0.1", &a.sin_addr);
    if (bind(ls, (void *)&a, sizeof a) || listen(ls, 2048))
        return 1;
    struct epoll_event e = { .events = EPOLLIN, .data.fd = ls }, ev[512];
    epoll_ctl(ep, EPOLL_CTL_ADD, ls, &e);
    static char buf[140000], save[8];
    for (;;) {
        int n = epoll_wait(ep, ev, 512, -1);
        for (int i = 0; i < n; i++) {
            int fd = ev[i].data.fd;
            if (fd == ls) {
                while ((fd = accept4(ls, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    if (fd >= MAX_FD)
                        return 1;
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    peers[fd] = calloc(1, sizeof **peers);
                    peers[fd]->room = -1;
                    e = (struct epoll_event){ .events = EPOLLIN, .data.fd = fd };
                    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
                }
                continue;
            }
            struct peer *p = peers[fd];
            memcpy(buf, p->in, p->in_len);
            ssize_t got = recv(fd, buf + p->in_len, 65536, 0);
            if (got <= 0) {
                gone(fd);
                continue;
            }
            int len = p->in_len + got, pos = 0;
            if (!p->open) {
                char *end = memmem(buf, len, "\r\n\r\n", 4);
                if (end) {
                    p->open = 1;
                    pos = end + 4 - buf;
                    send(fd, accept_head, sizeof accept_head - 1, MSG_NOSIGNAL);
                    reply(fd, "0{\"sid\":\"x\",\"upgrades\":[],\"pingInterval\":25000,\"pingTimeout\":20000}");
                }
            }
            while (p->open && len - pos >= 6) {
                uint8_t *h = (uint8_t *)buf + pos;
                int pl = h[1] & 127, hl = 6;
                if (pl == 126) {
                    pl = (h[2] << 8) | h[3];
                    hl = 8;
                }
                if (len - pos < hl + pl)
                    break;
                uint8_t *m = h + hl - 4;
                for (int k = 0; k < pl; k++)
                    h[hl + k] ^= m[k & 3];
                save[0] = buf[pos + hl + pl];
                if ((h[0] & 15) == 1)
                    message(fd, buf + pos + hl, pl);
                buf[pos + hl + pl] = save[0];
                pos += hl + pl;
            }
            p->in_len = len - pos;
            p->in = realloc(p->in, p->in_len + 1);
            memcpy(p->in, buf + pos, p->in_len);
        }
    }
}
