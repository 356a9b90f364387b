/*
 * loadgen: a small, single-threaded load generator for Socket.IO servers, far
 * cheaper than any server that it drives.
 *
 * Each phase is announced by a line on stdout, so that a wrapper can read the
 * server's CPU time and memory at the right moments:
 *
 *     @connecting   before the first connection
 *     @connected    every connection has joined its room (its join is acked)
 *     @start        after --idle seconds of silence and the warm-up
 *     @stop         the load has ended
 *
 * It may be stopped (SIGSTOP) and go on (SIGCONT) at any time: its clock stands
 * still meanwhile.
 *
 * then one JSON object with the results.
 *
 * Build: cc -O2 -o loadgen main.c talk.c wire.c histogram.c
 */
#define _GNU_SOURCE
#include "loadgen.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct options opt = {
    .host = "127.0.0.1", .path = "/socket.io/?EIO=4&transport=websocket",
    .auth = "{\"token\":\"secret\"}", .conns = 100, .rooms = 1, .window = 1, .payload = 100,
    .concurrency = 64, .duration = 5, .warmup = 0.5, .connect_timeout = 120,
};
struct conn *conns;
struct room *rooms;
struct counters count;
int total_conns, started, ready, inflight, dead;
int measuring, sending;

void die(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("loadgen: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    exit(1);
}

/* While it is stopped, because another build has its turn, no time passes. */
static volatile sig_atomic_t woken;

static void wake(int number)
{
    (void)number;
    woken = 1;
}

double now_s(void)
{
    static double seen, skipped;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    double now = t.tv_sec + t.tv_nsec * 1e-9;
    if (woken) {
        woken = 0;
        skipped += now - seen;
    }
    seen = now;
    return now - skipped;
}

uint64_t now_us(void)
{
    return (uint64_t)(now_s() * 1e6);
}

/* ---------------------------------------------------------------- options */

static void usage(void)
{
    fputs("usage: loadgen --ports P[,P...] [options]\n"
          "  --conns N          members (connection i joins room i mod R)\n"
          "  --rooms R          rooms r0..r(R-1)\n"
          "  --load broadcast|ack|none|typing|chunks|deltas|messages\n"
          "  --speaker publisher|member  publisher: one more connection per room\n"
          "                     that does not join; member: its first member\n"
          "  --rate X           broadcasts per second and room; 0: closed loop\n"
          "  --window W         closed loop: broadcasts in flight per room, or\n"
          "                     commands without an answer per connection\n"
          "  --payload B        bytes of the JSON object (or of its content)\n"
          "  --duration S --warmup S --idle S --connect-timeout S\n"
          "  --concurrency N    handshakes in flight\n"
          "  --stall N          members that stop reading when the load starts\n"
          "  --no-join          connect, and join nothing\n"
          "  --spectator-ports P[,P...]  one silent connection to each\n"
          "  --sessions FILE    a session id per line: room i is line i, and join\n"
          "                     takes {session_id}\n"
          "  --tokens FILE      a token per line: connection i says line i\n"
          "  --host H --path P --auth JSON\n",
          stderr);
    exit(2);
}

static int numbers(const char *s, int *out)
{
    int n = 0;
    while (*s && n < 16) {
        out[n++] = strtol(s, (char **)&s, 10);
        if (*s == ',')
            s++;
        else if (*s)
            usage();
    }
    return n;
}

static struct list lines(const char *name)
{
    struct list l = { 0 };
    char *line = NULL;
    size_t cap = 0, room = 0;
    ssize_t n;
    FILE *f = fopen(name, "r");
    if (!f)
        die("cannot read %s", name);
    while ((n = getline(&line, &cap, f)) > 0) {
        line[strcspn(line, "\r\n")] = 0;
        if ((size_t)l.n == room)
            l.line = realloc(l.line, (room = room * 2 + 64) * sizeof *l.line);
        l.line[l.n++] = strdup(line);
    }
    free(line);
    fclose(f);
    if (!l.n)
        die("%s is empty", name);
    return l;
}

static enum load load_of(const char *v)
{
    static const char *const names[] = {
        [LOAD_BROADCAST] = "broadcast", [LOAD_ACK] = "ack", [LOAD_NONE] = "none",
        [LOAD_TYPING] = "typing", [LOAD_CHUNKS] = "chunks", [LOAD_DELTAS] = "deltas",
        [LOAD_MESSAGES] = "messages",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(v, names[i]))
            return i;
    usage();
    return LOAD_NONE;
}

static void options(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (!strcmp(a, "--no-join")) { opt.no_join = 1; continue; }
        if (i + 1 >= argc)
            usage();
        const char *v = argv[++i];
        if (!strcmp(a, "--ports")) opt.nports = numbers(v, opt.ports);
        else if (!strcmp(a, "--spectator-ports"))
            opt.nspectators = numbers(v, opt.spectator_ports);
        else if (!strcmp(a, "--host")) opt.host = v;
        else if (!strcmp(a, "--path")) opt.path = v;
        else if (!strcmp(a, "--auth")) opt.auth = v;
        else if (!strcmp(a, "--conns")) opt.conns = atoi(v);
        else if (!strcmp(a, "--rooms")) opt.rooms = atoi(v);
        else if (!strcmp(a, "--load")) opt.load = load_of(v);
        else if (!strcmp(a, "--speaker")) opt.member_speaks = !strcmp(v, "member");
        else if (!strcmp(a, "--rate")) opt.rate = atof(v);
        else if (!strcmp(a, "--window")) opt.window = atoi(v);
        else if (!strcmp(a, "--payload")) opt.payload = atoi(v);
        else if (!strcmp(a, "--duration")) opt.duration = atof(v);
        else if (!strcmp(a, "--warmup")) opt.warmup = atof(v);
        else if (!strcmp(a, "--idle")) opt.idle = atof(v);
        else if (!strcmp(a, "--concurrency")) opt.concurrency = atoi(v);
        else if (!strcmp(a, "--connect-timeout")) opt.connect_timeout = atof(v);
        else if (!strcmp(a, "--stall")) opt.stall = atoi(v);
        else if (!strcmp(a, "--sessions")) opt.sessions = lines(v);
        else if (!strcmp(a, "--tokens")) opt.tokens = lines(v);
        else usage();
    }
    if (!opt.nports || opt.conns < 1 || opt.rooms < 1 || opt.window < 1 || opt.rate < 0 ||
        opt.payload > 65000 || opt.duration > 600 || opt.idle > 600)
        usage();
    if (opt.sessions.n && opt.sessions.n < opt.rooms)
        die("%d rooms, but %d sessions", opt.rooms, opt.sessions.n);
    if (opt.load == LOAD_ACK || opt.load == LOAD_NONE || opt.load == LOAD_MESSAGES ||
        opt.load == LOAD_TYPING)
        opt.member_speaks = 1;
}

/* ------------------------------------------------------------------ set up */

static void people(void)
{
    int publishers = opt.member_speaks ? 0 : opt.rooms;
    total_conns = opt.conns + publishers + opt.nspectators;
    conns = calloc(total_conns, sizeof *conns);
    rooms = calloc(opt.rooms, sizeof *rooms);
    if (!conns || !rooms)
        die("out of memory");
    for (int i = 0; i < opt.rooms; i++) {
        char name[32];
        snprintf(name, sizeof name, "r%d", i);
        rooms[i].name = opt.sessions.n ? opt.sessions.line[i] : strdup(name);
    }
    for (int i = 0; i < total_conns; i++) {
        struct conn *c = &conns[i];
        c->asked_at = calloc(opt.window, sizeof *c->asked_at);
        if (i < opt.conns) {
            struct room *r = &rooms[c->room = i % opt.rooms];
            c->port = opt.ports[(i / opt.rooms) % opt.nports];
            r->members++;
            if (!r->speaker && opt.member_speaks) {
                r->speaker = c;
                if (opt.load == LOAD_TYPING)    /* not told of its own */
                    r->members--;
            }
        } else if (i < opt.conns + publishers) {
            c->room = i - opt.conns;
            c->port = opt.ports[0];
            c->publisher = 1;
            rooms[c->room].speaker = c;
        } else {
            c->port = opt.spectator_ports[i - opt.conns - publishers];
            c->spectator = 1;
        }
    }
}

static void phase(const char *name)
{
    printf("%s\n", name);
    fflush(stdout);
}

/* It never sleeps before all are there, for the reason that wait_until gives. */
static double connect_all(void)
{
    double begin = now_s();
    phase("@connecting");
    while (ready + dead < total_conns) {
        while (started < total_conns && inflight < opt.concurrency)
            wire_dial(&conns[started]);
        wire_poll(0);
        if (now_s() - begin > opt.connect_timeout)
            die("only %d of %d connected", ready, total_conns);
    }
    if (ready != total_conns)
        die("%d of %d connections failed", total_conns - ready, total_conns);
    double took = now_s() - begin;
    phase("@connected");
    for (double t = now_s() + opt.idle; now_s() < t;)
        wire_poll(0.05);
    return took;
}

static void stall(void)
{
    for (int i = 0; i < opt.stall && i < opt.conns; i++) {
        struct conn *c = &conns[opt.conns - 1 - i];
        rooms[c->room].members--;
        wire_stall(c);
    }
}

/*
 * At a high rate it never sleeps: waking this process would be charged to the
 * server's send(), which a client across a network never is.
 */
static void wait_until(double t)
{
    double due = talk_next_due();
    if (opt.rate * opt.rooms > 50)
        wire_poll(0);
    else
        wire_poll((due < t ? due : t) - now_s());
}

int main(int argc, char **argv)
{
    options(argc, argv);
    signal(SIGCONT, wake);
    people();
    wire_start();
    talk_start();
    double connect_s = connect_all();

    stall();
    sending = 1;
    double now = now_s(), warm = now + opt.warmup;
    talk_begin_load();
    for (; now < warm; now = now_s()) {
        talk_due(now, warm);
        wait_until(warm);
    }
    phase("@start");
    double begin = now_s(), stop = begin + opt.duration;
    uint64_t sent_before = count.sent;
    measuring = 1;
    for (now = begin; now < stop; now = now_s()) {
        talk_due(now, stop);
        wait_until(stop);
    }
    sending = 0;
    double wall = now - begin;
    uint64_t in_time = count.delivered, sent = count.sent - sent_before;
    phase("@stop");

    /* what is still under way may arrive, so that losses can be told */
    for (double until = now_s() + 2; talk_missing() && now_s() < until;)
        wire_poll(0.02);
    talk_end_load();
    for (double until = now_s() + (is_stream_load() ? 0.5 : 0); now_s() < until;)
        wire_poll(0.02);

    printf("{\"conns\":%d,\"rooms\":%d,\"payload\":%d,\"rate\":%g,\"window\":%d,"
           "\"connect_s\":%.4f,\"sent\":%llu,\"delivered\":%llu,\"missing\":%llu,"
           "\"refused\":%llu,\"wall_s\":%.4f,\"delivered_per_s\":%.1f,\"bytes_in\":%llu,"
           "\"latency_us\":{\"p50\":%llu,\"p99\":%llu,\"p999\":%llu,\"max\":%llu},"
           "\"pings\":%llu,\"errors\":%llu,\"bad_frames\":%llu,\"other\":%llu}\n",
           total_conns, opt.rooms, opt.payload, opt.rate, opt.window, connect_s,
           (unsigned long long)sent, (unsigned long long)in_time,
           (unsigned long long)talk_missing(), (unsigned long long)count.refused, wall,
           wall > 0 ? in_time / wall : 0, (unsigned long long)count.bytes_in,
           (unsigned long long)hist_at(0.50), (unsigned long long)hist_at(0.99),
           (unsigned long long)hist_at(0.999), (unsigned long long)hist_max(),
           (unsigned long long)count.pings, (unsigned long long)count.errors,
           (unsigned long long)count.bad_frames, (unsigned long long)count.other);
    return 0;
}
