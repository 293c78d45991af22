/* The load: connections that each send a message, wait for its echo, and send the next.
 * Usage: load PORT CONNECTIONS BYTES SECONDS SERVER_PID
 * Prints: round trips a second, the 50th and 99th percentile of their time in microseconds, and the
 * server's CPU time for each in nanoseconds.
 * What comes back is compared with what was sent; a difference ends the program with status 1. */
#include "net.h"

#define MICROSECONDS_MAX 1000000
#define WARM_UP 0.2 /* of the seconds, not counted */

struct client {
    int fd;
    size_t sent, received;
    double started;
};

static char *message, *echo;
static size_t size;
static uint64_t histogram[MICROSECONDS_MAX + 1];
static uint64_t round_trips;

static void send_rest(int epoll, struct client *client) {
    while (client->sent < size) {
        ssize_t count = write(client->fd, message + client->sent, size - client->sent);
        if (count < 0) {
            if (errno != EAGAIN) die("write");
            watch(epoll, EPOLL_CTL_MOD, client->fd, EPOLLIN | EPOLLOUT, client);
            return;
        }
        client->sent += (size_t)count;
    }
}

static void begin(int epoll, struct client *client) {
    client->sent = client->received = 0;
    client->started = now();
    send_rest(epoll, client);
}

static void count_round_trip(const struct client *client) {
    double microseconds = (now() - client->started) * 1e6;
    histogram[microseconds < MICROSECONDS_MAX ? (size_t)microseconds : MICROSECONDS_MAX]++;
    round_trips++;
}

static void receive(int epoll, struct client *client) {
    ssize_t count = read(client->fd, echo, size);
    if (count < 0 && errno == EAGAIN) return;
    if (count < 0) die("read");
    if (count == 0) { fprintf(stderr, "the server closed a connection\n"); exit(1); }
    if (client->received + (size_t)count > size ||
        memcmp(echo, message + client->received, (size_t)count) != 0) {
        fprintf(stderr, "what came back is not what was sent\n");
        exit(1);
    }
    client->received += (size_t)count;
    if (client->received == size) {
        count_round_trip(client);
        begin(epoll, client);
    }
}

static void connect_client(int epoll, struct client *client, int port) {
    client->fd = connected(port);
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
                send_rest(epoll, client);
            }
            if (events[i].events & ~(uint32_t)EPOLLOUT) receive(epoll, client);
        }
    }
}

static size_t percentile(double part) {
    uint64_t seen = 0;
    for (size_t i = 0; i <= MICROSECONDS_MAX; i++) {
        seen += histogram[i];
        if ((double)seen >= part * (double)round_trips) return i;
    }
    return MICROSECONDS_MAX;
}

int main(int argc, char **argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: load PORT CONNECTIONS BYTES SECONDS SERVER_PID\n");
        return 2;
    }
    pid_t server = (pid_t)atol(argv[5]);
    int port = atoi(argv[1]), connections = atoi(argv[2]);
    size = (size_t)atol(argv[3]);
    double seconds = atof(argv[4]);
    message = malloc(size);
    echo = malloc(size);
    struct client *clients = calloc((size_t)connections, sizeof *clients);
    if (!message || !echo || !clients) die("malloc");
    for (size_t i = 0; i < size; i++) message[i] = (char)(i * 31 + i / 256);
    int epoll = epoll_create1(0);
    if (epoll < 0) die("epoll_create1");
    for (int i = 0; i < connections; i++) connect_client(epoll, &clients[i], port);
    for (int i = 0; i < connections; i++) begin(epoll, &clients[i]);
    run_until(epoll, now() + seconds * WARM_UP);
    memset(histogram, 0, sizeof histogram);
    round_trips = 0;
    double started = now(), spent = cpu_seconds(server);
    run_until(epoll, started + seconds);
    double elapsed = now() - started;
    spent = cpu_seconds(server) - spent;
    double trips = (double)round_trips;
    printf("%.1f %zu %zu %.1f\n", trips / elapsed, percentile(0.5), percentile(0.99),
           spent * 1e9 / trips);
    return round_trips ? 0 : 1;
}
