/* Load at a constant rate: what a request waits when the server has room to spare.
 * Usage: load PORT PATH CONNECTIONS RATE SECONDS
 * Prints, in microseconds: p50 p99 p99.9 and the longest, then how many a second were answered.
 * One thread, which spins: it has a core of its own.
 *
 * Requests are due at fixed times, whether or not the ones before are answered, and each one's wait
 * counts from when it was due: a server that stalls is charged for all who would have come
 * meanwhile (no "coordinated omission"). */
#include "../echo/net.h"

#define WARM_UP 0.5  /* seconds at the same rate, not counted */
#define PATIENCE 30.0 /* seconds for the last answers */
#define BUFFER 65536

struct client {
    int fd;
    double due; /* of the request under way */
    size_t filled;
    char buffer[BUFFER];
};

static char request[1024];
static size_t request_size;
static struct client **idle; /* a stack of those that wait for work */
static int idle_count;
static double *waits; /* of the answered requests, in seconds */
static size_t answered;

static void send_request(struct client *client, double due) {
    client->due = due;
    client->filled = 0;
    /* A socket with nothing under way has room for one short request. */
    if (send(client->fd, request, request_size, MSG_NOSIGNAL) != (ssize_t)request_size) die("send");
}

/* The length of the response in the buffer, or 0 while that cannot be told. */
static size_t response_size(struct client *client) {
    client->buffer[client->filled] = 0;
    char *end = strstr(client->buffer, "\r\n\r\n");
    if (!end) return 0;
    if (strncmp(client->buffer, "HTTP/1.1 200 ", 13) != 0) {
        fprintf(stderr, "the answer is %.40s\n", client->buffer);
        exit(1);
    }
    char *length = strcasestr(client->buffer, "\r\ncontent-length:");
    if (!length || length > end) {
        fprintf(stderr, "the answer has no content-length\n");
        exit(1);
    }
    return (size_t)(end + 4 - client->buffer) + strtoul(length + 17, NULL, 10);
}

static void receive(struct client *client, double counted_from) {
    ssize_t count = recv(client->fd, client->buffer + client->filled, BUFFER - 1 - client->filled, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (count <= 0) die("the server closed a connection");
    client->filled += (size_t)count;
    size_t size = response_size(client);
    if (size > BUFFER - 1) {
        fprintf(stderr, "the answer is too large\n");
        exit(1);
    }
    if (size == 0 || client->filled < size) return;
    if (client->due >= counted_from) waits[answered++] = now() - client->due;
    idle[idle_count++] = client;
}

static int compare(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static double percentile(double part) {
    size_t index = (size_t)((double)answered * part);
    return waits[index < answered ? index : answered - 1] * 1e6;
}

static void connect_client(int epoll, struct client *client, int port) {
    client->fd = connected(port);
    watch(epoll, EPOLL_CTL_ADD, client->fd, EPOLLIN, client);
    idle[idle_count++] = client;
}

int main(int argc, char **argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: load PORT PATH CONNECTIONS RATE SECONDS\n");
        return 2;
    }
    int connections = atoi(argv[3]);
    double rate = atof(argv[4]), seconds = atof(argv[5]);
    if (connections < 1 || rate <= 0 || seconds <= 0) return 2;
    request_size = (size_t)snprintf(request, sizeof request,
                                    "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", argv[2]);
    if (request_size >= sizeof request) return 2;
    size_t total = (size_t)(rate * (WARM_UP + seconds));
    struct client *clients = calloc((size_t)connections, sizeof *clients);
    idle = calloc((size_t)connections, sizeof *idle);
    waits = calloc(total + 1, sizeof *waits);
    if (!clients || !idle || !waits) die("memory");
    int epoll = epoll_create1(0);
    if (epoll < 0) die("epoll_create1");
    for (int i = 0; i < connections; i++) connect_client(epoll, &clients[i], atoi(argv[1]));

    struct epoll_event events[EVENTS_MAX];
    double started = now(), counted_from = started + WARM_UP;
    double give_up = counted_from + seconds + PATIENCE, ended = started;
    size_t sent = 0;
    while (sent < total || idle_count < connections) {
        double time = now();
        if (time > give_up) {
            fprintf(stderr, "the server does not keep up: %zu of %zu requests are answered\n",
                    answered, total);
            return 1;
        }
        while (sent < total && idle_count > 0) {
            double due = started + (double)sent / rate;
            if (due > time) break;
            send_request(idle[--idle_count], due);
            sent++;
        }
        int count = epoll_wait(epoll, events, EVENTS_MAX, 0);
        if (count < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < count; i++) receive(events[i].data.ptr, counted_from);
        if (count > 0) ended = now();
    }
    if (answered == 0) return 1;
    qsort(waits, answered, sizeof *waits, compare);
    printf("%.1f %.1f %.1f %.1f %.1f\n", percentile(0.5), percentile(0.99), percentile(0.999),
           waits[answered - 1] * 1e6, (double)answered / (ended - counted_from));
    return 0;
}
