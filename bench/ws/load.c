/* The load: WebSocket clients without compression.
 * Usage: load PORT echo|broadcast CONNECTIONS BYTES SECONDS
 *   echo       each client sends a text message, waits for it to come back, and sends the next
 *   broadcast  the first client sends, AHEAD messages at a time; each must come to every client
 * Prints: messages received a second, by all clients together. What comes must be the frames that
 * are expected, byte by byte; a difference ends the program with status 1. */
#include "../echo/net.h"

#define AHEAD 8     /* messages of a broadcast under way */
#define WARM_UP 0.2 /* of the seconds, not counted */
#define READ_SIZE (256 * 1024)

struct client {
    int fd;
    uint64_t received; /* bytes */
    size_t unsent;     /* bytes of `outgoing` still to be written */
};

static char *outgoing, *expected, *input;
static size_t out_size, in_size;
static struct client *clients;
static int connections, is_broadcast;
static uint64_t sent, total; /* messages sent by a broadcaster; bytes received by all */

static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

/* A text frame; a client's has a mask, of zeros, which changes nothing. */
static char *frame(size_t size, int masked, size_t *length) {
    char *bytes = calloc(1, size + 14), *at = bytes;
    if (!bytes) die("calloc");
    *at++ = (char)0x81;
    char bit = masked ? (char)0x80 : 0;
    if (size < 126) {
        *at++ = (char)(bit | (char)size);
    } else if (size < 65536) {
        *at++ = (char)(bit | 126);
        *at++ = (char)(size >> 8);
        *at++ = (char)size;
    } else {
        *at++ = (char)(bit | 127);
        for (int shift = 56; shift >= 0; shift -= 8) *at++ = (char)(size >> shift);
    }
    if (masked) at += 4;
    for (size_t i = 0; i < size; i++) *at++ = (char)('a' + i % 26);
    *length = (size_t)(at - bytes);
    return bytes;
}

static void write_rest(int epoll, struct client *client) {
    while (client->unsent > 0) {
        size_t in_frame = client->unsent % out_size ? client->unsent % out_size : out_size;
        ssize_t count = write(client->fd, outgoing + out_size - in_frame, in_frame);
        if (count < 0) {
            if (errno != EAGAIN) die("write");
            watch(epoll, EPOLL_CTL_MOD, client->fd, EPOLLIN | EPOLLOUT, client);
            return;
        }
        client->unsent -= (size_t)count;
    }
}

static void send_message(int epoll, struct client *client) {
    client->unsent += out_size;
    write_rest(epoll, client);
}

static void check(const struct client *client, size_t count) {
    size_t at = client->received % in_size;
    for (size_t done = 0; done < count;) {
        size_t piece = in_size - at < count - done ? in_size - at : count - done;
        if (memcmp(input + done, expected + at, piece)) fail("what came is not what was sent");
        done += piece;
        at = 0;
    }
}

static void receive(int epoll, struct client *client) {
    ssize_t count = read(client->fd, input, READ_SIZE);
    if (count < 0 && errno == EAGAIN) return;
    if (count < 0) die("read");
    if (count == 0) fail("the server closed a connection");
    check(client, (size_t)count);
    uint64_t before = client->received / in_size;
    client->received += (uint64_t)count;
    total += (uint64_t)count;
    if (!is_broadcast) {
        for (uint64_t i = before; i < client->received / in_size; i++) send_message(epoll, client);
        return;
    }
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < connections; i++)
        if (clients[i].received < least) least = clients[i].received;
    for (; sent < least / in_size + AHEAD; sent++) send_message(epoll, &clients[0]);
}

/* Blocking until the handshake is answered. */
static void connect_client(int epoll, struct client *client, int port, const char *path) {
    struct sockaddr_in address = loopback(port);
    client->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (client->fd < 0) die("socket");
    if (connect(client->fd, (struct sockaddr *)&address, sizeof address) < 0) die("connect");
    no_delay(client->fd);
    char text[512], answer[4096];
    int length = snprintf(text, sizeof text,
                          "GET /%s HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
                          "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                          path);
    if (write(client->fd, text, (size_t)length) != length) die("write");
    size_t have = 0;
    while (have < 4 || memcmp(answer + have - 4, "\r\n\r\n", 4)) {
        /* A byte at a time, so that no frame is read with the answer. */
        if (have == sizeof answer || read(client->fd, answer + have, 1) != 1)
            fail("no answer to a handshake");
        have++;
    }
    if (memcmp(answer, "HTTP/1.1 101", 12)) fail("a handshake was refused");
    int flags = fcntl(client->fd, F_GETFL);
    if (flags < 0 || fcntl(client->fd, F_SETFL, flags | O_NONBLOCK) < 0) die("fcntl");
    watch(epoll, EPOLL_CTL_ADD, client->fd, EPOLLIN, client);
}

static void run_until(int epoll, double deadline) {
    struct epoll_event events[EVENTS_MAX];
    while (now() < deadline) {
        int count = epoll_wait(epoll, events, EVENTS_MAX, 100);
        if (count < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < count; i++) {
            struct client *client = events[i].data.ptr;
            if (events[i].events & EPOLLOUT) {
                watch(epoll, EPOLL_CTL_MOD, client->fd, EPOLLIN, client);
                write_rest(epoll, client);
            }
            if (events[i].events & ~(uint32_t)EPOLLOUT) receive(epoll, client);
        }
    }
}

int main(int argc, char **argv) {
    if (argc != 6)
        return fprintf(stderr, "usage: load PORT echo|broadcast CONNECTIONS BYTES SECONDS\n"), 2;
    is_broadcast = !strcmp(argv[2], "broadcast");
    connections = atoi(argv[3]);
    size_t size = (size_t)atol(argv[4]);
    double seconds = atof(argv[5]);
    outgoing = frame(size, 1, &out_size);
    expected = frame(size, 0, &in_size);
    input = malloc(READ_SIZE);
    clients = calloc((size_t)connections, sizeof *clients);
    if (!input || !clients) die("malloc");
    int epoll = epoll_create1(0);
    if (epoll < 0) die("epoll_create1");
    for (int i = 0; i < connections; i++) connect_client(epoll, &clients[i], atoi(argv[1]), argv[2]);
    /* All are members before the first message: a server may answer a handshake first. */
    usleep(200000);
    if (is_broadcast)
        for (; sent < AHEAD; sent++) send_message(epoll, &clients[0]);
    else
        for (int i = 0; i < connections; i++) send_message(epoll, &clients[i]);
    run_until(epoll, now() + seconds * WARM_UP);
    total = 0;
    double started = now();
    run_until(epoll, started + seconds);
    double messages = (double)total / (double)in_size;
    if (messages < 1) fail("no message came");
    printf("%.1f\n", messages / (now() - started));
    return 0;
}
